"""Exports a particle with all that is known about it on its model card.

The files are written by `experts/export.py`; this part gathers the facts from a search.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_lightning.differences import flatten
from swarm_lightning.errors import InputError
from swarm_lightning.experts.checkpoint_export import SHARD, export_checkpoint
from swarm_lightning.experts.export import export_adapter
from swarm_lightning.experts.model_card import CardFacts, Utilities, public_name, render_card
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.search.loading import resident_of
from swarm_lightning.search.population import BASE, MEAN, differences_from
from swarm_lightning.search.resident import base_of
from swarm_lightning.search.results import FOUND, INITIAL, Row
from swarm_lightning.search.resume import identity_of

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


def export_expert(
    module: "ModelSwarm",
    folder: Path,
    particle: int | None = None,
    test: tuple[Row, ...] = (),
    overwrite: bool = False,
    max_shard_size: str = SHARD,
) -> Path:
    """Write the best found expert, or the personal best of a particle, with a model card.

    It is of the kind of the experts: a PEFT adapter folder, or a full checkpoint.

    Args:
        module: The search, with its swarm.
        folder: Where it goes.
        particle: Whose personal best; None for the best found expert.
        test: The best initial and the best found expert on the test split, where they were scored.
        overwrite: Whether an existing folder may be replaced.
        max_shard_size: Size of a weight file of a full checkpoint at most.

    Returns:
        The folder.

    Raises:
        InputError: If there is no such particle, or the folder can't be written.
    """
    swarm, initial = module.swarm, module.best_initial
    if particle is None:
        vector, found, what = swarm.global_best, swarm.global_best_utility, "the best found expert"
    else:
        check_particle(particle, module.particles)
        vector, found = swarm.personal_bests[particle], swarm.personal_best_utilities[particle]
        what = f"the personal best of particle {particle}"
    weights = module.particle_swarm.vector(vector)
    # A checkpoint knows which search it belongs to better than the config of the moment.
    record = module.record or {"base": base_of(module), "task": module.task, "identity": identity_of(module)}
    identity = record["identity"]
    named = ("particles", "child_span", "start", "draws", "optimizer", "scheduler")
    facts = CardFacts(
        name=folder.name,
        base=record["base"],
        experts=module.pool.names,
        task=record["task"],
        best_initial_expert=module.pool.names[initial],
        exported=what,
        validation=Utilities(
            float(swarm.initial_utilities[initial]),
            float(found),
            module.examples,
            _by_task(module.parts.get(INITIAL, {}), module.parts.get(FOUND, {})) if particle is None else {},
        ),
        test=Utilities(test[0].utility, test[1].utility, test[0].examples, _by_task(test[0].parts, test[1].parts))
        if test and particle is None
        else None,
        objective=flatten(identity["objective"]),
        swarm=flatten({name: identity[name] for name in named}),
        seed=module.seed,
        iterations=int(swarm.iterations),
        coefficients=vector.tolist() if module.draws == "coefficient" else (),
        notes=module.pool.notes,
    )
    if isinstance(module.pool, ExpertPool):
        return export_adapter(folder, weights[:], module.pool, render_card(facts), overwrite, base=record["base"])
    origin = {MEAN: MEAN, BASE: f"the base {public_name(record['base'])}"}.get(str(differences_from(module)), "")
    facts = replace(facts, whole=True, differences_from=origin)
    return export_checkpoint(
        folder,
        weights,
        resident_of(module),
        base_of(module),
        render_card(facts),
        overwrite,
        max_shard_size,
        module.trust_remote_code,
    )


def _by_task(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    return {task: (before[task], after[task]) for task in before if task in after}


def check_particle(particle: int, count: int) -> None:
    """Refuse a particle that does not exist.

    Args:
        particle: Index of a particle.
        count: Number of particles N.

    Raises:
        InputError: If the index is not in [0, N).
    """
    if not 0 <= particle < count:
        raise InputError(f"Expected a particle from 0 to {count - 1}, but got {particle}.")
