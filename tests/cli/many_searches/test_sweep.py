"""The command `swarm sweep`: every search is an ordinary one, nothing is asked twice, and the best is what it says."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from swarm_lightning.locks import lock_if_free
from tests.cli.conftest import states_below
from tests.cli.refused import message_of
from tests.search.tiny_search import TIMINGS, World, content, load_checkpoint, read_rows, run_swarm

KEYS = [f"model.optimizer.init_args.{name}" for name in ("inertia", "cognitive", "social", "repel", "lr")]
FACTS = ("trial", "state", "validation_utility", "iterations", "evaluations", "taken", *KEYS)


def config_of(world: World, root: Path, trials: int | None = 3, **sweep: Any) -> dict[str, Any]:
    config = world.config(
        root,
        model={"engine": {"exact_stop": False}},
        trainer={"max_steps": 2},
        sweep={"trials": trials, "study": "small", **sweep},
    )
    config["model"]["objective"]["init_args"] |= {"rule": "regex", "pattern": "([aeist])"}
    return config


def table(root: Path) -> list[dict[str, str]]:
    return read_rows(root / "small" / "sweep.csv")


def facts(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: row[name] for name in FACTS if name in row} for row in rows]


@pytest.fixture(scope="module")
def swept(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three searches over the published space."""
    folder = tmp_path_factory.mktemp("swept")
    run_swarm(config_of(world, folder), "sweep", folder)
    return folder


def test_a_sweep_reports_every_search_and_the_best_with_its_test_score(world: World, swept: Path) -> None:
    rows = table(swept)
    assert [row["state"] for row in rows] == ["ended"] * 3
    assert states_below(swept) == {f"small/trial_{number:04d}": "ended" for number in range(3)}
    published = ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.4, 0.5, 0.6], [0.01, 0.05, 0.1])
    for row in rows:
        assert all(float(row[key]) in values for key, values in zip(KEYS[:4], published, strict=True))
        identity = load_checkpoint(Path(row["folder"]))["swarm_lightning"]["identity"]
        assert all(identity["optimizer"][key.rpartition(".")[2]] == float(row[key]) for key in KEYS)
    assert len({tuple(row[key] for key in KEYS) for row in rows}) > 1
    best = max(rows, key=lambda row: float(row["validation_utility"]))  # the first of equals
    assert [row["trial"] for row in rows if row["test_utility"]] == [best["trial"]]

    exported = swept / "small" / "best_expert"
    found = world.replies(world.load(exported), "test")
    first = [next((letter for letter in reply if letter in "aeist"), None) for reply in found]
    right = [record["answer"] == said for record, said in zip(world.split("test"), first, strict=True)]
    assert float(best["test_utility"]) == pytest.approx(sum(right) / len(right), abs=1e-12)
    weights = "adapter_model.safetensors"
    assert (exported / weights).read_bytes() == (Path(best["folder"]) / "best_expert" / weights).read_bytes()
    report = (swept / "small" / "sweep.md").read_text()
    drawn = ", ".join(f"{key.rpartition('.')[2]} {best[key]}" for key in KEYS)
    assert f"trial {best['trial']} ({drawn}), {float(best['validation_utility']):.4f} on validation" in report
    summary = json.loads((Path(best["folder"]) / "summary.json").read_text())
    initial = [f"{summary[split][0]['utility']:.4f} on {split}" for split in ("validation", "test")]
    assert f"Its best initial expert, {summary['test'][0]['detail']}: {', '.join(initial)}." in report.replace("\\", "")
    highest = [row["trial"] for row in rows if row["validation_utility"] == best["validation_utility"]]
    equal = f"Equal on validation: trials {', '.join(highest)}; the first of them is taken."
    assert (equal in report) == (len(highest) > 1)


def test_first_positions_are_asked_once_for_all_searches(swept: Path) -> None:
    rows = table(swept)
    # 5 particles, 8 examples, 2 iterations, everything asked; the 40 of the first positions by one search only.
    assert [(row["evaluations"], row["taken"]) for row in rows] == [("120", "0"), ("80", "40"), ("80", "40")]
    assert "Budget: 280 (particle, example) evaluations" in (swept / "small" / "sweep.md").read_text()


