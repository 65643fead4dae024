"""One form for LoRA adapters that differ in rank, scaling or targets: the same function, other matrices.

PEFT adds scaling * B(A(x)) to a layer, with scaling = alpha / rank (alpha / sqrt(rank) for rsLoRA). Nothing of that sum
changes if A gets rows and B gets columns of zeros, if a factor moves from the scaling into B, or if a layer gets an A
and a B of zeros. So every adapter has an equal with the largest rank of each layer, one scaling for all, and the layers
of all; padding is exact, and folding rounds B once, to float32 (not at all for a factor that is a power of two).

What a search does with the matrices is another matter: it adds and scales A and B element by element, and the product
of two means is not the mean of two products. The start is the same in every form; where it goes from there is not. The
factor goes into B because there training keeps the size of what was learned: A starts as random numbers of one size, B
as zeros. Ranks are padded at the end, so the i-th direction of one expert meets the i-th of another, as in any pool.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.experts.adapters import Adapter
from swarm_lightning.experts.checks import DOWN, UP, layer_of, layers_of
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.settings import rank_of, scaling_of

NAMED_AT_MOST = 4


@dataclass(frozen=True)
class Lora:
    """How an adapter adapts one layer: the rank of A and B, and what PEFT multiplies their product with."""

    rank: int
    scaling: float

    @classmethod
    def of(cls, adapter: Adapter, layer: str) -> "Lora":
        """Return what an adapter's config says of a layer."""
        return cls(rank_of(adapter.config, layer), scaling_of(adapter.config, layer))


Held = dict[str, dict[str, Lora]]  # by the adapter's name and the layer


@dataclass(frozen=True)
class CommonForm:
    """What all adapters of a pool look like.

    Attributes:
        layout: Names and shapes of the tensors.
        config: The content of `adapter_config.json` that makes PEFT compute the same with them.
        scaling: What PEFT multiplies every product with; None where the tensors stay as they stand in the files.
        notes: What was changed, in whole sentences; empty where nothing was.
    """

    layout: Layout
    config: dict[str, Any]
    scaling: float | None = None
    notes: tuple[str, ...] = ()

    def tensors(self, adapter: Adapter) -> Mapping[str, Tensor]:
        """Return an adapter's tensors in this form: its own where it has this form already.

        Args:
            adapter: One of those that the form was made for.

        Returns:
            One tensor for each name of the layout, of its shape.
        """
        if self.scaling is None:
            return adapter.tensors
        return {
            name: self._tensor(adapter, name, shape)
            for name, shape in zip(self.layout.names, self.layout.shapes, strict=True)
        }

    def _tensor(self, adapter: Adapter, name: str, shape: tuple[int, ...]) -> Tensor:
        padded = torch.zeros(shape, dtype=torch.float32)
        tensor = adapter.tensors.get(name)
        if tensor is None:
            return padded
        if name.endswith(UP):
            assert self.scaling is not None
            tensor = tensor.double() * (Lora.of(adapter, layer_of(name)).scaling / self.scaling)
        padded[: tensor.shape[0], : tensor.shape[1]] = tensor
        return padded


def common_form(adapters: Sequence[Adapter]) -> CommonForm:
    """Find the form that carries all adapters; where they agree it is the one they have, to the last bit.

    Args:
        adapters: Adapters that passed `checks.check_adapters`.

    >>> import torch
    >>> def adapter(name, rank, alpha):
    ...     a, b = (f"base_model.model.q.lora_{part}.weight" for part in "AB")
    ...     return Adapter(name, "", {"r": rank, "lora_alpha": alpha}, {a: torch.ones(rank, 2), b: torch.ones(2, rank)})
    >>> wide, narrow = adapter("wide", 2, 4), adapter("narrow", 1, 1)
    >>> form = common_form([wide, narrow])
    >>> form.config["r"], form.config["lora_alpha"]
    (2, 4)
    >>> form.tensors(narrow)["base_model.model.q.lora_B.weight"].tolist()
    [[0.5, 0.0], [0.5, 0.0]]
    """
    held = {
        adapter.name: {layer: Lora.of(adapter, layer) for layer in layers_of(adapter.tensors)} for adapter in adapters
    }
    first = adapters[0]
    if all(layers == held[first.name] for layers in held.values()):
        return CommonForm(Layout.of(first.tensors), dict(first.config))
    ranks: dict[str, int] = {}
    for layers in held.values():
        for layer, lora in layers.items():
            ranks[layer] = max(lora.rank, ranks.get(layer, 0))
    scaling = _commonest(held)
    config = {**first.config, **size_settings(ranks, scaling)}
    if any(layers.keys() != held[first.name].keys() for layers in held.values()):
        config |= {"target_modules": pattern_of(ranks), "exclude_modules": None}
        config |= {"layers_to_transform": None, "layers_pattern": None}
    notes = (*_rank_note(held, ranks), *_scaling_note(held, scaling), *_layer_notes(held, ranks))
    return CommonForm(_layout(adapters, ranks), config, scaling, notes)


