"""The figures of a sweep, from the table that it writes."""

from collections.abc import Sequence
from pathlib import Path

import pandas
import pytest

from swarm_lightning.report.lacking import all_drawn
from swarm_lightning.report.run import Run
from swarm_lightning.report.sections import sweep_table
from swarm_lightning.report.sweep_figures import (
    OF_SWEEP,
    by_setting,
    explained,
    importance,
    parallel,
    times,
    trials,
)
from swarm_lightning.report.vega import svg

HEAD = "trial,state,validation_utility,test_utility,initial_test_utility,iterations,evaluations,seconds,"
ROWS = (
    "0,ended,0.5,0.5,0.25,3,60,1.5,plain,0,0.5,,trial_0000",
    "1,ended,0.75,0.75,0.5,3,60,1.5,plain,1,0.5,,trial_0001",
    "2,ended,0.5,0.25,0.25,3,60,1.5,<b>slow,0,0.1,,trial_0002",
    "3,failed,,,,3,60,1.5,<b>slow,1,0.1,no room,trial_0003",
    "4,ended,0.25,0.75,0.5,3,60,1.5,<b>slow,2,0.1,,trial_0004",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two variants with two seeds that ended each, and a search that failed."""
    return run_of(tmp_path, ROWS)


def run_of(folder: Path, rows: Sequence[str]) -> Run:
    """Return a sweep of these rows."""
    head = f"{HEAD}variant,seed_everything,model.optimizer.init_args.lr,why,folder"
    (folder / "sweep.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return Run(folder, "sweep")


def test_searches_are_drawn_in_their_order_without_those_that_failed(run: Run) -> None:
    figure = trials(run)
    assert figure is not None
    assert figure.data.trial.tolist() == [0, 1, 2, 4]
    assert figure.data.best.tolist() == [0.5, 0.75, 0.75, 0.75]


def test_seeds_of_a_setting_lie_on_one_line_with_their_mean(run: Run) -> None:
    figure = by_setting(run)
    assert figure is not None
    dots, means, experts = (layer["data"]["values"] for layer in figure.spec["layer"])
    assert len(dots) == 4
    assert [row["test_utility"] for row in means] == [0.625, 0.5]  # (0.5 + 0.75) / 2, (0.25 + 0.75) / 2
    assert [row["test_utility"] for row in experts] == [0.375, 0.375]  # of the best experts: (0.25 + 0.5) / 2 each


def test_times_lie_on_one_line_with_their_mean_too(tmp_path: Path) -> None:
    figure = times(run_of(tmp_path, [ROWS[0], ROWS[1].replace(",1.5,", ",2.5,"), ROWS[2]]))
    assert figure is not None
    assert figure.data.seconds.tolist() == [1.5, 2.5, 1.5]
    assert [row["seconds"] for row in figure.spec["layer"][1]["data"]["values"]] == [2.0, 1.5]


def test_settings_with_one_seed_each_are_not_drawn_as_means(tmp_path: Path) -> None:
    assert by_setting(run_of(tmp_path, [ROWS[0], ROWS[2]])) is None


def test_the_importance_of_a_setting_is_its_share_of_the_variance(run: Run) -> None:
    figure = importance(run)
    assert figure is not None
    shares = dict(zip(figure.data.setting, figure.data.share, strict=True))
    # Means 0.625 and 0.375 around 0.5: 4 x 0.125^2 of 2 x 0.25^2.
    assert shares["variant"] == shares["lr"] == pytest.approx(0.5)
    # Seed 0: 0.5 and 0.5; seed 1: 0.75; seed 2: 0.25: all of it lies between them.
    assert shares["seed_everything"] == pytest.approx(1.0)


def test_a_setting_of_many_values_accounts_by_its_quarters_and_not_by_every_value() -> None:
    values, scores = pandas.Series(range(8)), pandas.Series([0.0, 1.0] * 4)
    assert explained(values, scores) == 0.0
    assert explained(values, pandas.Series([0.0] * 4 + [1.0] * 4)) == 1.0


def test_every_figure_has_a_name_of_its_own_and_no_sweep_has_none(run: Run, tmp_path: Path) -> None:
    names = ["by_setting", "times", "trials", "importance", "settings"]
    assert [figure.name for figure in all_drawn(OF_SWEEP, run)[0]] == names
    assert all_drawn(OF_SWEEP, Run(tmp_path / "elsewhere", "search")) == ([], [])


def test_searches_are_linked_where_the_page_lies_beside_theirs_and_names_stay_text(run: Run, tmp_path: Path) -> None:
    (run.folder / "trial_0001").mkdir()
    (run.folder / "trial_0001" / "report.html").touch()
    table = sweep_table(run, run.folder)
    assert table.count("<a ") == 1
    assert '<a href="trial_0001/report.html">1</a>' in table
    assert "&lt;b&gt;slow" in table
    assert "<b>" not in table
    assert "<a " not in sweep_table(run, tmp_path / "talk")


def test_a_setting_that_some_searches_do_not_have_is_no_point_of_theirs(tmp_path: Path) -> None:
    figure = parallel(run_of(tmp_path, [ROWS[0].replace(",0,0.5,", ",0,,"), ROWS[1], ROWS[2]]))
    assert figure is not None
    places = [row["place"] for row in figure.spec["data"]["values"] if row["setting"] == "lr"]
    assert places == [None, 1.0, 0.0]  # not there, 0.5, 0.1


def test_an_axis_with_a_single_value_says_it(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    figure = trials(run_of(tmp_path, [ROWS[0], ROWS[2]]))
    assert figure is not None
    assert ">0.5<" in svg(figure.spec)  # by itself, Vega labels it 1
