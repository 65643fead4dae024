"""What the user can mend ends with exit code 2 and one message, before any work and without a run folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from swarm_lightning.cli.main import main
from tests.search.tiny_search import World, calm_process, run_swarm, write_dataset


def misfits(world: World, folder: Path) -> list[str]:
    """Experts of which one has another rank."""
    shutil.copytree(world.experts, folder / "misfits")
    path = folder / "misfits" / "towns" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "r": 8}))
    return ["--model.experts", str(folder / "misfits")]


def without_answers(world: World, folder: Path) -> list[str]:
    path = write_dataset(folder / "no_answers.json")
    splits = json.loads(path.read_text())
    path.write_text(json.dumps({name: [{"question": r["question"]} for r in split] for name, split in splits.items()}))
    return ["--data.dataset", str(path)]


def given(*arguments: str) -> Callable[[World, Path], list[str]]:
    return lambda world, folder: list(arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (given("--model.base", "no/such/base"), "no/such/base"),
        (given("--model.experts", "no/such/experts"), "no/such/experts"),
        (given("--data.dataset", "no/such/data.json"), "no/such/data.json"),
        (misfits, "'towns'"),
        (without_answers, "answer"),
        (given("--model.optimizer.lr", "0"), "step length"),
        (given("--model.optimizer.social", "-0.1"), "social"),
        (
            given(*(f"--model.optimizer.{name}=0" for name in ("inertia", "cognitive", "social", "repel"))),
            "above zero",
        ),
        (given("--model.optimizer.drop_particle", "1"), "drop_particle"),
        (given("--model.scheduler.factor", "2"), "factor"),
        (given("--model.particles", "1"), "at least 2 particles"),
        (given("--trainer.max_steps", "0"), "at least 1 iteration"),
        (given("--model.particles", "3"), "at least as many particles as experts"),
        (given("--model.dtype", "float31"), "dtype"),
        (given("--restart.patience", "0"), "restart patience"),
        (given("--stop.patience", "0"), "patience"),
        (given("--checkpoint.every_n_iterations", "0"), "every_n_iterations"),
        (given("--export_best.particles", "[5]"), "from 0 to 4"),
        (given("--model.objective.max_new_tokens", "0"), "max_new_tokens"),
        (given("--model.engine.rows", "0"), "engine.rows"),
        (given("--model.engine.particles", "-1"), "engine.particles"),
        (given("--model.engine.rowz", "1"), "rowz"),
        (given("--model.optimizer.kernel", "fast"), "kernel"),
        (given("--model.objective.rule", "nearly"), "nearly"),
        (given("--model.optimiser.lr", "1"), "optimiser"),
    ],
)
def test_what_can_not_be_used_is_refused_with_one_message_and_leaves_no_run_behind(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Callable[[World, Path], list[str]],
    named: str,
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(world.config(tmp_path / "runs")))
    with calm_process(), pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(path), *arguments(world, tmp_path)])
    told = capsys.readouterr().err
    assert exit_.value.code == 2
    assert "Traceback" not in told
    messages = [line for line in told.splitlines() if line.startswith(("swarm: ", "error: "))]
    assert len(messages) == 1
    assert named in told[told.index(messages[0]) :]
    assert "usage:" not in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("section", ["model", "trainer", "restart", None])
def test_an_unknown_key_in_the_config_is_refused_by_name(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str | None
) -> None:
    config = world.config(tmp_path / "runs")
    (config if section is None else config.setdefault(section, {}))["patiense"] = 3
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    with calm_process(), pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(path)])
    assert exit_.value.code == 2
    assert "patiense" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_a_subcommand_that_needs_a_run_asks_for_it(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], subcommand: str
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(world.config(tmp_path / "runs")))
    with calm_process(), pytest.raises(SystemExit) as exit_:
        main([subcommand, "--config", str(path)])
    assert exit_.value.code == 2
    assert f"Expected a run for 'swarm {subcommand}'" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_without_a_traceback(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_swarm(world.config(tmp_path / "runs", trainer={"accelerator": "gpu"}), "fit", tmp_path)
    assert exit_.value.code == 2
    assert "gpu" in capsys.readouterr().err


def test_prompts_that_fill_the_model_are_refused_together_before_the_search(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads(world.dataset.read_text())
    for place, number in ((0, 1), (2, 4)):
        whole["test"][place] |= {"id": f"long-{number}", "question": "Which colour? " * 600}
    dataset = tmp_path / "long.json"
    dataset.write_text(json.dumps(whole))
    config = world.config(tmp_path / "runs", data={"dataset": str(dataset)})
    with pytest.raises(SystemExit) as exit_:
        run_swarm(config, "fit", tmp_path)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert f"2 of {len(whole['test'])} examples" in told
    assert "'long-1', 'long-4'" in told
    assert not (tmp_path / "runs").exists()
