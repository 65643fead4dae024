"""Decisions are checked against all ways in which the unknown scores can turn out."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest
import torch

from swarm_lightning.evaluation.exact_stop import (
    UtilityRule,
    expected_scores,
    mean_rule,
    next_examples,
    reach,
    still_needed,
)
from swarm_lightning.objectives.means import harmonic_mean

NAN = math.nan
ZERO_ONE = (0.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "bounds", "expected"),
    [
        ([1.0, 0.0], ZERO_ONE, (0.5, 0.5)),
        ([NAN, NAN], ZERO_ONE, (0.0, 1.0)),
        ([1.0, NAN, NAN, 0.0], ZERO_ONE, (0.25, 0.75)),
        ([2.0, NAN], (-1.0, 3.0), (0.5, 2.5)),
        ([0.5], (-math.inf, math.inf), (0.5, 0.5)),
        ([0.5, NAN], (-math.inf, math.inf), (-math.inf, math.inf)),
    ],
)
def test_what_a_particle_can_still_reach(
    scores: list[float], bounds: tuple[float, float], expected: tuple[float, float]
) -> None:
    assert reach(scores, mean_rule(len(scores), bounds)) == expected


@pytest.mark.parametrize(
    ("scores", "personal_best", "floor", "expected"),
    [
        # At most (1 + 3) / 4: two failures bring it to 1/2, which is not above the best; one solved is 1/4 already.
        ([1.0, NAN, NAN, NAN], 0.5, 0.25, (2, 0)),
        # Nothing solved yet: one must be solved for the floor, two must fail for the best.
        ([NAN, NAN, NAN, NAN], 0.5, 0.25, (2, 1)),
        ([0.0, 0.0, NAN, NAN], 0.5, -math.inf, (0, 0)),  # at most 1/2
        ([0.0, 0.0, NAN, NAN], 0.5, 0.25, (0, 1)),
        ([1.0, 1.0, 1.0, NAN], 0.5, 0.25, (1, 0)),  # above the best already: all of the rest
        ([0.0, 0.0, 0.0, NAN], 0.9, 0.5, (1, 0)),  # below the floor already: all of the rest
        ([NAN, NAN], -math.inf, -math.inf, (2, 0)),  # no best yet: everything
        ([NAN, NAN], 1.0, -math.inf, (0, 0)),  # nobody rises above the best of all
        ([1.0, 0.0], 0.1, 0.9, (0, 0)),  # nothing is left to ask
        ([NAN] * 4, 0.5, 0.5, (4, 0)),  # two must fail and two be solved: that is everything
    ],
)
def test_how_many_are_still_needed(
    scores: list[float], personal_best: float, floor: float, expected: tuple[int, int]
) -> None:
    unknown = [place for place, score in enumerate(scores) if math.isnan(score)]
    assert still_needed(scores, unknown, personal_best, floor, mean_rule(len(scores), ZERO_ONE)) == expected


def test_hard_examples_come_first_and_as_many_easy_ones_as_the_floor_needs() -> None:
    expected = [0.9, 0.1, 0.5, 0.4, 0.8, 0.2]
    # Three of six must fail, two must be solved.
    assert next_examples([NAN] * 6, expected, 0.5, 2 / 6, mean_rule(6, ZERO_ONE), chunk=1) == [1, 5, 3, 0, 4]
    # Example 1 failed and 0 was solved: two more must fail, one more be solved.
    assert next_examples([1.0, 0.0, NAN, NAN, NAN, NAN], expected, 0.5, 2 / 6, mean_rule(6, ZERO_ONE), 1) == [5, 3, 4]


def test_a_chunk_is_asked_at_least_as_far_as_there_is_one() -> None:
    expected, rule = [0.1, 0.2, 0.3, 0.4, 0.5], mean_rule(5, ZERO_ONE)
    assert next_examples([NAN] * 5, expected, 0.8, -math.inf, rule, chunk=1) == [0]
    assert next_examples([NAN] * 5, expected, 0.8, -math.inf, rule, chunk=3) == [0, 1, 2]
    assert next_examples([NAN] * 5, expected, 1.0, 0.2, rule, chunk=2) == [4, 3]
    assert sorted(next_examples([NAN] * 5, expected, 0.8, -math.inf, rule, chunk=99)) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert next_examples([0.0, NAN, NAN, NAN, NAN], expected, 0.8, -math.inf, rule, chunk=99) == []


def decided(scores: Sequence[float], values: Sequence[float], personal_best: float, floor: float) -> bool:
    """Whether no way in which the unknown scores can turn out beats the best or falls below the floor."""
    unknown = [place for place, score in enumerate(scores) if math.isnan(score)]
    for outcome in itertools.product(values, repeat=len(unknown)):
        whole = list(scores)
        for place, score in zip(unknown, outcome, strict=True):
            whole[place] = score
        utility = math.fsum(whole) / len(whole)
        if utility > personal_best or utility < floor:
            return False
    return True


def follow(
    truth: Sequence[float],
    values: Sequence[float],
    expected: Sequence[float],
    personal_best: float,
    floor: float,
    chunk: int,
) -> list[float]:
    """Ask as the evaluator does, and check every round by trying everything; return what is known at the end."""
    bounds = (min(values), max(values))
    rule = mean_rule(len(truth), bounds)
    scores = [NAN] * len(truth)
    while True:
        unknown = [place for place, score in enumerate(scores) if math.isnan(score)]
        asked = next_examples(scores, expected, personal_best, floor, rule, chunk)
        assert bool(asked) == (bool(unknown) and not decided(scores, values, personal_best, floor))
        if not asked:
            return scores
        assert len(set(asked)) == len(asked)
        assert set(asked) <= set(unknown)
        # No fewer examples could decide it, however they turn out: so none was asked in vain.
        fewest = next(
            count
            for count in range(len(unknown) + 1)
            if count == len(unknown)
            or any(
                decided(
                    [*outcome, *[score for score in scores if not math.isnan(score)], *[NAN] * (len(unknown) - count)],
                    values,
                    personal_best,
                    floor,
                )
                for outcome in itertools.product(bounds, repeat=count)
            )
        )
        assert len(asked) <= max(fewest, min(chunk, len(unknown)))
        for place in asked:
            scores[place] = truth[place]


@pytest.mark.parametrize("chunk", [1, 2])
def test_all_tables_of_zeros_and_ones(chunk: int) -> None:
    draw = random.Random(chunk)
    saved = 0
    for truth in itertools.product((0.0, 1.0), repeat=5):
        for personal_best, floor in itertools.product((-math.inf, 0.2, 0.6, 1.0), (-math.inf, 0.2, 0.4)):
            expected = [draw.random() for _ in truth]
            scores = follow(truth, (0.0, 1.0), expected, personal_best, floor, chunk)
            utility, missing = sum(truth) / 5, sum(map(math.isnan, scores))
            assert not (missing and (utility > personal_best or utility < floor))
            low, high = reach(scores, mean_rule(5, ZERO_ONE))
            assert low <= utility <= high
            saved += missing
    assert saved > 200


def test_tables_of_fractional_scores() -> None:
    draw = random.Random(0)
    values = (-1.0, -0.1, 1 / 3, 0.7)
    saved = 0
    for _ in range(60):
        truth = [draw.choice(values) for _ in range(4)]
        other = [draw.choice(values) for _ in range(4)]
        personal_best = math.fsum(other) / 4  # as often as not reached to the last digit
        floor = draw.choice([-math.inf, -0.5, math.fsum(truth[:3]) / 4])
        scores = follow(truth, values, [draw.random() for _ in truth], personal_best, floor, 1)
        utility = math.fsum(truth) / 4
        if any(map(math.isnan, scores)):
            assert floor <= utility <= personal_best
            saved += 1
    assert saved > 10


def harmonic_of_two(scores: Sequence[float]) -> float:
    """The harmonic mean of the means of the first two and the last three."""
    return harmonic_mean([sum(scores[:2]) / 2, sum(scores[2:]) / 3])


def weakest(scores: Sequence[float]) -> float:
    return min(sum(scores[:2]) / 2, sum(scores[2:]) / 3)


@pytest.mark.parametrize("utility", [harmonic_of_two, weakest])
@pytest.mark.parametrize("bounds", [[(0.0, 1.0)] * 5, [(0.0, 1.0)] * 2 + [(0.5, 4.0)] * 3], ids=["alike", "different"])
def test_a_combined_utility_is_asked_until_nothing_can_change(
    utility: Callable[[Sequence[float]], float], bounds: list[tuple[float, float]]
) -> None:
    rule = UtilityRule(tuple(low for low, _ in bounds), tuple(high for _, high in bounds), utility)
    draw = random.Random(0)
    saved = 0
    tables = list(itertools.product(*bounds))
    for truth in tables:
        floor, personal_best = sorted(utility(draw.choice(tables)) for _ in range(2))
        scores = [NAN] * 5
        while True:
            ends = [
                utility(whole)
                for whole in tables
                if all(math.isnan(known) or known == one for one, known in zip(whole, scores, strict=True))
            ]
            low, high = reach(scores, rule)
            assert (low, high) == (min(ends), max(ends))
            asked = next_examples(scores, [draw.random() for _ in truth], personal_best, floor, rule, chunk=1)
            assert bool(asked) == (len(ends) > 1 and (high > personal_best or low < floor))
            if not asked:
                break
            assert len(set(asked)) == len(asked)
            assert all(math.isnan(scores[place]) for place in asked)
            for place in asked:
                scores[place] = truth[place]
        assert not (any(map(math.isnan, scores)) and not floor <= utility(truth) <= personal_best)
        saved += sum(map(math.isnan, scores))
    assert saved > 10


def test_the_order_of_asking_compares_tasks_by_how_far_up_between_its_bounds_a_score_is_expected() -> None:
    # 5 of 1 to 10 is nearer to the bottom than 0.6 of 0 to 1, and 0.2 is lower than both.
    rule = UtilityRule((1.0, 0.0, 0.0), (10.0, 1.0, 1.0), lambda scores: min(scores))
    assert next_examples([NAN] * 3, [5.0, 0.6, 0.2], -math.inf, -math.inf, rule, chunk=1) == [2, 0, 1]


def test_guesses_follow_what_was_known_before() -> None:
    known = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    guesses = expected_scores(known, best=known, leader=1)
    # Row 0: (0.5 known + 0.3 own best + 0.3 leader's best + 0.4 mean) / 1.5.
    assert guesses[0].tolist() == pytest.approx([1.0, 0.0, 1 / 3])
    assert guesses[1].tolist() == pytest.approx([1.0, 0.0, 13 / 15])


def test_an_example_that_nobody_knows_stands_in_the_middle() -> None:
    known = torch.tensor([[1.0, NAN, 0.0]], dtype=torch.float64)
    assert expected_scores(known, known, 0)[0].tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert expected_scores(torch.full((2, 3), NAN), torch.full((2, 3), NAN), 0).tolist() == [[0.0] * 3] * 2
