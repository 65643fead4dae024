"""Whole searches of full checkpoints against NumPy and plain `transformers`, in memory and on the disk."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant, SwarmCheckpoint
from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.kept_scores import marks_of
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import ExactMatch, LanguageModel, Outcome
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm import stored_moves
from swarm_lightning.swarm.rows import RowStore
from tests.full_models import (
    FullWorld,
    PlainTransformers,
    make_base,
    make_full_world,
    save_copies,
)
from tests.search.tiny_search import (
    FULL,
    NEW_TOKENS,
    TIMINGS,
    content,
    load_checkpoint,
    prompt_of,
    read_rows,
    run_swarm,
    search,
)
from tests.swarm.reference import Settings, Trajectory
from tests.swarm.reference import search as reference_search

ITERATIONS = 3
RESTART_PATIENCE = 2


@pytest.fixture(scope="module", params=["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def full_world(
    request: pytest.FixtureRequest, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FullWorld:
    folder = tmp_path_factory.mktemp(request.param)
    experts = save_copies(make_base(tiny_base_folder, request.param), tiny_base_folder, folder / "experts")
    return make_full_world(experts, folder)


@pytest.fixture(scope="module")
def llama_world(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FullWorld:
    folder = tmp_path_factory.mktemp("llama")
    return make_full_world(
        save_copies(make_base(tiny_base_folder, "llama"), tiny_base_folder, folder / "experts"), folder
    )


@pytest.fixture(scope="module")
def by_hand(full_world: FullWorld) -> tuple[PlainTransformers, Trajectory]:
    plain = PlainTransformers(full_world)
    return plain, follow(plain)


def follow(plain: PlainTransformers) -> Trajectory:
    settings = Settings(
        iterations=ITERATIONS, patience=10**6, restart_patience=RESTART_PATIENCE, first_velocity="best", repel=0.05
    )
    return reference_search(plain.start, plain.utility, settings)


def assert_is_the_search_by_hand(
    world: FullWorld, plain: PlainTransformers, expected: Trajectory, folder: Path, **settings: Any
) -> ModelSwarm:
    """Search, and compare every utility of every iteration, the bests, and what is exported."""
    module = search(
        world,
        folder,
        callbacks=[RestartStagnant(RESTART_PATIENCE), History(), ExportBest()],
        iterations=ITERATIONS,
        randomness=False,
        first_velocity="best",
        repel=0.05,
        engine=FULL,
        **settings,
    )
    tables = [
        load_file(folder / "score_tables" / f"iteration_{iteration:04d}.safetensors")["utilities"].tolist()
        for iteration in range(ITERATIONS + 1)
    ]
    assert tables == expected.utilities
    assert len({utility for row in tables for utility in row}) > 3, "utilities that hardly differ prove nothing"
    assert len({tuple(row) for row in tables}) > 3, "a swarm that stands still proves nothing"
    assert int(module.swarm.restarts.sum()) == sum(len(particles) for particles in expected.restarted)
    assert float(module.swarm.global_best_utility) == expected.global_best_utilities[-1]
    assert int(module.swarm.best_particle) == expected.best_particles[-1]
    found = world.load(folder / "best_expert")
    np.testing.assert_allclose(plain.flat(found), expected.global_bests[-1], rtol=0, atol=1e-5)
    return module


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_every_utility_of_every_iteration_is_that_of_a_search_by_hand(
    full_world: FullWorld, by_hand: tuple[PlainTransformers, Trajectory], tmp_path: Path, storage: str
) -> None:
    plain, expected = by_hand
    assert_is_the_search_by_hand(full_world, plain, expected, tmp_path, storage=storage)
    assert (tmp_path / "state").exists() == (storage == "disk")


@pytest.mark.shared
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_search_on_copies_of_a_real_model_is_the_search_by_hand(
    shared_folder: Path, tmp_path: Path, storage: str
) -> None:
    from transformers import AutoModelForCausalLM

    real = shared_folder / "models" / "stories260k"
    model = AutoModelForCausalLM.from_pretrained(real)
    world = make_full_world(save_copies(model, real, tmp_path / "experts", noise=0.5), tmp_path)
    plain = PlainTransformers(world)
    assert_is_the_search_by_hand(world, plain, follow(plain), tmp_path / "run", storage=storage)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_what_is_exported_replies_as_it_did_in_the_search(llama_world: FullWorld, tmp_path: Path, dtype: str) -> None:
    module = search(
        llama_world, tmp_path, callbacks=[ExportBest(max_shard_size="30KB")], particles=6, dtype=dtype, engine=FULL
    )
    exported = llama_world.load(tmp_path / "best_expert")
    assert exported.dtype == getattr(torch, dtype)
    test = module.trainer.datamodule.splits.test  # type: ignore[attr-defined]
    # In bfloat16 the last digits depend on the batch: one row at a time is what plain transformers does.
    best = module.particle_swarm.space.vector(module.swarm.global_best)
    replies = [module.evaluator.evaluate([best], [one], whole_replies=True).outcomes[0][0] for one in test]
    expected = [llama_world.reply(exported, prompt_of(example.question)) for example in test]
    assert [outcome.reply for outcome in replies if outcome is not None] == expected
    index = json.loads((tmp_path / "best_expert" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert "lm_head.weight" not in index["weight_map"], "tied weights are saved once"
    card = (tmp_path / "best_expert" / "README.md").read_text()
    assert "A full checkpoint of the architecture of anna" in card
    assert "library_name: transformers" in card
    assert "peft" not in card.lower()


@pytest.mark.slow
def test_a_particles_best_is_exported_from_a_checkpoint_by_the_command(llama_world: FullWorld, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    config = llama_world.config(root, model={"storage": "disk", "base": None})
    printed = run_swarm(config, "fit", tmp_path)
    assert "best found expert" in printed
    run_swarm(config, "export", tmp_path, "--ckpt_path", "last", "--particle", "2")
    summary = json.loads((root / "version_0" / "summary.json").read_text())
    run_swarm(config, "export", tmp_path, "--ckpt_path", "last", "--output", str(tmp_path / "again"))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (root / "version_0" / "best_expert" / name).read_bytes()
    again = llama_world.load(tmp_path / "again")
    scores = llama_world.score(llama_world.replies(again, "dev"), "dev")
    assert sum(scores) / len(scores) == summary["validation"][1]["utility"]
    assert (root / "version_0" / "particle_2" / "model.safetensors").exists()
    tested = run_swarm(config, "test", tmp_path, "--ckpt_path", "last")
    assert "top-5 ensemble" in tested


def same_searches(one: Path, other: Path) -> None:
    """Compare everything but times that two runs have left: records, score tables, weights, and the swarm itself."""
    for folder in ("best_expert", "score_tables"):
        assert content(one / folder) == content(other / folder) != {}
    for row, expected in zip(read_rows(one / "history.csv"), read_rows(other / "history.csv"), strict=True):
        assert {name for name in row if row[name] != expected[name]} <= TIMINGS
    swarms = [weights_of(folder) for folder in (one, other)]
    for name, weights in swarms[0].items():
        assert weights == swarms[1][name]


def weights_of(folder: Path) -> dict[str, list[bytes]]:
    """Read the whole swarm of a run's last checkpoint, from it or from the rows that it names."""
    checkpoint = load_checkpoint(folder)
    memory = next(iter(checkpoint["optimizer_states"][0]["state"].values()))
    matrices = {name: memory[name] for name in ("velocities", "personal_bests", "global_best", "global_worst")}
    matrices["positions"] = checkpoint["state_dict"]["positions"]
    if checkpoint["swarm_lightning"]["storage"]["kind"] == "memory":
        return {name: [row.numpy().tobytes() for row in torch.atleast_2d(held)] for name, held in matrices.items()}
    size = checkpoint["swarm_lightning"]["storage"]["size"]
    return {
        name: [
            (folder / "state" / f"{number:016x}.row").read_bytes() if number else bytes(4 * size)
            for number in held.flatten().tolist()
        ]
        for name, held in matrices.items()
    }


