"""Several tasks in one objective: routing, combination, what parts offer, and what is refused."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import (
    Abstention,
    ExactMatch,
    LanguageModel,
    MeanLogLikelihood,
    MultipleChoice,
    MultiTask,
    Objective,
    Outcome,
)
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SUM = Example("What is 1 + 1?", "2", identifier="sums/0", task="sums")
OTHER_SUM = Example("What is 1 + 2?", "3", identifier="sums/1", task="sums")
TOWN = Example("Which is a town?", "B", {"A": "red", "B": "Rome"}, identifier="towns/0", task="towns")


class Rows:
    """A language model of numbered rows that says which row it is, and remembers what it was asked."""

    tokenizer: "PreTrainedTokenizerBase" = None  # type: ignore[assignment]
    device: Any = None

    def __init__(self, rows: Sequence[int], calls: list[list[str]] | None = None) -> None:
        self.rows = list(rows)
        self.calls: list[list[str]] = [] if calls is None else calls

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        assert len(prompts) == len(self.rows)
        self.calls.append(list(prompts))
        return [f"B is the answer of row {row}" for row in self.rows]

    def loglikelihood(self, *args: object, **kwargs: object) -> list[list[Likelihood]]:
        raise NotImplementedError

    def select(self, places: Sequence[int]) -> "Rows":
        return Rows([self.rows[place] for place in places], self.calls)


class Part:
    """An objective that offers everything an objective may offer, and remembers what it was given."""

    bounds = (0.0, 1.0)

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate
        self._seen: list[Any] = []
        self._state: dict[str, Any] = {}

    def check(self, examples: Sequence[Example], tokenizer: Any) -> None:
        self._seen.append(("check", list(examples)))

    def prompt(self, example: Example, tokenizer: Any) -> str:
        return f"{example.question}!"

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return [Outcome("", None, 1.0) for _ in examples]

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> None:
        assert isinstance(model, Rows)
        self._state = {"rows": model.rows, "asked": [example.identifier for example in examples]}

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = state

    def win_rate(
        self, examples: Sequence[Example], outcomes: Sequence[Outcome], others: Sequence[Outcome]
    ) -> float | None:
        self._seen.append((list(examples), list(outcomes), list(others)))
        return self.rate

    def replies_only(self) -> "ExactMatch":
        return ExactMatch("exact")


def two(combine: Any = "harmonic_mean", **settings: Any) -> MultiTask:
    return MultiTask({"sums": ExactMatch("last_number"), "towns": MultipleChoice()}, combine, **settings)


def test_every_example_is_asked_and_scored_by_the_objective_of_its_task_in_one_call_each() -> None:
    model = Rows(range(4))
    outcomes = two().evaluate([TOWN, SUM, TOWN, OTHER_SUM], model)
    # The reply ends with its row: that of row 1 is not 2, that of row 3 is 3.
    assert [outcome.score for outcome in outcomes] == [1.0, 0.0, 1.0, 1.0]
    assert [outcome.answer for outcome in outcomes] == ["B", "1", "B", "3"]
    assert [outcome.reply[-1] for outcome in outcomes] == ["0", "1", "2", "3"]
    assert [len(prompts) for prompts in model.calls] == [2, 2]
    assert model.calls[0] == ["Question: What is 1 + 1?\nAnswer:", "Question: What is 1 + 2?\nAnswer:"]


def test_a_prompt_is_that_of_the_task() -> None:
    objective = MultiTask({"sums": Part(), "towns": MultipleChoice(template="{choices}")})
    assert objective.prompt(SUM, None) == "What is 1 + 1?!"  # type: ignore[arg-type]
    assert objective.prompt(TOWN, None) == "A: red\nB: Rome"  # type: ignore[arg-type]


EXAMPLES = [SUM, TOWN, SUM, SUM, TOWN, SUM]
SCORES = [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]  # sums 3/4, towns 1/2


@pytest.mark.parametrize(
    ("combine", "weights", "expected"),
    [
        ("harmonic_mean", None, 0.6),  # 2 / (4/3 + 2)
        ("mean", None, 0.625),
        ("minimum", None, 0.5),
        ("weighted", {"towns": 1, "sums": 3}, 2.75 / 4),
    ],
)
def test_utilities_of_tasks_are_combined(combine: str, weights: dict[str, float] | None, expected: float) -> None:
    assert two(combine, weights=weights).utility(SCORES, EXAMPLES) == pytest.approx(expected, abs=1e-15)


def test_a_task_that_nothing_is_right_in_makes_the_harmonic_mean_0() -> None:
    assert two().utility([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], EXAMPLES) == 0.0
    assert two("mean").utility([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], EXAMPLES) == 0.5


def test_the_size_of_a_task_does_not_weigh() -> None:
    assert two("mean").utility([1.0] + [0.0] * 99, [TOWN] + [SUM] * 99) == 0.5


def test_a_task_without_bounds_can_be_combined_but_not_by_the_harmonic_mean() -> None:
    tasks: dict[str, Objective] = {"letters": MeanLogLikelihood(), "sums": ExactMatch()}
    assert MultiTask(tasks, "mean").bounds == (-math.inf, 1.0)
    with pytest.raises(InputError, match=r"'letters' \(MeanLogLikelihood\) go from -inf to 0\. Set combine: mean"):
        MultiTask(tasks)
    with pytest.raises(InputError, match=r"'doubts' \(Abstention\) go from -1 to 1"):
        MultiTask({"doubts": Abstention()})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": {}}, "one task or more, but tasks is empty"),
        ({"combine": "maximum"}, "combine to be one of harmonic_mean, mean, minimum, weighted, but got 'maximum'"),
        ({"combine": "weighted"}, "a weight for each of the tasks sums, towns, but got none"),
        ({"combine": "weighted", "weights": {"sums": 1}}, "sums, towns, but got some for sums"),
        ({"combine": "weighted", "weights": {"sums": 1, "towns": 0}}, "above 0 and finite, but that of 'towns' is 0"),
        ({"weights": {"sums": 1, "towns": 1}}, "weights only with combine: weighted, but got them with harmonic_mean"),
        ({"tasks": {"a/b": ExactMatch()}}, "letters, digits, _ and -, .* but got 'a/b'"),
        ({"tasks": {"both": MultiTask({"one": ExactMatch()})}}, "that of 'both' is a MultiTask itself"),
    ],
)
def test_what_cannot_be_combined_is_refused(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"tasks": {"sums": ExactMatch(), "towns": MultipleChoice()}, **settings}
    with pytest.raises(InputError, match=message):
        MultiTask(**given)


def test_every_task_checks_its_own_examples(tokenizer: "PreTrainedTokenizerBase") -> None:
    objective = MultiTask({"sums": Part(), "towns": MultipleChoice()})
    objective.check([SUM, TOWN, OTHER_SUM], tokenizer)
    part = objective.tasks["sums"]
    assert isinstance(part, Part)
    assert part._seen == [("check", [SUM, OTHER_SUM])]
    with pytest.raises(InputError, match="the answer of example 'towns/0' to be one of its choices"):
        objective.check([SUM, replace(TOWN, answer="C")], tokenizer)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([SUM], "examples of every task, but there are none of towns"),
        ([SUM, TOWN, replace(SUM, task="")], "one of the tasks sums, towns, but example 'sums/0' names none"),
        ([SUM, TOWN, replace(SUM, task="sum")], "but example 'sums/0' names the task 'sum'"),
    ],
)
def test_examples_of_no_task_and_tasks_without_examples_are_refused(examples: list[Example], message: str) -> None:
    with pytest.raises(InputError, match=message):
        two().check(examples, None)  # type: ignore[arg-type]


def test_a_task_measures_the_base_on_its_own_examples_and_keeps_what_it_found() -> None:
    objective = MultiTask({"sums": Part(), "towns": MultipleChoice()})
    objective.prepare([TOWN, SUM, OTHER_SUM], Rows([5, 6, 7]))
    state = objective.state_dict()
    assert state == {"sums": {"rows": [6, 7], "asked": ["sums/0", "sums/1"]}}
    resumed = MultiTask({"sums": Part(), "towns": MultipleChoice()})
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    with pytest.raises(InputError, match="keeps something for task 'sums'"):
        two().load_state_dict(state)


def test_replies_are_compared_task_by_task() -> None:
    first, second, third = (Outcome(str(number), None, 0.0) for number in range(3))
    objective = MultiTask({"sums": Part(0.25), "towns": Part(1.0), "rest": ExactMatch()})
    rest = replace(SUM, task="rest")
    rate = objective.win_rate(
        [SUM, rest, TOWN, OTHER_SUM], [first, second, third, first], [second, third, first, first]
    )
    assert rate == (0.25 * 2 + 1.0) / 3
    part = objective.tasks["sums"]
    assert isinstance(part, Part)
    assert part._seen == [([SUM, OTHER_SUM], [first, first], [second, first])]
    assert two().win_rate([SUM, TOWN], [first, first], [second, second]) is None
    assert MultiTask({"sums": Part(None)}).win_rate([SUM], [first], [second]) is None


def test_predictions_are_made_without_the_scores_of_the_tasks_that_can_do_without() -> None:
    objective = MultiTask({"sums": Part(), "towns": MultipleChoice()})
    unscored = objective.replies_only()
    assert isinstance(unscored.tasks["sums"], ExactMatch)
    assert unscored.tasks["towns"] is objective.tasks["towns"]
    assert isinstance(objective.tasks["sums"], Part)


def test_turns_are_counted_where_a_task_has_several(tokenizer: "PreTrainedTokenizerBase") -> None:
    doubting = Abstention(max_new_tokens=50)
    objective = MultiTask({"sums": ExactMatch(), "towns": doubting}, "mean")
    assert objective.tokens_needed(TOWN, tokenizer) == doubting.tokens_needed(TOWN, tokenizer) > 100
    assert objective.tokens_needed(SUM, tokenizer) == 0
