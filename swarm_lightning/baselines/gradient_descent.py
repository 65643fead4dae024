"""Training with gradients on the validation examples, for as many epochs as cross-validation within them says.

AdamW without decay in batches of 16. After every epoch of at most 15, what was left out of a fold is measured; the
number of epochs with the least mean loss over 4 folds is then trained on all examples, and none at all is a choice too.
An answer of any length goes through; what shares a forward pass is bounded by its tokens.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.right_answers import RightAnswer
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.progress import Meter
from swarm_lightning.tuning.batches import batch_of

EPOCHS = 15
FOLDS = 4
BATCH_SIZE = 16
TOKENS = 4096  # padded tokens of one forward and backward pass; one answer may have more


@dataclass(frozen=True)
class GradientDescent:
    """What is trained, and on what.

    Attributes:
        answers: Of the M validation examples.
        losses: Returns the losses [k] of k answers, given the weights [D].
        weigh: What an answer's loss counts in the mean: its loss is divided by that of its batch.
        rows: The lengths of the rows that an answer puts into a forward pass.
        rate: Learning rate.
        seed: Of the order in which answers are read.
        meter: Counts the forward passes; a gradient costs about two more.
    """

    answers: Sequence[RightAnswer]
    losses: Callable[[Tensor, Sequence[RightAnswer]], Tensor]
    weigh: Callable[[RightAnswer], int]
    rows: Callable[[RightAnswer], Sequence[int]]
    rate: float
    seed: int
    meter: Meter = field(default_factory=Meter)

    @property
    def evaluations(self) -> int:
        """Answers that cross-validation reads: those of every fold's training, and what it leaves out after each epoch.

        A gradient costs about two more forward passes.
        """
        return (FOLDS - 1) * EPOCHS * len(self.answers) + (EPOCHS + 1) * len(self.answers)

    def train(self, start: Tensor, generator: torch.Generator) -> tuple[Tensor, int, int]:
        """Choose the number of epochs, then train on all answers.

        Args:
            start: Weights to begin with [D]; not changed.
            generator: Draws the folds.

        Returns:
            The weights [D], the number of epochs, and the answers that were read for both.

        Raises:
            Absent: If there are fewer answers than folds.
            Interrupted: If the run was asked to end; it does so before the next forward pass.
        """
        count = len(self.answers)
        if count < FOLDS:
            raise Absent(f"it needs {FOLDS} validation examples for its folds, and there are {count}")
        losses = torch.zeros(EPOCHS + 1, dtype=torch.float64)
        for fold in torch.randperm(count, generator=generator).tensor_split(FOLDS):
            held_out = set(fold.tolist())
            left = [answer for place, answer in enumerate(self.answers) if place not in held_out]
            measured = [self.answers[place] for place in sorted(held_out)]
            for epoch, weights in enumerate(self.epochs(start, left)):
                with torch.no_grad():
                    losses[epoch] += float(sum(self.parts(weights, measured))) / FOLDS
        epochs = int(losses.where(losses.isfinite(), math.inf).argmin())
        found = next(islice(self.epochs(start, self.answers), epochs, None))
        return found, epochs, self.evaluations + epochs * count

    def epochs(self, start: Tensor, answers: Sequence[RightAnswer]) -> Iterator[Tensor]:
        """Train, and give the weights [D] before the first epoch and after each.

        Args:
            start: Weights to begin with [D]; not changed.
            answers: What is read.
        """
        yield start.clone()
        weights = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.AdamW([weights], lr=self.rate, weight_decay=0.0)
        of_epoch = -(-len(answers) // BATCH_SIZE)
        for epoch in range(EPOCHS):
            for step in range(epoch * of_epoch, (epoch + 1) * of_epoch):
                read = [answers[place] for place in batch_of(step, len(answers), BATCH_SIZE, self.seed)]
                with torch.enable_grad():
                    for part in self.parts(weights, read):
                        part.backward()
                optimizer.step()
                optimizer.zero_grad()
            yield weights.detach().clone()

    def parts(self, weights: Tensor, answers: Sequence[RightAnswer]) -> Iterator[Tensor]:
        """Give the mean loss of answers as a sum of parts that each take one forward pass.

        Args:
            weights: Of what is trained [D].
            answers: What is read.
        """
        total = sum(map(self.weigh, answers))
        part: list[RightAnswer] = []
        for answer in answers:
            rows = [length for one in (*part, answer) for length in self.rows(one)]
            if part and len(rows) * max(rows) > TOKENS:
                yield self._loss(weights, part) / total
                part = []
            part.append(answer)
        yield self._loss(weights, part) / total

    def _loss(self, weights: Tensor, part: Sequence[RightAnswer]) -> Tensor:
        interruption.check()
        self.meter.passes += 1
        return self.losses(weights, part).sum()
