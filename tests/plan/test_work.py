"""How much a search has to ask, by hand."""

from functools import partial

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.plan.likely import left_out, span_of
from swarm_lightning.plan.work import RISE, Work, asked_later, distance_of, work_of
from swarm_lightning.swarm import CmaEs, EvolutionStrategy, ParticleSwarm

MAKE = partial(
    work_of, particles=10, experts=4, examples=20, most=30, patience=5, distance=0.5, chunk=13, guided=False, tests=80,
    per_second=100.0,
)  # fmt: skip


def test_what_is_dropped_is_not_asked() -> None:
    work = MAKE(ParticleSwarm([torch.zeros(10, 2)], drop_iteration=0.5, drop_particle=0.2))
    assert work.due == pytest.approx(0.4)
    assert work.first == 200
    assert work.asked_in(2) == pytest.approx(200 * 0.4 * (1 - left_out(2, 0.5)))
    assert work.asked_in(2, likely=False) == 200
    # 13 of 20 examples are asked at a time, whatever theory says.
    assert work.asked_in(30) == pytest.approx(200 * 0.4 * max(13 / 20, 1 - left_out(30, 0.5)))


def test_a_guide_is_paid_for_at_both_ends() -> None:
    work = MAKE(ParticleSwarm([torch.zeros(10, 2)]), guided=True, distance=0.0)
    assert work.evaluations(3) == 2 * 200 + 3 * 200 + 5 * 20


def test_a_greedy_soup_at_the_start_is_paid_for() -> None:
    swarm = ParticleSwarm([torch.zeros(10, 2)])
    # Three further sums of four experts; where a guide is followed, the objective is asked about the soup too.
    assert MAKE(swarm, soup=True).asked_first == (13 * 20, 0)
    assert MAKE(swarm, guided=True, soup=True).asked_first == (13 * 20, 11 * 20)
    assert MAKE(swarm, guided=True, soup=True).first == 24 * 20


def test_the_objective_is_asked_about_the_best_by_the_guide_now_and_then() -> None:
    work = MAKE(ParticleSwarm([torch.zeros(10, 2)]), guided=True, distance=0.0, shown_every=4)
    assert work.evaluations(8) == 2 * 200 + 8 * 200 + 2 * 20 + 5 * 20


def test_an_evolution_strategy_asks_its_budget() -> None:
    strategy = partial(EvolutionStrategy, [torch.zeros(4, 2)], evaluations=900, steps=6)
    assert MAKE(strategy()).evaluations(6) == 900
    assert MAKE(strategy()).chances == {6: 1.0}
    # 3 seconds at 100 a second
    assert MAKE(strategy(minutes=0.05)).evaluations(6) == 300
    # 80 for the experts, and no step beside the choice
    assert MAKE(strategy(evaluations=130)).evaluations(6) == 130


def test_cma_es_does_the_generations_that_its_budget_holds() -> None:
    strategy = CmaEs([torch.zeros(4, 2)], evaluations=1000, population=3)
    work = MAKE(strategy, most=-1)
    # 1000 less 4 experts and 5 to choose among with 20 examples each; a generation asks 60.
    assert work.most == (1000 - 180) // 60
    assert work.evaluations(work.most) == pytest.approx(1000)
    assert MAKE(strategy, most=7).most == 7


def test_the_distance_is_a_share_of_the_span_without_the_noise_of_few_examples() -> None:
    scores = torch.tensor([[1.0] * 8 + [0.0] * 2, [1.0] * 2 + [0.0] * 8])
    whole = distance_of(scores.mean(dim=1), scores, (0.0, 1.0), 10, repels=True)
    assert whole == pytest.approx(0.8 + RISE * 0.2 - 0.2)
    assert distance_of(scores.mean(dim=1), scores, (0.0, 1.0), 10, repels=False) == pytest.approx(0.8 + RISE * 0.2)
    assert distance_of(3 * scores.mean(dim=1), scores, (0.0, 3.0), 10, repels=True) == pytest.approx(whole)
    assert distance_of(scores.mean(dim=1), scores, (0.0, 1.0), 1000, repels=True) < whole
    assert distance_of(scores.mean(dim=1), scores, (float("-inf"), 1.0), 10, repels=True) == 0


def test_a_search_by_graded_scores_goes_on_longer() -> None:
    right, graded = (
        span_of(MAKE(ParticleSwarm([torch.zeros(10, 2)]), graded=graded).chances) for graded in (False, True)
    )
    assert right.low < graded.low
    assert right.likely < graded.likely


def test_two_models_are_asked_when_a_search_has_ended() -> None:
    examples = [Example("a"), Example("b")]
    assert asked_later(examples, examples * 3, replies=True) == 2 * 6 + 2 * 2
    assert asked_later(examples, (), replies=False) == 0


def test_a_search_of_eight_examples_may_leave_nothing_out() -> None:
    work = Work(particles=4, examples=8, most=3, patience=None, distance=0.9, chunk=32)
    assert work.evaluations(3) == 4 * 4 * 8
