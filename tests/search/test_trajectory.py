"""Whole searches of real experts, in every iteration, against NumPy and plain `peft`.

The reference moves dictionaries (`tests/swarm/reference.py`); its utilities come from a model that plain `peft` has
loaded and that answers one prompt at a time, and from a scoring rule written down in `tiny_search.py`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant
from swarm_lightning.evaluation.settings import EngineSettings
from tests.search.tiny_search import FULL, World, search
from tests.swarm.reference import Settings, Trajectory, Vector
from tests.swarm.reference import search as reference_search

ITERATIONS = 5
RESTART_PATIENCE = 2
EXPERTS = ("colours", "numbers", "stories", "towns")


class PlainPeft:
    """Scores positions with a model that plain `peft` has loaded; vectors hold the tensors in the order of names."""

    def __init__(self, world: World) -> None:
        self.world = world
        files = [load_file(world.experts / name / "adapter_model.safetensors") for name in EXPERTS]
        self.shapes = {name: files[0][name].shape for name in sorted(files[0])}
        self.start = [self.flat(file) for file in files]
        self.model = world.load(world.experts / EXPERTS[0])

    def flat(self, tensors: dict[str, torch.Tensor]) -> Vector:
        return np.concatenate([tensors[name].double().numpy().ravel() for name in self.shapes])

    def utility(self, position: Vector) -> float:
        from peft import set_peft_model_state_dict

        tensors, first = {}, 0
        for name, shape in self.shapes.items():
            part = position[first : first + shape.numel()]
            tensors[name] = torch.from_numpy(part).float().reshape(shape)
            first += shape.numel()
        set_peft_model_state_dict(self.model, tensors)
        scores = self.world.score(self.world.replies(self.model, "dev"), "dev")
        return sum(scores) / len(scores)


@pytest.fixture(scope="module")
def plain_peft(world: World) -> PlainPeft:
    return PlainPeft(world)


@cache
def follow(plain_peft: PlainPeft, first_velocity: str, repel: float) -> Trajectory:
    settings = Settings(
        iterations=ITERATIONS,
        patience=10**6,
        restart_patience=RESTART_PATIENCE,
        first_velocity=first_velocity,
        repel=repel,
    )
    return reference_search(plain_peft.start, plain_peft.utility, settings)


@pytest.mark.smoke
@pytest.mark.parametrize("engine", [FULL, EngineSettings(chunk=1)], ids=["everything asked", "what can't matter left"])
@pytest.mark.parametrize(
    ("first_velocity", "repel"),
    [
        ("best", 0.05),
        pytest.param("zero", 0.05, marks=pytest.mark.slow),
        pytest.param("best", 0.0, marks=pytest.mark.slow),
        pytest.param("zero", 0.0, marks=pytest.mark.slow),
    ],
)
def test_every_utility_of_every_iteration_is_that_of_an_independent_search_with_plain_peft(
    world: World, plain_peft: PlainPeft, tmp_path: Path, first_velocity: str, repel: float, engine: EngineSettings
) -> None:
    expected = follow(plain_peft, first_velocity, repel)
    module = search(
        world,
        tmp_path,
        callbacks=[RestartStagnant(RESTART_PATIENCE), History(), ExportBest()],
        iterations=ITERATIONS,
        randomness=False,
        first_velocity=first_velocity,
        repel=repel,
        engine=engine,
    )
    tables = [
        load_file(tmp_path / "score_tables" / f"iteration_{iteration:04d}.safetensors")
        for iteration in range(ITERATIONS + 1)
    ]
    seen = expected.utilities
    if engine is FULL:
        assert [table["utilities"].tolist() for table in tables] == seen
    else:
        for table, row in zip(tables, torch.tensor(seen, dtype=torch.float64), strict=True):
            known = ~table["utilities"].isnan()
            assert torch.equal(table["utilities"][known], row[known])
            assert (table["reach"][:, 0] <= row).all()
            assert (row <= table["reach"][:, 1]).all()
        asked = sum(int((~table["scores"].isnan()).sum()) for table in tables)
        assert asked < tables[0]["scores"].numel() * len(tables)
    assert len({utility for row in seen for utility in row}) > 3, "utilities that hardly differ prove nothing"
    assert len({tuple(row) for row in seen}) > 3, "a swarm that stands still proves nothing"
    assert int(module.swarm.restarts.sum()) == sum(len(particles) for particles in expected.restarted) > 0
    assert float(module.swarm.global_best_utility) == expected.global_best_utilities[-1]
    assert int(module.swarm.best_particle) == expected.best_particles[-1]
    exported = load_file(tmp_path / "best_expert" / "adapter_model.safetensors")
    np.testing.assert_allclose(plain_peft.flat(exported), expected.global_bests[-1], rtol=0, atol=1e-5)
