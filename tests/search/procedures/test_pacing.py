"""What the clock says of the steps to come, on scripted times."""

import pytest
import torch

from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.search.guide import Shown
from swarm_lightning.search.procedures.pacing import Pacing
from swarm_lightning.search.state import SearchState
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy

EXAMPLES, STEPS, BATCH = 10, 4, 5
PAIR = 2 * BATCH  # (model, example) pairs of a pair of candidates


def begun(minutes: float | None, evaluations: int = 10**9) -> EvolutionStrategy:
    """A strategy of three experts that has begun."""
    positions = torch.eye(3)
    strategy = EvolutionStrategy([positions], evaluations=evaluations, minutes=minutes, steps=STEPS, batch=BATCH)
    strategy.begin(torch.zeros(3), torch.Generator().manual_seed(0))
    return strategy


def asked_first(guide_seconds: float, objective_seconds: float) -> SearchState:
    """Three experts have been asked by a guide, and by the objective too."""
    scores = torch.zeros(3, EXAMPLES, dtype=torch.float64)
    evaluation = Evaluation(scores, [], scores.mean(dim=1), scores[:, :2])
    return SearchState(
        evaluation=evaluation, evaluations=60, examples=EXAMPLES, scoring_seconds=guide_seconds,
        seconds=guide_seconds + objective_seconds,
    )  # fmt: skip


def test_the_budget_is_what_time_is_left_for_when_the_end_is_set_aside() -> None:
    # 0.1 s a pair by the guide, 0.2 s by the objective. Of 60 s 20 have passed, and 100 pairs take 20 s in the end:
    # 20 s hold 200 pairs, to the 60 that were asked and the 50 of the choice.
    found = Pacing().budget(begun(1.0), asked_first(3.0, 6.0), elapsed=20.0, later=100)
    assert found == 60 + 5 * EXAMPLES + 200
    assert Pacing().budget(begun(1.0, evaluations=100), asked_first(3.0, 6.0), 20.0, 100) == 100
    assert Pacing().budget(begun(1.0), asked_first(3.0, 6.0), 50.0, 100) == 60, "no time for anything"
    assert Pacing().budget(begun(None, evaluations=100), asked_first(3.0, 6.0), 1e9, 100) == 100


def step(strategy: EvolutionStrategy) -> None:
    strategy.step(lambda: torch.zeros(len(strategy.candidates), dtype=torch.float64))


def test_steps_ask_by_what_the_last_one_took_and_end_with_the_time() -> None:
    strategy, state, pacing = begun(1.0), asked_first(3.0, 6.0), Pacing()
    pacing.budget(strategy, state, 20.0, 100)
    strategy.start(torch.ones(3) / 3, EXAMPLES, 20 * PAIR * STEPS)
    asked = []
    # Of 60 s 20 are set aside. The first step takes 12 s for 20 pairs; the 8 s until 40 hold 13 pairs of 0.6 s in
    # three steps, 4 each. That step takes 6 s, 1.5 s a pair: 2 s hold none in two steps, and one is asked all the same.
    for elapsed in (20.0, 32.0, 38.0, 41.0):
        strategy.pace(pacing.pairs(strategy, state, elapsed, 100))
        asked.append(strategy.pairs)
        if not strategy.done:
            step(strategy)
    assert asked == [20, 4, 1, 0]
    assert strategy.done
    assert strategy.searched
    assert strategy.most_steps == 3


def test_time_to_spare_never_lifts_the_steps_above_the_evaluations() -> None:
    # 3 + 5 whole evaluations and 12 pairs a step of the four; what was shown in between is set aside too.
    strategy, state, pacing = begun(100.0, 60 + 50 + 12 * PAIR * STEPS + EXAMPLES), asked_first(3.0, 6.0), Pacing()
    strategy.start(torch.ones(3) / 3, EXAMPLES, 12 * PAIR * STEPS)
    state.shown = Shown(every=2)
    for elapsed in (20.0, 20.1, 20.2, 20.3):
        strategy.pace(pacing.pairs(strategy, state, elapsed, 0))
        assert strategy.pairs == 12
        step(strategy)
        state.evaluations += 12 * PAIR + (EXAMPLES if int(strategy.swarm.iterations) == 2 else 0)
    assert state.evaluations + 50 == strategy.evaluations


def test_the_clock_goes_on_from_what_earlier_parts_have_taken() -> None:
    times = iter([100.0, 107.0])
    assert Pacing(lambda: next(times)).elapsed(before=30.0) == pytest.approx(37.0)