def test_a_search_of_a_sweep_is_the_search_of_its_config(swept: Path, tmp_path: Path) -> None:
    alone = yaml.safe_load((swept / "small" / "trial_0002" / "config.yaml").read_text())
    alone["trainer"]["default_root_dir"] = str(tmp_path / "alone")
    run_swarm(alone, "fit", tmp_path)
    skipped = TIMINGS | {"evaluations", "evaluated", "generated_tokens", "forward_passes"}
    first, second = (
        [{name: value for name, value in row.items() if name not in skipped} for row in read_rows(path / "history.csv")]
        for path in (swept / "small" / "trial_0002", tmp_path / "alone" / "version_0")
    )
    assert first == second


@pytest.mark.slow
def test_a_finished_sweep_is_left_as_it_is_and_can_be_made_longer(world: World, swept: Path, tmp_path: Path) -> None:
    config = config_of(world, tmp_path, trials=2)
    run_swarm(config, "sweep", tmp_path)
    before = {name: data for name, data in content(tmp_path / "small").items() if name.startswith("trial_")}
    run_swarm(config, "sweep", tmp_path)
    assert {name: content(tmp_path / "small")[name] for name in before} == before
    (tmp_path / "small" / "trial_0000" / "state").mkdir()  # as of a swarm on the disk
    run_swarm(config, "sweep", tmp_path, "--sweep.trials", "3", "--sweep.keep_checkpoints", "best")
    assert facts(table(tmp_path)) == facts(table(swept))  # draws depend on the seed and the number alone
    best = max(table(tmp_path), key=lambda row: float(row["validation_utility"]))
    kept = [row["trial"] for row in table(tmp_path) if (Path(row["folder"]) / "checkpoints").exists()]
    assert kept == [best["trial"]]
    assert (tmp_path / "small" / "trial_0000" / "state").exists() == (best["trial"] == "0")


def test_a_study_does_not_go_on_with_other_settings(
    world: World, swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(swept / "small")
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, swept, trials=4), "sweep", tmp_path, "--trainer.max_steps", "3")
    assert ended.value.code == 2
    assert "trainer.max_steps is 3, there 2" in capsys.readouterr().err
    assert content(swept / "small") == before


@pytest.mark.slow
def test_a_search_that_fails_is_recorded_and_the_others_go_on(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"sampler": "grid", "space": {"model.particles": [3, 5]}}
    run_swarm(config_of(world, tmp_path, trials=2, **grid), "sweep", tmp_path)
    rows = {row["model.particles"]: row for row in table(tmp_path)}
    assert rows["3"]["state"] == "failed"
    assert "3 particles and 4 experts" in rows["3"]["why"]
    assert rows["5"]["state"] == "ended"
    assert rows["5"]["test_utility"]

    grid["space"] = {"model.particles": [2, 3]}
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "none", trials=2, **grid), "sweep", tmp_path)
    assert ended.value.code == 2
    assert "none of 2 has" in capsys.readouterr().err
    assert [row["state"] for row in table(tmp_path / "none")] == ["failed", "failed"]


