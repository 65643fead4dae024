"""What an objective is, and what it may ask of a language model.

An objective turns examples into prompts, puts them to a language model, and scores the replies. It sees neither
particles nor adapters: `evaluate` gets a flat list of examples, in which an example may stand several times, and a
language model whose row i answers for example i. So the caller is free to put the examples of many particles into one
call, and an objective must treat every row by itself: no score may depend on another row.
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
    """What came of one example.

    Attributes:
        reply: The model's text.
        answer: What was read out of the reply, normalised: what a vote counts. None where nothing could be read.
        score: Higher is better; a number within the objective's bounds.
    """

    reply: str
    answer: str | None
    score: float


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a continuation of a prompt.

    Attributes:
        logarithm: Natural logarithm of the probability, summed over the continuation's tokens.
        tokens: Number of tokens that were summed.
        characters: Length of the continuation without white space around it.
        greedy: Whether every token of it is the likeliest at its place: a greedy reply would begin with it.
    """

    logarithm: float
    tokens: int
    characters: int
    greedy: bool = False


def score_all(
    score: Callable[[Reply, Example], Outcome], replies: Sequence[Reply], examples: Sequence[Example]
) -> list[Outcome]:
    """Score replies; the same reply to the same example, as many particles give it, is scored once.

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
    """What an objective talks to: row i of the arguments belongs to row i of the result.

    Attributes:
        tokenizer: The base model's.
        device: Where the base model computes.
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
            prompts: The texts the model sees, one for each example of the call.
            settings: Length, stop strings and sampling.
            add_special_tokens: Whether the tokenizer adds its special tokens; a chat template has put them in already.
            decided: Given a row and the beginning of its reply, tells whether its score is settled: then the reply may
                end there. Without it, replies end by themselves only.

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
        """Measure how likely the continuations of every prompt are.

        Args:
            prompts: The texts the model sees.
            continuations: For every prompt, the texts that may follow, with the space in front where there is one.
            add_special_tokens: As for `generate`.

        Returns:
            For every prompt, one likelihood per continuation: lists, or a table (`likelihoods.py`).
        """
        ...

    def select(self, places: Sequence[int]) -> "LanguageModel":
        """Return the same model for some of the rows: row i of its calls belongs to row `places[i]` of this one's."""
        ...


class Objective(Protocol):
    """What to ask and how to score; anything with these four members is an objective.

    An objective may follow `CombinesScores`, `HasTasks`, `ComparesReplies`, `RepliesOnly`, `CountsTokens`,
    `PaysForScores`, `MeasuresTheBase` and `KeepsState` as well.

    Attributes:
        bounds: The lowest and the highest score that one example can get; infinite where there is no bound.
    """

    @property
    def bounds(self) -> tuple[float, float]:
        """A plain attribute will do."""
        ...

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Raise an InputError for examples or a template that can't be served, before any work starts."""
        ...

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        ...

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Return one outcome per example, in order; examples may repeat, and a missing gold answer scores lowest."""
        ...


@runtime_checkable
class CombinesScores(Protocol):
    """An objective whose utility is another one than the mean score; optional."""

    def utility(self, scores: Sequence[float], examples: Sequence[Example]) -> float:
        """Return the utility of one particle from its scores, one per example, in order.

        It must never fall where a score rises, not even by rounding: the exact early stop relies on it. See `means.py`.
        """
        ...


@runtime_checkable
class HasTasks(Protocol):
    """An objective made of one for each task; optional.

    Attributes:
        tasks: The objectives by the tasks that examples name (`Example.task`).
    """

    tasks: Mapping[str, Objective]


@runtime_checkable
class CountsTokens(Protocol):
    """An objective that asks in several turns and can tell before the first how long the longest gets; optional."""

    def tokens_needed(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> int:
        """Return the most tokens that the prompt of any turn and the reply to it take together."""
        ...


@runtime_checkable
class ComparesReplies(Protocol):
    """What an objective may offer beside its scores: to say how often one model's replies beat those of another."""

    def win_rate(
        self, examples: Sequence[Example], outcomes: Sequence[Outcome], others: Sequence[Outcome]
    ) -> float | None:
        """Return the share of examples on which `outcomes` beat `others`, ties counted half; the lists are in order.

        None where none of these examples can be compared.
        """
        ...


@runtime_checkable
class RepliesOnly(Protocol):
    """What an objective may offer whose scores cost more than the replies: to go without them."""

    def replies_only(self) -> Objective:
        """Return an objective that asks the same and scores nothing; predictions are made with it."""
        ...


@runtime_checkable
class PaysForScores(Protocol):
    """An objective whose scores come from a service that is paid by the token; optional.

    Attributes:
        answer_tokens: The most tokens of an answer of the service; None where that is not set.
    """

    @property
    def answer_tokens(self) -> int | None:
        """A plain attribute will do."""
        ...

    def questions(self, examples: Sequence[Example], replies: Sequence[str]) -> list[str]:
        """Return what the service would be asked about replies, one text each; equal ones are asked once."""
        ...


@runtime_checkable
class MeasuresTheBase(Protocol):
    """An objective that has to see the base model's replies before it can score; optional."""

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> None:
        """Measure what scoring needs; called once in a search, before its first evaluation, in one process.

        What is found must be part of `state_dict`: that is how the other processes and a resumed search get it.

        Args:
            examples: The examples that guide the search.
            model: The base without any expert; row i of a call belongs to example i.
        """
        ...


@runtime_checkable
class KeepsState(Protocol):
    """An objective with something that belongs into the checkpoint and is no setting; optional."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values by name."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned, or raise an InputError where it belongs to another objective."""
        ...


# The command line accepts a class for a protocol only if its annotations are equal to the protocol's. Without these, an
# objective of the user's own needs the right argument names and no types; type checkers read them all the same.
take_any_types(Objective.check, Objective.prompt, Objective.evaluate)
