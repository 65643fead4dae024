"""How the best has risen in a comparison and in several runs, from files written by hand."""

import json
from pathlib import Path

import pytest

from swarm_lightning.report.run import Run, open_run
from swarm_lightning.report.sections import diamonds
from swarm_lightning.report.so_far import methods_so_far, rise_of, runs_so_far

COLUMNS = "iteration,global_best,evaluations,evaluation_seconds"


def write_search(folder: Path, bests: list[float], more: str = "") -> Run:
    folder.mkdir(parents=True)
    rows = [f"{place},{best},{100 if place == 0 else 50},1.0{more}" for place, best in enumerate(bests)]
    head = COLUMNS + (",global_best_by_objective" if more else "")
    (folder / "history.csv").write_text("\n".join([head, *rows, ""]))
    return Run(folder, "search")


@pytest.fixture
def comparison(tmp_path: Path) -> Run:
    (tmp_path / "compare.csv").write_text(
        "method,title,validation,test,evaluations,sign\n"
        "greedy_soup,greedy soup,0.5,0.4,300,\nrandom_search,random search,0.6,0.45,210,\n"
        "model_swarm,model swarm,0.7,0.55,200,\n"
    )
    results: dict[str, dict[str, object]] = {
        "greedy_soup": {"seed": None, "evaluations": 300},  # as an earlier version has written it
        "random_search": {"seed": 1, "evaluations": 210, "climb": [[100, 0.4], [150, 0.6]]},
        "model_swarm": {"seed": 1, "evaluations": 200, "climb": []},
    }
    (tmp_path / "results").mkdir()
    for method, result in results.items():
        (tmp_path / "results" / f"{method}.json").write_text(json.dumps({"method": method, **result}))
    write_search(tmp_path / "model_swarm" / "seed_1", [0.3, 0.3, 0.7])
    return open_run(tmp_path)


def test_the_methods_that_search_rise_over_their_evaluations_to_a_test_score(comparison: Run) -> None:
    figure = methods_so_far(comparison)
    assert figure is not None
    rows = figure.data[["what", "split", "evaluations", "utility"]].values.tolist()
    assert rows == [
        ["model swarm", "validation", 100, 0.3],
        ["model swarm", "validation", 150, 0.3],
        ["model swarm", "validation", 200, 0.7],
        ["random search", "validation", 100, 0.4],
        ["random search", "validation", 150, 0.6],
        ["random search", "validation", 210, 0.6],
        ["random search", "test", 210, 0.45],
        ["model swarm", "test", 200, 0.55],
    ]


def test_a_comparison_of_an_earlier_version_has_no_rises(comparison: Run) -> None:
    (comparison.folder / "results" / "random_search.json").unlink()
    (comparison.folder / "model_swarm" / "seed_1" / "history.csv").unlink()
    assert methods_so_far(open_run(comparison.folder)) is None


def test_beside_a_guide_the_objective_counts(tmp_path: Path) -> None:
    run = write_search(tmp_path / "guided", [-2.0, -1.0], more=",0.25")
    assert rise_of(run).values.tolist() == [[100, 0.25], [150, 0.25]]


def test_runs_are_drawn_together_where_two_have_something_to_draw(tmp_path: Path) -> None:
    first, second = (write_search(tmp_path / name, [0.1, 0.2]) for name in ("one", "two"))
    figure = runs_so_far([first, second])
    assert figure is not None
    assert figure.data.utility.tolist() == [0.1, 0.2, 0.1, 0.2]
    assert figure.data.evaluations.tolist() == [100, 150, 100, 150]
    assert runs_so_far([first]) is None


def test_several_runs_say_how_many_winners_began_low(tmp_path: Path) -> None:
    runs = []
    for name, starts in (("one", [0.4, 0.3, 0.2, 0.1]), ("two", [0.1, 0.2, 0.3, 0.4])):
        folder = tmp_path / name
        folder.mkdir()
        ends = [0.5, *starts[1:]]  # the first particle wins
        head = "iteration,global_best,evaluations,evaluation_seconds," + ",".join(
            f"utility/particle_{place:02d}" for place in range(4)
        )
        rows = [f"{k},{max(own)},4,1.0," + ",".join(map(str, own)) for k, own in enumerate((starts, ends))]
        (folder / "history.csv").write_text("\n".join([head, *rows, ""]))
        runs.append(Run(folder, "search"))
    assert "Of 2 winners, 1 began in the lower half of its search's particles, 1 as the best of them." in diamonds(runs)
