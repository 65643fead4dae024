"""Searches on utilities that are written down beforehand, without any model.

All else is real: the experts, the particles that move, Lightning's trainer, and the callbacks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.runner import Loaded, Rows, Session
from swarm_lightning.evaluation.runners import RUNNERS
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import LanguageModel, Outcome
from swarm_lightning.objectives.protocol import GenerationSettings
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.parts import Alone, Resident
from tests.evaluation.table_runner import TableRows, TableRunner, TableSession
from tests.search.tiny_search import World, search, write_dataset

EXPERTS = ("colours", "towns")
Script = Sequence[Sequence[float]]


class SaidNumber:
    """An objective whose scores are the numbers that a model says."""

    bounds = (0.0, 1.0)

    def check(self, examples: Sequence[Example], tokenizer: Any) -> None:
        pass

    def prompt(self, example: Example, tokenizer: Any) -> str:
        return example.question

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        replies = model.generate([example.question for example in examples], GenerationSettings(1))
        return [Outcome(reply, None, float(reply)) for reply in replies]


class NoModel(Alone):
    """Loads nothing."""

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        return Resident(cast(Any, None), cast(Any, None), "no model")


class ScriptSession(TableSession):
    models = 1

    def __init__(self, runner: "ScriptRunner", utilities: Sequence[float]) -> None:
        super().__init__(runner, [])
        self._utilities = utilities

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> Rows:
        return TableRows(self._runner, [str(self._utilities[candidate]) for candidate in candidates])


class ScriptRunner(TableRunner):
    """In evaluation k, candidate i says `script[k][i]` to everything; after the script, 0."""

    at_once: int | None = None
    positions: int | None = None

    def __init__(self, loaded: Loaded, script: Script) -> None:
        super().__init__(loaded.settings)
        self.tokenizer, self._script = loaded.tokenizer, list(script)

    @contextmanager
    def session(self, candidates: Sequence[Any] | None, prompts: Mapping[str, Sequence[str]]) -> Iterator[Session]:
        count = 1 if candidates is None else len(candidates)
        yield ScriptSession(self, self._script.pop(0) if self._script else [0.0] * count)


def scripted_search(world: World, folder: Path, script: Script, *callbacks: L.Callback, **settings: Any) -> ModelSwarm:
    """Search with two experts, a particle for every column of a script, and an iteration for every row but the first.

    Args:
        world: With the experts.
        folder: Of the run.
        script: Utilities; a multiple of a quarter is the mean of four scores exactly.
        callbacks: Of the trainer.
        settings: Further ones of the search.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RUNNERS, "script", lambda loaded: ScriptRunner(loaded, script))
        return search(
            world,
            folder,
            callbacks=callbacks,
            objective=SaidNumber(),
            experts=[str(world.experts / name) for name in EXPERTS],
            particles=len(script[0]),
            iterations=len(script) - 1,
            dataset=write_dataset(folder / "four.json", validation=4, test=1),
            engine=EngineSettings(backend="script", exact_stop=False),
            sharing=NoModel(),
            **settings,
        )
