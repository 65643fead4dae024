"""What holds in any swarm, whatever the coefficients, the utilities and the numbers that break."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.rules import Coefficients

WEIGHT = st.floats(0, 1)
UTILITY = st.floats(-5, 5) | st.sampled_from([math.nan, math.inf, -math.inf])
ROWS = st.lists(st.tuples(UTILITY, UTILITY, UTILITY), min_size=1, max_size=6)


@given(st.tuples(WEIGHT, WEIGHT, WEIGHT, WEIGHT).filter(lambda one: sum(one) > 1e-6), st.integers(0, 99))
def test_the_four_shares_sum_to_one_and_none_is_negative(weights: tuple[float, ...], seed: int) -> None:
    draws = torch.rand(5, 4, generator=torch.Generator().manual_seed(seed)).clamp(min=1e-3)
    shares = Coefficients(*weights).weigh(draws)
    assert shares.ge(0).all()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(5, dtype=torch.float64))


@given(ROWS, st.floats(-5, 5), st.sampled_from([0.0, 0.05]), st.integers(0, 99))
def test_bests_never_fall_the_worst_never_rises_and_nothing_kept_is_broken(
    rows: list[tuple[float, float, float]], first: float, repel: float, seed: int
) -> None:
    positions = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
    swarm = ParticleSwarm([positions], repel=repel)
    swarm.begin(torch.tensor([first, *rows[0][1:]], dtype=torch.float64), torch.Generator().manual_seed(seed))
    seen = [utility for utility in (first, *rows[0][1:]) if math.isfinite(utility)]
    for row in rows:
        before = swarm.swarm.personal_best_utilities.clone()
        swarm.step(lambda row=row: torch.tensor(row, dtype=torch.float64))  # type: ignore[misc]
        state = swarm.swarm
        seen += [utility for utility in row if math.isfinite(utility)]
        assert state.personal_best_utilities.ge(before).all()
        assert float(state.global_best_utility) == max(seen) == float(state.personal_best_utilities.max())
        assert not repel or float(state.global_worst_utility) == min(seen)
        for tensor in (state.positions, state.velocities, state.personal_bests, state.global_best, state.global_worst):
            assert tensor.isfinite().all()
        for index in range(3):
            if math.isinf(row[index]) and state.personal_best_utilities[index].isfinite():
                assert state.positions[index].equal(state.personal_bests[index])
                assert not state.velocities[index].any()
