"""Runs that SLURM asks to end; how a signal ends a run elsewhere stands in `tests/search/test_kill_anywhere.py`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.forked_ranks import ForkedRanks, srun_environments
from tests.search.killed import Counted, questions_in
from tests.search.tiny_search import World, read_rows

SETTINGS: dict[str, Any] = {"model": {"engine": {"rows": 10, "lots": 4, "chunk": 2}}, "trainer": {"max_steps": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("reachable", [True, False])
def test_slurms_signal_ends_a_run_between_two_lots_and_asks_for_its_place_again(
    world: World, forked_ranks: ForkedRanks, tmp_path: Path, reachable: bool
) -> None:
    config = world.config(tmp_path / "runs", **SETTINGS)
    config["model"]["objective"] = {"class_path": f"{Counted.__module__}.Counted", "init_args": {"max_new_tokens": 6}}
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    if reachable:
        scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "requeued"}\n')
        scontrol.chmod(0o755)
    (environment,) = srun_environments(nodes=1, per_node=1)
    environment |= {"ASKED": str(tmp_path / "asked"), "PATH": f"{scontrol.parent}:/usr/bin:/bin"}
    (ended,) = forked_ranks.swarm([{**environment, "AT_CALL": "8 SIGUSR1 0"}], "fit", "--config", str(path))
    assert ended.code == 138, ended.err
    folder = tmp_path / "runs" / "version_0"
    assert not list(folder.rglob("hpc_ckpt*")), "Lightning's checkpoint from the middle of a move"
    assert (folder / "checkpoints" / "last.ckpt").exists()
    if reachable:
        assert (tmp_path / "requeued").read_text() == "requeue 4711\n"
    else:
        assert "SLURM does not start job 4711 again" in ended.err
    # As SLURM starts it again: the same command, with --ckpt_path last.
    before = sum(questions_in(tmp_path / "asked").values())
    (ended,) = forked_ranks.swarm([environment], "fit", "--config", str(path), "--ckpt_path", "last")
    assert ended.code == 0, ended.err
    assert [row["iteration"] for row in read_rows(folder / "history.csv")] == ["0", "1", "2"]
    assert sum(questions_in(tmp_path / "asked").values()) > before
