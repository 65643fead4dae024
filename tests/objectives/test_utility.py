"""What scores are worth: the mean, what an objective makes of them, and the parts of one that has tasks."""

from collections.abc import Sequence
from typing import Any

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import Abstention, ExactMatch, LanguageModel, MultiTask, Outcome
from swarm_lightning.objectives.utility import bounds_of, parts_of, utility_of

SUMS, TOWNS = Example("1 + 1?", "2", task="sums"), Example("Where?", "there", task="towns")


class Worst:
    """Counts the worst score only."""

    bounds = (-1.0, 3.0)

    def check(self, examples: Sequence[Example], tokenizer: Any) -> None:
        pass

    def prompt(self, example: Example, tokenizer: Any) -> str:
        return example.question

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return []

    def utility(self, scores: Sequence[float], examples: Sequence[Example]) -> float:
        return min(scores)


def test_the_utility_is_the_mean_score_unless_the_objective_combines_scores() -> None:
    assert utility_of(ExactMatch(), [1.0, 0.0, 0.0, 1.0, 1.0], [SUMS] * 5) == 0.6
    assert utility_of(Worst(), [1.0, -0.5, 0.0], [SUMS] * 3) == -0.5


def test_parts_are_the_utilities_of_the_tasks_that_were_asked() -> None:
    objective = MultiTask({"towns": Worst(), "sums": ExactMatch()}, combine="mean")
    examples = [SUMS, TOWNS, SUMS, TOWNS, SUMS]
    parts = parts_of(objective, [1.0, 2.0, 0.0, -1.0, 1.0], examples)
    assert list(parts.items()) == [("towns", -1.0), ("sums", 2 / 3)]
    assert parts_of(objective, [1.0, 0.0], [SUMS, SUMS]) == {"sums": 0.5}
    assert parts_of(ExactMatch(), [1.0], [SUMS]) == {}


def test_an_example_has_the_bounds_of_its_task() -> None:
    objective = MultiTask({"sums": ExactMatch(), "towns": Abstention()}, combine="minimum")
    assert bounds_of(objective, [SUMS, TOWNS]) == [(0.0, 1.0), (-1.0, 1.0)]
    assert objective.bounds == (-1.0, 1.0)
    assert bounds_of(Worst(), [SUMS]) == [(-1.0, 3.0)]
