"""CMA-ES on scripted utilities: what it asks, that it is the library's, and that a state goes on bit for bit."""

import copy

import cma
import numpy
import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm.cma_es import CmaEs

TARGET = torch.tensor([0.5, -0.5, 0.25])
EXAMPLES, POPULATION = 5, 6


def worth(points: Tensor) -> Tensor:
    return -(points - TARGET).norm(dim=1).double()


def strategy(generations: int = 8, seed: int = 7, rest: int = 0, separable: bool = False) -> CmaEs:
    positions = torch.eye(3)
    made = CmaEs([positions], deviation=0.3, population=POPULATION, separable=separable)
    made.begin(worth(positions), torch.Generator().manual_seed(seed))
    made.start(torch.zeros(3), EXAMPLES, generations * POPULATION * EXAMPLES + rest)
    return made


def run(made: CmaEs, steps: int) -> list[Tensor]:
    asked = []
    for _ in range(steps):
        made.step(lambda: worth(made.candidates))
        asked.append(made.candidates)
    return asked


@pytest.mark.parametrize("rest", [0, POPULATION * EXAMPLES - 1])
def test_a_budget_is_divided_into_whole_generations_that_are_asked_everything(rest: int) -> None:
    made, asked = strategy(rest=rest), 0
    assert made.wanted is None
    while not made.done:
        run(made, 1)
        assert made.wanted is not None
        assert tuple(made.wanted.shape) == (POPULATION, EXAMPLES)
        asked += int(made.wanted.sum())
    assert asked == 8 * POPULATION * EXAMPLES


@pytest.mark.parametrize("separable", [False, True])
def test_it_asks_what_the_library_asks(separable: bool) -> None:
    made = strategy(separable=separable)
    seed = int(made.state_dict()["state"][0]["distribution"])
    options = {
        "popsize": POPULATION, "CMA_diagonal": separable, "verbose": -9, "seed": numpy.nan,
        "randn": numpy.random.RandomState(seed).randn, "tolfun": 0, "tolfunhist": 0,
    }  # fmt: skip
    library = cma.CMAEvolutionStrategy([0.0, 0.0, 0.0], 0.3, options)
    best = (-numpy.inf, numpy.zeros(3))
    for asked in run(made, 8):
        expected = library.ask()
        assert asked.tolist() == torch.tensor(numpy.array(expected)).float().tolist()
        utilities = worth(asked).tolist()
        best = max(best, max(zip(utilities, expected, strict=True), key=lambda pair: pair[0]), key=lambda pair: pair[0])
        library.tell(expected, [-utility for utility in utilities])
    assert made.last_centre.tolist() == torch.tensor(library.mean).float().tolist()
    assert made.average.tolist() == torch.tensor(best[1]).float().tolist()
    assert made.step_length == library.sigma


def test_it_nears_what_is_best() -> None:
    made = strategy(generations=40)
    run(made, 40)
    assert float(worth(made.last_centre[None])) > -0.01


def test_a_state_goes_on_bit_for_bit() -> None:
    whole = strategy()
    expected = run(whole, 8)
    first = strategy()
    run(first, 3)
    saved = copy.deepcopy(first.state_dict())
    second = CmaEs([torch.eye(3)], deviation=0.3, population=POPULATION)
    second.load_state_dict(saved)
    assert second.wanted is None
    for found, wanted in zip(run(second, 5), expected[3:], strict=True):
        assert found.equal(wanted)
    assert second.done
    for name in ("last_centre", "average", "step_length"):
        assert torch.as_tensor(getattr(second, name)).equal(torch.as_tensor(getattr(whole, name)))


def test_a_step_that_was_broken_off_draws_the_same_again() -> None:
    expected = run(strategy(), 3)
    made = strategy()
    run(made, 1)

    def interrupted() -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.step(interrupted)
    for found, wanted in zip(run(made, 2), expected[1:], strict=True):
        assert found.equal(wanted)


def test_global_random_numbers_are_left_alone_and_of_no_account() -> None:
    numpy.random.seed(3)
    expected = numpy.random.rand()
    numpy.random.seed(3)
    found = run(strategy(), 2)
    assert numpy.random.rand() == expected
    numpy.random.seed(4)
    assert all(one.equal(other) for one, other in zip(found, run(strategy(), 2), strict=True))
    assert not run(strategy(seed=8), 1)[0].equal(found[0])


def test_a_broken_candidate_counts_as_the_worst() -> None:
    made = strategy(generations=40)
    for _ in range(40):
        made.step(lambda: worth(made.candidates).masked_fill(made.candidates[:, 0] > 0.3, -torch.inf))
    assert float(made.average[0]) <= 0.3
    assert float(made.last_centre[0]) < 0.45


@pytest.mark.parametrize(
    ("setting", "value"), [("population", 1), ("population", True), ("deviation", 0.0), ("evaluations", 0)]
)
def test_settings_out_of_range_are_rejected(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match="Expected"):
        CmaEs([torch.eye(3)], **{setting: value})  # type: ignore[arg-type]


def test_steps_before_a_start_and_utilities_of_another_shape_are_rejected() -> None:
    positions = torch.eye(3)
    made = CmaEs([positions])
    made.begin(worth(positions), torch.Generator())
    with pytest.raises(RuntimeError, match="`start`"):
        made.step(lambda: worth(positions))
    made = strategy()
    with pytest.raises(ValueError, match="Expected 6 utilities"):
        made.step(lambda: torch.zeros(5))
