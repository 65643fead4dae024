"""Where a search begins, on scripted utilities; the soups are worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm.starts import SCALES, Refitting, Starts, starts_of

NAMES = ("a", "b", "c")


class Scripted:
    """Utilities that fall with the distance from what is wanted, and an account of what was asked."""

    def __init__(self, *wanted: float) -> None:
        self.wanted = torch.tensor(wanted)
        self.asked: list[list[float]] = []

    def __call__(self, weights: Tensor) -> Tensor:
        self.asked += weights.tolist()
        return -(weights - self.wanted).norm(dim=1)

    def starts(self, affordable: int = 100) -> Starts:
        alone = self(torch.eye(len(self.wanted)))
        self.asked.clear()
        return starts_of(NAMES, alone, self, affordable)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ((0.0, 0.9, 0.1), "best expert b"),
        ((0.33, 0.33, 0.34), "mean of 3"),
        ((0.5, 0.0, 0.5), "greedy soup of a, c"),
        ((0.65, 0.68, 0.7), "2 times the mean of 3"),
        ((0.1, 0.1, 0.1), "0.5 times the mean of 3"),
    ],
)
def test_the_search_begins_at_the_best_of_what_was_tried(wanted: tuple[float, ...], name: str) -> None:
    best = Scripted(*wanted).starts().best
    assert best.name == name
    assert best.weights.tolist() == pytest.approx(wanted, abs=0.15)


def test_nothing_is_asked_but_the_mean_the_soups_and_the_scales() -> None:
    script = Scripted(0.5, 0.0, 0.5)
    script.starts()
    third = 1 / 3
    # a and c are equally good; a is first. The mean of a and c stays, that of all three does not.
    soups = [[0.5, 0.0, 0.5], [third, third, third]]
    scaled = [[scale * third] * 3 for scale in SCALES]
    assert torch.tensor(script.asked).allclose(torch.tensor([[third] * 3, *soups, *scaled]))


@pytest.mark.parametrize(
    ("affordable", "asked", "left_out"),
    [
        (0, 0, ["mean", "greedy soup", "scaled sums"]),
        (1, 1, ["greedy soup", "scaled sums"]),
        (2, 2, ["greedy soup of more than the best 2", "scaled sums"]),
        (5, 3, ["scaled sums"]),
        (6, 6, []),
    ],
)
def test_what_the_budget_does_not_hold_is_left_out_by_name(affordable: int, asked: int, left_out: list[str]) -> None:
    script = Scripted(0.5, 0.0, 0.5)
    starts = script.starts(affordable)
    assert len(script.asked) == asked
    assert starts.left_out == left_out


def test_a_soup_that_the_budget_holds_in_part_is_one_of_the_best_experts() -> None:
    script = Scripted(0.5, 0.3, 0.4)  # a, then c, then b
    starts = script.starts(affordable=2)
    assert [start.name for start in starts.tried] == ["best expert a", "mean of 3", "greedy soup of a, c"]
    assert script.asked[-1] == [0.5, 0.0, 0.5]


def test_of_equal_ones_the_simplest_stays() -> None:
    starts = starts_of(NAMES, torch.zeros(3), lambda weights: torch.zeros(len(weights)), 100)
    assert starts.best.name == "best expert a"


@pytest.mark.parametrize("lost", [math.nan, -math.inf])
def test_an_expert_or_a_sum_without_a_number_is_never_the_best(lost: float) -> None:
    alone = torch.tensor([lost, -3.0, -2.0])
    starts = starts_of(NAMES, alone, lambda weights: torch.full((len(weights),), lost), 100)
    assert starts.best.name == "best expert c"


class Fitted(Scripted):
    """The same, and sums whose experts are fitted anew are worth a little more, or less."""

    def __init__(self, *wanted: float, gain: float, noise: float = 0.0) -> None:
        super().__init__(*wanted)
        self.gain, self.noise, self.fits = gain, noise, list[list[float]]()

    def refit(self, weights: Tensor) -> tuple[float, Tensor]:
        self.fits.append(weights.tolist())
        utility = float(-(weights - self.wanted).norm()) + self.gain
        return utility, utility + self.noise * torch.tensor([1.0, -1.0] if len(self.fits) == 1 else [-1.0, 1.0])

    def starts(self, affordable: int = 100) -> Starts:
        alone = self(torch.eye(len(self.wanted)))
        return starts_of(NAMES, alone, self, affordable, Refitting(self.refit, 3))


def test_the_mean_and_the_soup_are_fitted_anew_where_the_budget_holds_it() -> None:
    script = Fitted(0.5, 0.0, 0.5, gain=0.1)
    starts = script.starts()
    third = 1 / 3
    assert torch.tensor(script.fits).allclose(torch.tensor([[third] * 3, [0.5, 0.0, 0.5]]))
    assert starts.best.name == "greedy soup of a, c (fitted anew)"
    assert starts.best.refitted
    assert starts.best.weights.tolist() == [0.5, 0.0, 0.5]
    assert Fitted(0.5, 0.0, 0.5, gain=-0.1).starts().best.name == "greedy soup of a, c"


@pytest.mark.parametrize(
    ("affordable", "fits", "left_out"),
    [
        (3, 0, ["mean of 3 (fitted anew)", "greedy soup of a, c (fitted anew)", "scaled sums"]),
        (4, 1, ["greedy soup", "scaled sums"]),
        (6, 1, ["greedy soup of a, c (fitted anew)", "scaled sums"]),
        (12, 2, []),
    ],
)
def test_a_fit_that_the_budget_does_not_hold_is_left_out_by_name(
    affordable: int, fits: int, left_out: list[str]
) -> None:
    script = Fitted(0.5, 0.0, 0.5, gain=0.1)
    starts = script.starts(affordable)
    assert len(script.fits) == fits
    assert starts.left_out == left_out


@pytest.mark.parametrize("wanted", [(0.0, 0.9, 0.1), (0.33, 0.33, 0.34)])
def test_a_soup_of_one_or_of_all_is_not_fitted_again(wanted: tuple[float, ...]) -> None:
    script = Fitted(*wanted, gain=0.0)
    script.starts()
    assert len(script.fits) == 1


def test_within_noise_of_the_soup_it_begins_with_all_experts_unless_an_unfitted_sum_is_better() -> None:
    assert Fitted(0.5, 0.0, 0.5, gain=0.5, noise=0.1).starts().best.name == "greedy soup of a, c (fitted anew)"
    assert Fitted(0.5, 0.0, 0.5, gain=0.5, noise=5.0).starts().best.name == "mean of 3 (fitted anew)"
    assert Fitted(0.5, 0.0, 0.5, gain=0.1, noise=5.0).starts().best.name == "greedy soup of a, c (fitted anew)"
    assert Fitted(0.5, 0.0, 0.5, gain=-0.1, noise=5.0).starts().best.name == "greedy soup of a, c"
