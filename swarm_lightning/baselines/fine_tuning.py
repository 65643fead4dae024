"""Fine-tuning one adapter with gradients on the validation examples themselves: what else they could be used for.

The adapter has the experts' form and begins from zero (A drawn as PEFT draws it, B = 0), from the best expert on
validation, or from the mean of the experts' products cut to their rank. It learns the right answers behind the
objective's prompts, each closed by the end token, at a rate of 1e-3; `gradient_descent.py` says for how long. The
choice of the best expert has seen all examples, held out or not. Absent for full checkpoints, for objectives without
right answers, and where another backend runs the model.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.gradient_descent import EPOCHS, GradientDescent
from swarm_lightning.baselines.low_rank import factor_pairs, refactor
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.right_answers import RightAnswer, logarithms_of, right_answers
from swarm_lightning.evaluation.counts import plus
from swarm_lightning.experts.checks import DOWN, UP
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.swarm.rules import best_of

LEARNING_RATE = 1e-3
Beginning = Literal["zero", "expert", "mean"]
NAMES = {"zero": "zero", "expert": "the best expert", "mean": "the mean of products"}


class FineTuning:
    """Trains on the validation examples, as long as that helps with those that are held out."""

    kind: Kind = "drawn"
    least = 1

    def __init__(self, beginning: Beginning) -> None:
        """Say where it begins.

        Args:
            beginning: What the adapter is before the first step.
        """
        self.beginning = beginning
        self.title = f"fine-tuning from {NAMES[beginning]}"

    def compose(self, bench: Bench) -> Composition:
        """Choose the number of epochs, then train on all examples.

        Raises:
            Absent: See the module.
        """
        if not bench.shares_passes:
            raise Absent("it trains an adapter of the experts' form, and they are full checkpoints")
        descent, resident = descent_on(bench)
        start, name = self._start(bench)
        try:
            found, epochs, read = descent.train(start, bench.generator)
        finally:
            resident.unload()
        utility = bench.utility(found)
        detail = f"{epochs} of at most {EPOCHS} epochs from {name}"
        passes = plus(bench.forward_passes, descent.meter.passes)
        return Composition(utility, detail, found, evaluations=bench.spent + read, forward_passes=passes)

    def _start(self, bench: Bench) -> tuple[Tensor, str]:
        layout = bench.module.pool.layout
        if self.beginning == "zero":
            return fresh(layout, bench.generator), "zero"
        if self.beginning == "mean":
            return mean_of_products(bench.experts, layout), f"the mean of {len(bench.names)} products"
        best = best_of(bench.utilities(bench.experts))
        return bench.experts[best].clone(), bench.names[best]


def descent_on(bench: Bench) -> tuple[GradientDescent, AdaptedModel]:
    """Return what trains an adapter on the right answers, and the model that it is trained in.

    Args:
        bench: With adapters as experts.

    Raises:
        Absent: If there are no right answers, or something else than this process runs the model.
    """
    engine = bench.resident.engine
    resident = engine.adapted
    assert isinstance(resident, AdaptedModel)

    def losses(vector: Tensor, answers: Sequence[RightAnswer]) -> Tensor:
        resident.attach(vector.unsqueeze(0))
        return -logarithms_of(resident.model, [answer.closed for answer in answers])

    answers = right_answers(bench.module.objective, bench.examples, engine)
    descent = GradientDescent(
        answers, losses, lambda answer: answer.tokens, lambda answer: [len(answer.closed.input_ids)],
        LEARNING_RATE, bench.seed,
    )  # fmt: skip
    return descent, resident


def fresh(layout: Layout, generator: torch.Generator) -> Tensor:
    """Return an adapter that adds nothing yet [D]: A from U(-1, 1) / sqrt(in), B zero.

    Args:
        layout: Of the experts.
        generator: Source of the random numbers.
    """
    tensors = {}
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        drawn = (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[1])
        tensors[name] = drawn if name.endswith(DOWN) else torch.zeros(shape)
    return layout.flatten(tensors)


def mean_of_products(experts: Tensor, layout: Layout) -> Tensor:
    """Return the adapter of the experts' rank that is closest to the mean of their products [D].

    Args:
        experts: Weights [n, D].
        layout: Which tensor stands where in a row.
    """
    stacked = layout.unstack(experts)
    weights = torch.full((len(experts),), 1 / len(experts), dtype=torch.float64)
    tensors = {}
    for layer in factor_pairs(layout):
        tensors[layer + DOWN], tensors[layer + UP], _, _ = refactor(stacked[layer + DOWN], stacked[layer + UP], weights)
    return layout.flatten(tensors)
