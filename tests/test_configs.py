"""Every file in configs/ is complete: it parses, opens with its launch command, explains each of its keys, and runs."""

import json
from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli import main
from tests.search.tiny_search import calm_process, read_rows

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.rglob("*.yaml"))
STUDIES = sorted((FOLDER / "studies").glob("*.yaml"))
# The others need models of the user or services of others; those of the paper run in `test_paper_configs.py`.
ELSEWHERE = ("own_experts", "human_interests", "reward_model", "safety")
# Configs of other commands than `swarm fit`.
COMMANDS = ("compare", "experts", "sweep")
# What a step of the evolution strategy asks is a share of its budget.
SMALLER = {"evolution": ("--model.optimizer.evaluations", "1000")}
ON_THE_DEMO_WORLD = [path for path in CONFIGS if path.parent == FOLDER and path.stem not in (*ELSEWHERE, *COMMANDS)]


def name_of(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def command_of(path: Path) -> str:
    """Return the subcommand that a config is for: the one with its name, `sweep` for a study, or `fit`."""
    if path in STUDIES:
        return "sweep"
    if path.stem == "single_tasks":
        return "compare"
    return path.stem if path.parent == FOLDER and path.stem in COMMANDS else "fit"


def test_there_are_configs() -> None:
    assert [path.stem for path in CONFIGS if path.parent == FOLDER] == [
        "abstention",
        "compare",
        "evolution",
        "exact_match",
        "experts",
        "full_checkpoints",
        "harness_task",
        "heterogeneous_swarm",
        "human_interests",
        "likelihood",
        "mathematics",
        "multi_task",
        "own_experts",
        "products",
        "quickstart",
        "reward_model",
        "safety",
        "sweep",
        "token_swarm",
    ]


# Those below are parsed with the slow tests: they have the sections of the recipes that they vary.
PARSED = [path if path.parent == FOLDER else pytest.param(path, marks=pytest.mark.slow) for path in CONFIGS]


@pytest.mark.parametrize("path", PARSED, ids=name_of)
def test_a_config_parses_and_keeps_its_values(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["swarm"])
    with pytest.raises(SystemExit) as ended:
        main([command_of(path), "--config", str(path), "--print_config"])
    assert ended.value.code == 0
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    for_others = {"compare", "sweep"} - {command_of(path)}
    own = {name: value for name, value in given.items() if name not in for_others}
    assert_contains(yaml.safe_load(capsys.readouterr().out), own)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_config_opens_with_its_launch_command(path: Path) -> None:
    opening = path.read_text(encoding="utf-8").split("\nseed_everything", 1)[0].splitlines()
    assert all(line.startswith("#") for line in opening)
    assert any(f"swarm {command_of(path)} --config configs/{name_of(path)}" in line for line in opening)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_value_of_a_config_is_explained(path: Path) -> None:
    # These say what they are by their own name, or are explained by the comment of the line above.
    known = {"seed_everything", "class_path", "validation_size", "test_split", "test_size", "question", "answer"}
    known |= {"name", "template", "experts"}
    for line in path.read_text(encoding="utf-8").replace("\\\n", "").splitlines():
        key, _, rest = line.strip().partition(":")
        if line.lstrip().startswith("#") or not rest.strip() or "#" in rest:
            continue
        assert key in known, f"{path.name}: {line}"


# The others differ from these in the objective and in a few numbers, or take longer.
KINDS = ("quickstart", "token_swarm")
SEARCHING = [path if path.stem in KINDS else pytest.param(path, marks=pytest.mark.slow) for path in ON_THE_DEMO_WORLD]


@pytest.mark.parametrize("path", SEARCHING, ids=name_of)
def test_a_config_searches(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where demo:checkpoints are made
    if path.stem == "harness_task":
        pytest.importorskip("lm_eval")
    kind = "checkpoints" if path.stem == "full_checkpoints" else "experts"
    experts = [f"demo:{kind}/scribe", f"demo:{kind}/shepherd"]
    with calm_process():
        main(
            [
                *("fit", "--config", str(path), "--model.experts", json.dumps(experts), "--model.particles", "3"),
                *("--data.validation_size", "6", "--data.test_size", "4", "--trainer.max_steps", "2"),
                *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path)),
                *SMALLER.get(path.stem, ()),
            ]
        )
    summary = json.loads((tmp_path / "version_0" / "summary.json").read_text(encoding="utf-8"))
    assert summary["iterations"] == 2
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    tasks = len(data["dataset"]) if isinstance(data["dataset"], dict) else 1
    sizes = [6 * tasks, 6 * tasks, 4 * tasks, 4 * tasks]
    assert [row["examples"] for row in (*summary["validation"], *summary["test"])] == sizes


