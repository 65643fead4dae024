"""Whole score tables at once against the same scores one outcome at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.mixtures.kept_table import KeptTable
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.evaluation.runners.token_swarm import TokenSwarmRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.model_pool import load_models
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import ExactMatch, MeanLogLikelihood, MultipleChoice, MultiTask
from swarm_lightning.objectives.guides import guide_of
from swarm_lightning.objectives.protocol import LanguageModel, Objective, Outcome
from tests.evaluation.any_models import save_families

CHOICES = {"colours": ("red", "a river", "stone"), "towns": ("Paris", "a fox and a bear", "Rome", "19")}
EXAMPLES = [
    Example(
        f"Which of these is {word}?",
        "ABC"[place % 3],
        choices=dict(zip("ABCD", CHOICES[task], strict=False)),
        task=task,
    )
    for place, word in enumerate(("small", "a colour", "the capital of France", "seven", "a story", "told once"))
    for task in CHOICES
]
EXAMPLES.append(EXAMPLES[3])  # asked twice
NUMBERS = torch.tensor([[0.5, 0.3, 0.2], [1.4, -0.4, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
BY_TEXT = MultipleChoice("likelihood", scored="text", normalize="tokens")
OBJECTIVES: dict[str, Objective] = {
    "choices": BY_TEXT,
    "shares of choices": guide_of(MultipleChoice("likelihood")),
    "gold answers": guide_of(ExactMatch()),
    "texts": MeanLogLikelihood(),
    "two tasks": MultiTask({"colours": BY_TEXT, "towns": MultipleChoice("likelihood")}, "mean"),
}


@pytest.fixture(scope="module")
def folder(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_families(tiny_base_folder, tmp_path_factory.mktemp("families"))


def runner_of(
    folder: Path, mixture: Any = "probabilities", by_texts: bool = False, lots: int | None = 2
) -> TokenSwarmRunner:
    pool = load_models(str(folder), None, mixture)
    model, tokenizer = load_base(pool.base)
    loaded = Loaded(
        pool.resident(model, pool.base), tokenizer, EngineSettings(lots=lots), pool, pool.base, trust_remote_code=False
    )
    return TokenSwarmRunner(loaded, mixture, by_texts)


def count_passes(runner: TokenSwarmRunner) -> list[int]:
    passes: list[int] = []
    for group in runner.shelf.groups:
        assert group.engine is not None
        group.engine.adapted.model.register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize(
    ("mixture", "by_texts"), [("probabilities", False), ("log_probabilities", False), ("probabilities", True)]
)
def test_scores_are_those_of_outcomes_to_the_last_bit(folder: Path, mixture: str, by_texts: bool) -> None:
    runner = runner_of(folder, mixture, by_texts)
    for name, objective in OBJECTIVES.items():
        evaluator = Evaluator(runner, objective)
        found = evaluator.evaluate(NUMBERS, EXAMPLES)
        outcomes = evaluator.evaluate(NUMBERS, EXAMPLES, whole_replies=True)
        assert found.scores.equal(outcomes.scores), name
        assert found.utilities.equal(outcomes.utilities), name
        assert found.scores.unique(dim=0).shape[0] > 1, "candidates that are all the same prove nothing"
        assert {one for row in found.outcomes for one in row} == {None}, f"nobody asked for replies: {name}"


def test_shares_of_choices_by_texts_are_those_of_outcomes(folder: Path) -> None:
    evaluator = Evaluator(runner_of(folder, "log_probabilities", by_texts=True), OBJECTIVES["shares of choices"])
    found, outcomes = evaluator.evaluate(NUMBERS, EXAMPLES), evaluator.evaluate(NUMBERS, EXAMPLES, whole_replies=True)
    assert found.scores.equal(outcomes.scores)


class Noted(Ranks):
    """Notes what is there to be shared out."""

    shared: int = 0

    def share(self, items: Sequence[Any]) -> list[Any]:
        self.shared = len(items)
        return super().share(items)


def test_texts_that_many_experts_are_asked_are_enough_for_several_ranks(folder: Path) -> None:
    ranks, runner = Noted(), runner_of(folder, lots=None)
    few = [Example(f"{number} is", "red") for number in range(66)]  # 66 texts, three experts: 198 pairs, 64 in a lot
    evaluator = Evaluator(runner, MeanLogLikelihood(), ranks)
    for count, lots in ((66, 3), (43, 1), (1, 1)):
        evaluator.evaluate(NUMBERS, few[:count])
        assert ranks.shared == lots


@pytest.mark.parametrize("by_texts", [False, True])
def test_passes_do_not_depend_on_how_many_mixtures_there_are(folder: Path, by_texts: bool) -> None:
    alone, many = runner_of(folder, by_texts=by_texts), runner_of(folder, by_texts=by_texts)
    passes = [count_passes(alone), count_passes(many)]
    Evaluator(alone, BY_TEXT).evaluate(NUMBERS[:1], EXAMPLES)
    asking = Evaluator(many, BY_TEXT)
    found = asking.evaluate(NUMBERS, EXAMPLES)
    assert len(passes[0]) == len(passes[1]) > 0
    assert found.evaluated == len(NUMBERS) * len(EXAMPLES)
    due = torch.tensor([False, True, False, True])
    again = asking.evaluate(NUMBERS.flip(0), EXAMPLES, due=due)
    assert len(passes[0]) == len(passes[1])
    assert again.scores[due].equal(found.scores.flip(0)[due])
    assert again.scores[~due].isnan().all()


def test_a_mixture_without_numbers_is_broken_and_no_other(folder: Path) -> None:
    numbers = NUMBERS.clone()
    numbers[1, 0] = torch.nan
    evaluator = Evaluator(runner_of(folder, "log_probabilities"), BY_TEXT)
    found = evaluator.evaluate(numbers, EXAMPLES)
    assert found.utilities.isinf().tolist() == [False, True, False, False]
    assert found.scores[[0, 2, 3]].equal(evaluator.evaluate(NUMBERS, EXAMPLES).scores[[0, 2, 3]])


class Contrary(MultipleChoice):
    """Builds on another objective, and scores otherwise."""

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return [Outcome(one.reply, one.answer, 1 - one.score) for one in super().evaluate(examples, model)]


def test_an_objective_of_ones_own_is_asked_itself(folder: Path) -> None:
    runner = runner_of(folder)
    right = Evaluator(runner, BY_TEXT).evaluate(NUMBERS, EXAMPLES).scores
    wrong = Evaluator(runner, Contrary("likelihood", scored="text", normalize="tokens")).evaluate(NUMBERS, EXAMPLES)
    assert wrong.scores.equal(1 - right)


def test_texts_that_were_asked_in_part_only_are_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = Evaluator(runner_of(folder), BY_TEXT)
    ask, fail = KeptTable._ask, iter([False, True])

    def broken_off(table: KeptTable, continuations: Sequence[Continuation]) -> None:
        if next(fail):
            raise KeyboardInterrupt
        ask(table, continuations)

    with monkeypatch.context() as patch:
        patch.setattr(KeptTable, "_ask", broken_off)
        patch.setattr(KeptTable, "_parts", lambda _, wanted: [wanted[:2], wanted[2:]])
        with pytest.raises(KeyboardInterrupt):
            evaluator.evaluate(NUMBERS, EXAMPLES)
    expected = Evaluator(runner_of(folder), BY_TEXT).evaluate(NUMBERS, EXAMPLES)
    assert evaluator.evaluate(NUMBERS, EXAMPLES).scores.equal(expected.scores)
