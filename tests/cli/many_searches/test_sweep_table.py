"""What a sweep prints of its searches."""

import pytest

from swarm_lightning.cli.many_searches.sweep_table import show
from swarm_lightning.sweep.report import TrialRow
from swarm_lightning.sweep.space import read_space

KEY = "model.optimizer.lr"


def test_the_searches_stand_in_a_table_the_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    space = read_space({KEY: [0.5, 1.0]}, {"model": {"optimizer": {"lr": 0.5}}})
    rows = [
        TrialRow(0, "failed", {KEY: 1.0}, None, None, None, {}, "broken", "trial_0", "", True),
        TrialRow(1, "ended", {KEY: 0.5}, 0.5, None, None, {}, "", "trial_1", "", True),
        TrialRow(2, "ended", {KEY: 1.0}, 0.75, 0.625, None, {}, "", "trial_2", "", True),
    ]
    show(rows, space)
    head, _, *printed = capsys.readouterr().out.strip().splitlines()
    assert head.split() == ["trial", "state", "validation", "test", "lr"]
    assert [line.split() for line in printed] == [
        ["2", "ended", "0.7500", "0.6250", "1.0"],
        ["1", "ended", "0.5000", "0.5"],
        ["0", "failed", "1.0"],
    ]