class Photographed(ExactMatch):
    """Copies the run folder while it is evaluating: what would be there had the run been killed at this moment."""

    def __init__(self, root: Path | None = None, copies: Path | None = None) -> None:
        super().__init__(max_new_tokens=NEW_TOKENS)
        self._root, self._copies = root, copies

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        if self._root is not None and self._copies is not None:
            photograph(self._root, self._copies)
        return super().evaluate(examples, model)


def photograph(root: Path, copies: Path) -> None:
    copies.mkdir(exist_ok=True)
    if (root / "checkpoints" / "last.ckpt").exists():
        shutil.copytree(root, copies / f"copy_{len(list(copies.iterdir())):03d}")


def run(world: FullWorld, root: Path, every: int = 1, **settings: Any) -> ModelSwarm:
    saving = SwarmCheckpoint(every_n_iterations=every)
    callbacks = [RestartStagnant(RESTART_PATIENCE), History(), saving, ExportBest()]
    return search(world, root, callbacks=callbacks, **{"particles": 6, "objective": Photographed(), **settings})


@pytest.fixture(scope="module")
def in_memory(llama_world: FullWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was never interrupted, with its swarm in memory."""
    root = tmp_path_factory.mktemp("memory")
    run(llama_world, root, iterations=ITERATIONS)
    return root


def test_a_search_on_the_disk_is_bit_for_bit_the_search_in_memory_and_leaves_what_its_checkpoint_names(
    llama_world: FullWorld, in_memory: Path, tmp_path: Path
) -> None:
    run(llama_world, tmp_path, iterations=ITERATIONS, storage="disk")
    same_searches(tmp_path, in_memory)
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert checkpoint.stat().st_size < 40_000, "a checkpoint names rows and does not hold them"
    named = {row for rows in weights_of(tmp_path).values() for row in rows}
    assert {path.read_bytes() for path in (tmp_path / "state").iterdir()} <= named


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_a_run_killed_in_a_move_or_an_evaluation_resumes_as_if_it_had_not_been(
    llama_world: FullWorld, in_memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    root, copies = tmp_path / "run", tmp_path / "copies"
    monkeypatch.setattr(stored_moves, "THREADS", 1)
    writes = 0
    write = RowStore.write

    def counted(store: RowStore, number: int, start: int, weights: torch.Tensor) -> None:
        nonlocal writes
        write(store, number, start, weights)
        writes += 1
        if writes % 17 == 0:
            photograph(root, copies)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "write", counted)
        run(llama_world, root, every, iterations=ITERATIONS, storage="disk", objective=Photographed(root, copies))
    taken = sorted(copies.iterdir())
    assert len(taken) > 6
    for copy in taken[:: max(len(taken) // 4, 1)]:
        run(llama_world, copy, iterations=ITERATIONS, storage="disk", ckpt_path=str(copy / "checkpoints" / "last.ckpt"))
        same_searches(copy, in_memory)


@pytest.mark.slow
def test_a_checkpoint_whose_rows_are_gone_is_refused(llama_world: FullWorld, tmp_path: Path) -> None:
    run(llama_world, tmp_path, iterations=1, storage="disk")
    old = shutil.copy(tmp_path / "checkpoints" / "last.ckpt", tmp_path / "old.ckpt")
    last = str(tmp_path / "checkpoints" / "last.ckpt")
    run(llama_world, tmp_path, iterations=2, storage="disk", ckpt_path=last)
    with pytest.raises(InputError, match="rows of the checkpoint .* missing or not whole"):
        run(llama_world, tmp_path, iterations=3, storage="disk", ckpt_path=str(old))
    with pytest.raises(InputError, match="storage of the checkpoint, disk, but model.storage is memory"):
        run(llama_world, tmp_path, iterations=3, ckpt_path=last)
    with pytest.raises(InputError, match="holds something"):
        run(llama_world, tmp_path, iterations=3, storage="disk")


def test_adapters_search_on_the_disk_too(world: Any, tmp_path: Path) -> None:
    for storage in ("memory", "disk"):
        callbacks = [History(), SwarmCheckpoint(), ExportBest()]
        folder = tmp_path / "elsewhere" if storage == "disk" else None
        search(
            world,
            tmp_path / storage,
            callbacks=callbacks,
            particles=6,
            storage=storage,
            state_folder=None if folder is None else str(folder),
        )
    for part in ("best_expert", "score_tables"):
        assert content(tmp_path / "disk" / part) == content(tmp_path / "memory" / part) != {}
    assert not (tmp_path / "disk" / "state").exists()
    assert list((tmp_path / "elsewhere").glob("*/*.row"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"engine": EngineSettings(particles=2)}, "engine.particles to be at most 1 for full checkpoints"),
        ({"storage": "disk", "kernel": "compiled"}, "kernel to be auto or plain with storage: disk"),
        ({"storage": "disk", "callbacks": [SwarmCheckpoint(keep_all=True)]}, "checkpoint.keep_all to be off"),
    ],
)
def test_what_whole_models_or_the_disk_can_not_do_is_refused(
    llama_world: FullWorld, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        search(llama_world, tmp_path, **settings)
    assert not (tmp_path / "state").exists()


def test_an_expert_that_is_not_finite_is_refused_and_leaves_nothing_on_the_disk(
    llama_world: FullWorld, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    experts = Path(shutil.copytree(llama_world.experts, tmp_path / "experts"))
    weights = load_file(experts / "anna" / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(weights, experts / "anna" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"'model.layers.1.mlp.up_proj.weight' of 'anna' holds NaN"):
        search(llama_world, tmp_path / "run", experts=str(experts), storage="disk")
    assert not (tmp_path / "run" / "state").exists()


def test_the_best_of_the_exported_particles_is_the_best_expert(llama_world: FullWorld, tmp_path: Path) -> None:
    module = run(llama_world, tmp_path, iterations=2, storage="disk")
    best = int(module.swarm.best_particle)
    folder = module.export(tmp_path / "particle", best)
    name = "model.safetensors"
    assert (folder / name).read_bytes() == (tmp_path / "best_expert" / name).read_bytes()


def test_scores_that_were_paid_for_are_found_again_by_what_the_rows_hold_not_by_their_numbers(tmp_path: Path) -> None:
    weights = torch.randn(3, 100_000, generator=torch.Generator().manual_seed(0))
    marks = []
    for folder, shift in (("one", 0.0), ("same", 0.0), ("other", 1.0)):
        store = RowStore(tmp_path / folder, weights.shape[1])
        numbers = store.create(3)
        for number, row in zip(numbers, weights + shift, strict=True):
            store.write(number, 0, row)
        marks.append(marks_of(store.rows(torch.tensor(numbers))))
    assert marks[0] == marks[1]
    assert not set(marks[0]) & set(marks[2])
