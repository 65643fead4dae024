"""Whole searches in which tensors, or coefficients of the experts, have random numbers of their own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant, SwarmCheckpoint
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.settings import DrawsChoice
from swarm_lightning.swarm.population import Start
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.full_models import FullWorld, make_base, make_full_world, save_copies
from tests.search.test_ranks import write_config
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import (
    FULL,
    NEW_TOKENS,
    World,
    calm_process,
    load_checkpoint,
    read_rows,
    run_swarm,
    search,
)

COEFFICIENTS: dict[str, Any] = {"draws": "coefficient"}


@pytest.fixture(scope="module")
def full_world(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FullWorld:
    folder = tmp_path_factory.mktemp("full")
    experts = save_copies(make_base(tiny_base_folder, "llama"), tiny_base_folder, folder / "experts")
    return make_full_world(experts, folder)


def weights_behind(module: ModelSwarm, held: torch.Tensor) -> torch.Tensor:
    """Return what coefficients make of the experts' files, in float64."""
    experts = load_pool([str(module.settings.experts)]).vectors.double()
    return held.double() @ experts


@pytest.fixture(scope="module")
def searched(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSwarm, Path]:
    root = tmp_path_factory.mktemp("searched")
    callbacks = [RestartStagnant(2), History(), SwarmCheckpoint(), ExportBest()]
    return search(world, root, callbacks=callbacks, particles=6, iterations=4, **COEFFICIENTS), root


def test_the_swarm_is_a_few_numbers_per_particle_and_begins_with_the_experts(
    world: World, searched: tuple[ModelSwarm, Path], tmp_path: Path
) -> None:
    module, root = searched
    experts = len(module.pool.names)
    assert tuple(module.swarm.positions.shape) == (6, experts)
    assert tuple(load_checkpoint(root)["state_dict"]["positions"].shape) == (6, experts)
    rows = read_rows(root / "history.csv")
    assert len({row["personal_best_mean"] for row in rows}) > 1, "a swarm that stands still proves nothing"
    search(world, tmp_path, callbacks=[History()], particles=6, iterations=1)
    first = [name for name in rows[0] if name.startswith("utility/")]
    published = read_rows(tmp_path / "history.csv")[0]  # with the same seed the first particles are the same
    assert [rows[0][name] for name in first] == [published[name] for name in first]


def test_what_is_exported_is_the_combination_and_the_card_says_which(
    searched: tuple[ModelSwarm, Path], tmp_path: Path
) -> None:
    module, root = searched
    pairs = [(module.swarm.global_best, root / "best_expert")]
    pairs.append((module.swarm.personal_bests[1], module.export(tmp_path / "one", 1)))
    for held, folder in pairs:
        found = module.pool.layout.flatten(load_file(folder / "adapter_model.safetensors"))
        torch.testing.assert_close(found.double(), weights_behind(module, held), rtol=1e-6, atol=1e-7)
        card = (folder / "README.md").read_text()
        for name, coefficient in zip(module.pool.names, held.tolist(), strict=True):
            assert f"- {name}, coefficient {coefficient:.4f}" in card.replace("\\", "")
        assert "matrices is the sum of the experts', each times its coefficient" in card
    assert (module.swarm.positions.sum(dim=1) - 1).abs().max() > 1e-3, "no weights moved apart"


def test_without_random_numbers_it_finds_what_the_published_search_finds(world: World, tmp_path: Path) -> None:
    histories = []
    kinds: tuple[DrawsChoice, ...] = ("particle", "tensor", "coefficient")
    for draws in kinds:
        root = tmp_path / draws
        callbacks = [RestartStagnant(2), History(), ExportBest()]
        search(world, root, callbacks=callbacks, particles=6, draws=draws, randomness=False, engine=FULL)
        rows = read_rows(root / "history.csv")
        histories.append([[row[name] for name in row if name.startswith("utility/")] for row in rows])
        assert len({tuple(row) for row in histories[-1]}) > 2, "a swarm that stands still proves nothing"
    assert histories[0] == histories[1] == histories[2]
    published, tensors, coefficients = (
        load_file(tmp_path / draws / "best_expert" / "adapter_model.safetensors") for draws in kinds
    )
    for name, weights in published.items():
        assert weights.equal(tensors[name])
        torch.testing.assert_close(weights, coefficients[name], rtol=1e-4, atol=1e-5)


