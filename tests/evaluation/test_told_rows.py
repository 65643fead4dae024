"""A run that is asked to end leaves a lot between two passes of a real model; what was answered is not asked again.

The reference is the same evaluation that nobody interrupts.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.evaluation.progress import Headway
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import (
    Abstention,
    ExactMatch,
    LanguageModel,
    MeanLogLikelihood,
    MultipleChoice,
    Objective,
    Outcome,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICES = {"A": "red", "B": "seven", "C": "stone", "D": "a river"}
PARTICLES = 3
OBJECTIVES: dict[str, Objective] = {
    "exact match": ExactMatch(max_new_tokens=6),
    "letters read": MultipleChoice(max_new_tokens=3),
    "letters likely": MultipleChoice("likelihood"),
    "texts likely": MultipleChoice("likelihood", "text", "tokens"),
    "abstention": Abstention(max_new_tokens=3),
    "mean log-likelihood": MeanLogLikelihood(),
}


class Ending:
    """Sends this process a signal after so many passes, and counts those that come after it."""

    def __init__(self, passes: int) -> None:
        self.left, self.tokens, self.after = passes, 0, 0

    def begin(self) -> None: ...

    def go_on(self, standing: Headway) -> None:
        if standing.tokens == self.tokens:
            return
        self.tokens = standing.tokens
        self.left -= 1
        self.after += self.left < 0
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def end(self, whole: bool) -> None: ...


@pytest.fixture
def examples(many_prompts: list[str]) -> list[Example]:
    return [
        Example(question, "ABCD"[place % 4], CHOICES, str(place)) for place, question in enumerate(many_prompts[:12])
    ]


class Asking:
    """Evaluations of the same candidates, each by an engine and a journal of its own; lots have many passes."""

    def __init__(
        self, adapted: AdaptedModel, tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, folder: Path
    ) -> None:
        self.adapted, self.tokenizer, self.vectors, self.folder = adapted, tokenizer, pool.vectors[:PARTICLES], folder
        self.tokens = 0  # that the last evaluation has read

    def evaluate(self, kind: str, examples: Sequence[Example], name: str, ending: Ending | None = None) -> torch.Tensor:
        """Return the scores [3, M] with what a journal of this name knows; it goes on where an earlier one stopped."""
        runner = ResidentRunner(self.adapted, self.tokenizer, EngineSettings(rows=6, lots=1))
        objective = OBJECTIVES[kind]
        objective.check(examples, self.tokenizer)
        evaluator = Evaluator(runner, objective)
        evaluator.watcher = ending
        try:
            return evaluator.evaluate(self.vectors, examples, journal=self.journal(name), whole_replies=True).scores
        finally:
            self.tokens = runner.meter.tokens

    def known(self, name: str, examples: Sequence[Example]) -> int:
        """Return how many pairs a journal of this name knows."""
        pairs = [(row, place) for row in range(PARTICLES) for place in range(len(examples))]
        return len(self.journal(name).recall([pairs])[0])

    def interrupt(self, kind: str, examples: Sequence[Example], name: str, passes: int) -> Ending:
        """Send a signal after so many passes."""
        ending = Ending(passes)
        with interruption.in_order(), pytest.raises(Interrupted):
            self.evaluate(kind, examples, name, ending)
        return ending

    def journal(self, name: str) -> ScoreJournal:
        journal = ScoreJournal(self.folder / name)
        journal.begin("the same", Ranks())
        return journal


@pytest.fixture
def asking(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, tmp_path: Path
) -> Asking:
    return Asking(adapted, tiny_tokenizer, pool, tmp_path)


@pytest.mark.parametrize(
    ("kind", "passes"),
    [("exact match", 20), ("letters read", 9), ("letters likely", 3), ("texts likely", 4), ("abstention", 30)],
)
def test_a_lot_is_left_before_the_next_pass_and_what_was_answered_is_not_asked_again(
    asking: Asking, examples: list[Example], kind: str, passes: int
) -> None:
    whole = asking.evaluate(kind, examples, "whole")
    tokens = asking.tokens
    ending = asking.interrupt(kind, examples, "left", passes)
    assert ending.left == ending.after == 0
    first, known = asking.tokens, asking.known("left", examples)
    assert 0 < known < PARTICLES * len(examples)
    assert torch.equal(asking.evaluate(kind, examples, "left"), whole)
    assert first + asking.tokens < 1.6 * tokens
    assert asking.tokens < 0.9 * tokens


@pytest.mark.parametrize(("kind", "passes"), [("mean log-likelihood", 3), ("abstention", 2)])
def test_of_scores_that_hang_on_the_last_digits_or_on_a_further_turn_nothing_is_kept(
    asking: Asking, examples: list[Example], kind: str, passes: int
) -> None:
    whole = asking.evaluate(kind, examples, "whole")
    ending = asking.interrupt(kind, examples, "left", passes)
    assert ending.left == ending.after == 0
    assert asking.known("left", examples) == 0
    assert torch.equal(asking.evaluate(kind, examples, "left"), whole)


def test_in_half_precision_a_lot_is_left_too_and_asked_again_as_a_whole(
    tiny_base_folder: Path,
    pool: ExpertPool,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    examples: list[Example],
    tmp_path: Path,
) -> None:
    model, _ = load_base(str(tiny_base_folder), "bfloat16")
    asking = Asking(AdaptedModel(model, pool), tiny_tokenizer, pool, tmp_path)
    ending = asking.interrupt("letters likely", examples, "left", 3)
    assert ending.left == ending.after == 0
    assert asking.known("left", examples) == 0


def test_an_objective_that_catches_all_exceptions_does_not_score_what_was_not_answered(
    asking: Asking, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgiving(ExactMatch):
        def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
            try:
                return super().evaluate(examples, model)
            except Exception:
                return [Outcome("", None, 0.0) for _ in examples]

    monkeypatch.setitem(OBJECTIVES, "forgiving", Forgiving(max_new_tokens=6))
    whole = asking.evaluate("exact match", examples, "whole")
    asking.interrupt("forgiving", examples, "left", 20)
    assert torch.equal(asking.evaluate("forgiving", examples, "left"), whole)
