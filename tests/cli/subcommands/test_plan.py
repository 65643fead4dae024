"""`swarm plan`: what it says of a search that is then done; it checks what a search checks, and writes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from swarm_lightning.experts.products.refit import FOLDS
from swarm_lightning.paths import locate
from tests.cli.refused import message_of
from tests.search.tiny_search import World, run_swarm


def plan_of(config: dict[str, Any], folder: Path, *arguments: str) -> dict[str, Any]:
    # Time for all of the few examples, however busy the machine is.
    printed = run_swarm(config, "plan", folder, "--json", "--seconds", "60", *arguments)
    plan: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return plan


def test_what_can_be_known_is_said_exactly(world: World, tmp_path: Path) -> None:
    engine = {"engine": {"exact_stop": False}}
    config = world.config(tmp_path / "runs", model=engine, stop={"patience": None})
    plan = plan_of(config, tmp_path, "--ranks", "2")
    run_swarm(config, "fit", tmp_path)
    summary = json.loads((tmp_path / "runs" / "version_0" / "summary.json").read_text())
    # 5 particles, 8 examples, the first positions and 3 iterations; 2 models on 12 test and 8 validation examples.
    assert summary["evaluations"] == 5 * 8 * (1 + 3)
    assert plan["evaluations"] == {"low": 160, "likely": 160, "high": 160}
    assert plan["most_evaluations"] == 160
    assert plan["iterations"] == {"low": 3, "likely": 3, "high": 3}
    assert plan["work"]["tests"] == 2 * (12 + 8)
    assert set(plan["ranks"]) == {"1", "2"}
    assert plan["total"]["likely"] == pytest.approx(sum(plan["seconds"].values()))
    assert plan["bill"] is None
    assert plan["needed"]["unpaired"] >= 1


def test_a_difference_is_told_from_noise_by_the_objective_whatever_guides(world: World, tmp_path: Path) -> None:
    plain = plan_of(world.config(tmp_path / "runs"), tmp_path)
    guided = plan_of(world.config(tmp_path / "runs", model={"guide": "smooth"}), tmp_path)
    assert guided["needed"] == plain["needed"]


def test_a_plan_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    printed = run_swarm(world.config(tmp_path / "runs"), "plan", tmp_path, "--seconds", "60")
    for word in ("Iterations: ", "Evaluations: ", "Tokens: ", "Time: ", "Memory: ", "Disk: ", "Validation examples: "):
        assert word in printed
    assert {path.name for path in tmp_path.iterdir()} == {"search.yaml"}


@pytest.mark.slow
def test_the_memory_of_a_token_swarm_counts_the_models_beside_the_base(world: World, tmp_path: Path) -> None:
    sources = ["demo:models/almanac", "demo:models/chronicle"]
    files = [Path(str(locate(source))) / "model.safetensors" for source in sources]
    stored = sorted(sum(tensor.nbytes for tensor in load_file(file).values()) for file in files)
    assert stored[0] < stored[1]
    model = {"experts": [str(world.experts / "towns"), *sources], "mixture": "probabilities", "engine": {"models": 1}}
    memory = plan_of(world.config(tmp_path / "runs", model=model), tmp_path, "--seconds", "0.1")["memory"]
    assert memory["further models"] == stored[1]  # one at a time, so the larger one
    adapter = load_file(world.experts / "towns" / "adapter_model.safetensors")
    assert memory["experts"] == sum(tensor.numel() for tensor in adapter.values()) * 4


def test_the_memory_of_experts_fitted_anew_counts_both_versions_and_the_fit(world: World, tmp_path: Path) -> None:
    optimizer = {"class_path": "swarm_lightning.swarm.EvolutionStrategy", "init_args": {"evaluations": 900}}
    model = {"coefficients": "module", "optimizer": optimizer}
    plans = [
        plan_of(world.config(tmp_path / "runs", model=model | more), tmp_path, "--seconds", "0.1")
        for more in ({}, {"guide": "smooth", "refit": True})
    ]
    plain, refits = (plan["memory"] for plan in plans)
    tensors = [load_file(folder / "adapter_model.safetensors") for folder in sorted(world.experts.iterdir())]
    weights = sum(tensor.numel() for expert in tensors for tensor in expert.values())
    assert plain["products"] == 4 * weights
    assert refits["products"] == 8 * weights
    assert refits["particles"] == 2 * plain["particles"] < plain["products"]
    assert "fit of the experts" not in plain
    downs = [tensor for expert in tensors for name, tensor in expert.items() if "lora_A" in name]
    inputs = sum(tensor.shape[1] ** 2 for name, tensor in tensors[0].items() if "lora_A" in name)
    fitted = sum(tensor.numel() for tensor in downs)
    assert [plan["disk"]["best expert"] for plan in plans] == [4 * weights] * 2
    assert plans[1]["disk"]["checkpoint"] > 2 * 4 * fitted
    assert refits["fit of the experts"] == 8 * FOLDS * (inputs + fitted) + 4 * (1 + FOLDS) * fitted


@pytest.mark.parametrize(
    "model",
    [
        {"coefficients": "expert"},
        {"draws": "coefficient"},
        {"storage": "disk"},
        {
            "coefficients": "module",
            "optimizer": {
                "class_path": "swarm_lightning.swarm.EvolutionStrategy",
                "init_args": {"evaluations": 250, "steps": 2, "batch": 4},
            },
        },
    ],
    ids=["products", "draws", "disk", "evolution"],
)
def test_every_kind_of_search_is_planned(world: World, tmp_path: Path, model: dict[str, Any]) -> None:
    plan = plan_of(world.config(tmp_path / "runs", model=model), tmp_path)
    assert plan["seconds"]["first positions"] > 0
    assert plan["total"]["low"] <= plan["total"]["likely"] <= plan["most_seconds"]
    assert not (tmp_path / "runs").exists()
    if "optimizer" in model:
        assert plan["evaluations"]["likely"] == 250
        assert plan["iterations"]["likely"] == 2


def test_a_plan_refuses_what_a_search_refuses(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    config = world.config(tmp_path / "runs", model={"experts": str(tmp_path / "empty")})
    told = message_of(config, tmp_path, capsys, subcommand="plan")
    assert told == message_of(config, tmp_path, capsys, subcommand="fit")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--ranks", "0"), "--ranks"),
        (("--points", "0"), "--points"),
        (("--seconds", "-1"), "--seconds"),
        (("--price_in", "1"), "--price_out"),
        (("--trainer.max_steps", "-1"), "trainer.max_steps"),
    ],
)
def test_numbers_out_of_range_are_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], word: str
) -> None:
    assert word in message_of(world.config(tmp_path / "runs"), tmp_path, capsys, *flags, subcommand="plan")
