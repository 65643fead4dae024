"""A trial is one process's, comes back if it was interrupted, and is never searched twice."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.locks import lock_if_free
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.sweep.report import budget, rows_of
from swarm_lightning.sweep.settings import SweepSettings
from swarm_lightning.sweep.space import Choice, DrawnSpace
from swarm_lightning.sweep.study import SweepStudy

SPACE: DrawnSpace = {"model.particles": Choice((2, 3, 4, 5))}


def study_in(folder: Path, **settings: Any) -> SweepStudy:
    return SweepStudy(folder, SweepSettings(**{"trials": 3, **settings}), SPACE, {"model": {"base": "a"}})


@pytest.mark.smoke
def test_two_processes_never_have_the_same_trial(tmp_path: Path) -> None:
    one, other = study_in(tmp_path / "study"), study_in(tmp_path / "study")
    with ExitStack() as held:
        claimed = [held.enter_context(study.next_trial()) for study in (one, other, one)]
        assert held.enter_context(other.next_trial()) is None  # all three are running
        numbers = [trial.number for trial, _ in filter(None, claimed)]
        drawn = [settings["model.particles"] for _, settings in filter(None, claimed)]
    assert numbers == [0, 1, 2]
    assert len(set(drawn)) == 3


@pytest.mark.smoke
def test_a_trial_whose_process_has_gone_is_taken_up_and_one_that_was_told_is_not(tmp_path: Path) -> None:
    with study_in(tmp_path / "study").next_trial() as claimed:
        assert claimed is not None
        first, settings = claimed
    later = study_in(tmp_path / "study", trials=2)
    with later.next_trial() as claimed:
        assert claimed is not None
        assert (claimed[0].number, claimed[1]) == (first.number, settings)
        later.tell(claimed[0], "PRUNED")
    with lock_if_free(tmp_path / "study" / "locks" / "trial_0000") as free:
        assert free
    with later.next_trial() as claimed:
        assert claimed is not None
        assert claimed[0].number == 1
        later.tell(claimed[0], "COMPLETE", 0.5)
    with later.next_trial() as claimed:
        assert claimed is None
    best = later.best()
    assert best is not None
    assert best.number == 1


def test_machines_without_a_common_disk_share_the_trials_and_the_budget(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    here, there = (study_in(tmp_path / name, storage=storage, trials=2) for name in ("here", "there"))
    with here.next_trial() as claimed:
        assert claimed is not None  # and it is interrupted
    with there.next_trial() as claimed:
        assert claimed is not None
        trial, _ = claimed
        assert trial.number == 1  # the interrupted one can only be gone on with where it lies
        trial.set_user_attr("facts", {"evaluations": 100, "asked_first": 40, INITIAL: ["anna", 0.5]})
        there.tell(trial, "COMPLETE", 0.5)
    with there.next_trial() as claimed:
        assert claimed is None
    assert rows_of(here)[1].initial == ("anna", 0.5, None)
    there.keep_tests(1, {INITIAL: 0.125, FOUND: 0.25})
    mine, other = rows_of(here)
    assert (mine.initial, other.initial) == (None, ("anna", 0.5, 0.125))
    assert (mine.here, other.here, other.test) == (True, False, 0.25)
    assert other.folder.endswith(f":{tmp_path / 'there'}/trial_0001")
    # 100 there, of which 40 are first positions; 8 first positions were asked here.
    assert budget([mine, other], 8)["evaluations"] == 108
    assert budget([mine, other], 8)["first"] == 48


def test_a_study_does_not_go_on_with_files_that_hold_something_else(tmp_path: Path) -> None:
    old, new = ({"model": {"base": "a"}, "content of the data": fingerprint} for fingerprint in ("1f", "2e"))
    SweepStudy(tmp_path / "study", SweepSettings(trials=2), SPACE, old)
    with pytest.raises(InputError, match="but the data differ from those there. Restore them"):
        SweepStudy(tmp_path / "study", SweepSettings(trials=2), SPACE, new)
    assert SweepStudy(tmp_path / "study", SweepSettings(trials=3), SPACE, old).count == 3


def test_a_study_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    study_in(tmp_path / "here", storage=storage)
    with pytest.raises(InputError, match="model.base is 'b', there 'a'"):
        SweepStudy(tmp_path / "there", SweepSettings(storage=storage), SPACE, {"model": {"base": "b"}})
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("settings", "size", "count"),
    [
        ({}, None, 20),
        ({}, 6, 6),
        ({}, 90, 20),
        ({"sampler": "grid"}, 90, 90),
        ({"trials": 4}, 6, 4),
    ],
)
def test_as_many_searches_as_are_wanted_or_as_there_are_different_ones(
    settings: dict[str, Any], size: int | None, count: int
) -> None:
    assert SweepSettings(**settings).count(size) == count
