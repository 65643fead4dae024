"""Scores on disk as soon as they are found, whatever a kill does to the last line."""

import json
import zlib
from pathlib import Path

import pytest

from swarm_lightning.errors import StorageError
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.objectives import Outcome

LOTS = [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]
OUTCOMES = [[Outcome("é\n", "A", 0.1), Outcome("", None, -1e300)], [Outcome("b", "b", 1 / 3), Outcome("c", None, 0.0)]]


def written(folder: Path, lots: int = 2, key: str = "key") -> Path:
    journal = ScoreJournal(folder)
    journal.begin(key, Ranks())
    for lot, outcomes in list(zip(LOTS, OUTCOMES, strict=True))[:lots]:
        assert journal.recall([lot]) == ([], [lot])
        journal.keep(lot, outcomes, generated=5, passes=3)
    return folder / "scores_0.jsonl"


def read(folder: Path, key: str = "key") -> ScoreJournal:
    journal = ScoreJournal(folder)
    journal.begin(key, Ranks())
    return journal


def test_what_was_kept_is_recalled_to_the_last_bit_by_another_process(tmp_path: Path) -> None:
    written(tmp_path)
    journal = read(tmp_path)
    assert (journal.recalled, journal.recalled_passes) == (0, 0), "nothing has been asked for"
    known, left = journal.recall(LOTS)
    assert known == [pair for lot, found in zip(LOTS, OUTCOMES, strict=True) for pair in zip(lot, found, strict=True)]
    assert left == []
    assert (journal.recalled, journal.recalled_passes) == (10, 6)


def test_lines_of_an_earlier_version_are_recalled_and_leave_the_passes_unknown(tmp_path: Path) -> None:
    path = written(tmp_path, lots=1)
    text = json.dumps(json.loads(path.read_bytes().strip().partition(b" ")[2])[:4]).encode()
    path.write_bytes(b"%08x %s\n" % (zlib.crc32(text), text))
    journal = read(tmp_path)
    known, left = journal.recall(LOTS)
    assert (len(known), left) == (2, LOTS[1:])
    assert (journal.recalled, journal.recalled_passes) == (5, None)


def test_lots_that_are_cut_in_another_way_leave_what_is_not_known(tmp_path: Path) -> None:
    written(tmp_path, lots=1)
    known, left = read(tmp_path).recall([[(0, 0), (0, 1)], [(1, 1), (1, 0)]])
    assert [pair for pair, _ in known] == [(0, 0), (1, 0)]
    assert left == [[(0, 1)], [(1, 1)]]


def test_wherever_the_last_line_is_cut_the_ones_before_it_stand_and_more_can_follow(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    first = whole.index(b"\n", 1) + 1  # the file begins with an empty line
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        known, left = read(tmp_path).recall(LOTS)
        complete = length == len(whole) - 1  # all but the end of the line
        assert (len(known), len(left)) == ((4, 0) if complete else (2, 1)), length
        written(tmp_path, key=f"other at {length}")
        assert len(read(tmp_path).recall(LOTS)[0]) == (4 if complete else 2)
        assert len(read(tmp_path, key=f"other at {length}").recall(LOTS)[0]) == 4


def test_a_line_that_was_changed_counts_as_none(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"0.333", b"0.433"))
    assert len(read(tmp_path).recall(LOTS)[0]) == 2


def test_another_evaluation_recalls_nothing(tmp_path: Path) -> None:
    written(tmp_path)
    assert read(tmp_path, key="other").recall(LOTS) == ([], LOTS)


def test_what_a_checkpoint_holds_is_forgotten(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "scores_3.jsonl").write_bytes(path.read_bytes())  # of a run on more ranks
    journal = read(tmp_path)
    journal.clear()
    assert journal.recall(LOTS) == ([], LOTS)
    assert list(tmp_path.iterdir()) == []
    journal.begin("key", Ranks())
    assert journal.recall(LOTS) == ([], LOTS)
    journal.keep(LOTS[0], OUTCOMES[0], 1)
    assert len(read(tmp_path).recall(LOTS)[0]) == 2


def test_the_files_of_all_ranks_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, lots=1)
    path.rename(tmp_path / "scores_2.jsonl")
    written(tmp_path / "more")
    (tmp_path / "more" / "scores_0.jsonl").rename(tmp_path / "scores_0.jsonl")
    assert len(read(tmp_path).recall(LOTS)[0]) == 4


def test_outcomes_that_are_no_plain_values_are_not_kept(tmp_path: Path) -> None:
    class Richer(Outcome):
        pass

    journal = read(tmp_path)
    journal.keep(LOTS[0], [Richer("a", None, 1.0), Outcome("b", None, 0.0)], 1)
    journal.keep(LOTS[0], [Outcome("a", ("a", "b"), 1.0), Outcome("b", None, 0.0)], 1)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "scores_0.jsonl").symlink_to("/dev/full")
    journal = ScoreJournal(tmp_path)
    journal._left = {}  # /dev/full gives zeros without end to whoever reads it
    journal.begin("key", Ranks())
    with pytest.raises(StorageError, match="Free some space"):
        journal.keep(LOTS[0], OUTCOMES[0], 1)


def test_without_a_folder_nothing_is_kept() -> None:
    journal = ScoreJournal()
    journal.begin("key", Ranks())
    journal.keep(LOTS[0], OUTCOMES[0], 1)
    assert journal.recall(LOTS) == ([], LOTS)
    assert not journal.keeps
    journal.clear()
