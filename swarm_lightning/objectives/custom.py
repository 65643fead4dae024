"""A function of the user's own as an objective: it gets a reply and its example, and returns a score.

For objectives that only score replies; what asks in other ways is a class of its own, see `protocol.py`. How the
function is found and what is refused of it is in `own_function.py`.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.answers import normalise
from swarm_lightning.objectives.asking import Asks, Unscored
from swarm_lightning.objectives.own_function import find_function, name_of, where_it_failed
from swarm_lightning.objectives.protocol import LanguageModel, Objective, Outcome, score_all


class Custom(Asks, Objective):
    """Score a reply by your own function: `def score(reply: str, example: Example) -> float`.

    The example has `question`, `answer`, `choices`, `in_context_prompt`, `extras` (further columns) and `identifier`.
    The function must be deterministic: it is called once per example and distinct reply, however many particles give
    that reply. A checkpoint identifies it by its import path, not by its code.
    """

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        function: str | Callable[[str, Example], float],
        bounds: tuple[float, float] = (0.0, 1.0),
        **asking: Any,
    ) -> None:
        """Find the function, and set the prompt and how replies are generated.

        Args:
            function: Import path of the function, such as `my_module.score` for `def score` in `my_module.py` of the
                current folder. From Python, the function itself.
            bounds: Lowest and highest score it can return. With finite bounds the exact stop can skip evaluations that
                can't matter; `[-.inf, .inf]` if there are none.
            **asking: Prompt and generation settings; see `Asks`.

        Raises:
            InputError: If the function does not exist, or a value can't be used.
        """
        super().__init__(**asking)
        self._function = find_function(function) if isinstance(function, str) else function
        self.function = name_of(function)
        lowest, highest = bounds
        if not lowest < highest:
            raise InputError(
                f"Expected bounds to be the lowest and the highest score, the lowest first, but got {list(bounds)!r}."
            )
        self.bounds = (float(lowest), float(highest))

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask a model and score its replies.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; what a vote counts is the reply, without white space around it.
        """
        return score_all(self.score, self.ask(examples, model), examples)

    def replies_only(self) -> Unscored:
        """Return an objective that asks the same without the function, for examples that need have no answer."""
        return Unscored(self)

    def score(self, reply: str, example: Example) -> Outcome:
        """Score one reply.

        Args:
            reply: The model's text.
            example: What was asked.

        Raises:
            InputError: If the function fails, or returns something else than a number within the bounds.
        """
        try:
            score = self._function(reply, example)
        except Exception as error:
            raise InputError(
                f"Expected a score from {self.function} for every reply, but for example {example.identifier!r} and "
                f"the reply {reply[:60]!r} it raised {type(error).__name__}: {error}{where_it_failed(error)}. Let it "
                "return the lowest score where a reply can't be scored."
            ) from error
        lowest, highest = self.bounds
        number = math.nan if not isinstance(score, Real) else float(score)
        if math.isnan(number) or not lowest <= number <= highest:
            raise InputError(
                f"Expected a number from {lowest:g} to {highest:g} from {self.function}, as its bounds say, but for "
                f"example {example.identifier!r} and the reply {reply[:60]!r} it returned {score!r}. Correct the "
                "function, or set bounds."
            )
        return Outcome(reply, normalise(reply, ignore_case=False) or None, number)
