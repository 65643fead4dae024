"""Draws never repeat, depend on the seed and the number of a trial, and TPE's on what has ended."""

from typing import Literal

import optuna
import pytest

from swarm_lightning.sweep.sampler import WithoutRepeats
from swarm_lightning.sweep.space import Choice, DrawnSpace, Range, draw_settings

Kind = Literal["random", "grid", "tpe"]
SPACE: DrawnSpace = {"a": Choice((0, 1, 2, 3)), "b": Range(0.0, 1.0, 0.25)}


def searched(kind: Kind, space: DrawnSpace, trials: int, seed: int = 0) -> list[dict[str, float]]:
    """Draw trials whose utility is highest at b = 0.75, and the higher the larger a is."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    settings = []
    for number in range(trials):
        study.sampler = WithoutRepeats(kind, space, seed, number)
        trial = study.ask()
        settings.append(draw_settings(space, trial))
        study.tell(trial, settings[-1]["a"] - 4 * abs(settings[-1]["b"] - 0.75))
    return settings


@pytest.mark.parametrize("kind", ["random", "grid", "tpe"])
def test_a_space_is_searched_through_without_repeats(kind: Kind) -> None:
    found = searched(kind, SPACE, 20)
    assert sorted((setting["a"], setting["b"]) for setting in found) == [(a, b / 4) for a in range(4) for b in range(5)]


@pytest.mark.parametrize("kind", ["random", "grid", "tpe"])
def test_draws_belong_to_the_seed(kind: Kind) -> None:
    assert searched(kind, SPACE, 12) == searched(kind, SPACE, 12)
    assert searched(kind, SPACE, 12) != searched(kind, SPACE, 12, seed=1)


def test_tpe_comes_to_draw_where_utilities_are_high() -> None:
    space: DrawnSpace = {"a": Range(0.0, 3.0), "b": Range(0.0, 1.0)}
    found = searched("tpe", space, 45)
    at_first, later = ([abs(setting["b"] - 0.75) for setting in part] for part in (found[:10], found[30:]))
    assert sum(later) / len(later) < 0.5 * sum(at_first) / len(at_first)
    assert found[:10] == searched("random", space, 10)
