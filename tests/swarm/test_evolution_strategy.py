"""The strategy's optimizer on scripted utilities: what it holds, what it asks, and that a state goes on bit for bit."""

import copy
import math

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import EvolutionStrategy, StepLengthDecay
from swarm_lightning.swarm.evolution_strategy import CHOICES

TARGET = torch.tensor([0.5, -0.5, 0.25])


def worth(points: Tensor) -> Tensor:
    return -(points - TARGET).norm(dim=1)


def strategy(steps: int = 10, budget: int = 10 * 2 * 5 * 4) -> EvolutionStrategy:
    """Asks 4 examples of 12; the budget holds 5 pairs in each of 10 steps."""
    positions = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    made = EvolutionStrategy([positions], step_length=0.1, steps=steps, batch=4)
    made.begin(worth(positions), torch.Generator().manual_seed(7))
    made.start(torch.zeros(3), 12, budget)
    return made


def run(made: EvolutionStrategy, steps: int) -> list[Tensor]:
    asked = []
    for _ in range(steps):
        made.step(lambda: worth(made.candidates))
        asked.append(made.candidates)
    return asked


def test_a_budget_of_evaluations_is_what_the_steps_ask_together() -> None:
    made, asked = strategy(), 0
    while not made.done:
        made.step(lambda: worth(made.candidates))
        assert made.wanted is not None
        asked += int(made.wanted.sum())
    assert asked == 10 * 2 * 5 * 4
    assert int(made.swarm.iterations) == 10


def test_a_budget_without_a_pair_a_step_is_a_search_that_is_done_where_it_began() -> None:
    assert (strategy(budget=80).pairs, strategy(budget=80).done) == (1, False)
    made = strategy(budget=79)
    assert (made.pairs, made.most_steps, made.done) == (0, 0, True)


def test_steps_get_shorter_by_themselves_and_the_usual_schedule_leaves_them_alone() -> None:
    made = strategy()
    schedule, lengths = StepLengthDecay(made), []
    for _ in range(10):
        lengths.append(made.step_length)
        run(made, 1)
        schedule.step()
    assert lengths == pytest.approx([0.1 * (1 - step / 10) for step in range(10)])
    assert made.step_length == 0


def test_another_schedule_multiplies_the_length_further() -> None:
    made = strategy()
    schedule = torch.optim.lr_scheduler.ExponentialLR(made, gamma=0.5)
    run(made, 1)
    schedule.step()
    assert made.step_length == pytest.approx(0.1 * 0.5 * 0.9)


def test_what_is_found_is_better_than_where_the_search_began() -> None:
    made = strategy()
    run(made, 10)
    assert float(worth(made.found[None])) > float(worth(torch.zeros(1, 3))) + 0.3
    assert math.isnan(made.found_utility)
    assert made.found_name == "mean of the last centres"


def test_the_first_positions_stay_and_are_asked_in_full() -> None:
    positions = torch.eye(3)
    made = EvolutionStrategy([positions])
    assert made.candidates is made.positions or made.candidates.equal(positions)
    assert made.wanted is None
    assert made.due.tolist() == [True] * 3
    other = strategy()
    before = other.positions.clone()
    run(other, 3)
    assert other.positions.equal(before)
    assert other.swarm.initial_utilities.tolist() == worth(before).double().tolist()


def test_a_search_that_is_saved_after_any_step_goes_on_bit_for_bit() -> None:
    whole = strategy()
    expected = run(whole, 10)
    for saved_after in (0, 1, 4, 9):
        first = strategy()
        run(first, saved_after)
        state = copy.deepcopy(first.state_dict())
        second = EvolutionStrategy([first.positions.clone()], step_length=0.1, steps=10, batch=4)
        second.load_state_dict(state)
        assert all(a.equal(b) for a, b in zip(run(second, 10 - saved_after), expected[saved_after:], strict=True))
        assert second.found.equal(whole.found)


def test_a_search_that_an_earlier_version_saved_goes_on_too() -> None:
    whole, first = strategy(), strategy()
    run(whole, 10)
    run(first, 4)
    state = copy.deepcopy(first.state_dict())
    for name in ("centre.free", "centre.unit"):  # all numbers were free, and the unit was 1
        del state["state"][0][name]
    second = EvolutionStrategy([first.positions.clone()], step_length=0.1, steps=10, batch=4)
    second.load_state_dict(state)
    run(second, 6)
    assert second.found.equal(whole.found)


def test_what_was_chosen_is_what_the_search_stands_for_also_when_it_was_saved() -> None:
    made = strategy()
    run(made, 10)
    made.choose(2, torch.tensor([1.0, 2.0, 3.0]), 0.75)
    other = EvolutionStrategy([made.positions.clone()], step_length=0.1, steps=10, batch=4)
    other.load_state_dict(copy.deepcopy(made.state_dict()))
    for one in (made, other):
        assert one.found.tolist() == [1.0, 2.0, 3.0]
        assert (one.found_utility, one.found_name) == (0.75, CHOICES[2])
        assert one.chosen


def test_a_step_before_the_centre_has_a_place_is_refused() -> None:
    made = EvolutionStrategy([torch.eye(2)])
    made.begin(torch.zeros(2), torch.Generator())
    with pytest.raises(RuntimeError, match="Expected `start`"):
        made.step(lambda: torch.zeros(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"evaluations": 0}, "evaluations .* got 0"), ({"evaluations": 1.5}, "evaluations .* got 1.5"),
        ({"step_length": 0.0}, "lr to be above 0"), ({"steps": 0}, "steps .* got 0"), ({"momentum": 1.0}, "momentum"),
    ],
)  # fmt: skip
def test_settings_that_can_t_be_meant_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EvolutionStrategy([torch.eye(2)], **settings)  # type: ignore[arg-type]


def test_first_utilities_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected 2 utilities"):
        EvolutionStrategy([torch.eye(2)]).begin(torch.zeros(3), torch.Generator())


def test_minutes_hold_as_many_evaluations_as_are_asked_in_them_and_no_more_than_the_budget() -> None:
    positions = [torch.eye(2)]
    assert EvolutionStrategy(positions, evaluations=1000).budget(per_second=2.0) == 1000
    assert EvolutionStrategy(positions, evaluations=1000, minutes=0.5).budget(per_second=2.0) == 60
    assert EvolutionStrategy(positions, evaluations=1000, minutes=60.0).budget(per_second=2.0) == 1000
    with pytest.raises(ValueError, match="minutes .* got 0"):
        EvolutionStrategy(positions, minutes=0)
