"""A toy world of graphs and models, against a small computation of its own that knows nothing of the package.

A model is two numbers. What a system is worth follows from who answers whom and from the models' numbers, so graphs and
weights both matter, and every step can be followed with plain lists.
"""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from swarm_lightning.swarm import HeterogeneousSwarm
from swarm_lightning.swarm.graphs import Decoding, System, decode
from swarm_lightning.swarm.space import Material
from swarm_lightning.swarm.spaces.graphs import GraphSpace

EXPERTS = [[0.2, 0.9], [0.7, 0.1], [0.5, 0.6]]
LENGTH = 0.5
SEED = 5
Vector = list[float]


def worth(readers: Sequence[Sequence[int]], models: Sequence[Vector]) -> float:
    """What a system scores: the end's two numbers, and half of what those say whose replies it reads, and so on."""

    def node(place: int) -> float:
        sources = [other for other, own in enumerate(readers) if place in own]
        return models[place][0] - models[place][1] ** 2 + sum(node(source) for source in sources) / 2

    return node(next(place for place, own in enumerate(readers) if not own))


def worth_of(system: System) -> float:
    numbers = [one[:].tolist() for one in system.weights]
    return worth(system.graph.readers, [numbers[model] for model in system.assignment])


def made(graphs: int = 4, seed: int = 3, decoding: Decoding = Decoding(), **settings: Any) -> HeterogeneousSwarm:  # noqa: B008
    """Make a search that has begun, with its first positions and assignments asked."""
    generator = torch.Generator().manual_seed(seed)
    space = GraphSpace(Material(torch.tensor(EXPERTS), sizes=[2], decoding=decoding))
    positions = torch.nn.Parameter(space.first_positions(None, graphs, 1.0, generator), requires_grad=False)  # type: ignore[arg-type]
    swarm = HeterogeneousSwarm([positions], lr=LENGTH, **settings)
    swarm.enter(space)
    swarm.begin(asked(swarm), generator)
    swarm.begin_models(torch.tensor([worth_of(space.expert(model)) for model in range(3)]), lambda: asked(swarm))
    return swarm


def asked(swarm: HeterogeneousSwarm) -> torch.Tensor:
    return torch.tensor([worth_of(system) for system in swarm.asked], dtype=torch.float64)


class Plain:
    """One swarm of the published rules in plain lists: its particles, and what it remembers."""

    def __init__(self, positions: list[Vector], velocities: list[Vector], utilities: Vector) -> None:
        self.positions, self.velocities, self.bests = positions, velocities, [list(one) for one in positions]
        known = [-9e9 if utility != utility else utility for utility in utilities]
        self.utilities, self.best_utilities = utilities, known
        best, worst = known.index(max(known)), utilities.index(min(known))
        self.best, self.best_utility, self.leader = list(positions[best]), known[best], best
        self.worst, self.worst_utility = list(positions[worst]), known[worst]

    def move(self, draws: list[Vector]) -> None:
        weights = (0.2, 0.3, 0.4, 0.05)
        for place, drawn in enumerate(draws):
            shares = [weight * number for weight, number in zip(weights, drawn, strict=True)]
            shares = [share / sum(shares) for share in shares]
            x, v, p = self.positions[place], self.velocities[place], self.bests[place]
            for d in range(len(x)):
                terms = (v[d], p[d] - x[d], self.best[d] - x[d], x[d] - self.worst[d])
                v[d] = sum(share * term for share, term in zip(shares, terms, strict=True))
                x[d] += LENGTH * v[d]

    def remember(self, utilities: Vector) -> None:
        """Take in utilities; NaN leaves that of before."""
        told = [(place, utility) for place, utility in enumerate(utilities) if utility == utility]
        for place, utility in told:
            self.utilities[place] = utility
            if utility > self.best_utilities[place]:
                self.best_utilities[place], self.bests[place] = utility, list(self.positions[place])
        best, worst = max(told, key=lambda one: one[1]), min(told, key=lambda one: one[1])
        if best[1] > self.best_utility:
            self.leader, self.best_utility = best
            self.best = list(self.positions[best[0]])
        if worst[1] < self.worst_utility:
            self.worst_utility, self.worst = worst[1], list(self.positions[worst[0]])


def graph_of(matrix: Vector) -> tuple[tuple[int, ...], ...]:
    return decode(torch.tensor(matrix, dtype=torch.float64).view(3, 3)).readers


def shared_out(assignments: list[list[int]], scores: Vector) -> Vector:
    """The utility of a model, from the assignments it took part in."""
    found = []
    for model in range(3):
        counts = [row.count(model) for row in assignments]
        total = sum(count * score for count, score in zip(counts, scores, strict=True))
        found.append(total / sum(counts) if sum(counts) else float("nan"))
    return found


