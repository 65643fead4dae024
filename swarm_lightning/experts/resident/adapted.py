"""The resident base with the LoRA weights of one particle or of many, which are exchanged without touching the disk.

PEFT decides which layers an adapter's config means and how its product is scaled, so the numbers are those of
`PeftModel.from_pretrained(base, folder)`, unmerged: the LoRA weights stay in float32 (`autocast_adapter_dtype=True`,
PEFT's default) whatever the dtype of the base; only on a float64 base are they float64. Then its layers give way to
layers that carry many particles. The base is changed in place and never copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from swarm_lightning.doors.peft import has_adapters, wrap_layers
from swarm_lightning.doors.transformers_config import routes_tokens
from swarm_lightning.doors.transformers_forward import ForwardPass
from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import Adapter
from swarm_lightning.experts.checks import check_base
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.resident.stacked_linear import BatchShape, StackedLinear
from swarm_lightning.experts.settings import lora_config
from swarm_lightning.freed_memory import keep_freed_memory
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFIX = "base_model.model."  # what PEFT puts before the names of a model's modules in an adapter's file


class Adapters(Protocol):
    """What is carried, as a pool of adapters has it."""

    @property
    def layout(self) -> Layout:
        """Which tensor stands where in a vector."""

    @property
    def config(self) -> dict[str, Any]:
        """The content of `adapter_config.json`; what matters in it holds for all."""

    @property
    def vectors(self) -> Tensor:
        """Their weights [n, D]."""

    def adapters(self) -> list[Adapter]:
        """Return them one by one."""


class AdaptedModel:
    """A base model that becomes any particles by taking up their LoRA weights.

    Attributes:
        model: The base with layers in it that carry LoRA weights: the module to call forward on. In eval mode; nothing
            needs a gradient.
        layout: Which tensor stands where in a vector.
        layers: The layers that carry LoRA weights.
        forward: How the model is called.
        batch: What the layers know of the batch; set it before a forward pass with more than one particle.
        carried: A note of whoever loaded last on what it loaded; None after any other load.
        most_particles: None: any number of them share a forward pass.
    """

    most_particles: int | None = None

    def __init__(self, base: "PreTrainedModel", pool: Adapters) -> None:
        """Put layers into the base that carry the pool's first expert.

        Args:
            base: The base model; it is changed in place, and can carry one adapted model at a time.
            pool: The experts, which are checked against the base first; of none, the base stays as it is.

        Raises:
            InputError: If an expert does not belong to this base, the shared config adapts other layers than the
                experts' files hold, a layer is not linear, or the base can't be called for rows of many lengths.
            ValueError: If the base has adapters in it already.
        """
        if has_adapters(base) or any(isinstance(module, StackedLinear) for module in base.modules()):
            raise ValueError("Expected a base without adapters, but it has some already. Load it again.")
        check_base(pool.adapters()[:1], base)  # all experts have the same names and shapes
        keep_freed_memory()
        self.model = base
        self.layout = pool.layout
        self.batch = BatchShape(flat_rows=not routes_tokens(base.config.get_text_config()))
        self.carried: object = None
        self.layers = _put_in_layers(base, pool, self.batch) if pool.layout.names else []
        base.requires_grad_(False).eval()
        self.forward = ForwardPass(base)  # before the layers carry anything
        if self.layers:
            self.load(pool.vectors[:1])

    @torch.no_grad()
    def load(self, vectors: Vectors) -> None:
        """Take up the LoRA weights of particles, without a copy where they lie on the layers' device.

        Args:
            vectors: Weights [P, D] of the particles of one forward pass, or [D] of one; float32, on any device. Or P
                vectors, which are copied side by side.

        Raises:
            ValueError: If the vectors' shape is not [P, D].
        """
        self.attach(vectors)

    def attach(self, vectors: Vectors) -> None:
        """Take up LoRA weights as `load` does, so that gradients reach them.

        Args:
            vectors: Weights [P, D]; see `load`.

        Raises:
            ValueError: If the vectors' shape is not [P, D].
        """
        if not isinstance(vectors, Tensor):
            vectors = torch.stack([vector[:].to(self.model.device) for vector in vectors])
        vectors = vectors.unsqueeze(0) if vectors.dim() == 1 else vectors
        if vectors.dim() != 2 or not len(vectors):
            raise ValueError(f"Expected vectors [P, {self.layout.size}], but got shape {list(vectors.shape)}.")
        self.carried = None
        moved: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        for layer in self.layers:
            place = (next(layer.base_layer.parameters()).device, layer.dtype)
            if place not in moved:
                moved[place] = self.layout.unstack(vectors.to(*place))
            tensors = moved[place]
            layer.carry(tensors[f"{PREFIX}{layer.name}.lora_A.weight"], tensors[f"{PREFIX}{layer.name}.lora_B.weight"])

    def unload(self) -> None:
        """Let go of the particles, so that nothing of them stays in memory: what is left is the plain base."""
        self.carried = None
        for layer in self.layers:
            layer.carry(None, None)

    @contextmanager
    def base_only(self) -> "Iterator[PreTrainedModel]":
        """Give the plain base, without LoRA, for the length of a `with` block."""
        carried = [(layer.down, layer.up) for layer in self.layers]
        try:
            for layer in self.layers:
                layer.carry(None, None)
            yield self.model
        finally:
            for layer, (down, up) in zip(self.layers, carried, strict=True):
                layer.carry(down, up)


def _put_in_layers(base: "PreTrainedModel", pool: Adapters, batch: BatchShape) -> list[StackedLinear]:
    """Let PEFT find and wrap the layers that the config means, and replace its wrappers by ours."""
    config = lora_config(pool.config)
    # PEFT draws a random start, which is thrown away: it may not change the run's random numbers. Weights made in
    # inference mode could never be changed outside of it.
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        try:
            wrapped = wrap_layers(base, config)
        except ValueError as cause:
            raise InputError(
                f"Expected the experts' adapter_config.json to fit the base {type(base).__name__}, but PEFT "
                f"refuses: {cause}"
            ) from cause
    _check_names({f"{PREFIX}{one.name}.{part}" for one in wrapped for part in one.parts}, pool)
    layers = []
    for one in wrapped:
        parent, _, child = one.name.rpartition(".")
        layer = StackedLinear(one.base_layer, one.name, one.scaling, one.dtype, batch)
        setattr(base.get_submodule(parent), child, layer)
        layers.append(layer)
    return layers


def _check_names(named: set[str], pool: Adapters) -> None:
    missing = sorted(named - set(pool.layout.names))
    unknown = sorted(set(pool.layout.names) - named)
    if missing or unknown:
        example = f"the files lack {missing[0]!r}" if missing else f"the config leaves out {unknown[0]!r}"
        raise InputError(
            "Expected the experts' adapter_config.json to adapt just the layers that their files hold, but "
            f"{example} ({len(missing)} tensors lacking, {len(unknown)} left out). Are they complete, and adapters "
            "of this base? Save them again with PEFT on this base."
        )
