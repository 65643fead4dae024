"""Runs that are stopped and resumed, bit for bit against runs that are not; and what must not be resumed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from swarm_lightning.differences import differences_between, flatten
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search.settings import check_same_search, settings_of
from tests.search.tiny_search import (
    TIMINGS,
    World,
    content,
    leaves,
    load_checkpoint,
    read_rows,
    run_swarm,
    same,
    write_dataset,
)

ITERATIONS = 5
PLAIN: dict[str, Any] = {"restart": {"patience": 3}}
WITH_DROPS: dict[str, Any] = {
    "restart": {"patience": 2, "cool_down": True},
    "model": {
        "optimizer": {
            "class_path": "swarm_lightning.ParticleSwarm",
            "init_args": {"drop_iteration": 0.3, "drop_particle": 0.3},
        }
    },
}
# What no two runs have in common: where they lie, how long they took, and in how many passes; those of a graph hang on
# how ranks share its questions out.
OF_THE_RUN = ("dirpath", "best_model_path", "last_model_path", "seconds", "forward_passes")
COSTS = TIMINGS | {"forward_passes"}


def rows_without_timings(folder: Path) -> list[dict[str, str]]:
    rows = read_rows(folder / "history.csv")
    return [{name: value for name, value in row.items() if name not in COSTS} for row in rows]


def exported(folder: Path) -> dict[str, bytes]:
    """Read what a run has found; beside it, a mixture has the config and the checkpoint that it is tested by."""
    of_the_run = {"config.yaml", "checkpoints/last.ckpt"}
    return {name: held for name, held in content(folder / "best_expert").items() if name not in of_the_run}


def assert_same_run(folder: Path, other: Path) -> None:
    checkpoints = [load_checkpoint(folder), load_checkpoint(other)]
    for checkpoint in checkpoints:
        # Lightning's counters of its loops: 2.6.6 counts a batch too many when it resumes. Nothing here reads them.
        del checkpoint["loops"]
    first, second = (leaves(checkpoint) for checkpoint in checkpoints)
    assert first.keys() == second.keys()
    differing = [name for name in first if not same(first[name], second[name])]
    assert [name for name in differing if not name.endswith(OF_THE_RUN)] == []
    assert {name.rsplit("/", 1)[1] for name in first if isinstance(first[name], torch.Tensor)} >= {
        "positions", "velocities", "personal_bests", "global_best", "global_worst", "stagnation", "generator",
    }  # fmt: skip
    assert exported(folder) == exported(other) != {}
    assert content(folder / "score_tables") == content(other / "score_tables") != {}
    assert rows_without_timings(folder) == rows_without_timings(other)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "settings",
    [WITH_DROPS, pytest.param(PLAIN, marks=pytest.mark.slow)],
    ids=["drop-K and drop-N", "every particle evaluated"],
)
def test_a_stopped_and_resumed_run_is_bit_for_bit_one_that_was_never_stopped(
    world: World, tmp_path: Path, settings: dict[str, Any]
) -> None:
    def config(root: str, iterations: int) -> dict[str, Any]:
        return world.config(tmp_path / root, trainer={"max_steps": iterations}, **settings)

    run_swarm(config("whole", ITERATIONS), "fit", tmp_path)
    whole = tmp_path / "whole" / "version_0"
    run_swarm(config("stopped", 2), "fit", tmp_path)
    moved = tmp_path / "moved" / "my_run"
    shutil.copytree(tmp_path / "stopped" / "version_0", moved)

    rows = rows_without_timings(whole)
    assert [int(row["iteration"]) for row in rows] == list(range(ITERATIONS + 1))
    assert (
        float(rows[-1]["restarts"]) > float(rows[2]["restarts"]) if settings is PLAIN else float(rows[-1]["restarts"])
    )
    assert len({row["personal_best_mean"] for row in rows}) > 2, "a swarm that stands still proves nothing"

    run_swarm(config("stopped", ITERATIONS), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "stopped" / "version_0", whole)
    assert not (tmp_path / "stopped" / "version_1").exists()

    run_swarm(config("elsewhere", ITERATIONS), "fit", tmp_path, "--ckpt_path", str(moved / "checkpoints" / "last.ckpt"))
    assert_same_run(moved, whole)
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture(scope="module")
def stopped(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a run of two iterations."""
    root = tmp_path_factory.mktemp("stopped")
    run_swarm(world.config(root / "runs", trainer={"max_steps": 2}), "fit", root)
    return root / "runs"