@pytest.mark.slow
def test_the_config_of_experts_makes_experts_that_a_search_takes(tmp_path: Path) -> None:
    made = str(tmp_path / "made")
    with calm_process():
        main(
            [
                *("experts", "--config", str(FOLDER / "experts.yaml"), "--output", made, "--training.steps", "2"),
                *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
            ]
        )
        main(
            [
                *("fit", "--config", str(FOLDER / "quickstart.yaml"), "--model.experts", made),
                *("--model.particles", "3", "--data.validation_size", "6", "--data.test_size", "4"),
                *("--trainer.max_steps", "1", "--trainer.accelerator", "cpu"),
                *("--trainer.default_root_dir", str(tmp_path / "runs")),
            ]
        )
    assert (tmp_path / "runs" / "version_0" / "best_expert" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_the_config_of_a_sweep_sweeps(tmp_path: Path) -> None:
    experts = ["demo:experts/scribe", "demo:experts/shepherd"]
    with calm_process():
        main(
            [
                *("sweep", "--config", str(FOLDER / "sweep.yaml"), "--model.experts", json.dumps(experts)),
                *("--model.particles", "3", "--data.validation_size", "6", "--data.test_size", "4"),
                *("--trainer.max_steps", "1", "--sweep.trials", "2", "--trainer.accelerator", "cpu"),
                *("--trainer.default_root_dir", str(tmp_path)),
            ]
        )
    assert "2 searches: 2 ended." in (tmp_path / "coefficients" / "sweep.md").read_text(encoding="utf-8")


# What a study of three experts may need to be told otherwise.
SHRUNK = {
    "number_of_experts": ("--sweep.subsets", "[2, 3]"),
    "transfer": ("--sweep.also_test", "[demo:tasks/kinds.json]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=name_of)
def test_a_study_says_how_its_settings_differ(path: Path, tmp_path: Path) -> None:
    experts = [f"demo:experts/{name}" for name in ("scribe", "shepherd", "smith")]
    trials = 2 if path.stem == "transfer" else 3
    with calm_process():
        main(
            [
                *("sweep", "--config", str(path), "--model.experts", json.dumps(experts)),
                *("--data.validation_size", "6", "--data.test_size", "4", "--sweep.trials", str(trials)),
                *("--trainer.max_steps", "1", "--trainer.accelerator", "cpu"),
                *("--trainer.default_root_dir", str(tmp_path), *SHRUNK.get(path.stem, ())),
            ]
        )
    folder = tmp_path / path.stem
    report = (folder / "sweep.md").read_text(encoding="utf-8")
    assert f"{trials} searches: {trials} ended." in report
    rows = read_rows(folder / "sweep.csv")
    assert all(row["test_utility"] for row in rows)
    further = {"ensembles": "ensemble", "transfer": "on demo:tasks/kinds.json"}.get(path.stem)
    assert further is None or all(row[further] for row in rows)
    assert (folder / "report.html").is_file()


def assert_contains(whole: object, part: object) -> None:
    if isinstance(part, dict):
        assert isinstance(whole, dict)
        for key, value in part.items():
            assert_contains(whole[key], value)
    elif isinstance(part, str) and "." in part and isinstance(whole, str) and whole != part:
        # A class may be printed by the shortest path that imports it.
        assert whole.rsplit(".", 1)[-1] == part.rsplit(".", 1)[-1]
    else:
        assert whole == part
