"""Every task's climb and the distribution of scores, against the numbers they are drawn from."""

from pathlib import Path

from swarm_lightning.report.examples import FOUND, INITIAL
from swarm_lightning.report.lacking import all_drawn
from swarm_lightning.report.run import Run
from swarm_lightning.report.score_figures import OF_SCORES, distribution, tasks
from tests.report.test_examples import run_of


def test_every_task_is_a_line_over_the_iterations(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("iteration,global_best,best/a,best/b.c\n0,0.5,0.25,0.75\n1,0.6,0.5,0.7\n")
    figure = tasks(Run(tmp_path, "search"))
    assert figure is not None
    assert figure.data.to_numpy().tolist() == [[0, "a", 0.25], [1, "a", 0.5], [0, "b.c", 0.75], [1, "b.c", 0.7]]


def test_scores_are_counted_in_even_steps_from_the_lowest_to_the_highest(tmp_path: Path) -> None:
    figure = distribution(run_of(tmp_path, [0.0, 0.0, 0.5], [0.0, 1.0, 1.0]))
    assert figure is not None
    counts = figure.data[figure.data.examples > 0]
    # Twenty steps of 0.05; the highest score belongs to the last.
    assert [(row.expert, round(row._2, 2), row.examples) for row in counts.itertuples()] == [
        (INITIAL, 0.0, 2), (INITIAL, 0.5, 1), (FOUND, 0.0, 1), (FOUND, 0.95, 2),
    ]  # fmt: skip


def test_a_search_of_one_task_with_right_and_wrong_replies_has_neither(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("iteration,global_best\n0,0.5\n")
    assert all_drawn(OF_SCORES, run_of(tmp_path, [0, 1], [1, 1])) == ([], [])
