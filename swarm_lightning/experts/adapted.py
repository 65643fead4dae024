"""The resident base with one set of LoRA weights that are overwritten in place.

PEFT builds the layers, so the numbers are those of `PeftModel.from_pretrained(base, folder)`, unmerged: the LoRA
weights stay in float32 (`autocast_adapter_dtype=True`, PEFT's default) whatever the dtype of the base; only on a
float64 base are they float64. The base is changed in place and never copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.checks import check_base
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.settings import lora_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_NAME = "default"


class AdaptedModel:
    """A base model that becomes any particle by overwriting its LoRA weights.

    Attributes:
        model: The base with LoRA layers in it: the module to call forward on. In eval mode; nothing needs a gradient.
        layout: Which tensor stands where in a vector.
    """

    def __init__(self, base: "PreTrainedModel", pool: ExpertPool) -> None:
        """Put LoRA layers into the base, holding the pool's first expert.

        Args:
            base: The base model; it is changed in place, and can carry one adapted model at a time.
            pool: The experts, which are checked against the base first.

        Raises:
            InputError: If an expert does not belong to this base, or the shared config adapts other layers than the
                experts' files hold.
            ValueError: If the base has adapters in it already.
        """
        from peft import PeftModel
        from peft.tuners.tuners_utils import BaseTunerLayer

        if any(isinstance(module, BaseTunerLayer) for module in base.modules()):
            raise ValueError("Expected a base without adapters, but PEFT layers are in it already. Load it again.")
        check_base(pool.adapters()[:1], base)  # all experts have the same names and shapes
        config = lora_config(pool.config)
        # PEFT draws a random start, which load() overwrites: neither may change the run's random numbers. Weights made
        # in inference mode could never be overwritten outside of it.
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            try:
                self._peft = PeftModel(base, config, ADAPTER_NAME, autocast_adapter_dtype=True)
            except ValueError as cause:
                raise InputError(
                    f"Expected the experts' adapter_config.json to fit the base {type(base).__name__}, but PEFT "
                    f"refuses: {cause}"
                ) from cause
        self.model = base  # PEFT has put its layers into it
        self.layout = pool.layout
        self._live = self._find_live()
        self._freeze()
        self.load(pool.vectors[0])

    def load(self, vector: Tensor) -> None:
        """Overwrite the LoRA weights, in place.

        Args:
            vector: Weights [D], float32, on any device.

        Raises:
            ValueError: If the vector's shape is not [D].
        """
        moved: dict[torch.device, dict[str, Tensor]] = {}
        with torch.no_grad():
            for name, parameter in self._live.items():
                if parameter.device not in moved:
                    moved[parameter.device] = self.layout.unflatten(vector.to(parameter.device))
                parameter.copy_(moved[parameter.device][name])

    @contextmanager
    def base_only(self) -> "Iterator[PreTrainedModel]":
        """Give the plain base, without LoRA, for the length of a `with` block."""
        try:
            with self._peft.disable_adapter():
                yield self.model
        finally:
            self._freeze()

    def _freeze(self) -> None:
        # PEFT marks weights as trainable when it enables them.
        self._peft.requires_grad_(False)
        self._peft.eval()

    def _find_live(self) -> dict[str, Tensor]:
        live = {
            name.replace(f".{ADAPTER_NAME}.weight", ".weight"): parameter
            for name, parameter in self._peft.named_parameters()
            if ".lora_" in name
        }
        missing = sorted(live.keys() - set(self.layout.names))
        unknown = sorted(set(self.layout.names) - live.keys())
        if missing or unknown:
            example = f"the files lack {missing[0]!r}" if missing else f"the config leaves out {unknown[0]!r}"
            raise InputError(
                "Expected the experts' adapter_config.json to adapt just the layers that their files hold, but "
                f"{example} ({len(missing)} tensors lacking, {len(unknown)} left out). Are they complete, and adapters "
                "of this base? Save them again with PEFT on this base."
            )
        return {name: live[name] for name in self.layout.names}
