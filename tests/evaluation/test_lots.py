"""How pairs of particles and examples are cut into lots."""

import pytest

from swarm_lightning.evaluation.lots import lots_by_task, lots_of
from swarm_lightning.evaluation.ranks import Ranks

ASKED = {0: [0, 1, 2, 3, 4], 3: [4, 2], 1: [0, 1, 2, 3, 4, 5], 2: [5]}
LENGTHS = [5, 9, 7, 1, 8, 8]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 256])
def test_every_pair_stands_in_one_lot_with_the_longest_prompts_first(rows: int) -> None:
    lots = lots_of(ASKED, LENGTHS, rows, 4)
    pairs = [pair for lot in lots for pair in lot]
    assert sorted(pairs) == sorted((particle, place) for particle, places in ASKED.items() for place in places)
    assert all(lots)
    for particle, places in ASKED.items():
        lengths = [LENGTHS[place] for one, place in pairs if one == particle]
        assert lengths == sorted((LENGTHS[place] for place in places), reverse=True)


def test_a_lot_holds_equally_many_examples_of_its_particles() -> None:
    lots = lots_of({particle: range(12) for particle in range(4)}, range(12), rows=8, lots=6)
    assert [len(lot) for lot in lots] == [8] * 6
    for number, lot in enumerate(lots):
        expected = [(particle, place) for particle in range(4) for place in (11 - 2 * number, 10 - 2 * number)]
        assert lot == expected


def test_there_are_as_many_lots_as_wanted_unless_they_would_be_small() -> None:
    many = {0: list(range(1000))}
    assert [len(lot) for lot in lots_of(many, [1] * 1000, rows=4096, lots=4)] == [250] * 4
    assert [len(lot) for lot in lots_of(many, [1] * 1000, rows=5, lots=4)] == [250] * 4
    assert [len(lot) for lot in lots_of(many, [1] * 1000, rows=256, lots=20)] == [67] * 10 + [66] * 5  # 64 or more
    assert [len(lot) for lot in lots_of(many, [1] * 1000, rows=50, lots=20)] == [50] * 20
    ragged = {0: list(range(90)), 1: list(range(40)), 2: [0]}
    assert [len(lot) for lot in lots_of(ragged, [1] * 90, rows=256, lots=4)] == [67, 64]  # 33 each, and one


def test_more_particles_than_a_lot_holds_are_cut_too() -> None:
    lots = lots_of({particle: [0] for particle in range(100)}, [3], rows=2, lots=13)
    assert [len(lot) for lot in lots] == [8] * 9 + [7] * 4
    assert [particle for lot in lots for particle, _ in lot] == list(range(100))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_number_of_ranks_shares_the_same_lots(count: int) -> None:
    lots = lots_of(ASKED, LENGTHS, 2, 4)
    shares = []
    for index in range(count):
        ranks = Ranks()
        ranks.index, ranks.count = index, count
        shares.extend(ranks.share(lots_of(ASKED, LENGTHS, 2, 4)))
    assert sorted(shares) == sorted(lots)


def test_nothing_to_ask_makes_no_lots() -> None:
    assert lots_of({}, [], 4, 4) == []
    assert lots_of({0: []}, [3], 4, 4) == []


def test_a_lot_belongs_to_one_task() -> None:
    tasks = ["sums", "towns", "sums", "towns", "sums", "sums"]
    lots = lots_by_task(ASKED, tasks, LENGTHS, 2, 4)
    assert [{tasks[place] for _, place in lot} for lot in lots] == [{"sums"}] * 4 + [{"towns"}] * 2
    pairs = [pair for lot in lots for pair in lot]
    assert sorted(pairs) == sorted((particle, place) for particle, places in ASKED.items() for place in places)


def test_one_task_is_cut_as_if_there_were_no_tasks() -> None:
    assert lots_by_task(ASKED, [""] * 6, LENGTHS, 2, 4) == lots_of(ASKED, LENGTHS, 2, 4)
