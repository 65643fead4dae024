"""Puts the parts of a search together: the resident model, and what it is asked.

Everything the user gave is checked here or in the parts, before any long work starts.
"""

from typing import TYPE_CHECKING

import torch

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import RepliesOnly
from swarm_lightning.search.population import BASE, check_draws, differences_from
from swarm_lightning.search.resident import load_resident
from swarm_lightning.search.resume import check_same_search
from swarm_lightning.swarm.population import grow_population

if TYPE_CHECKING:
    from swarm_lightning.experts.resident import ResidentModel
    from swarm_lightning.search.model_swarm import ModelSwarm


def check_settings(module: "ModelSwarm") -> None:
    """Refuse settings of the swarm that can't be used.

    Raises:
        InputError: If the optimizer, the scheduler or the population would refuse them, or begins with an unknown base.
    """
    try:
        module.scheduler_factory(module.optimizer_factory([torch.zeros(module.particles, 1)]))
        points = module.start.points(torch.zeros(len(module.pool.names), 1), torch.Generator())
        grow_population(points, module.particles, module.child_span, torch.Generator())
    except ValueError as error:
        raise InputError(str(error)) from error
    if module.start.kind != "experts" and module.base is None:
        raise InputError(
            f"Expected model.base to name the base that model.start.kind {module.start.kind} begins with, but it is "
            "not set. Give its folder or hub id, or set the kind to experts."
        )
    check_draws(module)


def load_parts(module: "ModelSwarm", stage: str) -> None:
    """Load the base model, make it the resident model of the experts, and make the evaluator.

    Args:
        module: The search, attached to a trainer; it gets tokenizer, evaluator and the base's fingerprint.
        stage: `fit`, `validate`, `test` or `predict`.

    Raises:
        InputError: If the experts do not fit the base, or the objective can't serve the examples.
    """
    from swarm_lightning.evaluation.evaluator import Evaluator
    from swarm_lightning.evaluation.runners.resident import ResidentRunner

    if module.ranks.index > 0:  # one bar for all
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    resident = module.load_resident()
    tokenizer = resident.tokenizer
    splits = None if stage == "predict" else module.splits
    asked = [split for split in (splits.validation, splits.test) if split] if splits is not None else []
    for examples in asked:
        module.objective.check(examples, tokenizer)
    objective = module.objective
    if stage == "predict" and isinstance(objective, RepliesOnly):
        objective = objective.replies_only()
    runner = ResidentRunner(resident.adapted, tokenizer, module.engine)
    evaluator = Evaluator(runner, objective, module.ranks)
    for examples in asked:
        evaluator.check_lengths(examples)
    module.take_parts(evaluator, tokenizer, resident.fingerprint)


def resident_of(module: "ModelSwarm") -> "ResidentModel":
    """Return the resident model of a search, loaded on the CPU where the search is not set up.

    Raises:
        InputError: If the base can't be loaded, or is not the one of a checkpoint whose weights are made with it.
    """
    if module.is_set_up:
        return module.evaluator.runner.engine.adapted
    loaded = load_resident(module, torch.device("cpu"))
    if module.record is not None and differences_from(module) == BASE:
        check_same_search({"base": module.record["identity"]["base"]}, {"base": loaded.fingerprint})
    return loaded.adapted


def check_in_memory(module: "ModelSwarm") -> None:
    """Refuse to compare methods where the swarm lies on the disk: the others work on all experts at once, in memory.

    Raises:
        InputError: If it does.
    """
    if module.storage != "memory":
        copies = 3 * module.particles + 2 + len(module.pool.names)
        raise InputError(
            f"Expected model.storage to be memory to compare methods, which work on all experts at once, but got "
            f"{module.storage}. Set it to memory if that holds about {copies} copies of an expert in float32 (3 for "
            "each of model.particles), or search with `swarm fit`, where the disk will do."
        )


def release_swarm(module: "ModelSwarm") -> None:
    """Let go of the weights of a swarm that is not asked any more; the next `fit` makes a new one.

    Lightning's parts refer to each other and to the optimizer in circles: without this, the 3 N + 2 rows stay in memory
    until Python happens to look for circles, beside those of the next search.

    Args:
        module: The search, whose swarm lies in memory.
    """
    module.particle_swarm.state.clear()
    module.positions.data = module.positions.data.new_empty(0, 0)
