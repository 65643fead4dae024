"""Which parts of every expert have a coefficient of their own: what a search for coefficients knows of its experts."""

from dataclasses import dataclass
from typing import NamedTuple

from swarm_lightning.errors import InputError
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.products.products import Granularity, Groups, Products, group_of

OF_WHOLE_MODELS: tuple[Granularity, ...] = ("expert", "layer", "module")


class GroupedProducts(NamedTuple):
    """Products B A of adapters, divided into groups.

    Attributes:
        products: Of n experts.
        groups: Which coefficient scales what of them.
    """

    products: Products
    groups: Groups


@dataclass(frozen=True)
class Division:
    """Experts divided into groups of weights, the same for each of them.

    Attributes:
        names: Of the G groups.
        tensors: The group of every tensor of an expert, in the order of its layout; empty for products, in which
            tensors do not add up one by one.
        weighed: What coefficients scale, where the experts are adapters; None for whole models.
    """

    names: tuple[str, ...]
    tensors: tuple[int, ...] = ()
    weighed: GroupedProducts | None = None

    @classmethod
    def of_products(cls, products: Products, granularity: Granularity) -> "Division":
        """Divide adapters.

        Args:
            products: Of the experts.
            granularity: What has a coefficient of its own; see `Groups.of`.
        """
        groups = Groups.of(products, granularity)
        return cls(groups.names, weighed=GroupedProducts(products, groups))

    @property
    def versions(self) -> int:
        """How many products every expert has: a second one where it may be fitted anew."""
        return 1 if self.weighed is None else self.weighed.groups.versions

    @classmethod
    def of_tensors(cls, layout: Layout, granularity: Granularity) -> "Division":
        """Divide whole models; the tensors of one module go together.

        Args:
            layout: Of their weights.
            granularity: `expert`, `layer` or `module`.

        Raises:
            InputError: If it is another one.

        >>> layout = Layout(("h.0.q.weight", "h.0.q.bias", "norm.weight"), ((2,), (2,), (1,)))
        >>> Division.of_tensors(layout, "layer")
        Division(names=('h.0', 'norm'), tensors=(0, 0, 1), weighed=None)
        """
        if granularity not in OF_WHOLE_MODELS:
            raise InputError(
                f"Expected model.coefficients to be one of {', '.join(OF_WHOLE_MODELS)} for full checkpoints, but got "
                f"{granularity!r}, which divides the products B A of LoRA adapters. Set one of these."
            )
        places: dict[str, int] = {}
        modules = [name.rpartition(".")[0] or name for name in layout.names]
        tensors = [places.setdefault(group_of(module, granularity), len(places)) for module in modules]
        return cls(tuple(places), tuple(tensors))
