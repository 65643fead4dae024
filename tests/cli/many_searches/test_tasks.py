"""`swarm compare` and `swarm sweep` on several tasks: ordinary ones of each task, and one table of all."""

import json
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.cli.many_searches.tasks import read_tasks
from swarm_lightning.errors import InputError
from tests.baselines.counting import asked
from tests.search.tiny_search import World, read_rows, run_swarm

CONFIG: dict[str, Any] = {"model": {"objective": None, "optimizer": {"init_args": {"lr": 1}}}, "data": {"dataset": "a"}}


def config_of(world: World, root: Path, **sections: Any) -> dict[str, Any]:
    objective = {"class_path": "tests.baselines.counting.CountingMatch"}
    return world.config(root, model={"objective": objective}, trainer={"max_steps": 1}, **sections)


@pytest.fixture(scope="module")
def tasks(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two tasks: the examples of the world, and the same in another order with fewer to test."""
    folder = tmp_path_factory.mktemp("tasks")
    splits = {split: world.split(split) for split in ("dev", "test")}
    (folder / "first.json").write_text(json.dumps(splits))
    (folder / "second.json").write_text(json.dumps({"dev": splits["dev"][::-1], "test": splits["test"][::2]}))
    return {name: str(folder / f"{name}.json") for name in ("first", "second")}


@pytest.fixture(scope="module")
def compared(
    world: World, tasks: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], str]:
    root = tmp_path_factory.mktemp("compared")
    own = {"methods": ["best_expert", "model_swarm"], "seeds": [3], "resamples": 100, "export": False}
    config = config_of(world, root, compare={**own, "tasks": list(tasks.values()), "published": {"first": 0.25}})
    return config, run_swarm(config, "compare", root)


def test_a_comparison_of_tasks_has_the_rows_of_each_and_their_mean(compared: tuple[dict[str, Any], str]) -> None:
    config, printed = compared
    folder = Path(config["trainer"]["default_root_dir"]) / "version_0"
    rows = {row["title"]: row for row in read_rows(folder / "tasks.csv")}
    assert list(rows) == ["best single expert", "model swarm", "model swarm, published"]
    for title, row in list(rows.items())[:2]:
        scores = []
        for task in ("first", "second"):
            (own,) = (one for one in read_rows(folder / task / "compare.csv") if one["title"] == title)
            assert row[task] == own["test"]
            scores.append(float(own["test"]))
        assert float(row["mean"]) == pytest.approx(sum(scores) / 2)
        assert float(row["mean_low"]) <= float(row["mean"]) <= float(row["mean_high"])
    assert rows["model swarm, published"]["first"] == "0.25"
    assert "| model swarm, published | 0.2500 |" in (folder / "tasks.md").read_text()
    page = (folder / "report.html").read_text()
    assert "model swarm, published" in page
    assert '<a href="second/report.html">second</a>' in page
    assert "model swarm, published  0.250" in printed


@pytest.mark.slow
def test_a_comparison_of_tasks_goes_on_and_asks_nothing_twice(compared: tuple[dict[str, Any], str]) -> None:
    config, _ = compared
    root = Path(config["trainer"]["default_root_dir"])
    before, table = asked(), (root / "version_0" / "tasks.csv").read_bytes()
    printed = run_swarm(config, "compare", root, "--compare.output", "last")
    assert asked() == before
    assert printed.count("kept from before") == 4
    assert (root / "version_0" / "tasks.csv").read_bytes() == table
    assert not (root / "version_1").exists()


@pytest.mark.slow
def test_a_sweep_of_tasks_has_the_best_search_of_each(world: World, tasks: dict[str, str], tmp_path: Path) -> None:
    own = {"study": "both", "trials": 1, "tasks": {"one": tasks["first"], "two": {"data.dataset": tasks["second"]}}}
    run_swarm(config_of(world, tmp_path, sweep={**own, "published": {"two": 0.125}}), "sweep", tmp_path)
    rows = {row["title"]: row for row in read_rows(tmp_path / "both" / "tasks.csv")}
    assert list(rows) == ["best initial expert", "best found expert", "best found expert, published"]
    for task in ("one", "two"):
        (trial,) = read_rows(tmp_path / "both" / f"both_{task}" / "sweep.csv")
        assert rows["best found expert"][task] == trial["test_utility"]
        assert rows["best initial expert"][task] == trial["initial_test_utility"]
    gains = [
        json.loads(path.read_text())["test"][1]["gain"] for path in tmp_path.glob("both/*/trial_0000/summary.json")
    ]
    mean = sum(gain["difference"] for gain in gains) / len(gains)
    assert float(rows["best found expert"]["difference"]) == pytest.approx(mean)
    assert rows["best found expert, published"]["two"] == "0.125"


def test_what_is_wrong_with_the_last_task_shows_before_the_first_is_run(
    world: World, tasks: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = {"tasks": [tasks["first"], str(tmp_path / "other.csv")], "methods": ["best_expert"]}
    with pytest.raises(SystemExit, match="2"):
        run_swarm(config_of(world, tmp_path / "runs", compare=compare), "compare", tmp_path)
    assert "Task other: Expected a file or folder" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_config_gives_its_objective_and_its_data(tmp_path: Path) -> None:
    (tmp_path / "sums.yaml").write_text(
        "model: {base: other, objective: {class_path: ExactMatch}}\ndata: {dataset: sums.csv}\nstop: {patience: 3}\n"
    )
    read = read_tasks([str(tmp_path / "sums.yaml"), "demo:tasks/atlas.json"], CONFIG, "compare.tasks")
    assert read == {
        "sums": {"model.objective": {"class_path": "ExactMatch"}, "data.dataset": "sums.csv"},
        "atlas": {"data.dataset": "demo:tasks/atlas.json"},
    }
    read = read_tasks({"fast": {"model.optimizer.lr": 2}, "slow": {}}, CONFIG, "compare.tasks")
    assert read == {"fast": {"model.optimizer.init_args.lr": 2}, "slow": {}}


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (["a/qa.csv", "b/qa.csv"], "files of different names"),
        (["qa.csv"], "two tasks or more"),
        (["qa.csv", "nowhere.yaml"], "Correct the path, or the file"),
        ({"a/b": "qa.csv", "c": "qa.csv"}, "but got 'a/b'"),
        ({"mean": "qa.csv", "c": "qa.csv"}, "but got 'mean'"),
        ({"a": 1, "c": "qa.csv"}, "but got 1"),
        ({"a": {"data.datset": "x"}, "c": "qa.csv"}, "Did you mean 'data.dataset'"),
    ],
)
def test_tasks_that_can_not_be_meant_are_refused(tasks: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_tasks(tasks, CONFIG, "compare.tasks")
