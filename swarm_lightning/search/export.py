"""Gathers what a model card tells of a particle, from what is known of its search."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarm_lightning.differences import flatten
from swarm_lightning.errors import InputError
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.model_card import CardFacts, Utilities, public_name
from swarm_lightning.search.results import FOUND, INITIAL, ResultRow
from swarm_lightning.search.state import SearchState
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.spaces.coefficients import BASE

ON_THE_CARD = ("particles", "child_span", "start", "draws", "optimizer", "scheduler")


def card_facts(
    name: str,
    optimizer: ParticleSwarm,
    state: SearchState,
    origin: Mapping[str, Any],
    pool: Pool,
    initial: int,
    particle: int | None = None,
    test: Sequence[ResultRow] = (),
) -> CardFacts:
    """Return what the card of the best found expert says, or that of the personal best of a particle.

    Args:
        name: Of the folder that is written.
        optimizer: The swarm.
        state: What its search knows and has done.
        origin: `base`, `task` and `identity` of that search.
        pool: The experts that it began with.
        initial: Which of them was best.
        particle: Whose personal best; None for the best found expert.
        test: The best initial and the best found expert on the test split, where they were scored.
    """
    swarm, identity = optimizer.swarm, origin["identity"]
    if particle is None:
        position, found, what = swarm.global_best, swarm.global_best_utility, "the best found expert"
    else:
        position, found = swarm.personal_bests[particle], swarm.personal_best_utilities[particle]
        what = f"the personal best of particle {particle}"
    best = particle is None
    tasks = _by_task(state.parts.get(INITIAL, {}), state.parts.get(FOUND, {})) if best else {}
    return CardFacts(
        name=name,
        base=origin["base"],
        experts=pool.names,
        task=origin["task"],
        best_initial_expert=pool.names[initial],
        exported=what,
        validation=Utilities(float(swarm.initial_utilities[initial]), float(found), state.examples, tasks),
        test=Utilities(
            *(test[0].utility, test[1].utility, test[0].examples, _by_task(test[0].parts, test[1].parts)),
            gain=None if test[1].gain is None else str(test[1].gain),
        )
        if test and best
        else None,
        objective=flatten(identity["objective"]),
        swarm=flatten({setting: identity[setting] for setting in ON_THE_CARD}),
        seed=state.seed,
        iterations=int(swarm.iterations),
        whole=not pool.are_differences,
        coefficients=optimizer.space.coefficients(position),
        differences_from=_origin(optimizer.space.differences_from, origin["base"]),
        notes=pool.notes,
    )


def _origin(differences_from: str | None, base: str) -> str:
    return f"the base {public_name(base)}" if differences_from == BASE else differences_from or ""


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
