"""When the swarm is saved."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import SwarmCheckpoint
from swarm_lightning.errors import InputError
from tests.baselines.counting import CountingMatch, asked
from tests.search.tiny_search import World, load_checkpoint, run_swarm, search


class Crash(L.Callback):
    """Ends the process, as far as the search can tell, before an iteration."""

    def __init__(self, before: int) -> None:
        self.before = before

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step + 1 == self.before:
            raise RuntimeError("the power is gone")


def saved_iteration(folder: Path) -> int:
    checkpoint = load_checkpoint(folder)
    iterations = int(checkpoint["optimizer_states"][0]["state"][0]["iterations"])
    assert checkpoint["global_step"] == iterations
    return iterations


@pytest.mark.parametrize("keep_all", [False, True])
def test_a_search_that_dies_has_been_saved_after_its_last_whole_iteration(
    world: World, tmp_path: Path, keep_all: bool
) -> None:
    with pytest.raises(RuntimeError, match="the power is gone"):
        search(world, tmp_path, callbacks=[SwarmCheckpoint(keep_all=keep_all), Crash(before=3)], iterations=5)
    assert saved_iteration(tmp_path) == 2
    kept = ["iteration_1.ckpt", "iteration_2.ckpt"] if keep_all else []
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [*kept, "last.ckpt"]


@pytest.mark.parametrize(("every", "dies_before", "saved"), [(2, 4, 2), (2, None, 3), (9, None, 3)])
def test_checkpoints_can_be_rarer_and_the_end_is_always_saved(
    world: World, tmp_path: Path, every: int, dies_before: int | None, saved: int
) -> None:
    callbacks: list[L.Callback] = [SwarmCheckpoint(every_n_iterations=every)]
    if dies_before is None:
        search(world, tmp_path, callbacks=callbacks, iterations=3)
    else:
        with pytest.raises(RuntimeError):
            search(world, tmp_path, callbacks=[*callbacks, Crash(dies_before)], iterations=5)
    assert saved_iteration(tmp_path) == saved


@pytest.mark.parametrize("every", [0, -1])
def test_less_than_one_iteration_between_checkpoints_is_refused(every: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        SwarmCheckpoint(every_n_iterations=every)


@pytest.mark.filterwarnings("error:.*dirpath has changed.*", "error:.*across ranks is zero.*")
def test_a_search_goes_on_in_silence_where_its_folder_goes_by_another_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search(world, tmp_path / "run", callbacks=[SwarmCheckpoint()], iterations=1)
    last = Path("run") / "checkpoints" / "last.ckpt"
    search(world, Path("run"), callbacks=[SwarmCheckpoint()], iterations=2, ckpt_path=str(last))
    assert saved_iteration(tmp_path / "run") == 2
    (tmp_path / "run").rename(tmp_path / "moved")
    last = tmp_path / "moved" / "checkpoints" / "last.ckpt"
    search(world, tmp_path / "moved", callbacks=[SwarmCheckpoint()], iterations=3, ckpt_path=str(last))
    assert saved_iteration(tmp_path / "moved") == 3
    assert not (tmp_path / "run").exists()


def test_what_a_search_has_asked_of_the_test_split_when_it_is_ended_is_not_asked_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = {"class_path": "tests.baselines.counting.CountingMatch"}
    model = {"objective": objective, "engine": {"rows": 2, "exact_stop": False}}
    replies = {"validation": False}
    whole = world.config(tmp_path / "whole", model=model, replies=replies, trainer={"max_steps": 1})
    begun = asked()
    run_swarm(whole, "fit", tmp_path)
    needed = asked() - begun
    begun = asked()
    config = world.config(tmp_path / "ended", model=model, replies=replies, trainer={"max_steps": 1})
    monkeypatch.setattr(CountingMatch, "interrupted_at", begun + needed - 12)  # half of the test split is asked then
    with pytest.raises(SystemExit):
        run_swarm(config, "fit", tmp_path)
    monkeypatch.undo()
    folder = tmp_path / "ended" / "version_0"
    assert [path.name for path in (folder / "checkpoints" / "results").iterdir()] == ["scores_0.jsonl"]
    run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
    assert asked() - begun == needed
    summaries = [json.loads((path / "summary.json").read_text()) for path in (folder, tmp_path / "whole" / "version_0")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]
