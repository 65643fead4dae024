"""The tables of the token swarms' benchmark, by hand, and one row of what is timed and of what is gained, for real."""

import argparse
from pathlib import Path

import pytest

import token_swarm
from tests.search.tiny_search import calm_process

TEN, TWELVE = token_swarm.POOLS


def test_a_gain_is_over_the_best_expert_of_its_own_pool() -> None:
    # The gains are 10 and 20, and 1 and 3; of two seeds there is no interval.
    found = [
        {f"best single expert, {TEN}": 40.0, f"best single expert, {TWELVE}": 49.0, "token swarm, x, " + TWELVE: 50.0,
         "plain swarm of weights": 50.0, "pairs of the plain swarm": 5},
        {f"best single expert, {TEN}": 40.0, f"best single expert, {TWELVE}": 51.0, "token swarm, x, " + TWELVE: 54.0,
         "plain swarm of weights": 60.0, "pairs of the plain swarm": 7},
    ]  # fmt: skip
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in token_swarm.gains_table(found).splitlines()]
    assert ["plain swarm of weights", "55.0", "7.1", "+15.0"] in rows
    assert [f"token swarm, x, {TWELVE}", "52.0", "2.8", "+2.0"] in rows
    assert len(rows) == 2 + 4


def test_a_ratio_is_taken_within_each_turn() -> None:
    # 3 / 1, 4 / 4 and 10 / 2: the median is 3, while that of the medians would be 2.
    text = token_swarm.seconds_table({"pool": {"evaluation": [1.0, 4.0, 2.0], "search": [3.0, 4.0, 10.0]}})
    assert text.splitlines()[-1].split() == ["|", "pool", "|", "2.00", "|", "4.00", "|", "3.00", "|"]


@pytest.mark.slow
def test_it_gains_and_is_timed_for_real(tmp_path: Path) -> None:
    options = argparse.Namespace(validation=6, test=4, examples=4, repeats=1)
    with calm_process():
        rows = token_swarm.gains_of(options, "neighbours", 0, str(tmp_path))
        seconds = token_swarm.seconds_of(token_swarm.ALL, options, str(tmp_path))
    assert len(rows) == 3 + 2 * 3 + 2
    assert all(0 <= value <= 100 for name, value in rows.items() if not name.startswith("pairs"))
    assert seconds["search"][0] > 0 < seconds["evaluation"][0]
