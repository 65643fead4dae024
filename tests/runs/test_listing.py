"""What the small files of run folders tell: written here as runs write them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.runs.listing import list_runs, rank_particles, read_run_state

# Particle 0 is left open in iteration 1, particle 1 rises to what particle 2 had before, particle 2 breaks.
HISTORY = (
    "iteration,global_best,utility/particle_00,utility/particle_01,utility/particle_02,at_most/particle_00\n"
    "0,0.5,0.25,0.125,0.5,0.25\n"
    "1,0.5,,0.5,-inf,0.25\n"
)
HOLD = (
    "import fcntl, os, sys\nnumber = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
    "fcntl.lockf(number, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()\n"
)


def run_folder(root: Path, version: int, history: str = HISTORY) -> Path:
    folder = root / f"version_{version}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("model: {}\n", encoding="utf-8")
    if history:
        (folder / "history.csv").write_text(history, encoding="utf-8")
    return folder


def test_particles_are_ranked_by_personal_best_and_of_equals_the_earlier_first(tmp_path: Path) -> None:
    ranked = rank_particles(run_folder(tmp_path, 0))
    assert [(one.particle, one.utility, one.iteration) for one in ranked] == [(2, 0.5, 0), (1, 0.5, 1), (0, 0.25, 0)]


def test_the_state_of_a_run_follows_from_its_files(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, 0)
    assert read_run_state(folder).state == "begun"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert read_run_state(folder).state == "stopped"
    (folder / "run.json").write_text('{"state": "testing"}')  # killed, and nothing holds the folder any more
    assert read_run_state(folder).state == "stopped"
    gain = {"difference": 0.1, "low": -0.02, "high": 0.2, "within_noise": True}
    rows = [{"name": "best initial expert", "utility": 0.4}, {"name": "best found expert", "utility": 0.5}]
    summary = {"validation": rows, "test": [rows[0], {**rows[1], "utility": 0.45, "gain": gain}]}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert read_run_state(folder).state == "stopped"  # the summary is that of an earlier end
    (folder / "run.json").unlink()
    run = read_run_state(folder)
    assert (run.state, run.iterations, run.validation, run.test) == ("ended", 1, 0.5, 0.45)
    assert (run.gain, run.within_noise) == ((0.1, -0.02, 0.2), True)


def test_a_run_that_another_process_holds_is_running_and_stays_undisturbed(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, 0)
    command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert read_run_state(folder).state == "running"
        assert read_run_state(folder).state == "running"
        holder.communicate("")
    assert read_run_state(folder).state == "begun"  # the file that a killed process leaves means nothing


def test_the_newest_run_comes_first_wherever_it_lies(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / "b", 0), run_folder(tmp_path / "a", 3), run_folder(tmp_path / "a", 12, history="")]
    for age, folder in enumerate(folders):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (1000 - age, 1000 - age))
    runs = list_runs(tmp_path)
    assert [run.folder for run in runs] == folders
    assert (runs[2].validation, runs[2].iterations) == (None, 0)


def test_what_can_not_be_read_is_refused_by_name(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, 0, "iteration,step,start\n0,0,0.5\n")
    with pytest.raises(InputError, match="Expected a run with particles"):
        rank_particles(folder)
    (folder / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json"):
        list_runs(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        list_runs(tmp_path / "nowhere")
