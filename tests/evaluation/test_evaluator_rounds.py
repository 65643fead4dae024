"""Which pairs the evaluator asks and in which rounds, with an objective that knows its scores and asks no model."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.text_rows import TextRows
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives import ExactMatch, LanguageModel, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Table:
    """An objective whose scores stand in a table [P, M]; it looks up which particle would answer a row."""

    def __init__(self, truth: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        self.truth = truth
        self.bounds = bounds
        self.asked: list[tuple[int, int]] = []

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        pass

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        return example.question

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        assert isinstance(model, TextRows)
        pairs = [(particle, int(example.identifier)) for particle, example in zip(model.owners, examples, strict=True)]
        self.asked.extend(pairs)
        return [Outcome("", None, float(self.truth[pair])) for pair in pairs]


TRUTH = torch.tensor(
    [
        [1, 1, 1, 0, 0, 0, 1, 1],  # 5/8, above its best of 4/8
        [1, 0, 0, 0, 1, 1, 0, 0],  # 3/8, between the floor of 2/8 and its best of 6/8
        [0, 0, 1, 0, 0, 0, 0, 0],  # 1/8, below the floor
        [1, 1, 0, 1, 0, 1, 0, 0],  # 4/8, as good as its best
        [1, 1, 1, 1, 1, 1, 1, 1],  # never asked: its utility is known
        [0, 0, 0, 0, 0, 0, 0, 1],  # not due
    ],
    dtype=torch.float64,
)
BESTS = torch.tensor([4, 6, 5, 4, 8, 8], dtype=torch.float64) / 8
DUE = torch.tensor([True, True, True, True, True, False])


def stakes(expected: Tensor = TRUTH, known: float = 7 / 8) -> Stakes:
    nan = math.nan
    return Stakes(BESTS, 2 / 8, expected, torch.tensor([nan, nan, nan, nan, known, nan], dtype=torch.float64))


def evaluate_table(
    objective: Table, adapted: AdaptedModel, tokenizer: "PreTrainedTokenizerBase", given: Stakes, **settings: Any
) -> Evaluation:
    evaluator = Evaluator(ResidentRunner(adapted, tokenizer, EngineSettings(**settings)), objective)
    examples = [Example(f"question {place}", identifier=str(place)) for place in range(objective.truth.shape[1])]
    return evaluator.evaluate(torch.zeros(len(objective.truth), adapted.layout.size), examples, DUE, given)


@pytest.mark.parametrize("guess", ["right", "wrong", "none"])
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_with_stakes_a_utility_is_exact_where_it_matters_and_bounded_elsewhere(
    chunk: int, guess: str, adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    objective = Table(TRUTH)
    expected = {"right": TRUTH, "wrong": 1 - TRUTH, "none": torch.zeros_like(TRUTH)}[guess]
    found = evaluate_table(objective, adapted, tiny_tokenizer, stakes(expected), chunk=chunk)
    assert len(set(objective.asked)) == len(objective.asked) == found.evaluated
    assert {particle for particle, _ in objective.asked} == {0, 1, 2, 3}
    for pair in itertools.product(range(6), range(8)):
        asked = pair in objective.asked
        assert found.scores[pair].isnan() != asked
        assert not asked or found.scores[pair] == TRUTH[pair]
    # Above its best, and below the floor: exact. Known: as it was given.
    assert found.utilities[[0, 2, 4]].tolist() == [5 / 8, 1 / 8, 7 / 8]
    assert found.reach[[0, 2, 4]].tolist() == [[5 / 8] * 2, [1 / 8] * 2, [7 / 8] * 2]
    for particle in (1, 3):
        scores = found.scores[particle]
        low = float(scores.nansum()) / 8
        high = low + int(scores.isnan().sum()) / 8
        assert found.reach[particle].tolist() == [low, high]
        assert 2 / 8 <= low <= high <= BESTS[particle]
        assert found.utilities[particle].isnan() == (low < high)
        assert low < high or found.utilities[particle] == low
    assert found.reach[5].isnan().all()
    assert found.utilities[5].isnan()
    if guess == "right" and chunk == 1:
        # 1: two must fail and two be solved; 3: four must fail, two be solved.
        assert (~found.scores.isnan()).sum(dim=1).tolist() == [8, 4, 8, 6, 0, 0]


@pytest.mark.parametrize(
    ("settings", "bounds"), [({"exact_stop": False}, (0.0, 1.0)), ({}, (0.0, math.inf)), ({}, (-math.inf, math.inf))]
)
def test_without_an_exact_stop_or_without_bounds_everything_is_asked(
    settings: dict[str, bool],
    bounds: tuple[float, float],
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    objective = Table(TRUTH, bounds)
    found = evaluate_table(objective, adapted, tiny_tokenizer, stakes(), **settings)
    assert sorted(objective.asked) == list(itertools.product(range(5), range(8)))
    assert found.utilities[:5].tolist() == [5 / 8, 3 / 8, 1 / 8, 4 / 8, 1.0]
    assert found.reach[:5].tolist() == [[value] * 2 for value in (5 / 8, 3 / 8, 1 / 8, 4 / 8, 1.0)]


@pytest.mark.parametrize("seed", range(5))
def test_a_search_that_stops_early_learns_what_a_full_one_learns(
    seed: int, adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(-3, 8, (6, 8), generator=draw).double() / 7  # sums that are not exact in binary
    full = torch.tensor([math.fsum(row) / 8 for row in truth.tolist()], dtype=torch.float64)
    bests = full.roll(1)
    bests[0] = full[0]  # as good as its best, to the last digit
    floor = float(full[1])
    given = Stakes(bests, floor, torch.rand(6, 8, generator=draw), torch.full((6,), math.nan))
    found = evaluate_table(Table(truth, (-3 / 7, 1.0)), adapted, tiny_tokenizer, given, chunk=1)
    for particle in range(5):
        matters = bool(full[particle] > bests[particle] or full[particle] < floor)
        low, high = found.reach[particle].tolist()
        assert low <= full[particle] <= high
        assert not matters or found.utilities[particle] == full[particle]
        assert matters or (high <= bests[particle] and low >= floor)


def test_no_examples_leave_every_utility_unknown(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    found = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch()).evaluate(pool.vectors, [])
    assert found.utilities.isnan().all()
    assert found.evaluated == 0


@pytest.mark.parametrize(("chunk", "asked"), [(None, 4 * 32), (3, 4 * 3)])
def test_a_round_asks_a_batch_of_pairs_unless_a_chunk_is_set(
    chunk: int | None, asked: int, adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    # One wrong answer is enough to hold a best of 199/200, but a round of four pairs would take as long as one of 128.
    objective = Table(torch.zeros(6, 200, dtype=torch.float64))
    unknown = torch.full((6,), math.nan, dtype=torch.float64)
    unknown[4] = 0.5
    given = Stakes(torch.full((6,), 199 / 200, dtype=torch.float64), -math.inf, torch.zeros(6, 200), unknown)
    found = evaluate_table(objective, adapted, tiny_tokenizer, given, chunk=chunk)
    assert found.evaluated == len(objective.asked) == asked
