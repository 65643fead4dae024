"""A runner without any model: a candidate's replies stand in a table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.runner import Rows, Session
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXAMPLES = [Example(f"question {place}", "yes", identifier=str(place)) for place in range(8)]
# What each of three candidates scores on these: 1 for the reply "yes".
TABLE = [
    [1, 1, 1, 0, 0, 0, 1, 1],
    [1, 0, 0, 0, 1, 1, 0, 0],
    [0, 0, 1, 0, 0, 0, 0, 0],
]


class TableRows:
    """Rows of a table of replies."""

    device = torch.device("cpu")

    def __init__(self, runner: "TableRunner", replies: Sequence[str]) -> None:
        self.tokenizer = runner.tokenizer
        self.broken = {row for row, reply in enumerate(replies) if reply == "nonsense"}
        self._runner, self._replies = runner, replies

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        self._runner.generated += len(prompts)
        return list(self._replies)

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        raise NotImplementedError

    def select(self, places: Sequence[int]) -> "TableRows":
        return TableRows(self._runner, [self._replies[place] for place in places])


class TableRunner:
    """A candidate is a mapping from questions to replies."""

    at_once: int | None = 2
    positions: int | None = 100

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self.tokenizer = cast("PreTrainedTokenizerBase", None)  # prompts of `ExactMatch` need none
        self.settings = settings or EngineSettings()
        self.generated = 0
        self.asked: list[tuple[int, str]] = []

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        return [len(prompt) for prompt in prompts]

    def rows_at_once(self, tokens: int) -> int:
        return 4

    @contextmanager
    def session(
        self, candidates: Sequence[Mapping[str, str]] | None, prompts: Mapping[str, Sequence[str]]
    ) -> Iterator[Session]:
        yield TableSession(self, candidates or [{}])


class TableSession:
    models = 3

    def __init__(self, runner: TableRunner, candidates: Sequence[Mapping[str, str]]) -> None:
        self._runner, self._candidates = runner, candidates

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> Rows:
        pairs = list(zip(candidates, examples, strict=True))
        self._runner.asked += [(candidate, example.identifier) for candidate, example in pairs]
        replies = [self._candidates[candidate].get(example.question, "no") for candidate, example in pairs]
        return TableRows(self._runner, replies)

    def forget(self) -> None:
        pass


def candidates_of(table: Sequence[Sequence[int]]) -> list[dict[str, str]]:
    """Return candidates that reply `yes`, which scores 1, where the table holds a 1."""
    return [
        {example.question: "yes" if score else "no" for example, score in zip(EXAMPLES, row, strict=True)}
        for row in table
    ]
