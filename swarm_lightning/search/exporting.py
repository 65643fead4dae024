"""A search that can write what it has found, with a card that tells of it."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from swarm_lightning.experts.checkpoint_export import SHARD
from swarm_lightning.experts.expert_export import export_expert
from swarm_lightning.experts.model_card import CardFacts, Cut, render_card
from swarm_lightning.experts.product_adapter import ProductAdapter
from swarm_lightning.experts.system_export import export_system, who_answers
from swarm_lightning.objectives.asking import Asks
from swarm_lightning.search.asking import AskingSearch
from swarm_lightning.search.export import (
    card_facts,
    check_particle,
    check_rank,
    made_of,
    position_of,
    products_of,
)
from swarm_lightning.search.results import ResultRow
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.vectors import Vector


class ExportingSearch(AskingSearch):
    """A search whose result can be written."""

    @property
    def best_initial(self) -> int:
        """Index of the best expert among those the user brought, by the objective before the first iteration."""
        utilities = self.state.before(self.particle_swarm)[: len(self.pool.names)]
        return int(utilities.masked_fill(~utilities.isfinite(), -torch.inf).argmax())

    @property
    def exportable(self) -> int:
        """Number of particles whose personal bests can be written; 0 where none has one with all that belongs to it."""
        own = self.particle_swarm.moves_particles and self.settings.graphs is None
        return self.settings.particles if own else 0

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
            InputError: If there is no such particle, no products that could be cut, or the folder can't be written.
        """
        swarm = self.particle_swarm
        if particle is not None:
            check_particle(particle, self.exportable)
        # A checkpoint knows which search it belongs to better than the config of the moment.
        origin = self.state.origin or {"base": self.base, "task": self.task, "identity": self.identity}
        facts = card_facts(folder.name, swarm, self.state, origin, self.pool, self.best_initial, particle, test)
        if isinstance(swarm, HeterogeneousSwarm):
            return self._export_system(swarm, folder, facts, origin["base"], overwrite, max_shard_size)
        made = self.made(position_of(swarm, particle), rank)
        if rank is not None and isinstance(made, ProductAdapter):
            facts = replace(facts, cut=Cut(rank, made.errors, utility_of_cut))
        return export_expert(
            folder, made, self.pool, render_card(facts), origin["base"], self.base,
            self.resident, overwrite, max_shard_size, self.settings.trust_remote_code, self.settings.dtype,
        )  # fmt: skip

    def made(self, position: Tensor, rank: int | None = None) -> Vector | ProductAdapter:
        """Return the expert that a position [D] stands for: its weights, or an adapter of another form than theirs."""
        return made_of(self.particle_swarm.space.vector(position), self._parts.division, rank)

    def check_rank(self, rank: int | None) -> None:
        """Refuse a rank that nothing can be exported with; see `export.check_rank`."""
        check_rank(rank, self._parts.division)

    def utility_of_cut(self, rank: int, particle: int | None = None) -> float:
        """Ask on the validation split what an export that is cut to a rank is worth by the objective; on all ranks.

        Args:
            rank: The most that it may have in any layer.
            particle: Whose personal best; None for the best found expert.
        """
        made = self.made(position_of(self.particle_swarm, particle), rank)
        assert isinstance(made, ProductAdapter)
        evaluator = self.products_evaluator(products_of(made))
        examples = next(iter(self.trainer.train_dataloader or ()))
        numbers = [self.particle_swarm.found_particle if particle is None else particle]
        return float(evaluator.evaluate(torch.ones(1, 1), examples, numbers=numbers).utilities[0])

    def _export_system(
        self,
        swarm: HeterogeneousSwarm,
        folder: Path,
        facts: CardFacts,
        base: str,
        overwrite: bool,
        max_shard_size: str,
    ) -> Path:
        """Write the best system, and each of the models that stand in it."""
        assert self.settings.graphs is not None
        system, objective = swarm.found_asked, self.objective
        asking = {}
        if isinstance(objective, Asks):
            asking = {"template": asdict(objective.template), "settings": asdict(objective.settings)}

        def write_model(place: Path, weights: Vector, name: str) -> None:
            own = replace(facts, name=place.name, exported=f"a model of {folder.name}, which began as {name}")
            export_expert(
                place, weights, self.pool, render_card(replace(own, validation=None, test=None)), base, self.base,
                self.resident, overwrite, max_shard_size, self.settings.trust_remote_code, self.settings.dtype,
            )  # fmt: skip

        card = render_card(replace(facts, exported="the best found system", system=who_answers(system, self.pool)))
        texts = asdict(self.settings.graphs.instructions)
        return export_system(
            folder, system, self.pool, write_model, base, self.settings.dtype, texts, asking, card, overwrite
        )
