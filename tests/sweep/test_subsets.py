"""Choices among experts: a smaller choice lies within every larger one, and what can't be chosen is refused."""

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.sweep.subsets import variants_of

POOL = [(name, f"experts/{name}") for name in ("ant", "bee", "cat", "dog", "eel", "fox")]


def test_a_smaller_choice_lies_within_every_larger_one_in_the_order_of_the_pool() -> None:
    for seed in range(5):
        chosen = [group["model.experts"] for group in variants_of(POOL, [2, 4, 6], seed).values()]
        assert [len(one) for one in chosen] == [2, 4, 6]
        assert set(chosen[0]) < set(chosen[1]) < set(chosen[2])
        assert all(one == sorted(one) for one in chosen)


def test_another_seed_chooses_others() -> None:
    assert len({tuple(variants_of(POOL, [2, 6], seed)["2 experts"]["model.experts"]) for seed in range(20)}) > 5


def test_each_expert_is_left_out_once() -> None:
    found = variants_of(POOL, "each", 0)
    assert found.pop("all 6") == {"model.experts": [source for _, source in POOL]}
    for name, source in POOL:
        left = found.pop(f"without {name}")["model.experts"]
        assert left == [other for _, other in POOL if other != source]
    assert not found


@pytest.mark.parametrize("numbers", [[3], [3, 3], [1, 2], [2, 7]])
def test_numbers_that_say_nothing_or_that_there_are_not_are_refused(numbers: list[int]) -> None:
    with pytest.raises(InputError, match="two numbers or more from 2 to 6"):
        variants_of(POOL, numbers, 0)


def test_two_experts_can_not_be_left_out_one_by_one() -> None:
    with pytest.raises(InputError, match="3 experts or more"):
        variants_of(POOL[:2], "each", 0)
