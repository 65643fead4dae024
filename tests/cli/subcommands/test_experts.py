"""The command `swarm experts`: data files in, a folder of experts out that `swarm fit` takes; what it refuses."""

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from swarm_lightning.cli.main import main
from swarm_lightning.tuning.folder import work_folder
from tests.search.tiny_search import World, calm_process, content, read_rows, run_swarm

NAMES = ("minus", "plus")


@pytest.fixture
def config(tiny_base_folder: Path, tmp_path: Path) -> dict[str, Any]:
    for name in NAMES:
        records = [{"asked": f"What is {n} {name} 1?", "said": f"It is {n}"} for n in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    columns = {"prompt": "asked", "response": "said"}
    return {
        "base": str(tiny_base_folder),
        "output": str(tmp_path / "experts"),
        "domains": {name: {"dataset": str(tmp_path / f"{name}.jsonl"), "columns": columns} for name in NAMES},
        "lora": {"rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"]},
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "validation_share": 0.1},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    }


def experts(config: dict[str, Any], folder: Path, *arguments: str) -> str:
    path = folder / "experts.yaml"
    path.write_text(yaml.safe_dump(config))
    printed = io.StringIO()
    with calm_process(), contextlib.redirect_stdout(printed):
        main(["experts", "--config", str(path), *arguments])
    return printed.getvalue()


