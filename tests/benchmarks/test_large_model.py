"""The comparison on a random model runs for real at a tiny size; no time is asserted."""

import pytest
import torch

import large_model
from random_world import SIZES, random_base, random_prompts, random_tokenizer
from roofline import Rates, least_seconds
from tests.benchmarks.last_line import last_line


def test_peft_replies_as_we_do_however_many_particles_ride_together(capsys: "pytest.CaptureFixture[str]") -> None:
    size = ["--size", "tiny", "--device", "cpu", "--particles", "3", "--prompts", "6", "--rank", "4"]
    lengths = ["--shortest", "4", "--longest", "9", "--new-tokens", "2", "5", "--examples-per-pass", "4"]
    turns = ["--particles-per-pass", "1", "3", "--peer-particles", "3", "--batches", "4", "--repeats", "1"]
    large_model.main([*size, *lengths, *turns])
    numbers = last_line(capsys)
    assert (numbers["benchmark"], numbers["device"], numbers["size"]) == ("large_model", "cpu", "tiny")
    for new_tokens in ("2", "5"):
        row = numbers["results"][new_tokens]
        assert row["different_replies"] == {"plain": 0, "best": 0}
        assert set(row["tokens_per_second"]) == {"plain", "best", "P=1", "P=3"}
        assert set(row["roofline_tokens_per_second"]) == {"P=1", "P=3"}
    # Three particles and six prompts: were the adapters too weak to matter, there would be six replies of five tokens.
    assert numbers["results"]["5"]["distinct_replies"] > 6


def test_prompts_have_exactly_the_lengths_asked_for_and_replies_never_end() -> None:
    tokenizer = random_tokenizer(SIZES["tiny"].vocabulary)
    prompts = random_prompts(5, 10, 30, SIZES["tiny"].vocabulary, seed=0)
    assert sorted(len(ids) for ids in tokenizer(prompts)["input_ids"]) == [10, 15, 20, 25, 30]
    model = random_base(SIZES["tiny"], torch.float32, torch.device("cpu"), 64, seed=0)
    assert not model.state_dict()["model.embed_tokens.weight"][:3].any()


def test_the_roofline_reads_weights_and_cache_once_per_step() -> None:
    model = random_base(SIZES["tiny"], torch.float32, torch.device("cpu"), 64, seed=0)
    # Embedding 512 x 64; per layer: q and o 64 x 64, k and v 64 x 32, three of 64 x 128, two norms of 64; a last norm.
    weights = 512 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64
    # A cached token: keys and values, 2 layers, 2 heads of 16, 4 bytes each = 512 bytes.
    # Two particles, prompts of 3 and 5 tokens in one pass: 16 tokens in 4 rows; three new tokens take three steps, the
    # first of which reads the weights alone. With endless arithmetic and 1 byte per second, seconds are bytes.
    expected = 3 * 4 * weights + (16 + 4) * 512 + (16 + 8) * 512
    assert least_seconds(model, [3, 5], 2, 2, 3, Rates(1.0, float("inf"))) == expected
    # With endless bandwidth: 2 operations per weight for 16 tokens, and twice for 4.
    assert least_seconds(model, [3, 5], 2, 2, 3, Rates(float("inf"), 1.0)) == 2 * weights * (16 + 4 + 4)
