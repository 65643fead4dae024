"""The progress of a run: a bar on a terminal and in a notebook, and plain lines with a timestamp in a log.

There is one bar, or one line per iteration, for the search, instead of Lightning's bar per epoch of one batch. Below
it, or in between, is the progress of the running evaluation, which takes minutes with a large model.
"""

import math
import os
import sys
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from swarm_lightning.callbacks.forecast import duration, rest_of
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.progress import Headway
from swarm_lightning.plan.alone import ScoreAlone
from swarm_lightning.search.guide import name_shown
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.shown import say

# What a stage of Lightning is called, where its own word is another one.
STAGES = {"validate": "validation", "predict": "prompts"}
WIDE = 100  # columns; with fewer there is no room for a bar beside its numbers
NARROW = "{n_fmt}/{total_fmt}{postfix}"
BAR_AFTER = 2.0  # seconds; a shorter evaluation gets no bar of its own


class SwarmProgress(ProgressBar):
    """Shows iteration, global best, mean, step length and evaluated examples per second, and the running evaluation."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        """Set how often a log gets a line.

        Args:
            every_seconds: If the output is not a terminal, seconds between two lines during an evaluation, > 0.

        Raises:
            InputError: If it is not above 0.
        """
        if not every_seconds > 0:
            raise InputError(f"Expected progress.every_seconds to be above 0, but got {every_seconds}.")
        super().__init__()
        self.every_seconds = every_seconds
        self._bar: tqdm | None = None
        self._total: int | None = None
        self._enabled = True
        self._evaluation: EvaluationProgress | None = None

    def disable(self) -> None:
        """Show nothing, as Lightning asks on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar again."""
        self._enabled = True

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Watch evaluations from now on, on the first rank."""
        super().setup(trainer, pl_module, stage)
        if self._enabled and trainer.is_global_zero and isinstance(pl_module, ModelSwarm | ScoreAlone):
            named = str(getattr(stage, "value", stage))  # Lightning gives a member of an enumeration
            what = "scores" if isinstance(pl_module, ScoreAlone) else STAGES.get(named, named)
            self._evaluation = EvaluationProgress(what, self.every_seconds)
            pl_module.watch(self._evaluation)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Watch no longer."""
        if isinstance(pl_module, ModelSwarm | ScoreAlone):
            pl_module.watch(None)
        self._evaluation = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar, where a resumed search left it."""
        assert isinstance(pl_module, ModelSwarm)
        total = trainer.max_steps if trainer.max_steps > 0 else trainer.max_epochs
        most = pl_module.particle_swarm.most_steps
        self._total = total if most is None else most if total is None or total < 0 else min(total, most)
        begun = pl_module.particle_swarm.begun
        done = int(pl_module.swarm.iterations) if begun else 0
        if on_a_terminal() or in_a_notebook():
            self._bar = tqdm(
                total=self._total, initial=done, desc="search", unit="iteration", file=sys.stdout,
                disable=not self._enabled, **width_of_a_bar(),
            )  # fmt: skip
        if begun:
            return
        self._name("first positions")
        if self._bar is not None:
            self._bar.set_postfix_str("evaluating the first positions")
        elif self._enabled:
            log("evaluating the first positions")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show the first positions as soon as they are evaluated."""
        assert isinstance(pl_module, ModelSwarm)
        done = int(pl_module.swarm.iterations)
        if done == 0 and pl_module.state.metrics:  # a resumed search has measured nothing yet
            self._show(trainer, pl_module)
        self._name(f"iteration {done + 1}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one iteration."""
        assert isinstance(pl_module, ModelSwarm)
        if self._bar is not None:
            self._bar.update(1)
        self._show(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar; what is evaluated from now on is the test split, and the replies that are kept."""
        self._close()
        self._name("results")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message does not share its line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _name(self, what: str) -> None:
        if self._evaluation is not None:
            self._evaluation.what = what

    def _show(self, trainer: L.Trainer, module: ModelSwarm) -> None:
        metrics, rest = module.state.metrics, rest_of(trainer, module)
        shown = metrics.get(name_shown(module.particle_swarm), math.nan)
        said = "" if math.isnan(shown) else f"by the objective {shown:.3f}"
        if module.particle_swarm.moves_particles:
            said = f" ({said})" if said else ""
            reached = (
                f"best {metrics['global_best']:.3f}{said}, mean of personal bests {metrics['personal_best_mean']:.3f}, "
            )
            reached += f"step length {metrics['step_length']:.2f}"
        else:
            left_out = " (on left-out examples)" if module.state.fit else ""  # as fits of the experts are judged
            said = f"the centre {said}, " if said else ""
            reached = f"start {metrics['start']:.3f}{left_out}, mean of candidates {metrics['candidate_mean']:.3f}, "
            reached += said
            reached += f"step length {metrics['step_length']:.4f}"
        reached += f", {metrics['examples_per_second']:.0f} examples/s"
        if rest is not None and rest.most_seconds > 0 and not trainer.should_stop:
            likely, most = duration(rest.seconds.likely), duration(rest.most_seconds)
            reached += f", {likely} left likely, {most} at most"
        if self._bar is not None:
            self._bar.set_postfix_str(reached)
        elif self._enabled:
            steps = module.particle_swarm.most_steps
            total = self._total if steps is None else steps
            of = "" if total is None or total < 0 else f"/{total}"
            log(f"iteration {int(module.swarm.iterations)}{of}: {reached}")


class EvaluationProgress:
    """Shows how far an evaluation is; follows the protocol `Watcher`.

    Attributes:
        what: What is evaluated, in a word or two.
    """

    def __init__(self, what: str, every_seconds: float) -> None:
        """Say what is evaluated first.

        Args:
            what: In a word or two.
            every_seconds: Seconds between two lines in a log.
        """
        self.what = what
        self._every = every_seconds
        self._started = self._said = time.monotonic()
        self._told = False
        self._standing: Headway | None = None
        self._bar: tqdm | None = None

    def begin(self) -> None:
        """Begin to count."""
        self._started = self._said = time.monotonic()
        self._told, self._standing = False, None

    def go_on(self, standing: Headway) -> None:
        """Move the bar, or write a line when it is time."""
        self._standing = standing
        now = time.monotonic()
        if on_a_terminal():
            self._draw(standing, now - self._started)
        elif now - self._said >= self._every and standing.done < standing.due:
            log(f"{self.what}: {course(standing, now - self._started)}")
            self._said, self._told = now, True

    def end(self, whole: bool) -> None:
        """Take the bar away, or write a last line if there was one or it took long."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            return
        seconds = time.monotonic() - self._started
        long = self._told or (seconds >= self._every and not on_a_terminal())
        if whole and long and self._standing is not None:
            # The exact stop may have left out what was due.
            standing = replace(self._standing, due=self._standing.done)
            log(f"{self.what}: {course(standing, seconds)}")

    def _draw(self, standing: Headway, seconds: float) -> None:
        if self._bar is None:
            if seconds < BAR_AFTER:
                return
            self._bar = bar_of_examples(self.what, standing.due, standing.known)
        self._bar.total = standing.due
        if standing.tokens:
            self._bar.set_postfix_str(f"{standing.tokens / seconds:.0f} tokens/s", refresh=False)
        self._bar.update(standing.done - self._bar.n)


class MethodProgress:
    """Shows how much one method of a comparison has asked, over all its evaluations; follows the protocol `Watcher`."""

    def __init__(self, every_seconds: float) -> None:
        """Watch nothing yet.

        Args:
            every_seconds: Seconds between two lines in a log.
        """
        self._every = every_seconds
        self._bar: tqdm | None = None
        self.start("", None)

    def start(self, what: str, most: int | None) -> None:
        """Take up a method, and count from nothing.

        Args:
            what: Its name.
            most: How many (particle, example) pairs it may ask; None where nothing limits it.
        """
        self.stop()
        self._what, self._most = what, most
        self._started = self._said = time.monotonic()
        self._before = self._done = 0

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def begin(self) -> None:
        """Go on to the next evaluation."""
        self._before = self._done

    def go_on(self, standing: Headway) -> None:
        """Move the bar, or write a line when it is time."""
        self._done = self._before + standing.done - standing.known
        now = time.monotonic()
        if on_a_terminal():
            self._draw(now - self._started)
        elif now - self._said >= self._every:
            log(self._line(now - self._started))
            self._said = now

    def end(self, whole: bool) -> None:
        """Say nothing: a comparison has a line for every method that has come to its end."""

    def _line(self, seconds: float) -> str:
        of = "" if self._most is None else f" of at most {self._most:,}"
        told = f"{self._what}: {self._done:,}{of} evaluations, {self._done / seconds:.0f} examples/s"
        if self._most is not None and 0 < self._done < self._most:
            told += f", {duration(seconds / self._done * (self._most - self._done))} left"
        return told

    def _draw(self, seconds: float) -> None:
        if self._bar is None:
            if seconds < BAR_AFTER:
                return
            self._bar = bar_of_examples(self._what, self._most)
        self._bar.update(self._done - self._bar.n)


def course(standing: Headway, seconds: float) -> str:
    """Say how far an evaluation is, how fast it goes, and how long it will take at this pace.

    Args:
        standing: How far it is.
        seconds: Since it began, > 0.

    >>> course(Headway(done=48, due=128, known=16, tokens=6400), 64.0)
    '48 of 128 examples (16 of them from before), 100 tokens/s, 2:40 left'
    >>> course(Headway(done=128, due=128, known=0, tokens=0), 90.0)
    '128 of 128 examples, done in 1:30'
    """
    parts = [f"{standing.done} of {standing.due} examples"]
    if standing.known:
        parts[0] += f" ({standing.known} of them from before)"
    if standing.tokens:
        parts.append(f"{standing.tokens / seconds:.0f} tokens/s")
    new = standing.done - standing.known
    if standing.done == standing.due:
        parts.append(f"done in {duration(seconds)}")
    elif new:
        parts.append(f"{duration(seconds / new * (standing.due - standing.done))} left")
    return ", ".join(parts)


def bar_of_examples(what: str, most: int | None, known: int = 0) -> tqdm:
    """Open a bar that counts examples, and goes when it is closed.

    Args:
        what: What stands before it.
        most: How many there are at most; None where nobody knows.
        known: How many are done already.
    """
    return tqdm(total=most, initial=known, desc=what, unit="example", file=sys.stdout, leave=False, **width_of_a_bar())


def width_of_a_bar() -> dict[str, Any]:
    """Return the settings of a bar that reads at the terminal's width: a narrow one shows numbers, and no bar.

    A terminal that says it has no columns, as some of containers do, is taken for a narrow one of 80.
    """
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):  # no device of its own, as in a notebook
        return {"dynamic_ncols": True}
    if columns == 0:
        return {"ncols": 80, "bar_format": NARROW}
    return {"dynamic_ncols": True, "bar_format": NARROW if columns < WIDE else None}


def on_a_terminal() -> bool:
    """Tell whether somebody looks at the output while it is written; a bar in a file is one endless line."""
    return sys.stdout.isatty()


def in_a_notebook() -> bool:
    """Tell whether a Jupyter kernel shows the output: it takes the one bar of a search, but no second one below it."""
    return type(sys.stdout).__module__.startswith("ipykernel.")


def log(line: str) -> None:
    """Print a line with the time of day; where a bar is open in a notebook, above it."""
    told = f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}"
    if in_a_notebook():
        tqdm.write(told)
    else:
        say(told, flush=True)
