"""The comparison of products with stacked adapters runs for real at a tiny size; no time is asserted."""

import pytest

import products
from tests.benchmarks.last_line import last_line


def test_experts_reply_the_same_as_adapters_and_as_products(capsys: "pytest.CaptureFixture[str]") -> None:
    demo = ["--particles", "3", "--examples", "2", "--new-tokens", "2", "--repeats", "1"]
    random = ["--hidden", "72", "--layers", "1", "--vocabulary", "99", "--rank", "2", "--wide-examples", "2"]
    products.main([*demo, *random])
    numbers = last_line(capsys)
    assert numbers["benchmark"] == "products"
    for world in numbers["worlds"].values():
        assert (world["different_replies"], world["compared_replies"]) == (0, 6)
        assert set(world["times_stacked"]) == {"floor", "stacked", "products"}
    # One layer of seven modules: 10 experts x 7 coefficients; A and B of rank 2 on q, k, v, o and three of the MLP.
    held = numbers["worlds"]["random world"]["numbers_of_a_particle"]
    assert held == {"stacked": 2 * (2 * (72 + 72) + 2 * (72 + 24) + 3 * (72 + 192)), "products": 70}