def refused(config: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        experts(config, folder, *arguments)
    assert ended.value.code == 2
    assert not (folder / "experts").exists()
    return capsys.readouterr().err


def test_the_folder_is_what_a_search_takes(config: dict[str, Any], world: World, tmp_path: Path) -> None:
    printed = experts(config, tmp_path)
    output = tmp_path / "experts"
    assert sorted(path.name for path in output.iterdir()) == ["logs", *NAMES]
    assert sorted(path.name for path in (output / "plus").iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "tuning.json",
    ]  # fmt: skip
    assert "plus: 4 steps on 7 examples" in printed
    assert "set chat: true in the objective" in printed
    assert [int(row["step"]) for row in read_rows(output / "logs/plus/version_0/metrics.csv") if row["loss"]] == [
        0, 1, 2, 3,
    ]  # fmt: skip
    search = world.config(tmp_path / "runs", model={"experts": str(output), "particles": 3})
    run_swarm(search, "fit", tmp_path, "--trainer.max_steps", "1")
    checkpoint = torch.load(tmp_path / "runs/version_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["swarm_lightning"]["experts"] == list(NAMES)


def test_a_second_run_makes_only_what_is_not_there(config: dict[str, Any], tmp_path: Path) -> None:
    first = {**config, "domains": {"plus": config["domains"]["plus"]}}
    experts(first, tmp_path)
    before = content(tmp_path / "experts")
    printed = experts(config, tmp_path)
    after = content(tmp_path / "experts")
    assert {name: after[name] for name in before} == before
    assert "plus: already there" in printed
    assert "minus: 4 steps" in printed


def test_the_data_merge_learns_what_all_domains_teach_and_stays_out_of_the_experts_folder(
    config: dict[str, Any], tmp_path: Path
) -> None:
    # 2 domains of 8 records, a tenth held out: 14 are left, 4 steps an epoch. One expert on both files is the same.
    printed = experts(config, tmp_path, "--data_merge", str(tmp_path / "everything"))
    assert "everything: 8 steps on 14 examples of minus and plus" in printed
    assert sorted(path.name for path in (tmp_path / "experts").iterdir()) == ["logs", *NAMES]
    lines = [(tmp_path / f"{name}.jsonl").read_text() for name in NAMES]
    (tmp_path / "both.jsonl").write_text("".join(lines))
    both = {**config["domains"]["plus"], "dataset": str(tmp_path / "both.jsonl")}
    experts({**config, "domains": {"both": both}, "output": str(tmp_path / "one")}, tmp_path)
    weights = "adapter_model.safetensors"
    assert content(tmp_path / "one" / "both")[weights] == content(tmp_path / "everything")[weights]


def test_a_data_merge_alone_takes_the_steps_of_every_domain(config: dict[str, Any], tmp_path: Path) -> None:
    config["training"]["steps"] = 3
    printed = experts({**config, "output": None}, tmp_path, "--data_merge", str(tmp_path / "everything"))
    assert "everything: 6 steps on 14 examples" in printed
    assert "Experts:" not in printed
    assert not (tmp_path / "experts").exists()
    again = experts(config, tmp_path, "--output", "null", "--data_merge", str(tmp_path / "everything"))
    assert "everything: already there" in again
    assert not (tmp_path / "experts").exists()


@pytest.mark.parametrize("place", ["", "/everything"])
def test_a_data_merge_among_the_experts_is_refused(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    told = refused(config, tmp_path, capsys, "--data_merge", f"{tmp_path / 'experts'}{place}")
    assert "Expected data_merge to lie outside of output" in told


def test_an_expert_of_other_settings_is_refused_before_any_is_made(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experts({**config, "domains": {"plus": config["domains"]["plus"]}}, tmp_path)
    with pytest.raises(SystemExit) as ended:
        experts(config, tmp_path, "--training.epochs", "3")
    assert ended.value.code == 2
    assert "training.epochs is 3, there 2" in capsys.readouterr().err
    assert not (tmp_path / "experts" / "minus").exists()


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_expert(config: dict[str, Any], tmp_path: Path) -> None:
    config["training"] |= {"epochs": 20, "checkpoint_steps": 5, "validation_share": 0.0}
    config["lora"]["dropout"] = 0.2
    config["domains"].pop("minus")
    experts({**config, "output": str(tmp_path / "undisturbed")}, tmp_path)
    path = tmp_path / "experts.yaml"
    path.write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm_lightning", "experts", "--config", str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = work_folder(tmp_path / "experts" / "plus") / "last.ckpt"
    until = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()
    assert not (tmp_path / "experts" / "plus").exists()
    experts(config, tmp_path)
    found, expected = (
        load_file(tmp_path / output / "plus" / "adapter_model.safetensors") for output in ("experts", "undisturbed")
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not state.parent.exists()


def test_data_that_cannot_be_used_is_refused_before_anything_is_written(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config["domains"]["plus"]["columns"] = {"prompt": "question", "response": "said"}
    assert "Expected a column 'question'" in refused(config, tmp_path, capsys)
    config["domains"]["plus"] = str(tmp_path / "plus.jsonl")
    assert "'prompt' and 'response'" in refused(config, tmp_path, capsys)
    config["domains"]["plus"] = str(tmp_path / "pluss.jsonl")
    assert "Did you mean" in refused(config, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--domains", "{}"), "Expected domains"),
        (("--domains", '{"../plus": "x.jsonl"}'), "plain names"),
        (("--domains", '{"logs": "x.jsonl"}'), "plain names"),
        (("--lora.target_modules", "[nothing]"), "linear layers are"),
        (("--lora.rank", "0"), "lora.rank"),
        (("--text.max_length", "4"), "Raise text.max_length"),
        (("--trainer.precision", "16-mixed"), "trained in float32"),
        (("--trainer.devices", "2"), "one device"),
        (("--training.epocs", "2"), "epocs"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_anything_is_written(
    config: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert message in refused(config, tmp_path, capsys, *arguments)


@pytest.mark.slow
def test_the_config_makes_an_expert_that_ships_again(tmp_path: Path) -> None:
    from swarm_lightning.demo import EXPERTS

    # The same but for the rounding of sums, which 100 steps at a large rate make visible in the third digit.
    config = Path(__file__).parents[3] / "configs" / "experts.yaml"
    with calm_process(), contextlib.redirect_stdout(io.StringIO()):
        main(
            [
                *("experts", "--config", str(config), "--output", str(tmp_path)),
                *("--domains", '{"weaver": "demo:lessons/weaver"}', "--trainer.enable_progress_bar", "false"),
            ]
        )
    made = load_file(tmp_path / "weaver" / "adapter_model.safetensors")
    ships = load_file(EXPERTS / "weaver" / "adapter_model.safetensors")
    other = load_file(EXPERTS / "farmer" / "adapter_model.safetensors")
    assert made.keys() == ships.keys()
    distances = [
        math.sqrt(sum(float((made[name] - tensors[name]).square().sum()) for name in made))
        for tensors in (ships, other)
    ]
    assert distances[0] < 0.05 * distances[1]


def test_lessons_of_the_demo_world_are_data() -> None:
    from swarm_lightning.demo.lessons import open_lessons
    from swarm_lightning.errors import InputError
    from swarm_lightning.tuning.conversations import read_conversations

    conversations, _ = read_conversations(open_lessons("demo:lessons/smith"))
    assert len(conversations) > 1000
    prompt, reply = (turn.content for turn in conversations[0].turns)
    assert prompt.startswith("Question: ")
    assert reply.startswith(" ")
    with pytest.raises(InputError, match="Did you mean 'demo:lessons/smith'"):
        open_lessons("demo:lessons/smyth")


def test_the_command_is_listed_and_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in ((["--help"], "experts"), (["experts", "--help"], "--lora.rank")):
        with pytest.raises(SystemExit) as ended, calm_process():
            main(arguments)
        assert ended.value.code == 0
        assert expected in capsys.readouterr().out
