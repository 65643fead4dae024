"""What a search knows goes into a checkpoint and comes back, and a new search begins with nothing of an earlier one."""

import math

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.search.settings import check_identity
from swarm_lightning.search.state import COUNTS, FORMAT, KEY, ScoreMemory, SearchState, record_in
from swarm_lightning.swarm import ParticleSwarm


def scored() -> tuple[SearchState, ParticleSwarm]:
    state = SearchState()
    state.start(7)
    swarm = ParticleSwarm([torch.randn(3, 4, generator=torch.Generator().manual_seed(0))])
    table = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, math.nan]], dtype=torch.float64)
    utilities = torch.tensor([0.5, 1.0, math.nan], dtype=torch.float64)
    reach = torch.tensor([[0.5, 0.5], [1.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    state.take_scores(Evaluation(table, [], utilities, reach, 11, 3), torch.zeros(3, dtype=torch.bool), swarm)
    state.count(2.0, 2)
    return state, swarm


def test_a_resumed_state_is_what_was_saved() -> None:
    state, _ = scored()
    state.parts = {"best found expert": {"sums": 0.5}}
    resumed = SearchState()
    resumed.resume(state.record())
    assert {name: getattr(resumed, name) for name in COUNTS} == {
        "seconds": 2.0,
        "evaluations": 5,  # one of six pairs was left open
        "generated_tokens": 11,
        "forward_passes": 3,
        "examples": 2,
        "seed": 7,
    }
    assert resumed.parts == state.parts
    for name, tensor in state.scores.state_dict().items():
        assert tensor.equal(resumed.scores.state_dict()[name])


def test_what_an_earlier_version_has_counted_leaves_the_passes_unknown_from_then_on() -> None:
    state, swarm = scored()
    record = state.record()
    del record["forward_passes"]
    state.resume(record)
    assert state.forward_passes is None
    assert state.evaluation is not None
    state.add(state.evaluation, 1.0)
    assert (state.evaluations, state.generated_tokens, state.forward_passes) == (10, 22, None)


def test_a_new_search_counts_from_nothing_and_draws_by_its_seed() -> None:
    state, _ = scored()
    state.start(8)
    assert (state.seconds, state.evaluations, state.generated_tokens, state.parts) == (0.0, 0, 0, {})
    assert state.forward_passes == 0
    assert (state.evaluation, state.result, state.origin, state.metrics) == (None, None, None, {})
    expected = torch.Generator().manual_seed(8)
    assert torch.rand(3, generator=state.generator).equal(torch.rand(3, generator=expected))


def test_the_reach_of_a_lost_particle_is_nowhere() -> None:
    state, swarm = scored()
    swarm.begin(torch.tensor([0.5, 1.0, 0.2]), torch.Generator().manual_seed(1))
    swarm.swarm.velocities[1].fill_(math.inf)

    def score() -> torch.Tensor:
        utilities = torch.tensor([0.5, math.nan, 0.5], dtype=torch.float64)
        reach = torch.tensor([[0.5, 0.5], [math.nan, math.nan], [0.5, 0.5]], dtype=torch.float64)
        evaluation = Evaluation(torch.full((3, 2), 0.5, dtype=torch.float64), [], utilities, reach)
        state.take_scores(evaluation, swarm.lost, swarm)
        return utilities

    swarm.step(score)
    assert state.scores.reach.tolist() == [[0.5, 0.5], [-math.inf, -math.inf], [0.5, 0.5]]


@pytest.mark.parametrize(("held", "said"), [({}, "holds nothing of a swarm"), ({KEY: {"format": 1}}, "holds 1")])
def test_a_checkpoint_of_another_kind_or_format_is_refused(held: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=f"in format {FORMAT}, but this one {said}"):
        record_in(held)


def test_the_first_checkpoints_are_those_of_particles() -> None:
    assert record_in({KEY: {"format": FORMAT, "identity": {}}})["identity"] == {"draws": "particle"}


def test_only_what_is_compared_must_be_the_same() -> None:
    saved, present = {"experts": "a", "data": "b"}, {"experts": "a", "data": "c"}
    check_identity(saved, present, ["experts"])
    with pytest.raises(InputError, match="the data differ"):
        check_identity(saved, present)


def test_a_memory_of_scores_is_copied_when_it_is_taken_up() -> None:
    state, _ = scored()
    memory = ScoreMemory()
    memory.load_state_dict(state.scores.state_dict())
    memory.best.fill_(9)
    assert not (state.scores.best == 9).any()
