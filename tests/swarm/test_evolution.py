"""The evolution strategy on scripted utilities, without any model; one step is worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm.evolution import (
    Centre,
    EvolutionSettings,
    Pairs,
    ask,
    begin,
    found,
    step_length_of,
    tell,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scripted(directions: list[list[float]]) -> Pairs:
    """Pairs whose candidates do not matter."""
    count = len(directions)
    drawn = torch.tensor(directions, dtype=torch.float64)
    return Pairs(drawn, torch.zeros(2 * count, drawn.shape[1]), torch.ones(2 * count, 1, dtype=torch.bool))


def test_the_two_of_a_pair_stand_on_two_sides_of_the_centre_and_are_asked_the_same() -> None:
    settings = EvolutionSettings(deviation=0.5, batch=3)
    centre, pairs = ask(begin(torch.tensor([1.0, 2.0]), 10, generator()), settings, 4, generator())
    assert pairs.candidates.shape == (8, 2)
    for pair, direction in enumerate(pairs.directions):
        first, second = pairs.candidates[2 * pair], pairs.candidates[2 * pair + 1]
        torch.testing.assert_close(first, torch.tensor([1.0, 2.0]) + 0.5 * direction.float())
        torch.testing.assert_close(second, torch.tensor([1.0, 2.0]) - 0.5 * direction.float())
        assert pairs.wanted[2 * pair].equal(pairs.wanted[2 * pair + 1])
    assert pairs.wanted.sum(dim=1).tolist() == [3] * 8
    assert int(centre.asked) == 3  # three pairs took 9 of 10; the fourth began another queue


def test_the_queue_walks_through_all_examples_before_it_asks_one_again() -> None:
    settings = EvolutionSettings(batch=4)
    centre = begin(torch.zeros(3), 12, generator())
    source = generator(1)
    for _ in range(5):
        centre, pairs = ask(centre, settings, 3, source)  # 3 x 4 examples: the whole split in every step
        assert pairs.wanted[::2].sum(dim=0).tolist() == [1] * 12


def test_fewer_examples_than_a_batch_are_all_asked() -> None:
    _, pairs = ask(begin(torch.zeros(2), 3, generator()), EvolutionSettings(batch=8), 5, generator())
    assert bool(pairs.wanted.all())


def test_two_steps_as_by_hand() -> None:
    settings = EvolutionSettings(steps=2, momentum=0.5, averaged=1.0)
    start = begin(torch.tensor([1.0, 1.0]), 1, generator())
    # g = (0.75 - 0.25) (1, 0) + (0.5 - 0.5) (0, 1) = (0.5, 0); the step is 0.1 sqrt(2) along (1, 0).
    once = tell(start, settings, 0.1, scripted([[1, 0], [0, 1]]), torch.tensor([0.75, 0.25, 0.5, 0.5]))
    assert once.position.tolist() == pytest.approx([1 + 0.1 * math.sqrt(2), 1])
    # m = 0.5 (0.5, 0) + (0.2 - 0.45) (0, 1) = (0.25, -0.25); the step is 0.2 sqrt(2) along (1, -1) / sqrt(2).
    twice = tell(once, settings, 0.2, scripted([[0, 1]]), torch.tensor([0.2, 0.45], dtype=torch.float64))
    assert twice.position.tolist() == pytest.approx([1.2 + 0.1 * math.sqrt(2), 0.8])
    assert found(twice, settings).tolist() == pytest.approx([1.1 + 0.1 * math.sqrt(2), 0.9])
    assert start.position.tolist() == [1.0, 1.0]


def test_what_is_found_is_the_mean_of_the_last_third_and_the_centre_before_it_begins() -> None:
    settings = EvolutionSettings(steps=6, momentum=0.0)
    centre = begin(torch.zeros(1), 1, generator())
    positions = []
    for step in range(6):
        assert found(centre, settings).tolist() == centre.position.float().tolist() or step == 5
        centre = tell(centre, settings, 1.0 + step, scripted([[1.0]]), torch.tensor([1.0, 0.0]))
        positions.append(float(centre.position))
    assert positions == [1, 3, 6, 10, 15, 21]
    assert found(centre, settings).tolist() == [18.0]


@pytest.mark.parametrize("worse", [-math.inf, math.nan, math.inf])
def test_a_pair_with_a_broken_candidate_tells_nothing(worse: float) -> None:
    settings, start = EvolutionSettings(), begin(torch.zeros(2), 1, generator())
    moved = tell(start, settings, 1.0, scripted([[1, 0], [0, 1]]), torch.tensor([0.5, worse, 1.0, 0.0]))
    assert moved.position.tolist() == pytest.approx([0, math.sqrt(2)])


def test_where_nothing_differs_the_centre_stays() -> None:
    start = begin(torch.ones(3), 1, generator())
    moved = tell(start, EvolutionSettings(), 1.0, scripted([[1, 0, 2]]), torch.tensor([0.5, 0.5]))
    assert moved.position.tolist() == [1, 1, 1]
    assert int(moved.steps) == 1


def search(seed: int, steps: int = 24) -> tuple[Centre, list[Tensor]]:
    """Twenty numbers; every example wants one point, near a common one, and is asked through its own noise."""
    settings = EvolutionSettings(steps=steps)
    source = generator(seed)
    targets = 0.2 + 0.1 * torch.randn(50, 20, generator=source)
    centre = begin(torch.zeros(20), 50, source)
    centres = []
    for step in range(steps):
        centre, pairs = ask(centre, settings, 20, source)
        distances = torch.cdist(pairs.candidates, targets).square()
        utilities = -torch.stack([row[mask].mean() for row, mask in zip(distances, pairs.wanted, strict=True)])
        centre = tell(centre, settings, step_length_of(settings, step), pairs, utilities)
        centres.append(centre.position)
    return centre, centres


def test_a_search_comes_closer_to_what_the_examples_want() -> None:
    centre, _ = search(0)
    # From 0 to 0.2 in each of 20 numbers is a distance of 0.89; 24 steps are 1.1 long together.
    assert float((found(centre, EvolutionSettings()) - 0.2).norm()) < 0.3


def test_the_same_seed_gives_the_same_search_to_the_last_bit() -> None:
    (_, one), (_, same), (_, other) = search(3), search(3), search(4)
    assert all(a.equal(b) for a, b in zip(one, same, strict=True))
    assert not one[-1].equal(other[-1])


def test_a_remembered_centre_goes_on_as_if_nothing_had_been() -> None:
    settings, source = EvolutionSettings(batch=3), generator(5)
    centre = begin(torch.zeros(4), 7, source)
    centre, _ = ask(centre, settings, 2, source)
    copy = Centre(**{name: tensor.clone() for name, tensor in centre.memory().items()})
    state = source.get_state()
    _, pairs = ask(centre, settings, 2, source)
    source.set_state(state)
    _, again = ask(copy, settings, 2, source)
    assert pairs.candidates.equal(again.candidates)
    assert pairs.wanted.equal(again.wanted)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0), ("steps", 2.5), ("batch", 0), ("deviation", 0.0), ("deviation", math.inf), ("step_length", -1.0),
        ("momentum", 1.0), ("momentum", -0.1), ("averaged", 0.0), ("averaged", 1.5),
    ],
)  # fmt: skip
def test_settings_that_move_no_centre_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected {setting} .*{value}"):
        EvolutionSettings(**{setting: value})


def test_a_budget_is_shared_out_to_pairs_and_one_that_holds_none_is_refused() -> None:
    settings = EvolutionSettings(steps=10, batch=5)
    assert settings.pairs(299, 200) == 2  # a pair costs 2 x 5 in each of 10 steps
    assert settings.pairs(299, 3) == 4  # and 2 x 3 where there are only three examples
    with pytest.raises(ValueError, match="Expected 100 evaluations or more .* but there are 99"):
        settings.pairs(99, 200)


def test_a_wrong_number_of_utilities_is_refused() -> None:
    start = begin(torch.zeros(1), 1, generator())
    with pytest.raises(ValueError, match="Expected 2 utilities"):
        tell(start, EvolutionSettings(), 1.0, scripted([[1.0]]), torch.zeros(3))


def test_numbers_that_are_not_free_stay_where_they_are_and_the_others_go_as_far_as_without_them() -> None:
    settings = EvolutionSettings(deviation=0.5, batch=2, step_length=0.1)
    free = torch.tensor([False, True, False, True, True])
    position = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    whole, pairs = ask(begin(position, 4, generator(), free), settings, 6, generator(1))
    assert pairs.candidates[:, ~free].equal(position[~free].expand(12, 2))
    assert not pairs.directions[:, ~free].any()
    alone, others = ask(begin(position[free], 4, generator()), settings, 6, generator(1))
    assert pairs.directions[:, free].equal(others.directions)
    utilities = torch.randn(12, generator=generator(2))
    moved, moved_alone = tell(whole, settings, 0.1, pairs, utilities), tell(alone, settings, 0.1, others, utilities)
    assert moved.position[free].equal(moved_alone.position)
    assert moved.position[~free].float().equal(position[~free])


def test_deviation_and_step_length_are_measured_in_the_unit() -> None:
    settings = EvolutionSettings(deviation=0.5, batch=2)
    centres = [begin(torch.zeros(3), 4, generator(), unit=unit) for unit in (1.0, 2.0)]
    (once, pairs), (twice, far) = (ask(centre, settings, 5, generator(1)) for centre in centres)
    assert far.candidates.equal(2 * pairs.candidates)
    utilities = torch.randn(10, generator=generator(2))
    moved = [tell(centre, settings, 0.1, pairs, utilities).position for centre in (once, twice)]
    assert moved[1].equal(2 * moved[0])
