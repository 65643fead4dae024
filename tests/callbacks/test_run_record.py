"""What `run.json` says of a run that goes on, has ended, was stopped, failed, or was killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import History, RunRecord, StopOnPlateau, SwarmCheckpoint
from swarm_lightning.callbacks.forecast import Rest, rest_of
from swarm_lightning.errors import InputError
from swarm_lightning.report.run import open_run
from swarm_lightning.report.sections import lead
from swarm_lightning.report.tables import duration
from swarm_lightning.runs.run_lock import hold_run
from swarm_lightning.runs.run_record import read_record
from swarm_lightning.search import ModelSwarm
from tests.search.tiny_search import World, search


class At(L.Callback):
    """Calls something after the second iteration."""

    def __init__(self, then: Any) -> None:
        self.then = then

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 2:
            self.then()


def test_the_record_says_what_a_run_is_how_far_it_is_and_why_it_ended(world: World, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    look = At(lambda: seen.append(read_record(tmp_path)))
    search(world, tmp_path, callbacks=[SwarmCheckpoint(), RunRecord(), StopOnPlateau(7), look], particles=5)
    during, after = seen[0], read_record(tmp_path)
    assert (during["state"], during["iterations"]) == ("running", 2)
    assert (after["state"], after["iterations"], after["why"]) == ("ended", 3, "all done")
    assert after["experts"] == ["colours", "numbers", "stories", "towns"]
    assert (after["particles"], after["patience"], after["iterations_at_most"]) == (5, 7, 3)
    assert after["examples"] == {"validation": 8, "test": 8}
    assert after["started"] <= during["updated"] <= after["updated"]
    assert {"python", "torch", "transformers", "swarm-lightning"} <= after["versions"].keys()


def test_while_a_search_runs_its_record_and_its_page_say_what_is_left_likely_and_at_most(
    world: World, tmp_path: Path
) -> None:
    seen: list[tuple[dict[str, Any], str, Rest | None]] = []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
            assert isinstance(module, ModelSwarm)
            seen.append((read_record(tmp_path), lead(open_run(tmp_path)), rest_of(trainer, module)))

    lock = hold_run(tmp_path)
    callbacks = [StopOnPlateau(2), History(), RunRecord(), Look()]
    search(world, tmp_path, callbacks=callbacks, iterations=9, particles=4)
    lock.release()
    assert len(seen) > 1
    for record, page, rest in seen:
        assert rest is not None
        likely, most = rest.seconds.likely, rest.most_seconds
        assert record["left"] == {"iterations": rest.iterations.likely, "seconds": likely, "at_most": most}
        assert f"Likely {duration(likely)} more, to iteration {rest.iterations.likely:.0f}" in page
        assert f"at most {duration(most)} more." in page
    assert seen[0][2].seconds.likely < seen[0][2].most_seconds  # type: ignore[union-attr]
    assert read_record(tmp_path)["left"] is None
    assert "more" not in lead(open_run(tmp_path))


def test_a_run_that_is_resumed_keeps_when_it_was_started(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[SwarmCheckpoint(), RunRecord()], iterations=1)
    first = read_record(tmp_path)
    again = [SwarmCheckpoint(), RunRecord()]
    search(world, tmp_path, callbacks=again, iterations=2, ckpt_path=str(tmp_path / "checkpoints" / "last.ckpt"))
    second = read_record(tmp_path)
    assert second["started"] == first["started"]
    assert (first["iterations"], second["iterations"]) == (1, 2)


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [(KeyboardInterrupt(), "interrupted", "it was asked to end"), (ValueError("a reason\nmore"), "failed", "a reason")],
    ids=["Ctrl-C", "a fault"],
)
def test_a_run_that_is_stopped_says_by_what(
    world: World, tmp_path: Path, error: BaseException, state: str, why: str
) -> None:
    def stop() -> None:
        raise error

    with pytest.raises((SystemExit, ValueError)):
        search(world, tmp_path, callbacks=[RunRecord(), At(stop)])
    record = read_record(tmp_path)
    assert (record["state"], record["why"], record["iterations"]) == (state, why, 2)


def test_a_record_that_says_running_is_silent_unless_a_process_holds_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"state": "running"}))
    assert read_record(tmp_path)["state"] == "silent"
    lock = hold_run(tmp_path)
    assert read_record(tmp_path)["state"] == "running"
    look = f"from pathlib import Path; from swarm_lightning.runs.run_record import *; p = Path({str(tmp_path)!r});"
    other = subprocess.run([sys.executable, "-c", f"{look} print(read_record(p)['state'])"], capture_output=True)
    assert other.stdout == b"running\n", "another process sees the lock"
    lock.release()
    assert read_record(tmp_path)["state"] == "silent"


@pytest.mark.parametrize("content", ["", '{"state": ', "[1]"])
def test_a_record_that_is_none_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json.*Remove it"):
        read_record(tmp_path)


def test_a_run_of_an_earlier_version_has_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path) == {}
