"""Searches of a sweep over the number of ranks: each is a `swarm fit` of its own, which starts its ranks itself.

So they share nothing in memory and no first scores, and their times can be compared.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation import interruption
from swarm_lightning.files import storage_errors
from swarm_lightning.sweep.settings import SweepSettings
from swarm_lightning.sweep.space import put

RANKS = "trainer.devices"
LOG = "ranks.log"
LOOK = 0.2  # seconds between two looks whether a search has ended


def check_ranks(settings: SweepSettings) -> None:
    """Refuse what a sweep over the number of ranks can't do.

    Args:
        settings: Of the sweep.

    Raises:
        InputError: If its searches are to tell the sweep more than they leave in their run folders.
    """
    if settings.pruner != "none" or settings.also_test or settings.test != "all":
        raise InputError(
            f"Expected sweep.test: all, and neither a pruner nor sweep.also_test with {RANKS} in sweep.space, because "
            "each search is a `swarm fit` of its own then. Set them so."
        )


def run_apart(config: Mapping[str, Any], settings: Mapping[str, Any], folder: Path) -> None:
    """Run a search with its ranks in processes of its own; one that was interrupted begins anew.

    Args:
        config: Of `swarm fit`, as nested plain values.
        settings: What was drawn for this search.
        folder: The run folder that it leaves.

    Raises:
        InputError: If it failed, with its last words.
        Interrupted: If this process was asked to end; the search has been ended then.
    """
    root = folder.with_name(f"{folder.name}_begun")
    whole = put(config, settings)
    whole["trainer"]["default_root_dir"] = str(root)
    with storage_errors(root):
        for left in (root, folder):
            shutil.rmtree(left, ignore_errors=True)
        root.mkdir(parents=True)
        (root / "config.yaml").write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        log = root / LOG
        with log.open("wb") as file:
            command = [sys.executable, "-m", "swarm_lightning", "fit", "--config", str(root / "config.yaml")]
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        while process.poll() is None:
            interruption.check()
            try:
                process.wait(LOOK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        words = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise InputError(f"{words[-1] if words else 'It said nothing.'} Its full output is in {log}.")
    with storage_errors(folder):
        (root / "version_0").rename(folder)
        log.rename(folder / LOG)
        shutil.rmtree(root)
