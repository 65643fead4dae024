"""LoRA experts as products B A, and the coefficients by which parts of these products are added up.

PEFT adds scaling * B(A(x)) to a layer. What n adapters add together, c_1 B_1 A_1 + ... + c_n B_n A_n, is one product of
stacked matrices, [B_1 ... B_n] diag(s) [A_1; ...; A_n], in which s repeats every coefficient for the rows of its A. So
a sum is exact as an adapter of the summed rank, and no matrix of the base's size is ever made. Averaging A and B
separately is something else: (mean B)(mean A) holds the products B_i A_j of different experts too, and a part 1/n of
the right ones. Source: FedEx-LoRA, arXiv:2410.09432; LoRA Soups, arXiv:2410.13025.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import Adapter
from swarm_lightning.experts.checks import DOWN, PREFIX, UP, layers_of
from swarm_lightning.experts.settings import scaling_of

Granularity = Literal["expert", "layer", "half_block", "module", "component"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
# The number of a block of the model is the first one in a layer's path.
_BLOCK = re.compile(r"(?P<block>.*?\.\d+)\.(?P<inside>.+)")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


@dataclass(frozen=True)
class Products:
    """The A and B matrices of n adapters of one form, stacked layer by layer, on the CPU.

    Attributes:
        names: Of the n experts.
        layers: Paths of the adapted layers in the base.
        downs: For every layer the A matrices one below the other [n r, in], float32; r may differ between layers.
        ups: For every layer the B matrices side by side [out, n r], float32, each times what PEFT scales it with.
        config: The content of `adapter_config.json` that means these layers.
        versions: How many products every expert has; the second ones, behind all of the first, have an A that may be
            fitted anew (`refit.py`).
    """

    names: tuple[str, ...]
    layers: tuple[str, ...]
    downs: tuple[Tensor, ...]
    ups: tuple[Tensor, ...]
    config: Mapping[str, Any]
    versions: int = 1

    @classmethod
    def of(cls, adapters: Sequence[Adapter]) -> "Products":
        """Stack adapters; the copy takes as much memory as their weights.

        A scaling that is no power of two rounds B once, to float32.

        Args:
            adapters: One or more of one form, such as `ExpertPool.adapters()`.

        Raises:
            ValueError: If they differ in layers or ranks.

        >>> a, b = (f"base_model.model.q.lora_{part}.weight" for part in "AB")
        >>> tensors = {a: torch.tensor([[1.0, 2.0]]), b: torch.tensor([[3.0]])}
        >>> one = Adapter("one", "", {"r": 1, "lora_alpha": 2}, tensors)
        >>> both = Products.of([one, one])
        >>> both.layers, both.downs[0].tolist(), both.ups[0].tolist()
        (('q',), [[1.0, 2.0], [1.0, 2.0]], [[6.0, 6.0]])
        """
        shapes = [{name: tensor.shape for name, tensor in adapter.tensors.items()} for adapter in adapters]
        if not shapes or any(other != shapes[0] for other in shapes):
            raise ValueError(f"Expected adapters of one form, but got {len(shapes)} that differ. Use `common_form`.")
        layers = tuple(layers_of(adapters[0].tensors))
        downs, ups = [], []
        for layer in layers:
            downs.append(torch.cat([one.tensors[f"{PREFIX}{layer}{DOWN}"].float() for one in adapters]))
            scaled = [
                (one.tensors[f"{PREFIX}{layer}{UP}"].double() * scaling_of(one.config, layer)).float()
                for one in adapters
            ]
            ups.append(torch.cat(scaled, dim=1))
        names = tuple(adapter.name for adapter in adapters)
        return cls(names, layers, tuple(downs), tuple(ups), adapters[0].config)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank r of one expert in every layer."""
        return tuple(len(down) // (len(self.names) * self.versions) for down in self.downs)

    @property
    def trained(self) -> "Products":
        """The experts' own products, without their second versions."""
        rows = [rank * len(self.names) for rank in self.ranks]
        downs = tuple(down[:count] for down, count in zip(self.downs, rows, strict=True))
        ups = tuple(up[:, :count] for up, count in zip(self.ups, rows, strict=True))
        return Products(self.names, self.layers, downs, ups, self.config)

    @property
    def second(self) -> tuple[Tensor, ...]:
        """The A matrices of the second versions, layer by layer [n r, in]."""
        return tuple(down[len(down) // 2 :] for down in self.downs) if self.versions == 2 else ()

    def doubled(self) -> "Products":
        """Return the same with a second version of every product, whose A is 0 until `put_second`."""
        downs = tuple(torch.cat([down, torch.zeros_like(down)]) for down in self.downs)
        ups = tuple(torch.cat([up, up], dim=1) for up in self.ups)
        return Products(self.names, self.layers, downs, ups, self.config, versions=2)

    @property
    def parts(self) -> Tensor:
        """Whether an expert's versions add anything at all [versions, n] bool: an A of zeros adds nothing."""
        of_rows = [down.reshape(self.versions, len(self.names), -1).any(dim=2) for down in self.downs if down.numel()]
        return torch.stack(of_rows).any(dim=0)

    def put_second(self, downs: Sequence[Tensor]) -> None:
        """Write the A matrices of the second versions.

        Args:
            downs: For every layer [n r, in].
        """
        for place, down in zip(self.second, downs, strict=True):
            place.copy_(down)


@dataclass(frozen=True)
class Groups:
    """Which coefficient scales which part of the products.

    The C = n G coefficients stand expert by expert, each with one for each of the same G groups: seen as [n, G], a row
    is an expert. Where the products have second versions, n G coefficients of these follow.

    Attributes:
        experts: Number of experts n.
        names: Of the G groups, the same for every expert.
        index: The coefficient of every row of all stacked A matrices, layer by layer [sum of n r], int64.
        rows: Rows n r of every layer, those of second versions counted.
        versions: How many products every expert has.
    """

    experts: int
    names: tuple[str, ...]
    index: Tensor
    rows: tuple[int, ...]
    versions: int = 1

    @classmethod
    def of(cls, products: Products, granularity: Granularity) -> "Groups":
        """Divide products into groups.

        Args:
            products: Of n experts.
            granularity: What has a coefficient of its own, of every expert: the whole `expert` (G = 1), a `layer` of
                the model, a `half_block` (attention, or what else a layer of the model has), a `module` (an adapted
                layer), or a rank `component` of a module (a row of A with its column of B).

        Raises:
            InputError: If there is no such granularity.

        >>> products = Products(("a", "b"), ("h.0.attn.q",), (torch.ones(4, 3),), (torch.ones(5, 4),), {})
        >>> Groups.of(products, "module").index.tolist(), Groups.of(products, "component").index.tolist()
        ([0, 0, 1, 1], [0, 1, 2, 3])
        """
        if granularity not in GRANULARITIES:
            raise InputError(
                f"Expected the coefficients' granularity to be one of {', '.join(GRANULARITIES)}, but got "
                f"{granularity!r}."
            )
        experts = len(products.names)
        stacked = experts * products.versions
        places: dict[str, int] = {}
        parts = []  # of every layer, the groups of an expert's r rows
        for layer, rank in zip(products.layers, products.ranks, strict=True):
            group = group_of(layer, granularity)
            groups = [f"{group}.{row}" for row in range(rank)] if granularity == "component" else [group] * rank
            parts.append(torch.tensor([places.setdefault(name, len(places)) for name in groups], dtype=torch.long))
        starts = torch.arange(stacked)[:, None] * len(places)
        index = torch.cat([(starts + part).flatten() for part in parts])
        rows = tuple(stacked * rank for rank in products.ranks)
        return cls(experts, tuple(places), index, rows, products.versions)

    @property
    def size(self) -> int:
        """The number of coefficients C = n G, or 2 n G with second versions."""
        return self.experts * len(self.names) * self.versions

    def spread(self, weights: Tensor) -> Tensor:
        """Return coefficients that are the same in all groups of an expert, and 0 for second versions.

        Args:
            weights: One for every expert [..., n].

        Returns:
            Coefficients [..., C].
        """
        if weights.shape[-1] != self.experts:
            raise ValueError(f"Expected a weight for each of {self.experts} experts, but got {list(weights.shape)}.")
        own = weights.repeat_interleave(len(self.names), dim=-1)
        return own if self.versions == 1 else torch.cat([own, torch.zeros_like(own)], dim=-1)

    @property
    def refitted(self) -> Tensor:
        """The coefficients [C] of the sum of all second versions, none of the first."""
        own = torch.zeros(self.size)
        own[self.size // 2 :] = 1.0
        return own

    def scales(self, coefficients: Tensor) -> tuple[Tensor, ...]:
        """Return what the rows of every layer's stacked A are to be multiplied with.

        Args:
            coefficients: Of P particles [P, C].

        Returns:
            For every layer [P, n r], dtype and device of the coefficients.

        Raises:
            ValueError: If the shape is not [P, C].
        """
        if coefficients.dim() != 2 or coefficients.shape[1] != self.size:
            raise ValueError(f"Expected coefficients [P, {self.size}], but got shape {list(coefficients.shape)}.")
        return coefficients.index_select(1, self.index.to(coefficients.device)).split(self.rows, dim=1)


def group_of(layer: str, granularity: Granularity) -> str:
    """Return the group that an adapted layer belongs to; a layer outside of the model's blocks is one of its own.

    Args:
        layer: Path in the base.
        granularity: See `Groups.of`; of a rank component it is the module.

    >>> [group_of("model.layers.3.self_attn.q_proj", kind) for kind in ("expert", "layer", "half_block")]
    ['all', 'model.layers.3', 'model.layers.3.attention']
    >>> group_of("model.decoder.layers.3.fc1", "half_block"), group_of("lm_head", "half_block")
    ('model.decoder.layers.3.mlp', 'lm_head')
    """
    if granularity == "expert":
        return "all"
    parts = _BLOCK.fullmatch(layer)
    if parts is None or granularity in ("module", "component"):
        return layer
    if granularity == "layer":
        return parts["block"]
    return f"{parts['block']}.{'attention' if _ATTENTION.search(parts['inside']) else 'mlp'}"
