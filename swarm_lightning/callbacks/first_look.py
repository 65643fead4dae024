"""Shows an example when a search starts: the prompt as the model sees it, and the reply of the best expert.

A wrong template, mixed-up columns or replies that are cut too early are thus noticed before the search, not after it.
With several tasks there is one example for each. A resumed search shows none.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import lightning as L
from torch import Tensor
from tqdm import tqdm

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.bootstrap import interval_of
from swarm_lightning.objectives.protocol import Outcome
from swarm_lightning.objectives.reply_hints import hints_of_choices
from swarm_lightning.objectives.utility import bounds_of
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.shown import for_terminal, written_out

LONGEST = 3000  # characters of a prompt or a reply that are shown, half of them from its beginning
MARGIN = "  | "
FEWEST = 20  # scores; among fewer, all are the same by chance


class FirstLook(L.Callback):
    """Prints the first validation example of every task, with the reply and score of the best initial expert."""

    def __init__(self) -> None:
        self._due = self._prompt_due = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the prompt of a new search at once, before the first positions are evaluated."""
        assert isinstance(pl_module, ModelSwarm)
        self._due = self._prompt_due = not pl_module.particle_swarm.begun
        splits = getattr(getattr(trainer, "datamodule", None), "splits", None)
        if self._due and splits is not None and splits.validation:
            self._show_prompts(trainer, pl_module, first_of_each_task(splits.validation))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show what the best initial expert replies, before the first iteration."""
        assert isinstance(pl_module, ModelSwarm)
        if not self._due:
            return
        self._due = False
        examples = first_of_each_task(batch)
        if self._prompt_due:
            self._show_prompts(trainer, pl_module, examples)
        best = pl_module.best_initial
        vector, numbers = pl_module.particle_swarm.space.expert(best), [best]
        outcomes = pl_module.evaluator.evaluate([vector], examples, whole_replies=True, numbers=numbers).outcomes[0]
        every = bounds_of(pl_module.objective, examples)
        for example, outcome, bounds in zip(examples, outcomes, every, strict=True):
            if trainer.is_global_zero and outcome is not None:
                _print(describe_reply(pl_module.pool.names[best], example, outcome, bounds))
        evaluation = pl_module.state.evaluation
        if not trainer.is_global_zero or evaluation is None:
            return
        said = all_alike(evaluation.scores)
        if said is not None:
            _print(said)
        chosen = [outcome for outcome in evaluation.outcomes[best] if outcome is not None]
        # Ranks know their own outcomes; a guide has others.
        if pl_module.followed is pl_module.objective and FEWEST <= len(batch) == len(chosen):
            sure = interval_of(pl_module.objective, evaluation.scores[best], batch)
            name = f"The best initial expert, {pl_module.pool.names[best]},"
            for hint in hints_of_choices(name, pl_module.objective, batch, chosen, sure, pl_module.tokenizer):
                _print(f"Hint: {hint}")

    def _show_prompts(self, trainer: L.Trainer, module: ModelSwarm, examples: Sequence[Example]) -> None:
        self._prompt_due = False
        for example in examples if trainer.is_global_zero else ():
            prompt = module.objective.prompt(example, module.tokenizer)
            of_task = f" of task {written_out(example.task)}" if example.task else ""
            _print(f"The first validation example{of_task} as the model sees it:\n{frame(prompt)}")


def all_alike(scores: Tensor) -> str | None:
    """Say that all scores of the first positions are the same; None where they differ, or are too few to tell.

    Args:
        scores: Of every position and example [N, M]; NaN and -inf where there is none.
    """
    known = scores[scores.isfinite()]
    if len(known) < FEWEST or not (known == known[0]).all():
        return None
    return (
        f"All {len(known)} scores of the first positions are {float(known[0]):g}: nothing tells one from another, so "
        "there is nothing to search for yet. See whether replies are read and scored as you mean them, or follow a "
        "smoother guide (model.guide: smooth)."
    )


def first_of_each_task(examples: Sequence[Example]) -> list[Example]:
    """Return the first example of every task, or the first of all where there are no tasks.

    >>> first_of_each_task([Example("1?", task="a"), Example("2?", task="a"), Example("3?", task="b")])[1].question
    '3?'
    """
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.task, example)
    return list(first.values())


def describe_reply(expert: str, example: Example, outcome: Outcome, bounds: tuple[float, float]) -> str:
    """Say what the best initial expert made of an example.

    Args:
        expert: Its name.
        example: What it was asked.
        outcome: Its reply and score.
        bounds: The lowest and the highest score.

    Returns:
        Some lines of text.
    """
    lowest, highest = bounds
    if math.isfinite(lowest) and math.isfinite(highest):
        span = f" ({lowest:g} to {highest:g})"
    else:
        span = f" ({highest:g} at most)" if math.isfinite(highest) else ""
    read = "" if outcome.answer is None else f", read as {_short(outcome.answer)}"
    gold = "" if example.answer is None else f", gold answer {_short(example.answer)}"
    of_task = f" to task {written_out(example.task)}" if example.task else ""
    heading = f"The best initial expert, {written_out(expert)}, replies{of_task}:\n{frame(outcome.reply)}"
    return f"{heading}\nScore {outcome.score:.4g}{span}{read}{gold}."


def frame(text: str, longest: int = LONGEST) -> str:
    r"""Set a text apart from what is printed around it, so that its beginning, its end and white space can be seen.

    Args:
        text: A prompt or a reply.
        longest: Characters to show; of a longer text the middle is left out.

    >>> print(frame("Question: 1 + 1?\nAnswer: "))
      | Question: 1 + 1?
      | Answer:
      (it ends with white space: ' ')
    """
    left_out = len(text) - longest
    if left_out > 0:
        text = f"{text[: longest // 2]}\n[... {left_out} characters ...]\n{text[-(longest - longest // 2) :]}"
    lines = written_out(text, keep="\n\t").split("\n")
    framed = "\n".join(f"{MARGIN}{line}".rstrip() for line in lines)
    if not text:
        return f"{MARGIN.rstrip()}\n  (it is empty)"
    end = text[len(text.rstrip()) :]
    return f"{framed}\n  (it ends with white space: {end!r})" if end else framed


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _print(text: str) -> None:
    """Print above the progress bar."""
    tqdm.write(for_terminal(text, keep="\n\t"), file=sys.stdout)
