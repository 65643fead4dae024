"""The swarm of a search: its positions, the space that they lie in, the optimizer that moves them, and its schedule.

Optimizer and schedule are made from a search's factories once, and early, on the parameter that is moved: what they
refuse is refused at once, and what makes the search this one is read from them. The positions come later.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from swarm_lightning.differences import is_plain
from swarm_lightning.errors import InputError
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.products.division import Division
from swarm_lightning.search.settings import SearchSettings, check_evolution, check_heterogeneous
from swarm_lightning.swarm.centre_search import CentreSearch
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from swarm_lightning.swarm.graphs import Decoding
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.space import Circumstances, Material, Space
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.swarm.spaces.rows_on_disk import rows_folder


class Population:
    """Owns the positions of a search and what moves them.

    Attributes:
        settings: Of the search.
        positions: The parameter that is moved; empty before `begin` or `restore`.
        swarm: The optimizer.
        schedule: Of its learning rate.
        said: What both said of themselves before anything had moved, as plain values.
        used: Whether positions have been made, or were taken out of a checkpoint.
    """

    def __init__(self, settings: SearchSettings) -> None:
        """Make optimizer and schedule.

        Args:
            settings: Of the search, with the factories.

        Raises:
            InputError: If the optimizer or the schedule refuses its settings.
        """
        self.settings = settings
        empty = torch.empty(settings.particles, 0, dtype=SPACES[settings.space].dtype)
        self.positions = torch.nn.Parameter(empty, requires_grad=False)
        try:
            self.swarm: SearchOptimizer = settings.optimizer([self.positions])
            self.schedule: LRScheduler = settings.scheduler(self.swarm)
        except ValueError as error:
            raise InputError(str(error)) from error
        if isinstance(self.swarm, CentreSearch):
            check_evolution(settings, type(self.swarm).__name__)
        if settings.refit and not isinstance(self.swarm, EvolutionStrategy):
            raise InputError(
                "Expected model.optimizer to be swarm_lightning.swarm.EvolutionStrategy where experts are fitted anew "
                f"(model.refit: true), but got {type(self.swarm).__name__}. Set model.refit to false, or change the "
                "optimizer."
            )
        check_heterogeneous(settings, self.swarm)
        state = {name: value for name, value in self.schedule.state_dict().items() if is_plain(value)}
        of_schedule = {name: value for name, value in state.items() if name[0] != "_" and name != "last_epoch"}
        self.said: Mapping[str, Any] = {
            "optimizer": {"class": type(self.swarm).__qualname__, **self.swarm.defaults},
            "scheduler": {"class": type(self.schedule).__qualname__, **of_schedule},
        }
        self.used = False
        self._experts = 0

    @property
    def space(self) -> Space:
        """What the positions mean."""
        return self.swarm.space

    def check(self, experts: int, ranks: int, keeps_all: bool) -> None:
        """Refuse a population that can't be made, or whose space does not go together with the rest of a run.

        Args:
            experts: Number of experts n.
            ranks: Number of processes.
            keeps_all: Whether every checkpoint is to stay usable.

        Raises:
            InputError: If there is any such thing; what the space refuses is refused on all ranks.
        """
        if self.swarm.moves_particles:
            self.settings.check_population(experts)
        kernel = self.swarm.defaults.get("kernel", "plain")
        with refusals():
            SPACES[self.settings.space].check(Circumstances(kernel, self.settings.start, ranks, keeps_all))

    def enter(self, pool: Pool, division: Division | None, run: Path) -> None:
        """Make the space that the positions lie in.

        Args:
            pool: The experts.
            division: What of them has a coefficient of its own; None where positions are no such coefficients.
            run: The run folder.
        """
        settings, name = self.settings, self.settings.space
        needed = settings.start.kind != "experts" or SPACES[name].uses_base
        base = pool.base_vector(settings.base) if needed and settings.base is not None else None
        material = Material(
            experts=[pool.vector(index) for index in range(len(pool.names))],
            sizes=pool.layout.sizes,
            base=base,
            differences=pool.are_differences,
            folder=rows_folder(run, settings.state_folder),
            run=run,
            groups=() if division is None else division.names,
            division=() if division is None else division.tensors,
            decoding=Decoding() if settings.graphs is None else settings.graphs.decoding,
            versions=1 if division is None else division.versions,
        )
        self._experts = len(pool.names)
        self.swarm.enter(SPACES[name](material))

    def begin(self, generator: torch.Generator) -> None:
        """Make the first positions, or room for those that are to be written when nothing else refuses the search.

        Args:
            generator: Source of the random numbers.

        Raises:
            InputError: If the weights of an expert, or of the base that is moved with them, are not finite.
        """
        self.used = True
        if self.space.writes:
            self.positions.data = self.space.empty(self._count)
        else:
            self._make_first(generator)

    def complete(self, generator: torch.Generator) -> None:
        """Write first positions that are still to be written, and that no checkpoint has brought.

        Args:
            generator: Source of the random numbers.

        Raises:
            InputError: If the disk has no room for them, or their folder is in use.
        """
        if self.space.writes:
            self._make_first(generator)

    def _make_first(self, generator: torch.Generator) -> None:
        settings = self.settings
        with refusals():
            self.positions.data = self.space.first_positions(
                settings.start, self._count, settings.child_span, generator
            )

    @property
    def _count(self) -> int:
        """How many first positions there are: children of experts that never move would only cost evaluations."""
        return self.settings.particles if self.swarm.moves_particles else self._experts

    def resume(self, record: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> None:
        """Find what a checkpoint names; its positions and the optimizer's state come by themselves.

        Args:
            record: What it says of the space.
            checkpoint: Its content.

        Raises:
            InputError: If something is gone.
        """
        with refusals():
            self.space.resume(record, held_in(checkpoint))

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take positions and state of the optimizer out of a checkpoint, where no trainer does.

        Args:
            checkpoint: Its content.
        """
        self.used = True
        self.positions.data = checkpoint["state_dict"]["positions"]
        self.swarm.load_state_dict(checkpoint["optimizer_states"][0])

    def release(self) -> None:
        """Let go of the numbers of a swarm in memory that is not asked any more.

        Lightning's parts refer to each other and to the optimizer in circles: without this, the 3 N + 2 rows stay in
        memory until Python happens to look for circles, beside those of the next search.
        """
        self.swarm.state.clear()
        self.positions.data = self.positions.data.new_empty(0, 0)


def held_in(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of the swarm that a checkpoint holds, by name.

    Args:
        checkpoint: The content of a checkpoint file.
    """
    memory: dict[str, Tensor] = next(iter(checkpoint["optimizer_states"][0]["state"].values()), {})
    return {"positions": checkpoint["state_dict"]["positions"], **memory}


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a space refuses in a `with` block into what the user can mend, the same on all ranks.

    Raises:
        InputError: If it refuses something.
    """
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        refusal = InputError(str(error))
        refusal.shared = True
        raise refusal from error
