"""The record of a run: one row and one score table per iteration."""

import math
from pathlib import Path

import pandas
import pytest
import torch
from safetensors.torch import load_file

from swarm_lightning.callbacks import History, RestartStagnant
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.runs.long_history import rows_of_wide
from tests.search.scripted_search import scripted_search
from tests.search.tiny_search import FULL, World, read_rows, search

SCRIPT = [(0.5, 0.25, 0.0), (0.25, 0.75, 0.5), (0.5, 0.5, 0.25)]


def test_every_iteration_has_a_row_with_the_numbers_of_the_swarm(world: World, tmp_path: Path) -> None:
    scripted_search(world, tmp_path, SCRIPT, History(), lr=0.8)
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


def test_score_tables_and_sketches_can_be_left_out(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[History(score_tables=False, sketches=False)], iterations=1)
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv", "history.parquet"}


def test_the_long_history_has_a_typed_row_per_iteration_and_particle_and_names_who_won(
    world: World, tmp_path: Path
) -> None:
    scripted_search(world, tmp_path, SCRIPT, RestartStagnant(2), History())
    history = pandas.read_parquet(tmp_path / "history.parquet")
    assert [*history.columns] == [
        "iteration", "particle", "utility", "at_least", "at_most", "personal_best", "restarted",
    ]  # fmt: skip
    assert history.iteration.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert history.particle.tolist() == [0, 1, 2] * 3
    assert history.utility.tolist() == [utility for row in SCRIPT for utility in row]
    # By hand: the highest so far of every column of the script.
    assert history.personal_best.tolist() == [0.5, 0.25, 0.0, 0.5, 0.75, 0.5, 0.5, 0.75, 0.5]
    # Only the first particle has waited for two iterations, its first position and the one after, before the second.
    assert history.restarted.tolist() == [False] * 6 + [True, False, False]
    assert history.loc[history.personal_best.idxmax(), ["iteration", "particle"]].tolist() == [1, 1]
    assert str(history.iteration.dtype) == str(history.particle.dtype) == "int32"


def test_a_utility_that_was_left_open_is_null_in_the_long_history_as_in_the_wide_one(
    world: World, tmp_path: Path
) -> None:
    engine = EngineSettings(chunk=1)
    search(world, tmp_path, callbacks=[History()], particles=5, iterations=4, engine=engine)
    wide, long = read_rows(tmp_path / "history.csv"), pandas.read_parquet(tmp_path / "history.parquet")
    cells = [row[f"utility/particle_{place:02d}"] for row in wide for place in range(5)]
    assert "" in cells, "the exact stop leaves some open"
    assert [float(cell or "nan") for cell in cells] == pytest.approx(long.utility.tolist(), nan_ok=True)
    lows = [float(row[f"at_least/particle_{place:02d}"]) for row in wide for place in range(5)]
    assert lows == pytest.approx(long.at_least.tolist())


def test_rows_of_a_run_of_an_earlier_version_are_made_from_the_wide_history(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[History()], particles=5, iterations=4)
    written = pandas.read_parquet(tmp_path / "history.parquet")
    made = pandas.DataFrame(rows_of_wide(tmp_path / "history.csv"))
    pandas.testing.assert_frame_equal(
        made.drop(columns="restarted"), written.drop(columns="restarted"), check_dtype=False
    )
    assert made.restarted.isna().all()


def test_a_sketch_of_every_position_says_how_much_of_each_expert_stands_in_the_best(
    world: World, tmp_path: Path
) -> None:
    module = search(world, tmp_path, callbacks=[History()], particles=5, iterations=3)
    assert sorted(path.name for path in (tmp_path / "sketches").iterdir()) == [
        f"iteration_{iteration:04d}.safetensors" for iteration in range(4)
    ]
    first, last = (load_file(tmp_path / "sketches" / f"iteration_000{place}.safetensors") for place in (0, 3))
    shares = torch.linalg.lstsq(first["positions"][:4].T, last["found"][:, None]).solution[:, 0].float()
    # Every position of the published method is a combination of experts: the same sum of their weights is it.
    experts = torch.stack([module.particle_swarm.space.expert(place)[:] for place in range(4)])
    assert torch.allclose(shares @ experts, module.swarm.global_best, atol=1e-3)


def test_the_coefficients_of_the_best_are_written_down_where_positions_are_coefficients(
    world: World, tmp_path: Path
) -> None:
    module = search(world, tmp_path, callbacks=[History()], particles=5, iterations=2, draws="coefficient")
    last = load_file(tmp_path / "sketches" / "iteration_0002.safetensors")
    assert last["coefficients"].squeeze(1).float().equal(module.swarm.global_best)


def test_a_new_search_does_not_write_into_the_folder_of_another_run(world: World, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("iteration\n0\n1\n")
    with pytest.raises(InputError, match="record of an earlier one"):
        search(world, tmp_path, callbacks=[History()])
    assert (tmp_path / "history.csv").read_text() == "iteration\n0\n1\n"
    assert not (tmp_path / "score_tables").exists()
