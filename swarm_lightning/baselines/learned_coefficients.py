"""Coefficients of the experts' products learned with gradients: how far a forward-only search for them might get.

One coefficient per expert and module, as the evolution strategy searches them, from the mean of the products. The
gradient is that of the objective's smooth guide on the validation examples, at a rate of 0.01; `gradient_descent.py`
says for how long. Exact as an adapter of the summed rank. Absent for full checkpoints, for objectives without right
answers, and where another backend runs the model. Of several tasks, every example counts the same.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.gradient_descent import EPOCHS, GradientDescent
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.right_answers import RightAnswer, guide_losses, right_answers
from swarm_lightning.evaluation.counts import plus
from swarm_lightning.experts.products.model import ProductModel

LEARNING_RATE = 0.01


class LearnedCoefficients:
    """Weighs the experts' products by gradient descent, as long as that helps with examples that are held out."""

    title = "coefficients learned by gradient"
    kind: Kind = "drawn"
    least = 1

    def compose(self, bench: Bench) -> Composition:
        """Choose the number of epochs, then learn from all examples.

        Raises:
            Absent: See the module.
        """
        engine = bench.resident.engine
        products = ProductBench(bench, "soups", "module")
        resident = products.resident
        descent = descent_on(resident, right_answers(bench.module.objective, bench.examples, engine), bench.seed)
        count = len(bench.names)
        try:
            start = products.groups.spread(torch.full((count,), 1 / count))
            found, epochs, read = descent.train(start, bench.generator)
        finally:
            resident.unload()
        detail = f"{epochs} of at most {EPOCHS} epochs, {len(found)} coefficients from the mean"
        made = products.composition(found, products.worth(found), detail)
        passes = plus(bench.forward_passes, descent.meter.passes)
        return replace(made, evaluations=bench.spent + read, forward_passes=passes)


def descent_on(resident: ProductModel, answers: Sequence[RightAnswer], seed: int) -> GradientDescent:
    """Return what learns coefficients.

    Args:
        resident: The base with the products.
        answers: What is learned from.
        seed: Of the order.
    """

    def losses(coefficients: Tensor, some: Sequence[RightAnswer]) -> Tensor:
        resident.attach(coefficients.unsqueeze(0))
        return guide_losses(resident.model, some)

    def rows(answer: RightAnswer) -> list[int]:
        return [len(ids) for ids in {row.input_ids[:-1] for row in answer.choices}]

    return GradientDescent(answers, losses, lambda answer: 1, rows, LEARNING_RATE, seed)
