"""Draws of tokens: the noise against the published generator, the weights against transformers' own filters."""

import hashlib
import math

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation import sampling
from swarm_lightning.evaluation.sampling import RowNoise, draw, likely_weights, row_key, uniforms
from swarm_lightning.objectives import GenerationSettings

LOGITS = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)) * 3
HIGHEST = 1 - 2.0**-53  # the greatest number that is drawn


def settings(temperature: float = 1.0, top_p: float = 1.0, top_k: int | None = None) -> GenerationSettings:
    return GenerationSettings(temperature=temperature, top_p=top_p, top_k=top_k)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_noise_is_that_of_the_published_generator() -> None:
    # The first numbers of SplitMix64 with the seed 1234567, as in the tests of other implementations.
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    found = uniforms(torch.full((5,), 1234567), torch.arange(5))
    assert found.tolist() == [(bits >> 11) / 2**53 for bits in published]


def test_the_noise_is_uniform_and_one_stream_says_nothing_of_another() -> None:
    keys = torch.tensor([row_key(7, particle, 0, str(example)) for particle in range(20) for example in range(100)])
    table = uniforms(keys.unsqueeze(1).expand(-1, 32), torch.arange(32).expand(2000, -1))  # 64,000 numbers
    assert 0 <= table.min() < table.max() < 1
    # Chi-square of 100 equal parts: its mean is 99 and its standard deviation 14.
    counts = torch.histc(table, 100, 0, 1)
    assert 99 - 5 * 14 < float((counts - 640).square().sum() / 640) < 99 + 5 * 14
    # Neighbours in place, in example, in particle, and in both: no correlation beyond 5 / sqrt(n).
    grid = (table - 0.5).reshape(20, 100, 32) * math.sqrt(12)
    for one, other in (
        (grid[..., 1:], grid[..., :-1]),
        (grid[:, 1:], grid[:, :-1]),
        (grid[1:], grid[:-1]),
        (grid[1:, 1:, 1:], grid[:-1, :-1, :-1]),
    ):
        assert abs(float((one * other).mean())) < 5 / math.sqrt(one.numel())


def test_every_number_is_computed_on_its_own() -> None:
    keys = torch.tensor([5, -9, 5])
    whole = uniforms(keys.unsqueeze(1).expand(-1, 8), torch.arange(8).expand(3, -1))
    assert torch.equal(whole[0], whole[2])
    for row, place in ((0, 0), (1, 7), (2, 3)):
        assert uniforms(keys[row : row + 1], torch.tensor([place])) == whole[row, place]


def test_a_key_depends_on_seed_particle_turn_and_example() -> None:
    digest = hashlib.blake2b(b"3 -1 2 abc", digest_size=8).digest()
    assert row_key(3, -1, 2, "abc") == int.from_bytes(digest, "little", signed=True)
    keys = {
        row_key(seed, particle, turn, example)
        for seed in (1, 11)
        for particle in (0, 1, 11)
        for turn in (0, 1)
        for example in ("1", "11", "a")
    }
    assert len(keys) == 2 * 3 * 2 * 3