@pytest.fixture
def root(stopped: Path, tmp_path: Path) -> Path:
    """A copy of that root, to go on in."""
    return Path(shutil.copytree(stopped, tmp_path / "runs"))


def test_a_run_killed_before_its_checkpoint_leaves_no_row_twice(world: World, root: Path, tmp_path: Path) -> None:
    history = root / "version_0" / "history.csv"
    rows = history.read_text().splitlines()
    history.write_text(
        "\n".join([*rows, "3," + rows[-1].split(",", 1)[1], "4,0.1"]) + "\n"
    )  # the last one half written
    run_swarm(world.config(root, trainer={"max_steps": 4}), "fit", tmp_path, "--ckpt_path", "last")
    run_swarm(world.config(tmp_path / "whole", trainer={"max_steps": 4}), "fit", tmp_path)
    assert rows_without_timings(root / "version_0") == rows_without_timings(tmp_path / "whole" / "version_0")
    assert [row["iteration"] for row in read_rows(history)] == ["0", "1", "2", "3", "4"]


def test_resuming_a_search_that_had_lost_patience_does_no_further_iteration(world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs", stop={"patience": 1}, trainer={"max_steps": 5})
    assert "stopped: the global best no longer rose" in run_swarm(config, "fit", tmp_path)
    folder = tmp_path / "runs" / "version_0"
    before = content(folder)
    # With a patience of 1 the last one of two values is always equal to itself: one iteration.
    assert [row["iteration"] for row in read_rows(folder / "history.csv")] == ["0", "1"]
    run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
    after = content(folder)
    kept = [name for name in before if name.startswith(("history", "best_expert", "score_tables", "config"))]
    assert len(kept) >= 7
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert int(leaves(load_checkpoint(folder))["/optimizer_states/0/state/0/iterations"]) == 1


def other_experts(world: World, folder: Path) -> list[str]:
    shutil.copytree(world.experts, folder / "experts")
    (folder / "experts" / "towns").rename(folder / "experts" / "villages")
    return ["--model.experts", str(folder / "experts")]


def other_data(world: World, folder: Path) -> list[str]:
    return ["--data.dataset", str(write_dataset(folder / "sums.json", first=4))]


def other_base(world: World, folder: Path) -> list[str]:
    from safetensors.torch import load_file, save_file

    shutil.copytree(world.base, folder / "base")
    weights = load_file(folder / "base" / "model.safetensors")
    weights["model.norm.weight"] *= 2  # same names and shapes, another model
    save_file(weights, folder / "base" / "model.safetensors", metadata={"format": "pt"})
    return ["--model.base", str(folder / "base")]


def moved_base(world: World, folder: Path) -> list[str]:
    return ["--model.base", str(shutil.copytree(world.base, folder / "moved"))]


def arguments(*given: str) -> Callable[[World, Path], list[str]]:
    return lambda world, folder: list(given)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            arguments(
                *("--model.optimizer.inertia", "0.1", "--model.scheduler.factor", "0.9", "--model.particles", "6"),
                *("--model.objective.rule", "exact", "--model.objective.max_new_tokens", "5"),
            ),
            [
                "optimizer.inertia is 0.1, in the checkpoint 0.2",
                "scheduler.factor is 0.9, in the checkpoint 0.95",
                "particles is 6, in the checkpoint 5",
                "objective.rule is 'exact', in the checkpoint 'contained'",
                "objective.settings.max_new_tokens is 5, in the checkpoint 6",
            ],
        ),
        (arguments("--restart.patience", "4"), ["restart.patience is 4, in the checkpoint 5"]),
        (arguments("--restart.cool_down", "true"), ["restart.cool_down is True, in the checkpoint False"]),
        (other_base, ["the base differs from that in the checkpoint"]),
        (other_experts, ["the experts differ from those in the checkpoint"]),
        (other_data, ["the data differ from those in the checkpoint"]),
    ],
)
def test_another_search_is_not_resumed_and_the_difference_is_named(
    world: World,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: Callable[[World, Path], list[str]],
    named: list[str],
) -> None:
    before = content(root)
    with pytest.raises(SystemExit) as exit_:
        run_swarm(world.config(root), "fit", tmp_path, "--ckpt_path", "last", *changes(world, tmp_path))
    assert exit_.value.code == 2
    assert isinstance(exit_.value.__cause__, InputError)
    told = capsys.readouterr().err
    assert [one for one in named if one not in str(exit_.value.__cause__) or one not in told] == []
    assert content(root) == before


