"""What writes what a search has found, by the form of its candidates; a form without a line here can't be exported."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.adapter import write_adapter
from swarm_lightning.experts.export.expert import export_expert
from swarm_lightning.experts.export.model_card import CardFacts, Cut, render_card
from swarm_lightning.experts.export.system import export_system, who_answers
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.products.adapter import ProductAdapter, product_adapter
from swarm_lightning.experts.products.division import Division
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.objectives.asking import Asks
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.settings import SearchSettings
from swarm_lightning.swarm.graphs import System
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.vectors import ADAPTER, CHECKPOINT, MIXTURE, PRODUCTS, SYSTEM, Vector


@dataclass(frozen=True)
class Export:
    """What is written, and what writing it takes.

    Attributes:
        folder: Where it goes.
        optimizer: The swarm; its space makes candidates of positions.
        position: What was found, or a personal best [D].
        facts: What the card says.
        pool: The experts that the search began with.
        division: What of them has a coefficient of its own; None where positions are no such coefficients.
        settings: Of the search.
        objective: What was asked.
        base: Folder or hub id of the base, as the search knew it.
        source: The same of the present base, whose tokenizer a checkpoint gets.
        resident: Gives the resident model, which takes up the weights of a checkpoint.
        overwrite: Whether an existing folder may be replaced.
        max_shard_size: Size of a weight file of a checkpoint at most.
        rank: What an adapter of products is cut to; None for as much as it takes.
        utility_of_cut: What it is worth after that, where it was asked.
    """

    folder: Path
    optimizer: SearchOptimizer
    position: Tensor
    facts: CardFacts
    pool: Pool
    division: Division | None
    settings: SearchSettings
    objective: Objective
    base: str
    source: str
    resident: Callable[[], ResidentModel]
    overwrite: bool
    max_shard_size: str
    rank: int | None
    utility_of_cut: float | None

    def write(self, folder: Path, weights: Vector, facts: CardFacts) -> Path:
        """Write weights of the experts' form with a card."""
        settings = self.settings
        return export_expert(
            folder, weights, self.pool, render_card(facts), self.base, self.source, self.resident, self.overwrite,
            self.max_shard_size, settings.trust_remote_code, settings.dtype,
        )  # fmt: skip


def write_weights(export: Export) -> Path:
    """Write a candidate of the experts' form."""
    return export.write(export.folder, export.optimizer.space.vector(export.position), export.facts)


def write_products(export: Export) -> Path:
    """Write coefficients of products as the one adapter that they make."""
    made = adapter_of(export.optimizer.space.vector(export.position), export.division, export.rank)
    facts = export.facts
    if export.rank is not None:
        facts = replace(facts, cut=Cut(export.rank, made.errors, export.utility_of_cut))
    return write_adapter(export.folder, made.tensors, made.config, render_card(facts), export.overwrite, export.base)


def write_system(export: Export) -> Path:
    """Write the best system, and each of the models that stand in it."""
    system, facts, settings, objective = export.optimizer.found_asked, export.facts, export.settings, export.objective
    assert isinstance(system, System)
    assert settings.graphs is not None
    asking = {}
    if isinstance(objective, Asks):
        asking = {"template": asdict(objective.template), "settings": asdict(objective.settings)}

    def write_model(place: Path, weights: Vector, name: str) -> None:
        own = replace(facts, name=place.name, exported=f"a model of {export.folder.name}, which began as {name}")
        export.write(place, weights, replace(own, validation=None, test=None))

    card = render_card(replace(facts, exported="the best found system", system=who_answers(system, export.pool)))
    texts = asdict(settings.graphs.instructions)
    return export_system(
        export.folder, system, export.pool, write_model, export.base, settings.dtype, texts, asking, card,
        export.overwrite,
    )  # fmt: skip


WRITERS: dict[str, Callable[[Export], Path]] = {
    ADAPTER: write_weights,
    CHECKPOINT: write_weights,
    MIXTURE: write_weights,
    PRODUCTS: write_products,
    SYSTEM: write_system,
}


def adapter_of(coefficients: Vector, division: Division | None, rank: int | None = None) -> ProductAdapter:
    """Return the one adapter that coefficients of products make.

    Args:
        coefficients: Of one particle [C].
        division: What each of them scales.
        rank: The most that the adapter may have in any layer; None for as much as it takes.
    """
    assert division is not None
    assert division.weighed is not None
    return product_adapter(*division.weighed, coefficients[:], rank)


def said_of_form(form: str) -> str | None:
    """Say why nothing can be exported of a search; None where something can.

    Args:
        form: Of its candidates.
    """
    if form in WRITERS:
        return None
    return f"candidates of this search have the form {form!r}, which nothing writes (written are {', '.join(WRITERS)})"


def check_form(form: str) -> None:
    """Refuse to export what nothing writes.

    Args:
        form: Of the candidates of a search.

    Raises:
        InputError: If it has no line among the writers.
    """
    reason = said_of_form(form)
    if reason is not None:
        raise InputError(
            f"Expected a search whose result can be exported, but {reason}. Ask it by its run folder, with `swarm "
            "test` or `swarm predict`, or give its form a line in WRITERS (swarm_lightning.search.writers)."
        )


def said_of_cut(rank: int, before: float, after: float) -> str:
    """Say what cutting an adapter has cost.

    Args:
        rank: What it was cut to.
        before: Its utility on the validation split as it was found.
        after: As it is exported.

    >>> said_of_cut(6, 0.75, 0.7)
    'Cut to rank 6: utility on validation 0.7500 before, 0.7000 after.'
    """
    return f"Cut to rank {rank}: utility on validation {before:.4f} before, {after:.4f} after."


def check_rank(rank: int | None, form: str) -> None:
    """Refuse a rank that nothing can be exported with.

    Args:
        rank: The most that an adapter may have in any layer; None for as much as it takes.
        form: Of the candidates of a search.

    Raises:
        InputError: If it is below 1, or there are no products that could be cut to it.
    """
    if rank is None:
        return
    if rank < 1:
        raise InputError(f"Expected export_rank to be 1 or more, but got {rank}.")
    if form != PRODUCTS:
        raise InputError(
            f"Expected export_rank only where adapters' products are searched (model.coefficients), but got {rank}: "
            "what was found has the form of the experts already. Leave it out."
        )
