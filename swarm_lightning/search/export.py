"""A search that can write what it has found, with a card that tells of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import flatten
from swarm_lightning.doors.lightning import loops_of
from swarm_lightning.errors import InputError
from swarm_lightning.experts.checks import DOWN, PREFIX, UP
from swarm_lightning.experts.export.checkpoint import SHARD
from swarm_lightning.experts.export.model_card import CardFacts, Share, Utilities, public_name
from swarm_lightning.experts.export.provenance import provenance_of
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.products.adapter import ProductAdapter
from swarm_lightning.experts.products.division import GroupedProducts
from swarm_lightning.experts.products.products import Groups, Products
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.search.asking import AskingSearch
from swarm_lightning.search.results import ResultRow
from swarm_lightning.search.state import SearchState
from swarm_lightning.search.writers import WRITERS, Export, adapter_of, check_form, check_rank
from swarm_lightning.swarm.rules import best_of
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.spaces.coefficients import BASE
from swarm_lightning.vectors import PRODUCTS

ON_THE_CARD = ("particles", "child_span", "start", "draws", "optimizer", "scheduler")
OF_PARTICLES = ("particles", "child_span", "start", "draws", "scheduler")  # what searches that move a centre don't read
METHODS_OF_A_CENTRE = {"EvolutionStrategy": "an evolution strategy", "CmaEs": "CMA-ES"}


def card_facts(
    name: str,
    optimizer: SearchOptimizer,
    state: SearchState,
    shares: Tensor,
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
        shares: The coefficients of each expert in what is described [n, G].
        origin: `base`, `task` and `identity` of that search.
        pool: The experts that it began with.
        initial: Which of them was best.
        particle: Whose personal best; None for the best found expert.
        test: The best initial and the best found expert on the test split, where they were scored.
    """
    swarm, identity = optimizer.swarm, origin["identity"]
    if particle is None:
        found, what = state.after(optimizer), "the best found expert"
    else:
        found, what = float(swarm.personal_best_utilities[particle]), f"the personal best of particle {particle}"
        if state.guided:  # the objective has been asked about few of them
            found = state.choices.get(f"particle {particle}", math.nan)
    best = particle is None
    granularity = identity.get("coefficients")
    divided = {} if granularity is None else {"coefficients": granularity}
    if identity.get("refit"):
        divided["refit"] = True
    moves = optimizer.moves_particles
    settings = {setting: identity[setting] for setting in ON_THE_CARD if moves or setting not in OF_PARTICLES}
    tasks = _by_task(state.parts.get(INITIAL, {}), state.parts.get(FOUND, {})) if best else {}
    return CardFacts(
        name=name,
        base=origin["base"],
        experts=pool.names,
        task=origin["task"],
        best_initial_expert=pool.names[initial],
        exported=what,
        validation=Utilities(
            float(state.before(optimizer)[initial]), None if math.isnan(found) else found, state.examples, tasks
        ),
        test=Utilities(
            *(test[0].utility, test[1].utility, test[0].examples, _by_task(test[0].parts, test[1].parts)),
            gain=None if test[1].gain is None else str(test[1].gain),
        )
        if test and best
        else None,
        objective=flatten(identity["objective"]),
        guide=state.guidance(optimizer, initial) if best else {},
        swarm=flatten(settings | divided),
        seed=state.seed,
        iterations=int(swarm.iterations),
        whole=not pool.are_differences,
        method="" if moves else METHODS_OF_A_CENTRE.get(type(optimizer).__name__, type(optimizer).__name__),
        fitted=bool(state.fit) and bool(position_of(optimizer, particle).reshape(2, -1)[1].any()),
        coefficients=[Share(*numbers) for numbers in zip(*_means_and_ends(shares.double()), strict=True)],
        granularity=granularity,
        mixture=identity.get("mixture"),
        differences_from=_origin(optimizer.space.differences_from, origin["base"]),
        notes=pool.notes,
        provenance=provenance_of(origin["base"], pool.names, pool.sources),
    )


def position_of(optimizer: SearchOptimizer, particle: int | None) -> Tensor:
    """Return the position [D] that is exported.

    Args:
        optimizer: The swarm.
        particle: Whose personal best; None for what the search stands for.
    """
    return optimizer.found if particle is None else optimizer.swarm.personal_bests[particle]


def products_of(adapter: ProductAdapter) -> GroupedProducts:
    """Return an adapter as the products of one expert, whose one coefficient is 1 for the adapter itself.

    Args:
        adapter: Of any ranks.
    """
    layers = tuple(adapter.errors)
    products = Products(
        ("found",),
        layers,
        tuple(adapter.tensors[f"{PREFIX}{layer}{DOWN}"] for layer in layers),
        tuple(adapter.tensors[f"{PREFIX}{layer}{UP}"] for layer in layers),
        adapter.config,
    )
    return GroupedProducts(products, Groups.of(products, "expert"))


def _means_and_ends(shares: Tensor) -> tuple[list[float], list[float], list[float]]:
    """Return the mean, the lowest and the highest coefficient of every expert."""
    if not len(shares):
        return [], [], []
    return shares.mean(dim=1).tolist(), shares.amin(dim=1).tolist(), shares.amax(dim=1).tolist()


def _origin(differences_from: str | None, base: str) -> str:
    return f"the base {public_name(base)}" if differences_from == BASE else differences_from or ""


