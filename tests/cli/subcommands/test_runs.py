"""`swarm runs`, on real runs: ended, going on, and stopped in every way."""

from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli.main import main
from tests.cli.conftest import Run, rows_of_runs, states_below
from tests.forked_ranks import ForkedRanks
from tests.search.killed import Counted
from tests.search.tiny_search import World, load_checkpoint

# Runs in a forked process. SIGUSR2 lets the real command look at the run while it goes on.
LOOKED_AT = """
import os, signal, subprocess, sys
from swarm_lightning.cli.main import main

root = os.environ["ROOT"]
look = [sys.executable, "-m", "swarm_lightning", "runs", root]
signal.signal(signal.SIGUSR2, lambda *_: subprocess.run(look, check=True))
main([*ARGUMENTS, "--trainer.default_root_dir", root])
"""
# What happens at which call of the objective, by the state that follows. Calls 1 to 4 score the first positions, 6
# begins iteration 1.
ENDS = {
    "running": "8 SIGUSR2 0",
    "interrupted": "8 SIGTERM 0",
    "stopped": "8 SIGKILL 0",  # after the first checkpoint
    "begun": "1 SIGKILL 0",
    "failed": "8 NO_SIGNAL 0",  # the objective raises an AttributeError
}


def test_the_runs_below_a_folder_are_listed_with_their_scores(
    finished: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished.root.parent)
    main(["runs"])
    printed = capsys.readouterr().out
    memory = load_checkpoint(finished.folder)["optimizer_states"][0]["state"][0]
    assert "runs/version_0" in printed
    assert "ended" in printed
    assert f"{float(memory['personal_best_utilities'].max()):.4f}" in printed
    assert "\x1b" not in printed


@pytest.mark.slow
def test_the_state_says_how_a_run_was_stopped(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    engine = {"rows": 10, "lots": 4, "chunk": 2}
    config = world.config(tmp_path, model={"engine": engine}, trainer={"max_steps": 1})
    config["model"]["objective"] = {"class_path": f"{Counted.__module__}.Counted", "init_args": {"max_new_tokens": 6}}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))
    environments = [
        {"AT_CALL": at_call, "ROOT": str(tmp_path / state), "ASKED": str(tmp_path / f"{state}.txt")}
        for state, at_call in ENDS.items()
    ]
    ended = forked_ranks.run(environments, LOOKED_AT, ["fit", "--config", str(tmp_path / "search.yaml")])
    assert [one.code for one in ended] == [0, 143, -9, -9, 2], [one.err for one in ended]
    assert [row[1:3] for row in rows_of_runs(ended[0].out) if "version_0" in row[0]] == [["running", "0"]]
    states = {f"{state}/version_0": state for state in ENDS}
    assert states_below(tmp_path) == {**states, "running/version_0": "ended"}


def test_particles_are_ranked_as_the_checkpoint_knows_their_personal_bests(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["runs", str(finished.folder)])
    printed = capsys.readouterr().out
    memory = load_checkpoint(finished.folder)["optimizer_states"][0]["state"][0]
    bests: list[float] = memory["personal_best_utilities"].tolist()
    rows = rows_of_runs(printed)
    assert {int(row[1]): row[2] for row in rows} == {place: f"{best:.4f}" for place, best in enumerate(bests)}
    assert [float(row[2]) for row in rows] == sorted((float(row[2]) for row in rows), reverse=True)
    assert f"swarm export {finished.folder} --particle {rows[0][1]}" in printed


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([str(tmp_path)], [str(tmp_path / "nowhere")], ["--al"]):
        with pytest.raises(SystemExit) as exit_:
            main(["runs", *words])
        assert exit_.value.code == 2
        assert capsys.readouterr().err.startswith("swarm: ")