def test_each_tensor_takes_a_share_of_its_own_from_the_pull(world: World, tmp_path: Path) -> None:
    # From rest on its personal best a particle heads for the global best only, by the share that was drawn for it.
    module = search(world, tmp_path, iterations=1, draws="tensor", first_velocity="zero", inertia=0.0, repel=0.0)
    first, layout = module.pool.vectors, module.pool.layout
    best = int(module.swarm.initial_utilities.argmax())
    moved = (best + 1) % len(first)
    pulls = (first[best] - first[moved]).split(layout.sizes)
    shares = [
        velocity[pull.abs() > 1e-3] / pull[pull.abs() > 1e-3]
        for velocity, pull in zip(module.swarm.velocities[moved].split(layout.sizes), pulls, strict=True)
    ]
    means = torch.stack([share.mean() for share in shares])
    for share, mean in zip(shares, means, strict=True):
        torch.testing.assert_close(share, mean.expand_as(share), rtol=1e-3, atol=1e-3)
    assert ((means > 0) & (means < 1)).all()
    assert len({round(mean, 3) for mean in means.tolist()}) > len(means) / 2


@pytest.mark.slow
@pytest.mark.parametrize("draws", ["tensor", "coefficient"])
def test_a_run_is_resumed_bit_for_bit_and_tested_from_its_checkpoint(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], draws: DrawsChoice
) -> None:
    def config(root: str, iterations: int, **model: Any) -> dict[str, Any]:
        return world.config(tmp_path / root, restart={"patience": 2}, trainer={"max_steps": iterations}, model=model)

    run_swarm(config("whole", 5, draws=draws), "fit", tmp_path)
    run_swarm(config("stopped", 2, draws=draws), "fit", tmp_path)
    run_swarm(config("stopped", 5, draws=draws), "fit", tmp_path, "--ckpt_path", "last")
    stopped = tmp_path / "stopped" / "version_0"
    assert_same_run(stopped, tmp_path / "whole" / "version_0")

    printed = run_swarm(config("stopped", 5, draws=draws), "test", tmp_path, "--ckpt_path", "last")
    best = read_rows(stopped / "history.csv")[-1]["global_best"]
    assert "best found expert" in printed
    printed = run_swarm(config("stopped", 5, draws=draws), "validate", tmp_path, "--ckpt_path", "last")
    assert f"{float(best):.4f}" in printed
    for command in ("fit", "test"):
        with pytest.raises(SystemExit):
            run_swarm(config("stopped", 6), command, tmp_path, "--ckpt_path", "last")
        assert f"draws is 'particle', in the checkpoint '{draws}'" in capsys.readouterr().err