@pytest.mark.slow
def test_the_experts_scores_serve_searches_of_other_seeds_and_notices_come_once(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(world, tmp_path, sampler="grid", trials=None, space={"seed_everything": [0, 1]})
    config["data"] |= {"validation_size": 6, "seed": 0}
    caplog.set_level("INFO", "lightning")
    printed = run_swarm(config, "sweep", tmp_path)
    # The four experts are the same positions, the child is another one: of 5 x 6 pairs 4 x 6 are taken, 1 x 6 asked.
    assert sorted((row["evaluations"], row["taken"]) for row in table(tmp_path)) == [("66", "24"), ("90", "0")]
    said = [record.getMessage() for record in caplog.records]
    assert sum(message.startswith("6 examples were drawn") for message in said) == 1
    assert len(said) == len(set(said))
    assert [printed.count(text) for text in ("as the model sees it", "Best expert: ", "ended: ")] == [1, 1, 2]


MEASURING = """
from pathlib import Path
from swarm_lightning.objectives import Asks, Outcome

class Measuring(Asks):
    bounds = (0.0, 1.0)
    def __init__(self, notes: str, weight: float = 1.0, **asking):
        super().__init__(**asking)
        self._notes, self._weight, self._longest = Path(notes), weight, None
    def prepare(self, examples, model):
        self._longest = max(map(len, self.ask(examples, model)))
        self._note("prepared", "")
    def state_dict(self):
        return {"longest": self._longest}
    def load_state_dict(self, state):
        self._longest = state["longest"]
    def _note(self, what, question):
        with self._notes.open("a") as file:
            file.write(f"{what} {self._weight} {question}\\n")
    def evaluate(self, examples, model):
        replies = self.ask(examples, model)
        for example in examples:
            self._note("asked", example.question)
        return [Outcome(reply, None, self._weight * min(1, len(reply) / self._longest)) for reply in replies]
"""


@pytest.mark.slow
def test_what_changes_scores_has_first_scores_of_its_own_and_the_rest_is_asked_and_measured_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "measuring_objective.py").write_text(MEASURING)
    monkeypatch.syspath_prepend(str(tmp_path))
    # The objective keeps its weight to itself: nothing but the draw tells that its scores are others.
    # What is moved apart changes no first position.
    space = {"model.objective.weight": [0.5, 1.0], "model.draws": ["particle", "tensor"]}
    config = config_of(world, tmp_path, sampler="grid", trials=4, space=space)
    notes = tmp_path / "notes.txt"
    asking = {"max_new_tokens": 6, "template": "Question: {question}\nAnswer:"}
    config["model"]["objective"] = {
        "class_path": "measuring_objective.Measuring",
        "init_args": {"notes": str(notes), **asking},
    }
    run_swarm(config, "sweep", tmp_path, "--sweep.trials", "3")
    run_swarm(config, "sweep", tmp_path)  # in a new process the first scores would be found on the disk just so

    lines = notes.read_text().splitlines()
    assert sorted(line.split()[1] for line in lines if line.startswith("prepared")) == ["0.5", "1.0"]
    validation = {record["question"] for record in world.split("dev")}
    asked = [line for line in lines if line.startswith("asked") and line.split(maxsplit=2)[2] in validation]
    rows = table(tmp_path)
    assert sorted((row["evaluations"], row["taken"]) for row in rows) == [("120", "0")] * 2 + [("80", "40")] * 2
    # The first look asks one more, of the best initial expert.
    assert len(asked) - 1 == 2 * 120 + 2 * 80 == sum(int(row["evaluations"]) for row in rows)
    for weight in ("0.5", "1.0"):
        mine = [row for row in rows if row["model.objective.init_args.weight"] == weight]
        firsts = [read_rows(Path(row["folder"]) / "history.csv")[0]["global_best"] for row in mine]
        assert firsts[0] == firsts[1]
        assert float(firsts[0]) <= float(weight)
    assert "with different model.objective.init_args.weight" in (tmp_path / "small" / "sweep.md").read_text()


@pytest.mark.slow
def test_searches_below_the_median_are_pruned(world: World, tmp_path: Path) -> None:
    sweep = {"sampler": "grid", "space": {"seed_everything": list(range(9))}, "pruner": "median", "pruner_warmup": 0}
    config = config_of(world, tmp_path, trials=9, **sweep) | {"stop": {"patience": 2}}
    run_swarm(config, "sweep", tmp_path, "--trainer.max_steps", "3")
    ended: list[list[float]] = []
    pruned = 0
    for row in table(tmp_path):
        bests = [float(line["global_best"]) for line in read_rows(Path(row["folder"]) / "history.csv")][1:]
        below = None
        for step, best in enumerate(bests):
            others = [other[min(step, len(other) - 1)] for other in ended]
            if len(ended) >= 5 and best < statistics.median(others):
                below = step
                break
        assert row["state"] == ("ended" if below is None else "pruned")
        if below is None:
            ended.append(bests)
        else:
            pruned += 1
            assert len(bests) == below + 1
        with lock_if_free(tmp_path / "small" / "locks" / f"trial_{int(row['trial']):04d}") as free:
            assert free
    assert pruned, "no search was pruned: the test shows nothing"
    assert len({len(bests) for bests in ended}) > 1, "no search ended early: the test does not show what it is said for"
    spent = sum(int(row["evaluations"]) for row in table(tmp_path))
    report = (tmp_path / "small" / "sweep.md").read_text()
    assert f"{pruned} pruned" in report
    assert f"Budget: {spent} (particle, example) evaluations" in report


