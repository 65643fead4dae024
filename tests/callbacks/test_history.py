"""The record of a run: one row and one score table per iteration."""

import math
from pathlib import Path

import pytest
from safetensors.torch import load_file

from swarm_lightning.callbacks import History
from swarm_lightning.errors import InputError
from tests.search.tiny_search import FULL, Scripted, World, read_rows, search, write_dataset

SCRIPT = [(0.5, 0.25, 0.0), (0.25, 0.75, 0.5), (0.5, 0.5, 0.25)]


def test_every_iteration_has_a_row_with_the_numbers_of_the_swarm(world: World, tmp_path: Path) -> None:
    search(
        world,
        tmp_path,
        callbacks=[History()],
        objective=Scripted(SCRIPT, examples=4),
        engine=FULL,
        experts=[str(world.experts / name) for name in ("colours", "towns")],
        particles=3,
        iterations=2,
        dataset=write_dataset(tmp_path / "four.json", validation=4, test=1),
        lr=0.8,
    )
    rows = read_rows(tmp_path / "history.csv")
    numbers = [{name: float(value) for name, value in row.items()} for row in rows]
    assert [row["iteration"] for row in numbers] == [0, 1, 2]
    utilities = [[row[f"utility/particle_{index:02d}"] for index in range(3)] for row in numbers]
    assert utilities == [list(row) for row in SCRIPT]
    assert [row["global_best"] for row in numbers] == [0.5, 0.75, 0.75]
    assert [row["global_worst"] for row in numbers] == [0.0, 0.0, 0.0]
    # The personal bests are (.5, .25, 0), (.5, .75, .5) and again these.
    assert [row["personal_best_mean"] for row in numbers] == pytest.approx([0.25, 1.75 / 3, 1.75 / 3])
    assert [row["evaluations"] for row in numbers] == [12, 12, 12]
    assert [row["step_length"] for row in numbers] == pytest.approx([0.8, 0.76, 0.722])
    assert all(row["diversity"] > 0 and row["evaluation_seconds"] >= 0 for row in numbers)


def test_every_iteration_has_one_score_table_with_an_empty_row_for_a_particle_that_was_dropped(
    world: World, tmp_path: Path
) -> None:
    search(
        world,
        tmp_path,
        callbacks=[History()],
        engine=FULL,
        particles=5,
        iterations=6,
        drop_iteration=0.2,
        drop_particle=0.3,
    )
    names = sorted(path.name for path in (tmp_path / "score_tables").iterdir())
    assert names == [f"iteration_{iteration:04d}.safetensors" for iteration in range(7)]
    dropped, last = 0, [0.0] * 5
    for iteration, name in enumerate(names):
        table = load_file(tmp_path / "score_tables" / name)
        assert table["scores"].shape == (5, 8)
        for particle, scores in enumerate(table["scores"].tolist()):
            if all(math.isnan(score) for score in scores):
                dropped += 1
                assert iteration > 0, "the first positions are never dropped"
            else:
                assert set(scores) <= {0.0, 1.0}
                last[particle] = sum(scores) / 8
        assert table["utilities"].tolist() == last, "who was not asked keeps the last utility"
    assert 0 < dropped < 5 * 6


def test_score_tables_can_be_left_out(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[History(score_tables=False)], iterations=1)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_new_search_does_not_write_into_the_folder_of_another_run(world: World, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("iteration\n0\n1\n")
    with pytest.raises(InputError, match="record of an earlier one"):
        search(world, tmp_path, callbacks=[History()])
    assert (tmp_path / "history.csv").read_text() == "iteration\n0\n1\n"
    assert not (tmp_path / "score_tables").exists()
