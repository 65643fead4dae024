"""What an evaluation finds: the score table of candidates and examples, and what it says of the utilities."""

from dataclasses import dataclass, replace

from torch import Tensor

from swarm_lightning.objectives.protocol import Outcome


@dataclass(frozen=True)
class Evaluation:
    """What P candidates made of M examples.

    Attributes:
        scores: The score table [P, M], float64 on the CPU; NaN where nothing was asked, -inf where the candidate
            broke.
        outcomes: Replies, answers and scores [P][M]; None where nothing was asked, or where another rank asked and
            whole replies were not wanted.
        utilities: Utility of every candidate [P], float64, by default its mean score; NaN where it is not known to the
            last digit, -inf where the candidate broke.
        reach: The lowest and the highest utility that every candidate can have [P, 2], float64; equal where it is
            known, NaN where nothing was asked.
        generated: Number of tokens that were generated.
        forward_passes: Calls of a model that it took, whatever the batch; None where nobody can count them. A model
            that belongs to the objective, such as a judge, is not counted.
    """

    scores: Tensor
    outcomes: list[list[Outcome | None]]
    utilities: Tensor
    reach: Tensor
    generated: int = 0
    forward_passes: int | None = None

    @property
    def evaluated(self) -> int:
        """Number of pairs of a candidate and an example that were asked."""
        return int((~self.scores.isnan()).sum())

    def with_row(self, place: int, one: "Evaluation", row: int = 0) -> "Evaluation":
        """Return this with what another candidate made of the same examples in the place of one.

        Args:
            place: Of the candidate that is left out.
            one: An evaluation of the other.
            row: Its place there.
        """
        scores, utilities, reach = self.scores.clone(), self.utilities.clone(), self.reach.clone()
        scores[place], utilities[place], reach[place] = one.scores[row], one.utilities[row], one.reach[row]
        outcomes = [*self.outcomes[:place], one.outcomes[row], *self.outcomes[place + 1 :]]
        return replace(self, scores=scores, outcomes=outcomes, utilities=utilities, reach=reach)
