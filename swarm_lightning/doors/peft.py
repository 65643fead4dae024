"""What this package takes of PEFT beyond its documented interface.

Tested with peft 0.18 to 0.21. Relied on:
- `peft.tuners.tuners_utils`: `BaseTunerLayer` is every wrapper that PEFT puts into a model, and
  `check_target_module_exists(config, name)` tells whether a config means a layer;
- `peft.tuners.lora`: `LoraLayer` is every LoRA wrapper, `Linear` the one of linear layers. A wrapper has
  `adapter_layer_names`, a mapping from adapters to modules under each of these names (`lora_A` and `lora_B` among
  them), `scaling` by adapter, and `get_base_layer()`;
- `PeftModel(..., autocast_adapter_dtype=False)` changes the base in place, and leaves LoRA weights in the base's dtype.
  What it does otherwise, to keep them in float32 on a base of less precision, is done here: from 0.19 on it asks for
  dtypes that torch 2.6 does not have;
- `peft.utils.other.get_pattern_key(patterns, name)` picks the pattern of `rank_pattern` and `alpha_pattern`;
- `LoraConfig` is a dataclass, and its `runtime_config` is none of an adapter's settings;
- `peft.utils.merge_utils`: `prune`, which draws from the random numbers of the process, `calculate_majority_sign_mask`
  and `disjoint_merge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

ADAPTER_NAME = "default"


@dataclass(frozen=True)
class WrappedLayer:
    """A layer of a base that PEFT has wrapped for an adapter.

    Attributes:
        name: Its path in the base.
        base_layer: The layer itself.
        parts: Names of what the wrapper adds, below the layer's name, as an adapter's file spells them.
        scaling: What the low-rank product is multiplied with.
        dtype: In what the low-rank product is computed.
    """

    name: str
    base_layer: torch.nn.Module
    parts: tuple[str, ...]
    scaling: float
    dtype: torch.dtype


def wrap_layers(base: torch.nn.Module, config: "LoraConfig") -> list[WrappedLayer]:
    """Let PEFT find and wrap the layers that a config means; the base is changed in place.

    Args:
        base: The base model, without adapters.
        config: The adapter's settings.

    Raises:
        ValueError: If PEFT refuses the config for this base.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    PeftModel(cast("Any", base), config, ADAPTER_NAME, autocast_adapter_dtype=False)
    found = []
    for name, module in base.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        parts = [part for part in module.adapter_layer_names if ADAPTER_NAME in getattr(module, part)]
        down = cast("torch.nn.Linear", module.lora_A[ADAPTER_NAME])
        found.append(
            WrappedLayer(
                name,
                module.get_base_layer(),
                tuple(f"{part}.weight" if part in ("lora_A", "lora_B") else part for part in parts),
                module.scaling[ADAPTER_NAME],
                _computed_in(down.weight.dtype),
            )
        )
    return found


def fresh_lora(base: "PreTrainedModel", config: "LoraConfig") -> "PeftModel":
    """Put an untrained adapter into a base, its weights in float32 on a base of less precision.

    Args:
        base: The base model, without adapters; it is changed in place.
        config: The adapter's settings.

    Raises:
        ValueError: If PEFT refuses the config for this base.
    """
    from peft import get_peft_model

    adapted = cast("PeftModel", get_peft_model(base, config, autocast_adapter_dtype=False))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(_computed_in(weight.dtype))
    return adapted


def _computed_in(dtype: torch.dtype) -> torch.dtype:
    """Return in what the low-rank product is computed on a base of some dtype: float32 at least."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < torch.float32.itemsize else dtype


def has_adapters(model: torch.nn.Module) -> bool:
    """Tell whether a layer of a model is wrapped by any of PEFT's methods."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def adapted_but_not_linear(model: torch.nn.Module) -> list[str]:
    """Return the paths of layers with LoRA that are not linear: embeddings, convolutions, attention."""
    from peft.tuners.lora import Linear, LoraLayer

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and not isinstance(module, Linear)
    ]


def means_layer(config: "LoraConfig", layer: str) -> bool:
    """Tell whether an adapter's settings mean a layer, by its path in the base."""
    from peft.tuners.tuners_utils import check_target_module_exists

    return bool(check_target_module_exists(config, layer))


def pattern_of(patterns: Sequence[str], layer: str) -> str:
    """Return the pattern that PEFT reads a layer's rank or alpha by; the layer's own path where none fits."""
    from peft.utils.other import get_pattern_key

    return str(get_pattern_key(list(patterns), layer))


def lora_settings() -> dict[str, Any]:
    """Return every setting of an adapter that the installed PEFT knows, with its default (or dataclasses.MISSING)."""
    from peft import LoraConfig

    return {field.name: field.default for field in fields(LoraConfig) if field.name != "runtime_config"}


def keep_largest(tensor: Tensor, share: float) -> Tensor:
    """Return a tensor with its largest weights, rounded down to a whole number of them, and 0 for the others."""
    from peft.utils.merge_utils import prune

    return prune(tensor, share, "magnitude")


def merge_by_elected_signs(stacked: Tensor) -> Tensor:
    """Elect a sign for every place by the sum over experts, and take the mean of those not 0 that have it.

    Args:
        stacked: Weights of n experts [n, ...].

    Returns:
        Weights [...].
    """
    from peft.utils.merge_utils import calculate_majority_sign_mask, disjoint_merge

    return disjoint_merge(stacked, calculate_majority_sign_mask(stacked))


def keep_at_random(tensor: Tensor, density: float) -> Tensor:
    """Return a tensor of which every weight is kept with a probability and divided by it, and is 0 otherwise.

    Args:
        tensor: Weights, floating point.
        density: The probability, in (0, 1).

    Returns:
        A tensor of the same shape. The random numbers are those of the process.
    """
    from peft.utils.merge_utils import prune

    # PEFT 0.18 throws the result of its own division away.
    return prune(tensor, density, "random", rescale=False) / density
