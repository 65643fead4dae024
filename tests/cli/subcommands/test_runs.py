"""`swarm runs`, on a real run and on folders as runs leave them."""

from pathlib import Path

import pytest

from swarm_lightning.cli.main import main
from tests.cli.conftest import Run
from tests.search.tiny_search import load_checkpoint


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


def test_particles_are_ranked_as_the_checkpoint_knows_their_personal_bests(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["runs", str(finished.folder)])
    printed = capsys.readouterr().out
    memory = load_checkpoint(finished.folder)["optimizer_states"][0]["state"][0]
    bests: list[float] = memory["personal_best_utilities"].tolist()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line[:1] == "│"]
    assert {int(row[1]): row[2] for row in rows} == {place: f"{best:.4f}" for place, best in enumerate(bests)}
    assert [float(row[2]) for row in rows] == sorted((float(row[2]) for row in rows), reverse=True)
    assert f"swarm export {finished.folder} --particle {rows[0][1]}" in printed


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([str(tmp_path)], [str(tmp_path / "nowhere")], ["--al"]):
        with pytest.raises(SystemExit) as exit_:
            main(["runs", *words])
        assert exit_.value.code == 2
        assert capsys.readouterr().err.startswith("swarm: ")
