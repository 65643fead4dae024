"""Searches whose replies are sampled repeat as greedy ones do: resumed, on several ranks, and in what they report."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from swarm_lightning.callbacks.first_look import FirstLook, frame
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import ExactMatch
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import FULL, World, content, load_checkpoint, read_rows, run_swarm, same, search

ITERATIONS = 3
WARM: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.9, "top_p": 0.95}
SETTINGS: dict[str, Any] = {
    "restart": {"patience": 2},
    "model": {
        "objective": {"class_path": "swarm_lightning.objectives.ExactMatch", "init_args": WARM},
        "engine": {"rows": 5, "chunk": 2},
    },
}


def config(world: World, root: Path, iterations: int = ITERATIONS, **changes: Any) -> dict[str, Any]:
    return world.config(root, **SETTINGS, trainer={"max_steps": iterations}, **changes)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a run that was never stopped, on one rank."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    run_swarm(config(world, root), "fit", root.parent)
    rows = read_rows(root / "version_0" / "history.csv")
    assert len({row["personal_best_mean"] for row in rows}) > 2, "a swarm that stands still proves nothing"
    return root


def test_a_stopped_and_resumed_run_is_bit_for_bit_one_that_was_never_stopped(
    world: World, whole: Path, tmp_path: Path
) -> None:
    run_swarm(config(world, tmp_path / "runs", 1), "fit", tmp_path)
    # What seeds the noise is the seed that the search began with.
    resumed = {**config(world, tmp_path / "runs"), "seed_everything": 99}
    run_swarm(resumed, "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "runs" / "version_0", whole / "version_0")


@pytest.mark.slow
def test_two_ranks_make_the_run_of_one(world: World, whole: Path, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config(world, tmp_path / "runs")))
    ended = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", str(path))
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_same_run(tmp_path / "runs" / "version_0", whole / "version_0")


def test_a_later_command_draws_as_the_search_did(world: World, whole: Path, tmp_path: Path) -> None:
    again = {**config(world, whole), "seed_everything": 99}
    run_swarm(again, "validate", tmp_path, "--ckpt_path", str(whole / "version_0"))
    initial, found = read_rows(whole / "version_0" / "validation.csv")
    state = load_checkpoint(whole / "version_0")["optimizer_states"][0]["state"][0]
    assert float(initial["validation_utility"]) == float(state["initial_utilities"][:4].max())
    assert float(found["validation_utility"]) == float(state["global_best_utility"])


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_search_that_stops_early_goes_where_a_full_one_goes(world: World, tmp_path: Path, seed: int) -> None:
    objective = ExactMatch(**WARM)
    full = search(world, tmp_path / "full", engine=FULL, objective=objective, seed=seed)
    early = search(world, tmp_path / "early", engine=EngineSettings(chunk=1, rows=3), objective=objective, seed=seed)
    first, second = full.swarm.memory(), early.swarm.memory()
    assert [name for name in first if name != "utilities" and not same(first[name], second[name])] == []
    assert torch.equal(full.positions, early.positions)
    assert early.state.evaluations < full.state.evaluations


def test_what_is_reported_was_drawn_by_the_particles_that_it_names(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, objective=ExactMatch(**WARM), particles=5, engine=FULL)
    splits = module.trainer.datamodule.splits  # type: ignore[attr-defined]
    initial, found, _ = module.bests.score(splits.validation, ensemble_size=3)
    assert initial.utility == float(module.swarm.initial_utilities[module.best_initial])
    assert found.utility == float(module.swarm.global_best_utility)
    best = module.swarm.global_best.unsqueeze(0)
    replies = {
        number: [
            outcome.reply if outcome else ""
            for outcome in module.evaluator.evaluate(best, splits.test, None, None, True, [number]).outcomes[0]
        ]
        for number in (0, int(module.swarm.best_particle), 77)
    }
    answers = module.predict_step(splits.test, 0)
    assert [answer["reply"] for answer in answers] == replies[int(module.swarm.best_particle)]
    assert replies[77] not in (replies[0], replies[int(module.swarm.best_particle)])


def test_another_seed_is_another_search(world: World, tmp_path: Path) -> None:
    utilities = [
        search(
            world, tmp_path / str(seed), objective=ExactMatch(**WARM), seed=seed, iterations=1
        ).swarm.initial_utilities
        for seed in (0, 1)
    ]
    assert not torch.equal(utilities[0], utilities[1])  # the four experts stand at the same positions


def test_the_first_look_shows_a_reply_of_the_search(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = search(world, tmp_path, objective=ExactMatch(**WARM), callbacks=[FirstLook()], iterations=1, engine=FULL)
    best = module.best_initial
    example = module.trainer.datamodule.splits.validation[0]  # type: ignore[attr-defined]
    vectors = [module.pool.vector(best)]
    outcome = module.evaluator.evaluate(vectors, [example], None, None, True, [best]).outcomes[0][0]
    assert outcome is not None
    printed = capsys.readouterr().out
    assert f"Score {outcome.score:g} (0 to 1)" in printed
    assert frame(outcome.reply) in printed


def test_another_temperature_is_another_search_for_a_checkpoint(world: World, whole: Path, tmp_path: Path) -> None:
    before = content(whole)
    with pytest.raises(SystemExit) as ended:
        run_swarm(
            config(world, whole), "fit", tmp_path, "--ckpt_path", "last", "--model.objective.init_args.temperature", "1"
        )
    assert "temperature is 1.0, in the checkpoint 0.9" in str(ended.value.__cause__)
    assert content(whole) == before
