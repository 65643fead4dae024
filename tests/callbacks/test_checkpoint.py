"""When the swarm is saved."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import SwarmCheckpoint
from swarm_lightning.errors import InputError
from tests.search.tiny_search import World, load_checkpoint, search


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