@pytest.mark.slow
def test_several_ranks_make_the_run_of_one(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    model = {"engine": {"rows": 5, "chunk": 2}, **COEFFICIENTS}
    run_swarm(world.config(tmp_path / "alone", model=model, restart={"patience": 2}), "fit", tmp_path)
    config = write_config(world, tmp_path / "many", model=model, trainer={"max_steps": 3})
    ended = forked_ranks.swarm(torchrun_environments(3), "fit", "--config", config)
    assert [rank.code for rank in ended] == [0] * 3, ended
    assert_same_run(tmp_path / "many" / "version_0", tmp_path / "alone" / "version_0")


def test_the_base_is_the_combination_without_any_expert(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, particles=6, iterations=1, start=Start("experts_and_base"), **COEFFICIENTS)
    experts = len(module.pool.names)
    space, settings = module.particle_swarm.space, module.settings
    first = space.first_positions(settings.start, 6, settings.child_span, torch.Generator())
    assert first[: experts + 1].tolist() == [*torch.eye(experts).tolist(), [0.0] * experts]
    base = module.particle_swarm.space.vector(first[experts])
    scores = module.evaluator.evaluate([base], SwarmData(str(world.dataset)).splits.validation).utilities
    assert scores.tolist() == [float(module.swarm.initial_utilities[experts])]
    assert base[:].count_nonzero() == 0


@pytest.mark.parametrize("named", [True, False], ids=["with a base", "without a base"])
def test_whole_models_are_read_from_their_files_and_never_scaled(
    full_world: FullWorld, tmp_path: Path, named: bool
) -> None:
    base = str(full_world.experts / "anna") if named else None
    module = ModelSwarm(
        base,
        experts=str(full_world.experts),
        objective=ExactMatch(max_new_tokens=NEW_TOKENS),
        particles=5,
        draws="coefficient",
    )
    with calm_process():
        trainer = SwarmTrainer(
            accelerator="cpu", max_steps=3, default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, callbacks=[ExportBest(), History()],
        )  # fmt: skip
        trainer.fit(module, datamodule=SwarmData(str(full_world.dataset)))
    assert "vectors" not in vars(module.pool), "all experts were held in memory"
    held = module.swarm.global_best.double()
    experts = module.pool.vectors.double()
    origin = experts[module.pool.names.index("anna")] if named else experts.mean(dim=0)
    expected = origin + held @ (experts - origin)
    found = module.particle_swarm.space.vector(module.swarm.global_best)[:]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    exported = load_file(tmp_path / "best_expert" / "model.safetensors")
    card = (tmp_path / "best_expert" / "README.md").read_text()
    assert ("those of the base anna, plus" if named else "those of the experts' mean, plus") in card
    layout = module.pool.layout
    for name, weights in layout.unflatten(found).items():
        torch.testing.assert_close(exported[name], weights.to(exported[name].dtype))
    assert len({row["personal_best_mean"] for row in read_rows(tmp_path / "history.csv")}) > 1


@pytest.mark.slow
def test_whole_models_go_on_from_the_base_that_their_coefficients_began_with(
    full_world: FullWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: str, base: Path | None, *arguments: str) -> None:
        model = {"base": None if base is None else str(base), **COEFFICIENTS}
        config = full_world.config(tmp_path, model=model, trainer={"max_steps": 1})
        run_swarm(config, command, tmp_path, *arguments)

    anna, bert = full_world.experts / "anna", full_world.experts / "bert"  # anna is resident where no base is named
    run("fit", anna)
    last = ("--ckpt_path", "last", "--output", str(tmp_path / "again"))
    for base, named in ((None, 'differences_from is "the experts\' mean"'), (bert, "the base differs")):
        for command, arguments in (("export", last), ("validate", last[:2])):
            with pytest.raises(SystemExit) as ended:
                run(command, base, *arguments)
            assert ended.value.code == 2
            assert named in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
    run("export", anna, *last)
    found = tmp_path / "version_0" / "best_expert" / "model.safetensors"
    assert found.read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()


def test_whole_models_that_can_not_be_used_are_refused_before_anything_is_written(
    full_world: FullWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**model: Any) -> str:
        config = full_world.config(tmp_path / "runs", model={"base": None, "particles": 6, **model, **COEFFICIENTS})
        with pytest.raises(SystemExit) as ended:
            run_swarm(config, "fit", tmp_path)
        assert ended.value.code == 2
        assert not (tmp_path / "runs").exists()
        return capsys.readouterr().err

    assert "Expected model.base to name the base that" in refused(start={"kind": "experts_and_base"})
    shutil.copytree(full_world.experts, tmp_path / "experts")
    file = tmp_path / "experts" / "clara" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, file, {"format": "pt"})
    assert "'model.norm.weight' of 'clara' holds NaN" in refused(experts=str(tmp_path / "experts"))


@pytest.mark.slow
def test_a_comparison_exports_the_combination_and_says_which(world: World, tmp_path: Path) -> None:
    compare = {"methods": ["best_expert", "model_swarm"], "seeds": [0]}
    run_swarm(world.config(tmp_path, model=COEFFICIENTS, compare=compare), "compare", tmp_path)
    folder = tmp_path / "version_0"
    state = load_checkpoint(folder / "model_swarm" / "seed_0")["optimizer_states"][0]["state"][0]
    pool = load_pool(str(world.experts))
    exported = load_file(folder / "adapters" / "model_swarm" / "seed_0" / "adapter_model.safetensors")
    expected = state["global_best"].double() @ pool.vectors.double()
    torch.testing.assert_close(pool.layout.flatten(exported).double(), expected, rtol=1e-6, atol=1e-7)
    detail = json.loads((folder / "results" / "model_swarm_seed_0.json").read_text())["detail"]
    shares = zip(pool.names, state["global_best"].tolist(), strict=True)
    assert detail.endswith(": " + ", ".join(f"{name} {share:.2f}" for name, share in shares))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"storage": "disk"}, "model.storage to be memory with draws: coefficient"),
        ({"draws": "tensor", "storage": "disk"}, "model.storage to be memory with draws: tensor"),
        (
            {"start": Start("base_and_sparsified"), "particles": 9},
            "experts_and_base or experts_and_sums with draws",
        ),
        ({"draws": "weight"}, "Expected draws to be one of particle, tensor, coefficient, but got 'weight'"),
        ({"kernel": "compiled"}, "kernel to be auto or plain with draws: coefficient"),
    ],
)
def test_what_coefficients_can_not_do_is_refused(
    world: World, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        search(world, tmp_path, **{**COEFFICIENTS, **settings})
    assert list(tmp_path.iterdir()) == []
