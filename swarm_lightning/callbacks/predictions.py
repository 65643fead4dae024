"""Writes the best expert's answers of `swarm predict` to a JSON Lines file in the run folder, and prints them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter

from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.runs.run_folder import free_path
from swarm_lightning.shown import say

PREDICTIONS = "predictions.jsonl"


class PredictionWriter(BasePredictionWriter):
    """Writes one line per prompt: `id`, `question`, `prompt` as the model saw it, and `reply`."""

    def __init__(self) -> None:
        super().__init__(write_interval="epoch")

    def write_on_epoch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write all answers into a file that no earlier run has written."""
        if not trainer.is_global_zero:
            return
        answers = [answer for batch in predictions for answer in batch]
        write_predictions(Path(trainer.default_root_dir), answers)


def write_predictions(folder: Path, answers: Sequence[Mapping[str, Any]]) -> None:
    """Write answers into a file that no earlier run has written, and print them.

    Args:
        folder: Gets the file; made if it is not there.
        answers: With `question` and `reply`, one for each prompt.

    Raises:
        StorageError: If it can't be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = free_path(folder / PREDICTIONS)
    write_whole(path, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))
    for answer in answers:
        say(f"{answer['question']!r} -> {answer['reply']!r}")
    say(f"{len(answers)} answers: {path}")
