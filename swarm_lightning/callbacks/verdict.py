"""States what an adaptation gained: over the best expert, and over the best sum without any search.

Of the best expert, the mean of all and the beginning of the search, the one that the objective finds best on validation
is scored on the test split too, so that the search itself is judged: what a mean of the experts gives is not its merit.
This does not count towards the budget.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L

from swarm_lightning.callbacks.advice import advice_on
from swarm_lightning.evaluation.bootstrap import Gain, Resampling, gain_of
from swarm_lightning.files import write_whole
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.procedures.evolution import simple_positions
from swarm_lightning.shown import say, with_interval
from swarm_lightning.swarm.centre_search import BEST_EXPERT, SIMPLE, START, CentreSearch

VERDICT = "verdict.json"


class Verdict(L.Callback):
    """Prints the verdict after the summary of an evolution strategy, and writes it to `verdict.json`.

    Attributes:
        sentences: The verdict, once the search has ended.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge what was found."""
        assert isinstance(pl_module, ModelSwarm)
        strategy, test, state = pl_module.particle_swarm, pl_module.held_back, pl_module.state
        assert isinstance(strategy, CentreSearch)
        result = pl_module.result(test)
        initial, chosen = pl_module.pool.names[pl_module.best_initial], strategy.found_name
        simple = best_simple(result.choices)
        called = {BEST_EXPERT: f"best expert {initial}", START: next(iter(result.starts))}.get(simple, simple)
        gains: dict[str, Gain | None] = {}
        if test:
            gains[f"the best expert, {initial}"] = result.test[1].gain
        if test and chosen not in SIMPLE and simple != BEST_EXPERT:  # else the one gain says it all
            position = simple_positions(strategy, len(pl_module.pool.names), pl_module.best_initial)[
                SIMPLE.index(simple)
            ]
            evaluation = pl_module.evaluator.evaluate(
                [strategy.space.vector(position)], test, whole_replies=True, numbers=[0]
            )
            found = [outcome.score for outcome in state.tested[1]]
            sampling = Resampling.of(pl_module.objective, test)
            gains[f"the best without a search, {called}"] = gain_of(evaluation.scores[0].tolist(), found, sampling)
        said = [sentence_on(gain, other) for other, gain in gains.items() if gain is not None]
        if not strategy.searched:
            tried = ", ".join(result.starts)
            said.append(f"The budget was too small for a search and covered only the candidates before it: {tried}.")
        elif chosen in SIMPLE:
            said.append(f"On validation the search found nothing better than what needs no search: {called}.")
        if not test:
            said.append("There is no test split: whether it is better on unseen examples is unknown.")
        examples = pl_module.splits.validation if pl_module.splits is not None else ()
        scores = state.reported_scores if state.guided else state.scores.known  # the latter are the guide's
        alone = scores[: len(pl_module.pool.names)]
        advice = advice_on(pl_module.objective, alone, strategy.found_utility, examples)
        self.sentences = [*said, *advice]
        if trainer.is_global_zero:
            kept: dict[str, Any] = {"sentences": self.sentences, "gains": {}}
            for other, gain in gains.items():
                kept["gains"][other] = None if gain is None else {**asdict(gain), "verdict": gain.verdict}
            write_whole(Path(trainer.default_root_dir) / VERDICT, json.dumps(kept, indent=2) + "\n")
            for sentence in self.sentences:
                say(sentence)


def best_simple(choices: Mapping[str, float]) -> str:
    """Return which of what needs no search the objective finds best, the simplest of equals.

    Args:
        choices: Utilities of what was chosen among in the end, by name.

    >>> best_simple({"best expert": 0.5, "mean of the experts": 0.6, "start": 0.6, "last centre": 0.7})
    'mean of the experts'
    """
    return max((name for name in SIMPLE if name in choices), key=lambda name: choices[name])


def sentence_on(gain: Gain, other: str) -> str:
    """Return a gain in words.

    Args:
        gain: Of what was found over another model.
        other: The other.

    >>> sentence_on(Gain(0.1, 0.05, 0.15), "the best expert, a")
    'Better than the best expert, a: +0.1000 [+0.0500, +0.1500] on test.'
    """
    words = {"better": "Better than", "worse": "Worse than", "within noise": "Within noise of"}[gain.verdict]
    return f"{words} {other}: {with_interval(gain.difference, gain.low, gain.high, '+')} on test."
