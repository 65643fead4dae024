"""Runs the command `swarm` where it should refuse, and holds it to what every refusal promises."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.cli.main import main
from tests.search.tiny_search import World, calm_process, content

# Prepares files below a folder and returns further arguments.
Case = Callable[[World, Path], Sequence[str]]


def message_of(
    config: dict[str, Any] | str | bytes,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    subcommand: str = "fit",
) -> str:
    """Return the one message that a command ends with: code 2, no traceback, nothing written."""
    path, runs = folder / "search.yaml", folder / "runs"
    text = yaml.safe_dump(config) if isinstance(config, dict) else config
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = content(runs)
    capsys.readouterr()
    with calm_process(), pytest.raises(SystemExit) as exit_:
        main([subcommand, "--config", str(path), *arguments])
    told = capsys.readouterr().err
    assert exit_.value.code == 2, told
    assert "Traceback" not in told
    assert "usage:" not in told
    lines = told.splitlines()
    assert [line for line in lines if line.startswith(("swarm: ", "error: "))] == [
        line for line in lines if line.startswith("swarm: ")
    ]
    assert sum(line.startswith("swarm: ") for line in lines) == 1, told
    assert content(runs) == before
    assert runs.exists() == bool(before)
    return told[told.index("swarm: ") :]
