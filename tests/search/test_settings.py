"""Settings are fixed, are refused as soon as they are made, and make a search the same search as another one."""

from dataclasses import FrozenInstanceError
from functools import partial
from typing import Any

import pytest
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.settings import GraphSettings
from swarm_lightning.objectives import ExactMatch, MultipleChoice, MultiTask, Objective
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.population import Population
from swarm_lightning.search.settings import identity_of
from swarm_lightning.swarm import EvolutionStrategy, ParticleSwarm, StepLengthDecay


def made(**changes: Any) -> ModelSwarm:
    return ModelSwarm("base", experts="experts", objective=ExactMatch(max_new_tokens=3), **changes)


def identity(module: ModelSwarm) -> dict[str, Any]:
    said = Population(module.settings).said
    return identity_of(module.settings, said, None, module.objective, "a base", "some experts", "some data")


@pytest.mark.parametrize(
    ("objective", "guide"),
    [
        (ExactMatch(), "smooth, floor 0.1"),
        (MultipleChoice(), "smooth"),
        (MultiTask({"sums": ExactMatch(), "trees": MultipleChoice()}), "smooth, floor 0.1"),
        (MultiTask({"trees": MultipleChoice()}), "smooth"),
    ],
)
def test_only_a_guide_with_a_floor_makes_a_search_of_another_floor_another_one(
    objective: Objective, guide: str
) -> None:
    assert identity(ModelSwarm("base", experts="experts", objective=objective, guide="smooth"))["guide"] == guide
    assert identity(ModelSwarm("base", experts="experts", objective=objective))["guide"] is None


def test_settings_do_not_change() -> None:
    module = made()
    with pytest.raises(FrozenInstanceError):
        module.settings.particles = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"particles": 1}, "at least 2 particles"),
        (
            {"mixture": "probabilities", "optimizer": EvolutionStrategy},
            "model.mixture to be null with EvolutionStrategy",
        ),
        ({"graphs": GraphSettings(), "optimizer": EvolutionStrategy}, "model.graphs to be null with EvolutionStrategy"),
        ({"child_span": 0.0}, "child_span to be above 0"),
        ({"ensemble_size": 0}, "ensemble_size to be at least 1"),
        ({"draws": "weight"}, "draws to be one of particle, tensor, coefficient, but got 'weight'"),
        ({"draws": "tensor", "storage": "disk"}, "model.storage to be memory with draws: tensor, but got 'disk'"),
        ({"optimizer": partial(ParticleSwarm, lr=-1.0)}, "step length lr to be above 0"),
        ({"scheduler": partial(StepLengthDecay, factor=2.0)}, "factor of the step length"),
    ],
)
def test_settings_that_can_not_be_used_are_refused_before_anything_is_read(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(**changes)


def test_optimizer_and_schedule_say_once_what_they_are_whatever_they_become() -> None:
    module = made(optimizer=partial(ParticleSwarm, repel=0.0), scheduler=partial(StepLR, step_size=2))
    found = identity(module)
    assert found["optimizer"]["class"] == "ParticleSwarm"
    assert (found["optimizer"]["repel"], found["optimizer"]["kernel"], found["optimizer"]["lr"]) == (0.0, "auto", 0.75)
    assert found["scheduler"] == {"class": "StepLR", "step_size": 2, "gamma": 0.1}
    plateau = Population(made(scheduler=partial(ReduceLROnPlateau, patience=1)).settings)
    before = dict(plateau.said["scheduler"])
    plateau.schedule.step(1.0)  # type: ignore[arg-type]
    plateau.schedule.step(1.0)  # type: ignore[arg-type]
    assert plateau.said["scheduler"] == before
    assert before["num_bad_epochs"] == 0


@pytest.mark.parametrize("change", [{"particles": 9}, {"child_span": 1.0}, {"optimizer": partial(ParticleSwarm, lr=1)}])
def test_another_setting_makes_another_search(change: dict[str, Any]) -> None:
    assert identity(made()) == identity(made())
    assert identity(made()) != identity(made(**change))


@pytest.mark.parametrize("change", [{"ensemble_size": 3}, {"state_folder": "elsewhere"}, {"dtype": "bfloat16"}])
def test_what_changes_no_position_leaves_it_the_same_search(change: dict[str, Any]) -> None:
    assert identity(made()) == identity(made(**change))