def test_a_role_step_and_a_weight_step_are_those_of_the_method() -> None:
    swarm = made(seed=SEED, assignments=2)
    generator = torch.Generator()
    generator.set_state(swarm.state[swarm.param_groups[0]["params"][0]]["generator"])
    start, models = swarm.swarm, swarm.models
    graphs = Plain(start.positions.tolist(), start.velocities.tolist(), start.utilities.tolist())
    weights = Plain(models.positions.tolist(), models.velocities.tolist(), models.utilities.tolist())
    best = swarm.found_utility
    rose, kept = 0, 0
    for _ in range(6):
        swarm.step(lambda: asked(swarm))
        # The role step: node i is model i.
        draws = torch.rand(4, 4, dtype=torch.float64, generator=generator).tolist()
        torch.rand(4, dtype=torch.float64, generator=generator), torch.rand(1, dtype=torch.float64, generator=generator)
        graphs.move(draws)
        utilities = [worth(graph_of(matrix), weights.positions) for matrix in graphs.positions]
        graphs.remember(utilities)
        best = max(best, *utilities)
        # The weight step, on the best graph so far.
        draws = torch.rand(3, 4, dtype=torch.float64, generator=generator).tolist()
        torch.rand(3, dtype=torch.float64, generator=generator), torch.rand(1, dtype=torch.float64, generator=generator)
        weights.move(draws)
        assignments = torch.randint(3, (2, 3), generator=generator).tolist()
        scores = [worth(graph_of(graphs.best), [weights.positions[model] for model in row]) for row in assignments]
        told = shared_out(assignments, scores)
        kept += sum(utility != utility for utility in told)
        weights.remember(told)
        rose += max(scores) > best
        best = max(best, *scores)
        for plain, own in ((graphs, swarm.swarm), (weights, swarm.models)):
            torch.testing.assert_close(own.positions, torch.tensor(plain.positions))
            torch.testing.assert_close(own.personal_bests, torch.tensor(plain.bests))
            torch.testing.assert_close(
                own.utilities, torch.tensor(plain.utilities, dtype=torch.float64), rtol=1e-5, atol=1e-6
            )
            assert int(own.best_particle) == plain.leader
        assert swarm.found_utility == pytest.approx(best, abs=1e-6)
        assert worth_of(swarm.found_asked) == pytest.approx(best, abs=1e-6)
    assert rose
    assert kept


def test_where_only_roles_move_the_models_stay_and_no_assignment_is_asked() -> None:
    swarm, phases = made(moves="roles"), []

    def score() -> torch.Tensor:
        phases.append(swarm.kind)
        return asked(swarm)

    before = swarm.positions.clone()
    swarm.step(score)
    assert phases == ["graph"]
    assert not before.equal(swarm.positions)
    assert torch.equal(swarm.weights, torch.tensor(EXPERTS))
    assert not swarm.has_models


def test_where_only_weights_move_the_graphs_stay_and_the_models_say_when_the_search_has_stopped_rising() -> None:
    swarm, phases = made(moves="weights"), []

    def score() -> torch.Tensor:
        phases.append(swarm.kind)
        return asked(swarm) * 0 - 5  # below all before

    before, models = swarm.positions.clone(), swarm.models.positions.clone()
    for _ in range(3):
        swarm.step(score)
    assert phases == ["assignment"] * 3
    assert torch.equal(before, swarm.positions)
    assert not models.equal(swarm.models.positions)
    assert int(swarm.swarm.iterations) == 3
    assert int(swarm.swarm.plateau) == 4


def test_a_fixed_graph_is_the_same_whatever_the_matrices_say() -> None:
    swarm = made(moves="weights", decoding=Decoding(fixed="chain"))
    assert {system.graph.readers for system in swarm.asked} == {((1,), (2,), ())}


def test_a_drawn_graph_belongs_to_its_particle() -> None:
    decoding = Decoding(top_p=1.0)
    swarm = made(graphs=12, decoding=decoding)
    graphs = [system.graph for system in swarm.asked]
    assert graphs == [system.graph for system in swarm.asked]
    same = [swarm.graphs.system(swarm.positions[0], particle).graph for particle in range(12)]
    assert len(set(same)) > 1
    assert swarm.found_asked.graph in graphs


def test_graphs_and_models_restart_by_their_own_counts() -> None:
    swarm = made()
    swarm.step(lambda: asked(swarm) - 5)
    swarm.swarm.stagnation.copy_(torch.tensor([1, 3, 1, 1]))
    swarm.models.stagnation.copy_(torch.tensor([3, 1, 1]))
    swarm.restart_stagnant(3)
    assert swarm.swarm.restarts.tolist() == [0, 1, 0, 0]
    assert swarm.models.restarts.tolist() == [1, 0, 0]
    assert torch.equal(swarm.models.positions[0], swarm.models.personal_bests[0])


def test_a_loaded_state_goes_on_bit_for_bit() -> None:
    one, other = made(), made(seed=5)
    one.step(lambda: asked(one))
    other.positions.copy_(one.positions)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for swarm in (one, other):
        for _ in range(2):
            swarm.step(lambda: asked(swarm))  # noqa: B023 - called at once
    for name, tensor in one.state_dict()["state"][0].items():
        assert torch.equal(tensor.nan_to_num(), other.state_dict()["state"][0][name].nan_to_num()), name


@pytest.mark.parametrize(("setting", "value"), [("assignments", 0), ("assignments", True), ("moves", "nothing")])
def test_settings_that_can_not_be_meant_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected {setting}"):
        made(**{setting: value})
