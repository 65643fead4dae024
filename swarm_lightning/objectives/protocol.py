"""What an objective is, and what it may request from a language model.

An objective turns examples into prompts, passes them to a language model, and scores the replies. It sees neither
particles nor adapters: `evaluate` gets a flat list of examples, in which an example may occur several times, and a
language model whose row i answers example i. The caller is thus free to combine the examples of many particles in one
call, and an objective must treat every row independently: no score may depend on another row.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from swarm_lightning.data.examples import Example
from swarm_lightning.doors.jsonargparse import take_any_types
from swarm_lightning.objectives.generation_settings import GenerationSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


# Given a row and the beginning of its reply, tells whether the row's score is the same however the reply goes on.
RowDecided = Callable[[int, str], bool]
Reply = TypeVar("Reply", bound=Hashable)


@dataclass(frozen=True)
class Outcome:
    """The result of one example.

    Attributes:
        reply: The model's text.
        answer: The answer parsed from the reply, normalised: what a vote counts. None if none could be parsed.
        score: Higher is better; a number within the objective's bounds.
    """

    reply: str
    answer: str | None
    score: float


@dataclass(frozen=True)
class Likelihood:
    """How likely a continuation of a prompt is under a model.

    Attributes:
        logarithm: Natural logarithm of the probability, summed over the continuation's tokens.
        tokens: Number of tokens in the sum.
        characters: Number of characters of the continuation, stripped of surrounding white space.
        greedy: Whether every token is the most likely one at its position, so that a greedy reply would begin with it.
    """

    logarithm: float
    tokens: int
    characters: int
    greedy: bool = False


def score_all(
    score: Callable[[Reply, Example], Outcome], replies: Sequence[Reply], examples: Sequence[Example]
) -> list[Outcome]:
    """Score replies; equal replies to the same example, from any number of particles, are scored once.

    Args:
        score: Scores a reply to an example.
        replies: One per example: a text, or what a model has chosen.
        examples: What was asked; examples may repeat.

    Returns:
        One outcome per example.
    """
    known: dict[tuple[int, Reply], Outcome] = {}
    for reply, example in zip(replies, examples, strict=True):
        if (id(example), reply) not in known:
            known[id(example), reply] = score(reply, example)
    return [known[id(example), reply] for reply, example in zip(replies, examples, strict=True)]


class LanguageModel(Protocol):
    """The model as an objective sees it: row i of the arguments belongs to row i of the result.

    Attributes:
        tokenizer: The base model's.
        device: The device of the base model.
    """

    tokenizer: "PreTrainedTokenizerBase"
    device: "torch.device"

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt.

        Args:
            prompts: The texts the model sees, one per example of the call.
            settings: Length, stop strings and sampling.
            add_special_tokens: Whether the tokenizer adds its special tokens; a chat template has already added them.
            decided: Given a row and the beginning of its reply, tells whether its score is settled, so that the reply
                may end there. None: replies only end by themselves.

        Returns:
            One reply per prompt, without the prompt.
        """
        ...

    def loglikelihood(
        self,
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        add_special_tokens: bool = True,
    ) -> Sequence[Sequence[Likelihood]]:
        """Compute the likelihoods of the continuations of every prompt.

        Args:
            prompts: The texts the model sees.
            continuations: For every prompt, the texts that may follow, including a leading space if there is one.
            add_special_tokens: As for `generate`.

        Returns:
            For every prompt, one likelihood per continuation: lists, or a table (`likelihoods.py`).
        """
        ...

    def select(self, places: Sequence[int]) -> "LanguageModel":
        """Return the same model restricted to some rows: its row i is row `places[i]` of this one."""
        ...


class Objective(Protocol):
    """How to prompt and how to score; anything with these four members is an objective.

    An objective may follow `CombinesScores`, `HasTasks`, `ComparesReplies`, `RepliesOnly`, `CountsTokens`,
    `PaysForScores`, `MeasuresTheBase` and `KeepsState` as well.

    Attributes:
        bounds: The lowest and highest possible score of one example; infinite if there is no bound.
    """

    @property
    def bounds(self) -> tuple[float, float]:
        """A plain attribute will do."""
        ...

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Raise an InputError for unusable examples or templates, before any work starts."""
        ...

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        ...

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Return one outcome per example, in order; examples may repeat, and a missing gold answer scores lowest."""
        ...


@runtime_checkable
class CombinesScores(Protocol):
    """An objective whose utility is not the mean score; optional."""

    def utility(self, scores: Sequence[float], examples: Sequence[Example]) -> float:
        """Return the utility of one particle from its scores, one per example, in order.

        It must never fall when a score rises, not even by rounding, because the exact stop relies on that; see
        `means.py`.
        """
        ...


@runtime_checkable
class HasTasks(Protocol):
    """An objective composed of one per task; optional.

    Attributes:
        tasks: The objectives by the tasks that examples name (`Example.task`).
    """

    tasks: Mapping[str, Objective]


@runtime_checkable
class CountsTokens(Protocol):
    """An objective that asks in several turns and can tell before the first how long the longest gets; optional."""

    def tokens_needed(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> int:
        """Return the maximum number of tokens of any turn's prompt and reply together."""
        ...


@runtime_checkable
class ComparesReplies(Protocol):
    """An objective that can also tell how often one model's replies beat another's; optional."""

    def win_rate(
        self, examples: Sequence[Example], outcomes: Sequence[Outcome], others: Sequence[Outcome]
    ) -> float | None:
        """Return the share of examples on which `outcomes` beat `others`, ties counted half; the lists are in order.

        None if none of these examples can be compared.
        """
        ...


@runtime_checkable
class RepliesOnly(Protocol):
    """An objective whose scores cost more than the replies, and that can do without them; optional."""

    def replies_only(self) -> Objective:
        """Return an objective with the same prompts and without scores, for predictions."""
        ...


@runtime_checkable
class PaysForScores(Protocol):
    """An objective scored by a service that charges by the token; optional.

    Attributes:
        answer_tokens: Maximum number of tokens of the service's answer; None if not set.
    """

    @property
    def answer_tokens(self) -> int | None:
        """A plain attribute will do."""
        ...

    def questions(self, examples: Sequence[Example], replies: Sequence[str]) -> list[str]:
        """Return the requests that the service would get for replies, one text each; equal ones are sent once."""
        ...


@runtime_checkable
class MeasuresTheBase(Protocol):
    """An objective that needs the base model's replies before it can score; optional."""

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> None:
        """Measure what scoring needs; called once per search, before its first evaluation, in one process.

        The result must be part of `state_dict`, which is how other processes and a resumed search get it.

        Args:
            examples: The examples that guide the search.
            model: The base without any expert; row i of a call belongs to example i.
        """
        ...


@runtime_checkable
class KeepsState(Protocol):
    """An objective with state, beyond its settings, that belongs in the checkpoint; optional."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values by name."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, or raise an InputError if it belongs to a different objective."""
        ...


# The command line accepts a class for a protocol only if its annotations are equal to the protocol's. Without these, an
# objective of the user's own needs the right argument names and no types; type checkers read them all the same.
take_any_types(Objective.check, Objective.prompt, Objective.evaluate)
