"""An objective that counts what it is asked: an account of evaluations that nobody of the package keeps."""

from collections.abc import Sequence

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import ExactMatch, LanguageModel, Outcome


class CountingMatch(ExactMatch):
    """Exact match with a tally of the examples that any model was asked, and a finger on Ctrl-C."""

    _asked = 0
    interrupted_at: int | None = None

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        if CountingMatch.interrupted_at is not None and CountingMatch._asked >= CountingMatch.interrupted_at:
            raise KeyboardInterrupt
        CountingMatch._asked += len(examples)
        return super().evaluate(examples, model)


def asked() -> int:
    return CountingMatch._asked