def start(config: dict[str, Any], path: Path) -> "subprocess.Popen[bytes]":
    path.write_text(yaml.safe_dump(config))
    return subprocess.Popen(
        [sys.executable, "-m", "swarm_lightning", "sweep", "--config", str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_two_processes_share_one(world: World, tmp_path: Path) -> None:
    undisturbed, shared = (config_of(world, tmp_path / name, trials=3) for name in ("alone", "shared"))
    for config in (undisturbed, shared):
        config["trainer"]["max_steps"] = 8
        config["stop"] = {"patience": None}
    run_swarm(undisturbed, "sweep", tmp_path)

    process = start(shared, tmp_path / "first.yaml")
    interrupted = tmp_path / "shared" / "small" / "trial_0000"
    wait_for(interrupted / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (interrupted / "summary.json").exists()

    process = start(shared, tmp_path / "second.yaml")
    wait_for(interrupted.with_name("trial_0001"), process)  # it has ended the interrupted search and begun the next
    assert (interrupted / "summary.json").exists()
    run_swarm(shared, "sweep", tmp_path)
    assert process.wait(120) == 0

    storage = f"sqlite:///{tmp_path / 'shared' / 'small' / 'study.db'}"
    study = optuna.load_study(study_name="small", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    rows = table(tmp_path / "shared")
    names = [name for name in FACTS if name not in ("evaluations", "taken")]
    assert [[row[name] for name in names] for row in rows] == [
        [row[name] for name in names] for row in table(tmp_path / "alone")
    ]
    assert sum(bool(row["test_utility"]) for row in rows) == 1
    assert sorted((row["asked_first"], row["taken"]) for row in rows) == [("0", "40"), ("0", "40"), ("40", "0")]
    for row in rows:
        iterations = [int(line["iteration"]) for line in read_rows(Path(row["folder"]) / "history.csv")]
        assert iterations == list(range(9))
    assert json.loads((interrupted / "summary.json").read_text())["iterations"] == 8


@pytest.mark.parametrize(
    ("sweep", "arguments", "message"),
    [
        ({"space": {"model.optimizer.inertai": [0.1]}}, (), "Did you mean 'model.optimizer.inertia'"),
        pytest.param({"space": {"model.particles": ["many"]}}, (), "'many' is not one", marks=pytest.mark.slow),
        pytest.param(
            {"space": {"model.optimizer.inertia": [0.1, -1.0]}}, (), "-1.0 is not one", marks=pytest.mark.slow
        ),
        ({"space": {"model.particles": {"low": 5, "high": 9.5}}}, (), "is not one"),
        ({"space": {"trainer.devices": [1, 2]}}, (), "sweep.test: all"),
        ({"sampler": "grid", "trials": 3, "space": {"model.particles": [5, 6]}}, (), "at most 2, as many"),
        ({"trials": 0}, (), "sweep.trials"),
        pytest.param({"trials": "many"}, (), "many", marks=pytest.mark.slow),
        ({}, ("--trainer.devices", "2"), "several processes"),
        ({}, ("--model.experts", "nowhere"), "nowhere"),
        pytest.param({}, ("--data.dataset", "nothing.json"), "nothing.json", marks=pytest.mark.slow),
        pytest.param({"space": {"model.experts": ["EXPERTS", "nowhere"]}}, (), "nowhere", marks=pytest.mark.slow),
        ({"space": {"data.dataset": ["DATASET", "nothing.json"]}}, (), "nothing.json"),
        ({"storage": "nothing://me:secret@here"}, (), "storage of Optuna at 'nothing://***@here'"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_any_search(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sweep: dict[str, Any],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    root, there = tmp_path / "runs", {"EXPERTS": str(world.experts), "DATASET": str(world.dataset)}
    if "space" in sweep:
        named = {
            key: [there.get(value, value) for value in values] if isinstance(values, list) else values
            for key, values in sweep["space"].items()
        }
        sweep = {**sweep, "space": named}
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, root, **{"trials": 2, **sweep}), "sweep", tmp_path, *arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert "secret" not in told
    assert not root.exists()


def test_a_folder_of_something_else_and_a_missing_optuna_are_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "small" / "notes.txt"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path), "sweep", tmp_path)
    assert ended.value.code == 2
    assert "there is something else" in capsys.readouterr().err
    assert content(tmp_path / "small") == {"notes.txt": b"mine"}

    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, foreign), "sweep", tmp_path)  # a file where the runs were to go
    assert ended.value.code == 2
    assert "Something else stands in the place of a folder" in capsys.readouterr().err
    assert foreign.read_text() == "mine"

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "other"), "sweep", tmp_path)
    assert ended.value.code == 2
    assert "swarm-lightning[sweep]" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def studied(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: two variants with two seeds each, every search scored on the test split and on further data."""
    folder = tmp_path_factory.mktemp("studied")
    config = config_of(
        world,
        folder,
        None,
        sampler="grid",
        test="all",
        also_test=[str(world.dataset)],
        variants={"plain": {"model.ensemble_size": 2}, "slow": {"model.optimizer.lr": 0.1, "model.ensemble_size": 3}},
        space={"seed_everything": [0, 1]},
    )
    run_swarm(config, "sweep", folder)
    return folder


def test_variants_are_searched_with_every_seed_and_all_are_tested(world: World, studied: Path) -> None:
    rows = table(studied)
    assert sorted((row["variant"], row["seed_everything"]) for row in rows) == [
        ("plain", "0"), ("plain", "1"), ("slow", "0"), ("slow", "1"),
    ]  # fmt: skip
    for row in rows:
        saved = load_checkpoint(Path(row["folder"]))["swarm_lightning"]["identity"]
        assert saved["optimizer"]["lr"] == (0.1 if row["variant"] == "slow" else 0.75)
        summary = json.loads((Path(row["folder"]) / "summary.json").read_text())
        assert float(row["test_utility"]) == summary["test"][1]["utility"]
        assert float(row["initial_test_utility"]) == summary["test"][0]["utility"]
        assert summary["ensemble"]["name"] == f"top-{3 if row['variant'] == 'slow' else 2} ensemble"
        assert float(row["ensemble"]) == summary["ensemble"]["utility"]
        # The further dataset is the study's own.
        assert float(row[f"on {world.dataset}"]) == float(row["test_utility"])


def test_the_report_of_a_study_has_means_over_the_seeds_and_a_figure_of_them(studied: Path) -> None:
    rows = table(studied)
    report = (studied / "small" / "sweep.md").read_text()
    for variant in ("plain", "slow"):
        tests = [float(row["test_utility"]) for row in rows if row["variant"] == variant]
        line = next(line for line in report.splitlines() if line.startswith(f"| {variant} | 2 |"))
        assert f"| {statistics.mean(tests):.4f} | {statistics.stdev(tests):.4f} |" in line
    page = (studied / "small" / "report.html").read_text()
    for figure in ("by_setting", "trials", "settings"):
        assert f'id="{figure}_0"' in page


def test_what_a_study_can_not_vary_is_refused(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for changes, word in (
        ({"variants": {"one": {}, "two": {"model.nothing": 1}}}, "sweep.variants"),
        ({"variants": {"one": {}}}, "two sweep.variants"),
        ({"subsets": [2, 9]}, "from 2 to 4"),
        ({"also_test": [str(world.dataset)]}, "sweep.test"),
    ):
        message = message_of(config_of(world, tmp_path, None, **changes), tmp_path, capsys, subcommand="sweep")
        assert word in message
