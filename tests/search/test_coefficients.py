"""Whole searches for coefficients of what the experts add: exact beside the base, resumed, exported, compared."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant, SwarmCheckpoint
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.evaluation.runners import RUNNERS
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.settings import check_same_search
from swarm_lightning.swarm.population import Start
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.full_models import FullWorld, make_base, make_full_world, save_copies
from tests.search.test_ranks import write_config
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import FULL, NEW_TOKENS, World, calm_process, read_rows, run_swarm, search

MODULE: dict[str, Any] = {"coefficients": "module", "draws": "coefficient"}


@pytest.fixture(scope="module")
def searched(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSwarm, Path]:
    root = tmp_path_factory.mktemp("searched")
    callbacks = [RestartStagnant(2), History(), SwarmCheckpoint(), ExportBest()]
    return search(world, root, callbacks=callbacks, particles=6, iterations=4, engine=FULL, **MODULE), root


def test_a_position_is_a_coefficient_of_every_expert_and_module(searched: tuple[ModelSwarm, Path]) -> None:
    module, _ = searched
    groups = module.particle_swarm.space.material.groups
    experts = len(module.pool.names)
    assert module.positions.shape == (6, experts * len(groups))
    assert len(groups) == len(module.pool.layout.names) // 2
    assert isinstance(module.evaluator.runner.engine.adapted, ProductModel)
    utilities = module.swarm.initial_utilities[:experts].tolist()
    alone = module.weights_evaluator.evaluate(module.pool.vectors, SwarmData(str(_dataset(module))).splits.validation)
    assert utilities == alone.utilities.tolist(), "an expert's own coefficients do not score as its adapter does"


def _dataset(module: ModelSwarm) -> str:
    return str(module.trainer.datamodule.dataset)  # type: ignore[attr-defined]


def test_an_exported_adapter_scores_with_plain_peft_what_the_search_says(
    world: World, searched: tuple[ModelSwarm, Path], tmp_path: Path
) -> None:
    module, root = searched
    mixed = 5  # a child, of other experts in every module
    for folder, utility in (
        (root / "best_expert", float(module.swarm.global_best_utility)),
        (module.export(tmp_path / "mixed", mixed), float(module.swarm.personal_best_utilities[mixed])),
    ):
        scores = world.score(world.replies(world.load(folder), "dev"), "dev")
        assert utility == sum(scores) / len(scores)
    found = module.bests.score(SwarmData(str(world.dataset)).splits.test)[1]
    scores = world.score(world.replies(world.load(root / "best_expert"), "test"), "test")
    assert found.utility == sum(scores) / len(scores)


def test_the_card_says_how_much_of_each_expert_there_is(searched: tuple[ModelSwarm, Path], tmp_path: Path) -> None:
    module, _ = searched
    card = (module.export(tmp_path / "mixed", 5) / "README.md").read_text()
    shares = module.swarm.personal_bests[5].view(len(module.pool.names), -1).double()
    for name, share in zip(module.pool.names, shares, strict=True):
        ends = f" (from {share.min():.4f} to {share.max():.4f})" if share.min() < share.max() else ""
        assert f"- {name}, coefficient {share.mean():.4f}{ends}\n" in card
    assert " (from " in card
    assert "the sum of the experts' products B A" in card
    assert "one for each module of an expert" in card


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    world: World, searched: tuple[ModelSwarm, Path], tmp_path: Path
) -> None:
    module, root = searched
    callbacks = [RestartStagnant(2), History(), SwarmCheckpoint()]
    search(world, tmp_path, callbacks=callbacks, particles=6, iterations=2, engine=FULL, **MODULE)
    callbacks = [RestartStagnant(2), History(), SwarmCheckpoint()]
    checkpoint = str(tmp_path / "checkpoints" / "last.ckpt")
    again = search(
        world, tmp_path, callbacks=callbacks, particles=6, iterations=4, engine=FULL, ckpt_path=checkpoint, **MODULE
    )
    assert again.positions.equal(module.positions)
    assert again.swarm.global_best.equal(module.swarm.global_best)
    assert again.state.evaluations == module.state.evaluations
    assert [row["global_best"] for row in read_rows(tmp_path / "history.csv")] == [
        row["global_best"] for row in read_rows(root / "history.csv")
    ]
    with pytest.raises(InputError, match="coefficients is 'expert', in the checkpoint 'module'"):
        search(world, tmp_path, particles=6, iterations=5, ckpt_path=checkpoint, **{**MODULE, "coefficients": "expert"})


def test_a_search_without_coefficients_is_the_one_of_checkpoints_that_know_no_such_setting(
    world: World, tmp_path: Path
) -> None:
    module = search(world, tmp_path, iterations=1)
    known = {name: value for name, value in module.identity.items() if name not in ("coefficients", "backend")}
    check_same_search(known, module.identity)
    with pytest.raises(InputError, match="coefficients is 'layer'"):
        check_same_search(known, {**module.identity, "coefficients": "layer"})


def test_random_numbers_of_a_particle_move_all_coefficients_of_an_expert_alike(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, particles=5, iterations=2, coefficients="expert", start=Start("experts_and_base"))
    experts = len(module.pool.names)
    assert module.positions.shape == (5, experts)
    assert module.particle_swarm.space.groups is None
    assert float(module.swarm.initial_utilities[experts]) == float(
        module.evaluator.evaluate_base(SwarmData(str(world.dataset)).splits.validation).utilities[0]
    )


@pytest.fixture(scope="module")
def full_world(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FullWorld:
    folder = tmp_path_factory.mktemp("full")
    experts = save_copies(make_base(tiny_base_folder, "llama"), tiny_base_folder, folder / "experts")
    return make_full_world(experts, folder)


def fit_full(world: FullWorld, folder: Path, **settings: Any) -> ModelSwarm:
    objective = ExactMatch(max_new_tokens=NEW_TOKENS)
    module = ModelSwarm(experts=str(world.experts), objective=objective, particles=5, **settings)
    with calm_process():
        trainer = SwarmTrainer(
            accelerator="cpu", max_steps=2, default_root_dir=folder, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, callbacks=[ExportBest()],
        )  # fmt: skip
        trainer.fit(module, datamodule=SwarmData(str(world.dataset)))
    return module


def test_layers_of_whole_models_are_added_from_their_files(full_world: FullWorld, tmp_path: Path) -> None:
    module = fit_full(full_world, tmp_path, coefficients="layer", draws="coefficient")
    assert "vectors" not in vars(module.pool), "all experts were held in memory"
    experts, layout = module.pool.vectors.double(), module.pool.layout
    space, held = module.particle_swarm.space, module.swarm.global_best
    assert space.differences_from == "the experts' mean"
    table, origin = space.coefficients(held).double(), experts.mean(dim=0)
    groups = list(space.material.groups)
    exported = load_file(tmp_path / "best_expert" / "model.safetensors")
    parts = [layout.unflatten(row) for row in (experts - origin).float()]
    for name, weights in layout.unflatten(origin.float()).items():
        module_of = name.rpartition(".")[0]
        block = ".".join(module_of.split(".")[:3])
        group = groups.index(block if block in groups else module_of)
        expected = weights.double()
        for share, part in zip(table[:, group].tolist(), parts, strict=True):
            expected = expected + share * part[name].double()
        torch.testing.assert_close(exported[name].double(), expected, rtol=1e-4, atol=1e-5)
    assert "one for each layer of an expert" in (tmp_path / "best_expert" / "README.md").read_text()


def test_what_whole_models_can_not_be_divided_into_is_refused_before_anything_is_loaded(
    full_world: FullWorld, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="one of expert, layer, module for full checkpoints, but got 'component'"):
        fit_full(full_world, tmp_path / "run", coefficients="component")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"storage": "disk"}, "with model.coefficients, but got disk and particle"),
        ({"draws": "tensor"}, "memory and particle or memory and coefficient with model.coefficients"),
        ({"coefficients": "row"}, "null or one of expert, layer, half_block, module, component, but got 'row'"),
        ({"engine": EngineSettings(backend="abacus")}, "engine.backend to be one of torch, vllm, but got 'abacus'"),
        (
            {"start": Start("base_and_sparsified"), "particles": 9},
            "or experts_and_sums with model.coefficients",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    world: World, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        search(world, tmp_path, **{"coefficients": "expert", **settings})
    assert list(tmp_path.iterdir()) == []


def test_a_runner_is_chosen_by_its_name_and_made_from_what_is_loaded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Loaded] = []

    class Counting(ResidentRunner):
        def __init__(self, loaded: Loaded) -> None:
            super().__init__(loaded.resident, loaded.tokenizer, loaded.settings)
            made.append(loaded)

    monkeypatch.setitem(RUNNERS, "counting", Counting)
    engine = EngineSettings(backend="counting")
    module = search(world, tmp_path / "counting", engine=engine)
    assert type(module.evaluator.runner) is Counting
    assert [loaded.base for loaded in made] == [str(world.base)]
    assert made[0].pool is module.pool
    assert module.positions.equal(search(world, tmp_path / "torch").positions)
    assert module.identity["backend"] == "counting"


@pytest.mark.slow
def test_a_comparison_searches_in_its_space_and_asks_the_others_as_adapters(world: World, tmp_path: Path) -> None:
    methods = ["best_expert", "uniform_soup", "product_mean", "model_swarm"]
    compare = {"methods": methods, "seeds": [0]}
    run_swarm(world.config(tmp_path / "plain", compare={**compare, "methods": methods[:3]}), "compare", tmp_path)
    run_swarm(world.config(tmp_path / "own", model={"coefficients": "expert"}, compare=compare), "compare", tmp_path)

    def result(root: str, name: str) -> dict[str, Any]:
        return dict(json.loads((tmp_path / root / "version_0" / "results" / f"{name}.json").read_text()))

    for name in methods[:3]:
        one, other = result("own", name), result("plain", name)
        assert [one[key] for key in ("validation", "test")] == [other[key] for key in ("validation", "test")]
    row = result("own", "model_swarm_seed_0")
    model = world.load(tmp_path / "own" / "version_0" / "adapters" / "model_swarm" / "seed_0")
    assert row["test"] == world.score(world.replies(model, "test"), "test")
    scores = world.score(world.replies(model, "dev"), "dev")
    assert row["validation"] == sum(scores) / len(scores)
    assert ": " in row["detail"]


@pytest.mark.slow
def test_several_ranks_make_the_run_of_one(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    model = {"engine": {"rows": 5, "chunk": 2}, **MODULE}
    run_swarm(world.config(tmp_path / "alone", model=model, restart={"patience": 2}), "fit", tmp_path)
    config = write_config(world, tmp_path / "many", model=model, trainer={"max_steps": 3})
    ended = forked_ranks.swarm(torchrun_environments(3), "fit", "--config", config)
    assert [rank.code for rank in ended] == [0] * 3, ended
    assert_same_run(tmp_path / "many" / "version_0", tmp_path / "alone" / "version_0")
