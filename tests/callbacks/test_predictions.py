"""The file of answers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from swarm_lightning.callbacks import PredictionWriter


def test_answers_are_one_json_object_a_line_and_an_earlier_file_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [{"id": str(place), "question": f"[bold]{place}?", "prompt": "p", "reply": "é\n"} for place in range(3)]
    trainer = cast(Any, SimpleNamespace(default_root_dir=str(tmp_path / "run"), is_global_zero=True))
    for _ in range(2):
        PredictionWriter().write_on_epoch_end(trainer, cast(Any, None), [answers[:2], answers[2:]], [])
    for name in ("predictions.jsonl", "predictions_1.jsonl"):
        lines = (tmp_path / "run" / name).read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == answers
    printed = capsys.readouterr().out
    assert "'[bold]2?' -> 'é\\n'" in printed
    assert "3 answers:" in printed
