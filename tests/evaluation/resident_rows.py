"""Rows of particles on the tiny base, and a look at the forward passes that they take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.text_rows import TextRows
from swarm_lightning.evaluation.runners.resident import Particles
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel

if TYPE_CHECKING:
    pass

OWNERS = [3, 0, 1, 1, 2, 0, 3, 3]  # the particle of every row


def rows_of(
    engine: Engine, pool: ExpertPool, owners: Sequence[int] = OWNERS, prefix: Sequence[int] = (), whole: bool = False
) -> TextRows:
    return TextRows(engine, Particles(engine, Crowd(engine.adapted, pool.vectors, prefix)), owners, whole)


@contextmanager
def forward_hook(adapted: AdaptedModel, look: Any) -> Iterator[None]:
    """Call `look` with the token ids of every forward pass."""
    hook = adapted.model.register_forward_pre_hook(
        lambda _, __, arguments: look(arguments["input_ids"]), with_kwargs=True
    )
    try:
        yield
    finally:
        hook.remove()