@pytest.mark.parametrize("changes", [moved_base, arguments("--model.engine.rows", "5")])
def test_what_does_not_change_the_search_may_change_at_a_resume(
    world: World, root: Path, tmp_path: Path, changes: Callable[[World, Path], list[str]]
) -> None:
    config = world.config(root, trainer={"max_steps": 4})
    run_swarm(config, "fit", tmp_path, "--ckpt_path", "last", *changes(world, tmp_path))
    assert [row["iteration"] for row in read_rows(root / "version_0" / "history.csv")] == ["0", "1", "2", "3", "4"]


def test_a_checkpoint_that_is_not_one_of_a_swarm_is_refused(world: World, root: Path, tmp_path: Path) -> None:
    path = root / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["swarm_lightning"]
    torch.save(checkpoint, path)
    for subcommand in ("fit", "test", "export"):
        with pytest.raises(SystemExit) as exit_:
            run_swarm(world.config(root), subcommand, tmp_path, "--ckpt_path", "last")
        assert "Expected a checkpoint of a swarm" in str(exit_.value.__cause__)


def test_a_checkpoint_that_is_no_checkpoint_at_all_is_refused(world: World, root: Path, tmp_path: Path) -> None:
    (root / "version_0" / "checkpoints" / "last.ckpt").write_text("not a checkpoint")
    for subcommand in ("fit", "export"):
        with pytest.raises(SystemExit) as exit_:
            run_swarm(world.config(root), subcommand, tmp_path, "--ckpt_path", "last")
        assert isinstance(exit_.value.__cause__, InputError)


@pytest.mark.parametrize(("source", "named"), [("last", "there is none"), ("nowhere/last.ckpt", "is not there")])
def test_what_is_not_there_is_not_resumed(world: World, tmp_path: Path, source: str, named: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_swarm(world.config(tmp_path / "runs"), "fit", tmp_path, "--ckpt_path", source)
    assert isinstance(exit_.value.__cause__, InputError)
    assert named in str(exit_.value.__cause__)
    assert not (tmp_path / "runs").exists()


def test_every_difference_is_named() -> None:
    saved = {"seed": 1, "objective": {"rule": "exact", "words": ["a"]}}
    present = {"seed": 2, "objective": {"rule": "exact", "words": ["b"], "new": 3}}
    with pytest.raises(InputError) as refused:
        check_same_search(saved, present)
    for part in ("seed is 2, in the checkpoint 1", "objective.words is ['b']", "objective.new is 3"):
        assert part in str(refused.value)
    assert "rule" not in str(refused.value)


def test_a_regular_expression_is_part_of_an_objectives_settings() -> None:
    settings = flatten(settings_of(ExactMatch("regex", pattern=r"is (\w+)", stop=["\n"])))
    assert settings["pattern"] == r"is (\w+)"
    assert settings["settings.stop"] == ["\n"]
    assert all(isinstance(value, bool | int | float | str | list | None) for value in settings.values())


def test_the_settings_of_an_objective_inside_another_one_count() -> None:
    class Outer:
        def __init__(self, tokens: int) -> None:
            self.asking = ExactMatch(max_new_tokens=tokens)
            self.weights = {"a": 1.0}

    few, many = settings_of(Outer(3)), settings_of(Outer(4))
    assert few["asking"]["settings"]["max_new_tokens"] == 3
    assert few["weights"] == {"a": 1.0}
    assert differences_between(few, many, "there") == ["asking.settings.max_new_tokens is 4, there 3"]
