"""Scores the base and every expert by itself, on both splits: what there is before anything is searched.

Everything is loaded, checked and asked as in a search. The base is asked as the model that it is, with nothing added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.bootstrap import interval_of
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.kept_scores import KeptScores
from swarm_lightning.evaluation.progress import Watcher
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.objectives.protocol import HasTasks, Objective, Outcome
from swarm_lightning.objectives.reply_hints import hints_of
from swarm_lightning.objectives.utility import parts_of
from swarm_lightning.search.objective import check_tasks, prepare_objective
from swarm_lightning.search.parts import Parts
from swarm_lightning.search.settings import SearchSettings, settings_of
from swarm_lightning.search.strategy import ranks_of

BASE = "base"


@dataclass(frozen=True)
class SplitScore:
    """What one model scores on one split.

    Attributes:
        utility: Higher is better; -inf where its outputs are not finite.
        low: Lower end of the 95% interval, by the bootstrap over the examples.
        high: Upper end.
        parts: The utility of every task, where there are several.
    """

    utility: float
    low: float
    high: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AloneRow:
    """One model by itself.

    Attributes:
        name: The expert's name, or `base`.
        kind: `base` or `expert`.
        validation: On the split that guides a search.
        test: On the split that is held back; None where there is none.
    """

    name: str
    kind: str
    validation: SplitScore
    test: SplitScore | None


class ScoreAlone(L.LightningModule):
    """Scores base and experts in the validation loop of a trainer.

    Attributes:
        rows: What came out, the best on the validation split first; of equals in the order base, experts.
        hints: What the replies on the validation split suggest to change, in sentences.
        ranks: The processes that share the work; all of them after `setup`.
    """

    def __init__(self, settings: SearchSettings, objective: Objective) -> None:
        """Take the settings; nothing is read before `prepare_data`.

        Args:
            settings: Of a search that would begin with these experts; there may be one expert, or none.
            objective: What to ask.
        """
        super().__init__()
        self.rows: tuple[AloneRow, ...] = ()
        self.hints: tuple[str, ...] = ()
        self.ranks = Ranks()
        self._watcher: Watcher | None = None
        self._kept: Path | None = None
        self._keeping: KeptScores | None = None
        self._objective = objective
        # Experts are asked as they are, whatever the positions of the search would be.
        self._settings = replace(settings, coefficients=None, draws="particle", storage="memory")
        self._parts = Parts(self._settings, least_experts=0 if not settings.experts else 1)

    def watch(self, watcher: Watcher | None) -> None:
        """Let somebody know how evaluations go on; None for nobody."""
        self._watcher = watcher

    def keep_scores(self, folder: Path) -> None:
        """Keep what is found in a folder of its own until `forget_scores`, for the same command begun anew."""
        self._kept = folder

    def forget_scores(self) -> None:
        """Forget what was kept: it is written down; all ranks call it."""
        if self._keeping is not None:
            self._keeping.clear(self.ranks)

    def prepare_data(self) -> None:
        """Read the experts and check them against each other, before anything long starts."""
        _ = self._parts.pool
        check_tasks(self._objective, self._splits)

    def setup(self, stage: str) -> None:
        """Load the base, and check everything against it.

        Raises:
            InputError: If the experts do not fit the base, or the objective can't serve the examples.
        """
        self.ranks = ranks_of(self.trainer)
        device = self.trainer.strategy.root_device
        self._parts.load(self._objective, self.ranks, device, self._splits, replies=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave examples where they are: they are text."""
        return batch

    def validation_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score everything on the validation split, and on the test split of the data."""
        evaluator, test = self._parts.evaluator, self._splits.test
        evaluator.watcher, evaluator.seed = self._watcher, self.ranks.first(torch.initial_seed())
        if self._kept is not None:
            self._keeping = KeptScores(self._kept, self._identity())
            evaluator.keep(self._keeping)
        prepare_objective(self._objective, evaluator, self.ranks, batch)
        on_validation = self._ask(evaluator, batch)
        on_test = self._ask(evaluator, test) if test else None
        names = [*([BASE] if self._has_base else []), *self._parts.pool.names]
        kinds = [*([BASE] if self._has_base else []), *["expert"] * len(self._parts.pool.names)]
        tested: Sequence[SplitScore | None] = self._scores(on_test, test) if on_test else [None] * len(names)
        rows = [AloneRow(*row) for row in zip(names, kinds, self._scores(on_validation, batch), tested, strict=True)]
        self.rows = tuple(sorted(rows, key=lambda row: -row.validation.utility))
        self.hints = tuple(self._hints(on_validation, batch, names))

    @property
    def _splits(self) -> ExampleSplits:
        return self.trainer.datamodule.splits  # type: ignore[attr-defined]

    @property
    def _has_base(self) -> bool:
        """Whether there is a base to ask: nothing tells what unnamed full checkpoints started from."""
        return self._settings.base is not None

    def _identity(self) -> dict[str, Any]:
        """Return what the scores depend on beside models and examples, as plain values."""
        return {
            "base": self._parts.fingerprint,
            "dtype": self._settings.dtype,
            "backend": self._settings.engine.backend,
            "objective": settings_of(self._objective),
        }

    def _ask(self, evaluator: Evaluator, examples: Sequence[Example]) -> list[Evaluation]:
        """Ask the base, where there is one, and all experts."""
        pool = self._parts.pool
        asked = [evaluator.evaluate_base(examples)] if self._has_base else []
        if pool.names:
            vectors = [pool.vector(place) for place in range(len(pool.names))]
            # The replies of one model are enough to look at.
            asked.append(evaluator.evaluate(vectors, examples, whole_replies=not asked))
        return asked

    def _scores(self, asked: Sequence[Evaluation], examples: Sequence[Example]) -> list[SplitScore]:
        table = torch.cat([evaluation.scores for evaluation in asked])
        utilities = torch.cat([evaluation.utilities for evaluation in asked]).tolist()
        return [
            SplitScore(utility, *interval_of(self._objective, scores, examples), self._of_tasks(scores, examples))
            for utility, scores in zip(utilities, table, strict=True)
        ]

    def _of_tasks(self, scores: Tensor, examples: Sequence[Example]) -> dict[str, float]:
        return parts_of(self._objective, scores.tolist(), examples) if scores.isfinite().all() else {}

    def _hints(self, asked: Sequence[Evaluation], examples: Sequence[Example], names: Sequence[str]) -> list[str]:
        """Look at the replies of the base, or where there is none at those of the best expert."""
        place = int(asked[0].utilities.argmax())
        outcomes = [outcome for outcome in asked[0].outcomes[place] if outcome is not None]
        if not torch.isfinite(asked[0].utilities[place]):
            return []
        tasks = self._objective.tasks if isinstance(self._objective, HasTasks) else {"": self._objective}
        found = []
        for task, objective in tasks.items():
            places = [index for index, example in enumerate(examples) if task in ("", example.task)]
            some: list[Outcome] = [outcomes[index] for index in places]
            of_task = [examples[index] for index in places]
            if some:
                scores = torch.tensor([outcome.score for outcome in some], dtype=torch.float64)
                sure = interval_of(objective, scores, of_task)
                told = hints_of(names[place], objective, of_task, some, sure, self._parts.tokenizer)
                found += [f"{task}: {hint}" if task else hint for hint in told]
        return found


def check_asked(settings: SearchSettings) -> None:
    """Refuse to score nothing.

    Args:
        settings: Of the search that would begin.

    Raises:
        InputError: If there are neither a base nor experts.
    """
    if settings.base is None and not settings.experts:
        raise InputError(
            "Expected model.base, model.experts or both to be scored, but neither is set. Name the folder or hub id of "
            "the base, and a folder of experts."
        )
