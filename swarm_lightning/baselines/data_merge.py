"""One model fine-tuned on the union of the experts' training data: what merging weights tries to do without.

It is given, not trained here (`swarm experts --data_merge` makes an adapter), and must be of the experts' kind: an
adapter of no higher rank and no further targets than theirs, or a full checkpoint of their architecture. So the
comparison is one of training data and not of sizes.
"""

import warnings

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.errors import InputError
from swarm_lightning.experts.checks import layer_of
from swarm_lightning.experts.export.model_card import public_name
from swarm_lightning.experts.kinds import Pool, load_experts
from swarm_lightning.experts.layout import Layout
from swarm_lightning.vectors import windows


def read_merge(source: str, pool: Pool) -> Tensor:
    """Read a model that can stand beside the experts.

    Args:
        source: A PEFT adapter folder, or a full checkpoint.
        pool: The experts.

    Returns:
        Its weights [D].

    Raises:
        InputError: If it can't be read, or is of another kind than they are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it takes to bring all of them into one form moves nothing here
        both, count = load_experts([*pool.sources, source]), len(pool.names)
    if len(both.names) != count + 1:
        raise InputError(f"{source!r} holds {len(both.names) - count} models, but one is wanted")
    if both.layout != pool.layout:
        raise InputError(f"{source!r} {_what_is_more(both.layout, pool.layout)}")
    merged = torch.cat([both.vector(count)[start:stop] for start, stop in windows(0, both.layout.size)])
    for name, tensor in both.layout.unflatten(merged).items():  # views
        tensor *= both.scaling(name) / pool.scaling(name)  # which may have become that of all
    return merged


def _what_is_more(both: Layout, layout: Layout) -> str:
    """Say why an adapter has no place among the experts' weights, from the form that it has in common with them."""
    own = dict(zip(layout.names, layout.shapes, strict=True))
    further = sorted({layer_of(name) for name in both.names if name not in own})
    if further:
        return f"adapts layers that no expert does, such as {further[0]!r}: train it with their target_modules"
    higher = [name for name, shape in zip(both.names, both.shapes, strict=True) if shape != own[name]]
    return f"has a higher rank than any expert in layers such as {layer_of(higher[0])!r}: train it with their rank"


class DataMerge:
    """Reads the model that was trained on everything."""

    title = "data merge"
    kind: Kind = "fixed"
    least = 1

    def __init__(self, adapter: str | None) -> None:
        """Take where it lies.

        Args:
            adapter: A PEFT adapter folder or a full checkpoint; None where there is none.
        """
        self.adapter = adapter

    def compose(self, bench: Bench) -> Composition:
        """Read the model and ask it the validation examples.

        Raises:
            Absent: If none is given, it can't be read, or it is of another kind than the experts.
        """
        if self.adapter is None:
            if not bench.shares_passes:
                raise Absent("no full checkpoint of all training data given: name one in compare.data_merge")
            raise Absent(
                "no adapter of all training data given: make one by `swarm experts --data_merge FOLDER ...` and name "
                "it in compare.data_merge"
            )
        try:
            vector = read_merge(self.adapter, bench.module.pool)
        except InputError as error:
            raise Absent(str(error)) from error
        return Composition(bench.utility(vector), public_name(self.adapter), vector)