def test_an_example_has_its_noise_by_its_content_wherever_it_stands() -> None:
    one, other = Example("Why?", "A", {"A": "x", "B": "y"}), Example("Why?", "A", {"B": "y", "A": "x"})
    first = RowNoise(5, (0, 0, 1), (one, other, one)).keys(0)
    second = RowNoise(5, (0,), (Example("Why?", "A", {"A": "x", "B": "y"}),)).keys(0)
    assert len(set(first.tolist())) == 3
    assert second.tolist() == [first[0]]
    assert RowNoise(5, (0,), (one,)).keys(1) != second


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    ("top_k", "top_p"), [(None, 1.0), (5, 1.0), (None, 0.8), (20, 0.8), (1, 1.0), (None, 1e-9), (99, 1.0)]
)
def test_weights_are_the_probabilities_of_transformers(temperature: float, top_k: int | None, top_p: float) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    ids = torch.zeros(40, 1, dtype=torch.long)
    scores = TemperatureLogitsWarper(temperature)(ids, LOGITS)
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(ids, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(ids, scores)
    weights = likely_weights(LOGITS, settings(temperature, top_p, top_k))
    assert torch.equal(weights > 0, scores.isfinite())
    expected = scores.double().softmax(dim=-1)
    assert torch.allclose(weights / weights.sum(dim=-1, keepdim=True), expected, atol=1e-6)


def test_equally_likely_tokens_at_an_edge_all_stay() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0]])
    # In units of e: 1/e, e, 1, 1, 1; of 6.09 in all, the first two make 0.61, and the first three 0.78.
    assert (likely_weights(logits, settings(top_k=2)) > 0).tolist() == [[False, True, True, True, True]]
    assert (likely_weights(logits, settings(top_p=0.5)) > 0).tolist() == [[False, True, True, True, True]]
    assert (likely_weights(logits, settings(top_p=0.4)) > 0).tolist() == [[False, True, False, False, False]]


@pytest.mark.parametrize("filtered", [settings(0.7), settings(1.5, 0.9), settings(1.0, 0.7, 6)])
def test_tokens_are_drawn_as_often_as_they_are_likely(filtered: GenerationSettings) -> None:
    # Numbers on an even grid: each token gets its share of them, to one on each side.
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for row in LOGITS[:4]:
        drawn = draw(row.expand(len(grid), -1), grid, filtered)
        table = (row.double() / filtered.temperature).softmax(dim=-1)
        order = table.argsort(descending=True)
        kept = order[: filtered.top_k]
        before = table[kept].cumsum(dim=0) - table[kept]
        kept = kept[before < filtered.top_p * table[kept].sum()]
        expected = torch.zeros(50, dtype=torch.float64)
        expected[kept] = table[kept] / table[kept].sum()
        assert (drawn.bincount(minlength=50) - expected * 20_000).abs().max() <= 1


def test_the_ends_of_the_interval_give_tokens_that_can_be_drawn() -> None:
    logits = torch.tensor([-math.inf, 1.0, -200.0, 3.0, 2.0, -math.inf]).expand(4, -1)
    assert draw(logits, numbers(0.0, 2.0**-53, 0.9, HIGHEST), settings()).tolist() == [1, 1, 4, 4]
    assert draw(logits, numbers(0.0, 0.5, 0.9, HIGHEST), settings(top_k=1)).tolist() == [3] * 4


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300])
def test_a_temperature_near_0_takes_the_most_likely_token(temperature: float) -> None:
    logits = LOGITS * 1e4
    for number in (0.0, 0.5, HIGHEST):
        found = draw(logits, torch.full((40,), number, dtype=torch.float64), settings(temperature, top_p=0.9))
        assert torch.equal(found, logits.argmax(dim=-1))


def test_a_row_without_a_distribution_gives_what_greedy_decoding_gives_and_spoils_no_other() -> None:
    logits = LOGITS[:4].clone()
    logits[1, 7], logits[2, 9], logits[3] = math.nan, math.inf, -math.inf
    for filtered in (settings(), settings(top_p=0.9), settings(top_k=3), settings(1.0, 0.9, 3)):
        found = draw(logits, numbers(0.4, 0.4, 0.4, 0.4), filtered)
        assert found[:1].tolist() == draw(LOGITS[:1], numbers(0.4), filtered).tolist()
        assert found[1:].tolist() == logits[1:].argmax(dim=-1).tolist()


def test_many_rows_are_drawn_a_few_at_a_time_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = LOGITS.clone()
    whole = draw(LOGITS, uniform, settings(1.3, 0.9, 30))
    for count in (1, 99, 350):
        monkeypatch.setattr(sampling, "NUMBERS", count)
        assert torch.equal(draw(LOGITS, uniform, settings(1.3, 0.9, 30)), whole)
    assert torch.equal(LOGITS.double(), before.double())
    assert torch.equal(draw(LOGITS.double(), uniform, settings(1.3, 0.9, 30)), whole)