def pattern_of(layers: Iterable[str]) -> str:
    r"""Return a regular expression that matches just these layers as a whole.

    >>> pattern_of(["layers.0.q", "layers.1.q", "head"])
    'layers\\.(?:0|1)\\.q|head'
    """
    numbers: dict[tuple[str, ...], list[str]] = {}
    for layer in layers:
        parts = re.fullmatch(r"(.*?\.)(\d+)(\..*)", layer)
        around = (parts[1], parts[3]) if parts else (layer,)
        numbers.setdefault(around, []).append(parts[2] if parts else "")
    return "|".join(
        f"(?:{'|'.join(found)})".join(re.escape(part) for part in around) for around, found in numbers.items()
    )


def _commonest(held: Held) -> float:
    """Return the scaling that most adapters have somewhere (of equals the first): what has it stays as it is."""
    counts = Counter(scaling for layers in held.values() for scaling in {lora.scaling: 0 for lora in layers.values()})
    del counts[0.0]
    return counts.most_common(1)[0][0] if counts else 1.0


def size_settings(ranks: Mapping[str, int], scaling: float) -> dict[str, Any]:
    """Return the settings of `adapter_config.json` that give every layer its rank and all of them one scaling.

    Args:
        ranks: The rank of every layer, by its path in the base.
        scaling: What PEFT is to multiply every product with.
    """
    largest = max(ranks.values())
    others: dict[int, list[str]] = {}
    for layer, rank in ranks.items():
        if rank != largest:
            others.setdefault(rank, []).append(layer)
    keys = {rank: f"^(?:{pattern_of(layers)})" for rank, layers in others.items()}
    return {
        "r": largest,
        "lora_alpha": _plain(scaling * largest),
        "use_rslora": False,
        "rank_pattern": {key: rank for rank, key in keys.items()},
        "alpha_pattern": {key: _plain(scaling * rank) for rank, key in keys.items()},
    }


def _layout(adapters: Sequence[Adapter], ranks: Mapping[str, int]) -> Layout:
    shapes: dict[str, tuple[int, ...]] = {}
    for adapter in adapters:
        for name, tensor in adapter.tensors.items():
            rank = ranks[layer_of(name)]
            shapes[name] = (rank, tensor.shape[1]) if name.endswith(DOWN) else (tensor.shape[0], rank)
    names = tuple(sorted(shapes))
    return Layout(names, tuple(shapes[name] for name in names))


def _rank_note(held: Held, ranks: Mapping[str, int]) -> list[str]:
    if all(lora.rank == ranks[layer] for layers in held.values() for layer, lora in layers.items()):
        return []
    found = {name: _span({lora.rank for lora in layers.values()}) for name, layers in held.items()}
    return [f"Ranks differ ({_grouped(found)}): A and B are padded with zeros to {_span(set(ranks.values()))}."]


def _scaling_note(held: Held, scaling: float) -> list[str]:
    if all(lora.scaling == scaling for layers in held.values() for lora in layers.values()):
        return []
    found = {name: _span({lora.scaling for lora in layers.values()}) for name, layers in held.items()}
    return [
        f"Scalings (alpha / rank; alpha / sqrt(rank) for rsLoRA) differ ({_grouped(found)}): "
        f"all are {scaling:.4g} now, and the rest of each is multiplied into B."
    ]


def _layer_notes(held: Held, ranks: Mapping[str, int]) -> list[str]:
    lacking = {name: [layer for layer in ranks if layer not in layers] for name, layers in held.items()}
    found = {name: f"{len(layers)} lacking, such as {layers[0]!r}" for name, layers in lacking.items() if layers}
    if not found:
        return []
    return [f"Not every expert adapts all of the {len(ranks)} layers ({_grouped(found)}): A and B are zero there."]


def _span(values: Collection[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _grouped(found: Mapping[str, str]) -> str:
    """Name who has what: "4: 'a', 'b'; 8: 'c'"."""
    names: dict[str, list[str]] = {}
    for name, text in found.items():
        names.setdefault(text, []).append(repr(name))
    listed = []
    for text, who in names.items():
        more = f" and {len(who) - NAMED_AT_MOST} more" if len(who) > NAMED_AT_MOST else ""
        listed.append(f"{text}: {', '.join(who[:NAMED_AT_MOST])}{more}")
    return "; ".join(listed)


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number
