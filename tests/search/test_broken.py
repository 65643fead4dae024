"""Searches in which numbers go wrong, and objectives that raise: what is told, and that the search goes on."""

import math
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import ExportBest, History, SwarmCheckpoint
from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import ExactMatch, LanguageModel, Outcome
from swarm_lightning.search import ModelSwarm
from tests.search.scripted_search import scripted_search
from tests.search.tiny_search import FULL, NEW_TOKENS, World, read_rows, search

NAN = math.nan


class Breaks(L.Callback):
    """Breaks the velocities of some particles before an iteration."""

    def __init__(self, particles: Sequence[int], iteration: int) -> None:
        self.particles, self.iteration = list(particles), iteration

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, ModelSwarm)
        if int(pl_module.swarm.iterations) + 1 == self.iteration:
            for particle in self.particles:
                pl_module.swarm.velocities[particle, 7] = NAN


class Hears(L.Callback):
    """Keeps what a search says of broken particles, which the tests' searches otherwise keep to themselves."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: self.said.append(str(message))

    @property
    def broken(self) -> list[str]:
        return [text for text in self.said if " is broken " in text]


def test_a_broken_particle_is_reported_and_the_search_goes_on_as_far_with_the_exact_stop(
    world: World, tmp_path: Path
) -> None:
    swarms, heard = [], Hears()
    for name, engine in (("full", FULL), ("stop", EngineSettings(chunk=2))):
        callbacks = [Breaks([1, 2], 2), History(), heard]
        swarms.append(search(world, tmp_path / name, callbacks=callbacks, engine=engine, iterations=4).swarm)
    assert len(heard.broken) == 4
    assert "Particle 1 is broken in iteration 2: its weights are not finite." in heard.broken[0]
    assert "goes on from its personal best" in heard.broken[0]
    for name in ("positions", "velocities", "personal_bests", "personal_best_utilities", "global_best", "global_worst"):
        full, stopped = (getattr(swarm, name) for swarm in swarms)
        assert full.equal(stopped), name
        assert full.isfinite().all(), name
    rows = read_rows(tmp_path / "full" / "history.csv")
    assert [row["broken"] for row in rows] == ["0.0", "0.0", "2.0", "0.0", "0.0"]
    assert [rows[2][f"{what}/particle_01"] for what in ("utility", "at_least", "at_most")] == ["-inf"] * 3
    assert math.isfinite(float(rows[3]["utility/particle_01"]))
    # Of 4 particles and 8 examples; two particles were not asked.
    assert [row["evaluations"] for row in rows] == ["32.0", "32.0", "16.0", "32.0", "32.0"]


@pytest.mark.parametrize("score", [NAN, math.inf, -math.inf])
def test_scores_that_are_not_finite_break_their_particle_only(world: World, tmp_path: Path, score: float) -> None:
    script = [[0.5, 0.25, 0.75, 0.5], [0.25, score, 0.25, 0.25], [0.5, 0.875, 0.5, 0.5]]
    heard = Hears()
    module = scripted_search(world, tmp_path, script, heard, History())
    assert len(heard.broken) == 1
    assert "Particle 1 is broken in iteration 1" in heard.broken[0]
    assert "NaN or infinite for example" in heard.broken[0]
    assert "'0', '1', '2' and 1 more" in heard.broken[0]
    rows = read_rows(tmp_path / "history.csv")
    assert [row["utility/particle_01"] for row in rows] == ["0.25", "-inf", "0.875"]
    assert [row["global_worst"] for row in rows] == ["0.25"] * 3
    assert float(module.swarm.global_best_utility) == 0.875


def test_an_expert_that_the_base_makes_nan_of_is_broken_from_the_start_and_never_the_best(
    world: World, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    experts = shutil.copytree(world.experts, tmp_path / "experts")
    path = experts / "numbers" / "adapter_model.safetensors"
    save_file({name: tensor * 1e25 for name, tensor in load_file(path).items()}, path)  # finite, its products are not
    heard = Hears()
    callbacks = [heard, History(), ExportBest()]
    module = search(world, tmp_path / "run", experts=str(experts), callbacks=callbacks, particles=5, iterations=3)
    assert "Particle 1 is broken before the first move" in heard.broken[0]
    assert module.swarm.initial_utilities[1] == -math.inf
    assert module.best_initial != 1
    assert module.swarm.global_best.isfinite().all()
    assert (tmp_path / "run" / "best_expert" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("first", [True, False])
def test_a_search_ends_with_an_explanation_where_every_particle_is_broken(
    world: World, tmp_path: Path, first: bool
) -> None:
    class Unscored(ExactMatch):
        def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
            return [Outcome("", None, NAN) for _ in examples]

    objective, callbacks = (Unscored(max_new_tokens=2), []) if first else (ExactMatch(), [Breaks(range(4), 2)])
    when = "before the first move" if first else "in iteration 2"
    with pytest.raises(InputError, match=f"all 4 are broken {when}.*model.dtype float32"):
        search(world, tmp_path, objective=objective, callbacks=callbacks)


class Raises(ExactMatch):
    """Raises for one question, after some calls that went well."""

    def __init__(self, identifier: str, error: Exception, calls: int = 0) -> None:
        super().__init__(max_new_tokens=NEW_TOKENS)
        self._identifier, self._error, self._calls = identifier, error, calls

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        outcomes = super().evaluate(examples, model)
        self._calls -= 1
        if self._calls < 0 and any(one.identifier == self._identifier for one in examples):
            raise self._error
        return outcomes


def test_an_objective_that_raises_names_the_example_and_particle_and_the_run_goes_on_once_it_is_mended(
    world: World, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"engine": FULL, "iterations": 2}
    whole = search(world, tmp_path / "whole", objective=Raises("none", KeyError()), **settings)
    identifier = whole.trainer.datamodule.splits.validation[3].identifier  # type: ignore[attr-defined]
    objective = Raises(identifier, ZeroDivisionError("division by zero"), calls=2)
    root = tmp_path / "run"
    with pytest.raises(InputError) as raised:
        search(world, root, objective=objective, callbacks=[SwarmCheckpoint()], **settings)
    message = str(raised.value)
    assert f"from Raises for example {identifier!r} of particle 0, but it raised ZeroDivisionError" in message
    assert "test_broken.py, line" in message
    assert "raise self._error" in message
    assert "--ckpt_path" in message
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    last = str(root / "checkpoints" / "last.ckpt")
    mended = search(world, root, objective=Raises("none", KeyError()), ckpt_path=last, **settings)
    assert mended.swarm.positions.equal(whole.swarm.positions)
    assert mended.swarm.global_best_utility.equal(whole.swarm.global_best_utility)


def test_a_prompt_that_can_not_be_made_is_told_with_its_example_before_the_search(world: World, tmp_path: Path) -> None:
    class Prompts(ExactMatch):
        def prompt(self, example: Example, tokenizer: Any) -> str:
            return str(example.extras["missing"])

    with pytest.raises(InputError, match=r"prompt from Prompts for example '.*raised KeyError: 'missing' .*broken.py"):
        search(world, tmp_path, objective=Prompts())


def test_a_fault_of_the_engine_is_not_laid_at_the_objectives_door(world: World, tmp_path: Path) -> None:
    class Careless(ExactMatch):
        def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
            model.generate(None, None)  # type: ignore[arg-type]
            return []

    with pytest.raises(TypeError):
        search(world, tmp_path, objective=Careless())
