"""The page, its figures and its numbers, and that it never costs a search anything."""

import csv
import json
import shutil
from pathlib import Path

import pandas
import pytest

from swarm_lightning.callbacks import History, RunRecord, Summary
from swarm_lightning.cli import main
from swarm_lightning.report.figures import OF_RUN
from swarm_lightning.report.lacking import all_drawn
from swarm_lightning.report.live import LivePage, Renewal, renew
from swarm_lightning.report.notebook import read_run
from swarm_lightning.report.page import LARGEST, render
from swarm_lightning.report.sections import sentence
from tests.search.tiny_search import World, search

pytest.importorskip("vl_convert")
LONG = ' class="long"'


def test_the_command_writes_a_page_figures_and_the_numbers_behind_them(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(finished), "--out", str(tmp_path / "page.html"), "--figures", str(tmp_path / "figures")])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"Page: {tmp_path / 'page.html'}" in capsys.readouterr().out
    assert len(page.encode()) < LARGEST
    assert "<script>document.title" not in page
    assert "http-equiv" not in page, "a run that has ended is not read again"
    names = {"climb", "scores", "map", "made_of", "diversity"}
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "png", "csv")}
    with (tmp_path / "figures" / "climb.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = [float(row["personal_best"]) for row in rows]
    assert best == pandas.read_parquet(finished / "history.parquet").personal_best.tolist()
    assert float(rows[-1]["best_so_far"]) == max(best)
    tests = [row["utility"] for row in json.loads((finished / "summary.json").read_text())["test"]]
    assert [float(rows[0][f"best_{kind}_expert_on_test"]) for kind in ("initial", "found")] == tests
    gain = json.loads((finished / "summary.json").read_text())["test"][1]["gain"]
    assert f"{100 * gain['difference']:+.1f} points on test (95%: {100 * gain['low']:+.1f} to" in page


def test_runs_stand_side_by_side(finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "version_1"))
    main(["report", str(finished), str(other), "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 runs" in page
    assert 'id="climb_0"' in page
    assert 'id="climb_1"' in page
    assert 'id="together"' in page


def test_what_a_search_costs_is_told_by_part(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[History(), Summary(), RunRecord()], iterations=2)
    record, summary = (json.loads((tmp_path / name).read_text()) for name in ("run.json", "summary.json"))
    seconds = pandas.read_csv(tmp_path / "history.csv").evaluation_seconds
    page = render([read_run(tmp_path)], tmp_path)
    expected = {
        "loading": record["loading_seconds"],
        "evaluation of the first positions": seconds[0],
        "evaluation in the iterations": seconds[1:].sum(),
        "what else the search did": summary["seconds"] - seconds.sum(),
        "test and export": record["test_seconds"],
    }
    for name, value in expected.items():
        assert f'<td>seconds: {name}</td><td class="number" data-value="{round(value, 1)}">' in page.replace(LONG, "")
    assert record["peak_memory"] > 1e7
    assert f'data-value="{round(record["peak_memory"] / 1e6, 1)}"' in page


@pytest.mark.parametrize("name", ["history.csv", "run.json", "summary.json", "score_tables", "sketches", "replies"])
def test_a_run_that_lacks_something_has_a_page_of_the_rest(finished: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "version_0"))
    shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    main(["report", str(folder)])
    assert (folder / "report.html").is_file()


def test_what_is_by_a_guide_and_what_by_the_objective_is_named_and_drawn_apart(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "version_0"))
    history = pandas.read_csv(folder / "history.csv")
    history["global_best_by_objective"] = [0.25, None, 0.5, None, 0.625]
    history.to_csv(folder / "history.csv", index=False)
    plain, guided = (
        dict.fromkeys(figure.name for figure in all_drawn(OF_RUN, read_run(one))[0]) for one in (finished, folder)
    )
    assert list(guided) == ["climb", "by_objective", *list(plain)[1:]]
    climb, objective, *_ = all_drawn(OF_RUN, read_run(folder))[0]
    assert "on test" not in json.dumps(climb.spec), "test scores are no values of a guide"
    assert "validation utility by the guide" in json.dumps(climb.spec)
    assert objective.data.utility.tolist() == [0.25, 0.5, 0.625]
    assert json.dumps(objective.spec).count("expert on test") == 2
    page = render([read_run(folder)], tmp_path)
    figures = json.loads(page.split('id="figures">')[1].split("</script>")[0])
    assert "by_objective_0" in figures
    assert all(f'<div class="figure" id="{name}">' in page for name in figures), "a figure without a place is an error"
    (folder / "summary.json").unlink()
    assert "That is the guide's; the objective said 0.2500 at the start and has said 0.6250 since." in sentence(
        read_run(folder)
    )


def test_a_run_without_an_iteration_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed_everything: 0\n")
    (tmp_path / "history.csv").write_text("")
    main(["report", str(tmp_path)])
    assert "not scored yet" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("swarm: Expected a run folder")


def test_a_search_leaves_its_page_and_a_page_that_cannot_be_written_does_not_fail_it(
    world: World, tmp_path: Path
) -> None:
    search(world, tmp_path / "one", callbacks=[History(), RunRecord(), LivePage()], iterations=1)
    assert "Ended" in (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "two" / "report.html").mkdir(parents=True)
    search(world, tmp_path / "two", callbacks=[History(), RunRecord(), LivePage()], iterations=1)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["state"] == "ended"


def test_a_page_is_renewed_once_it_is_due(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, now = Path(shutil.copytree(finished, tmp_path / "version_0")), [1000.0]
    monkeypatch.setattr("swarm_lightning.report.live.time.monotonic", lambda: now[0])
    renewal = Renewal(every_seconds=60)
    assert not renewal.due
    now[0] += 30
    assert renewal.due
    renewal.renew(folder)
    assert (folder / "report.html").is_file()
    now[0] += 59
    assert not renewal.due
    now[0] += 1
    assert renewal.due


def test_several_searches_that_go_on_have_a_page_that_reloads_and_says_how_far_they_are(tmp_path: Path) -> None:
    sweep, comparison = tmp_path / "sweep", tmp_path / "comparison"
    for folder in (sweep, comparison):
        folder.mkdir()
    rows = "0,ended,0.5,9,1.5\n1,running,,,\n2,failed,,,\n"
    (sweep / "sweep.csv").write_text(f"trial,state,validation_utility,evaluations,seconds\n{rows}")
    (comparison / "compare.csv").write_text("title,sign,validation,seconds\nMean,,0.5,2\nSwarm,,0.75,10\n")
    for folder, told in ((sweep, "2 of 3 searches that were begun have ended"), (comparison, "2 methods so far")):
        renew(folder, going_on=True)
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert f"Running: {told}." in page
        assert 'http-equiv="refresh"' in page
        assert f'data-patience="{90 if folder == sweep else 260}"' in page  # 20 times the longest, and a minute
        renew(folder)
        assert "Running" not in (folder / "report.html").read_text(encoding="utf-8")


def test_no_page_is_written_where_none_is_wanted(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[History(), LivePage(every_seconds=None)], iterations=1)
    assert not (tmp_path / "report.html").exists()