def _by_task(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    return {task: (before[task], after[task]) for task in before if task in after}


def check_particle(particle: int, count: int) -> None:
    """Refuse a particle that does not exist.

    Args:
        particle: Index of a particle.
        count: Number of particles whose personal best can be written; 0 where there is none.

    Raises:
        InputError: If there is no such particle.
    """
    if count == 0:
        raise InputError(
            f"Expected no particle, but got {particle}: this search keeps no personal bests that could be written. "
            "Leave it out for what was found."
        )
    if not 0 <= particle < count:
        raise InputError(f"Expected a particle from 0 to {count - 1}, but got {particle}.")


class ExportingSearch(AskingSearch):
    """A search whose result can be written."""

    @property
    def best_initial(self) -> int:
        """Index of the best expert among those the user brought, by the objective before the first iteration."""
        utilities = self.state.before(self.particle_swarm)[: len(self.pool.names)]
        return best_of(utilities)

    @property
    def exportable(self) -> int:
        """Number of particles whose personal bests can be written; 0 where none has one with all that belongs to it."""
        return self.settings.particles if self.particle_swarm.keeps_bests else 0

    def export(
        self,
        folder: Path,
        particle: int | None = None,
        test: Sequence[ResultRow] = (),
        overwrite: bool = False,
        max_shard_size: str = SHARD,
        rank: int | None = None,
        utility_of_cut: float | None = None,
    ) -> Path:
        """Write the best found expert, or the personal best of a particle, with a model card.

        It is of the kind of the experts: a PEFT adapter folder, or a full checkpoint; of a token swarm, a mixture; of
        graphs of models, a system with all of them.

        Args:
            folder: Where it goes.
            particle: Whose personal best; None for the best found expert.
            test: The best initial and the best found expert on the test split, where they were scored.
            overwrite: Whether an existing folder may be replaced.
            max_shard_size: Size of a weight file of a full checkpoint at most.
            rank: What an adapter of products is cut to; None for as much as it takes.
            utility_of_cut: What `utility_of_cut` said of it, where it was asked.

        Returns:
            The folder.

        Raises:
            InputError: If nothing writes what the search finds, there is no such particle, no products that could be
                cut, or the folder can't be written.
        """
        swarm = self.particle_swarm
        check_form(self.form)
        self.check_rank(rank)
        if particle is not None:
            check_particle(particle, self.exportable)
        # A checkpoint knows which search it belongs to better than the config of the moment.
        origin = self.state.origin or {"base": self.base, "task": self.task, "identity": self.identity}
        position = position_of(swarm, particle)
        facts = card_facts(
            folder.name, swarm, self.state, self.shares_of(position), origin, self.pool, self.best_initial, particle,
            test,
        )  # fmt: skip
        export = Export(
            folder, swarm, position, facts, self.pool, self._parts.division, self.settings,
            self.objective, origin["base"], self.base, self.resident, overwrite, max_shard_size, rank, utility_of_cut,
        )  # fmt: skip
        return WRITERS[self.form](export)

    def shares_of(self, position: Tensor) -> Tensor:
        """Return how much of each expert is in a position [n, G]; empty where positions hold no such numbers.

        Numbers of an expert that adds nothing, as it has no part in a fit of the experts, are 0.

        Args:
            position: Of the search [D].
        """
        shares = self.particle_swarm.space.coefficients(position)
        if not self.refits:
            return shares
        parts = self._parts.with_part.to(position)
        return (position.reshape(*parts.shape, -1) * parts[:, :, None]).sum(dim=0)

    def adapter_at(self, position: Tensor) -> ProductAdapter | None:
        """Return the one adapter that a position [D] makes, where that has another form than the experts'."""
        if self.form != PRODUCTS:
            return None
        return adapter_of(self.particle_swarm.space.vector(position), self._parts.division)

    def check_rank(self, rank: int | None) -> None:
        """Refuse a rank that nothing can be exported with; see `writers.check_rank`."""
        check_rank(rank, self.form)

    def utility_of_cut(
        self, rank: int | None, particle: int | None = None, examples: Sequence[Example] | None = None
    ) -> float:
        """Ask what an export that is cut to a rank is worth by the objective; on all ranks.

        Args:
            rank: The most that it may have in any layer; None for as much as it takes.
            particle: Whose personal best; None for the best found expert.
            examples: What to ask; None for the validation split of a search that the trainer has just done.
        """
        coefficients = self.particle_swarm.space.vector(position_of(self.particle_swarm, particle))
        made = adapter_of(coefficients, self._parts.division, rank)
        evaluator = self.products_evaluator(products_of(made))
        examples = next(iter(self.trainer.train_dataloader or ())) if examples is None else examples
        numbers = [self.particle_swarm.found_particle if particle is None else particle]
        return float(evaluator.evaluate(torch.ones(1, 1), examples, numbers=numbers).utilities[0])

    def checkpoint(self, particle: int | None = None) -> dict[str, Any]:
        """Return what `swarm test` reads of a checkpoint, of a search that stands for what is exported of it.

        Args:
            particle: Whose personal best that is; None for the best found expert.
        """
        optimizer = self.particle_swarm
        state = optimizer.state_dict()
        if particle is not None:
            utility = optimizer.swarm.personal_best_utilities[particle]
            chosen = {"choice": torch.tensor(particle), "chosen_utility": utility.clone()}
            state["state"] = {key: {**memory, **chosen} for key, memory in state["state"].items()}
        checkpoint: dict[str, Any] = {
            "pytorch-lightning_version": L.__version__,
            "epoch": 0,
            "global_step": 0,
            "state_dict": self.state_dict(),
            "optimizer_states": [state],
            "lr_schedulers": [],
            "loops": loops_of(self.trainer),
            "callbacks": {},
        }
        self.on_save_checkpoint(checkpoint)
        return checkpoint
