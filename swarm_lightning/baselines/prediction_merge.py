"""The experts' replies merged by a majority vote, the ties decided by validation utility.

n times the cost of one model at every question, and no adapter comes out. The vote itself is that of `swarm test`. The
table says how often there is anything to count: where no two experts give the same answer, the best one decides.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.ensemble import vote
from swarm_lightning.objectives.protocol import Outcome


class PredictionMerge:
    """Lets all experts vote."""

    title = "prediction merge"
    kind: Kind = "fixed"
    least = 3  # of two, the better one would decide every tie

    def compose(self, bench: Bench) -> Composition:
        """Let the experts vote on the validation examples; their utilities there decide ties.

        Raises:
            Absent: If the objective reads no answers out of replies that could be counted.
        """
        evaluator, experts = bench.evaluator, bench.experts
        evaluation = evaluator.evaluate(experts, bench.examples, whole_replies=True)
        if all(outcome is None or outcome.answer is None for row in evaluation.outcomes for outcome in row):
            name = type(bench.module.objective).__name__
            raise Absent(f"{name} reads no answers out of replies: open text has nothing to vote on")
        utilities = evaluation.utilities

        def scores(examples: Sequence[Example]) -> Tensor:
            outcomes = evaluator.evaluate(experts, examples, whole_replies=True).outcomes
            return _scores(vote(outcomes, utilities))

        utility = bench.worth(_scores(vote(evaluation.outcomes, utilities)))
        shared = sum(map(_agree, zip(*evaluation.outcomes, strict=True))) / len(bench.examples)
        detail = f"{len(experts)} experts vote; two or more give the same answer to {shared:.0%} of the examples"
        return Composition(utility, detail, scores=scores)


def _agree(ballot: Sequence[Outcome | None]) -> bool:
    answers = [outcome.answer for outcome in ballot if outcome is not None and outcome.answer is not None]
    return len(set(answers)) < len(answers)


def _scores(votes: Sequence[Outcome]) -> Tensor:
    return torch.tensor([outcome.score for outcome in votes], dtype=torch.float64)
