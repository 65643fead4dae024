"""Keeps what the best experts reply: `replies/validation.parquet` and `replies/test.parquet`.

One row per example and expert, of the best initial expert and of the best found one: the question as the model saw it,
the reply, what was read out of it, and the score. The validation split is asked once more for it when the search has
ended; replies to the test split are those that the summary is made of.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from swarm_lightning.data.examples import Example
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.objectives.protocol import Outcome
from swarm_lightning.runs.run_folder import REPLIES
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.results import FOUND, INITIAL

TEXTS = ("id", "task", "question", "prompt", "choices", "gold", "expert", "which", "reply", "answer")


class Replies(L.Callback):
    """Writes the replies of the best initial and the best found expert when a search has ended."""

    def __init__(self, validation: bool = True, test: bool = True) -> None:
        """Choose which replies are kept.

        Args:
            validation: Those to the split that guided the search: two evaluations of it more. Never in a sweep.
            test: Those to the split that was held back.
        """
        self.validation = validation
        self.test = test

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask where that has not been done, on all ranks, and write."""
        assert isinstance(pl_module, ModelSwarm)
        if pl_module.splits is None:
            return
        splits = {}
        if self.validation:
            splits["validation"] = (pl_module.splits.validation, pl_module.bests.ask(pl_module.splits.validation))
        if self.test and pl_module.held_back:
            pl_module.result(pl_module.held_back)  # asked by all ranks, if it was not
            splits["test"] = (tuple(pl_module.held_back), pl_module.state.tested)
        if not trainer.is_global_zero:
            return
        names = (pl_module.pool.names[pl_module.best_initial], pl_module.particle_swarm.found_name)
        folder = Path(trainer.default_root_dir) / REPLIES
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for split, (examples, outcomes) in splits.items():
            rows = _rows(pl_module, examples, outcomes, names)
            write_whole(folder / f"{split}.parquet", _parquet(rows))


def _rows(
    module: ModelSwarm, examples: Sequence[Example], outcomes: Sequence[Sequence[Outcome]], names: tuple[str, str]
) -> list[dict[str, Any]]:
    prompts = [module.objective.prompt(example, module.tokenizer) for example in examples]
    return [
        {
            "id": example.identifier,
            "task": example.task,
            "question": example.question,
            "prompt": prompt,
            "choices": None if example.choices is None else json.dumps(dict(example.choices), ensure_ascii=False),
            "gold": example.answer,
            "expert": expert,
            "which": which,
            "reply": outcome.reply,
            "answer": outcome.answer,
            "score": outcome.score,
        }
        for expert, which, of_expert in zip((INITIAL, FOUND), names, outcomes, strict=True)
        for example, prompt, outcome in zip(examples, prompts, of_expert, strict=True)
    ]


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([*((name, pyarrow.string()) for name in TEXTS), ("score", pyarrow.float64())])
    columns = {name: [_text(row[name]) for row in rows] for name in TEXTS}
    content = io.BytesIO()
    parquet.write_table(pyarrow.table({**columns, "score": [row["score"] for row in rows]}, schema=schema), content)
    return content.getvalue()


def _text(value: Any) -> str | None:
    """Return a text that UTF-8 can hold: half a surrogate pair becomes an escape."""
    return None if value is None else str(value).encode("utf-8", "backslashreplace").decode()
