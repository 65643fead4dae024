"""What configs and classes of transformers say about a model, beyond what is documented for all of them.

Tested with transformers 5.0 to 5.24. Relied on:
- `layer_types` names what each layer keeps; where a config lacks it, the private `_is_stateful` of the class is true
  for models that keep a state instead of keys and values;
- `sliding_window` and GPT-Neo's `attention_layers` tell of windows;
- the names of the numbers of experts that tokens are routed to;
- `rope_parameters` (before: `rope_scaling`) with `rope_type` (before: `type`);
- the private `_hf_peft_config_loaded` of a model that was loaded from an adapter's folder;
- a number may be a list with one for every layer (Gemma 3n, OpenELM), and -1 or 0 for positions that have no end
  (XLNet);
- `Conv1D` is a linear layer with its weight transposed [in, out];
- RoBERTa and its kind count the positions of an encoder from behind the padding's.
"""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Layers that keep keys and values of every token; any other keeps a state that padding would change.
ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
NUMBERS_OF_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
# What a config says of where it comes from and how it is run.
BOOKKEEPING = frozenset({"_name_or_path", "_commit_hash", "transformers_version", "_attn_implementation"})


def numbers_of(config: "PretrainedConfig", *names: str) -> tuple[float, ...]:
    """Return the numbers that stand under the first name that a config has: one, or one for every layer.

    Args:
        config: A model's config, of its text part.
        names: Names under which the number may stand, the preferred first.

    Returns:
        The numbers; none where no name is there or has a value.

    >>> from types import SimpleNamespace
    >>> numbers_of(SimpleNamespace(wide=[64, 96], heads=None), "heads", "wide")
    (64, 96)
    """
    for name in names:
        value = getattr(config, name, None)
        numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
        found = tuple(number for number in numbers if isinstance(number, int | float) and not isinstance(number, bool))
        if found:
            return found
    return ()


def largest_of(config: "PretrainedConfig", *names: str) -> int | None:
    """Return the largest of the numbers that stand under the first name that a config has; None without any."""
    return int(max(numbers_of(config, *names), default=0)) or None


def most_positions(config: "PretrainedConfig") -> int | None:
    """Return how many positions a model has; None where there is no end to them.

    Args:
        config: A model's config, of its text part.
    """
    limits = [number for number in numbers_of(config, "max_position_embeddings", "max_seq_len") if number > 0]
    return int(min(limits)) if limits else None


def positions_before_stretching(config: "PretrainedConfig") -> int | None:
    """Return up to how many tokens rotary positions are those of any shorter row; None where they always are.

    Args:
        config: A model's config, of its text part.
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    limits: list[float] = []
    for settings in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if settings.get("rope_type", settings.get("type")) in ("dynamic", "longrope"):
            limits += [settings.get("original_max_position_embeddings") or 0]
            limits += numbers_of(config, "original_max_position_embeddings")
    return int(min((limit for limit in limits if limit > 0), default=0)) or None


def most_encoder_positions(model: "PreTrainedModel") -> int | None:
    """Return how many tokens of a text a classifier can read; None where there is no end to them."""
    limits = [most_positions(model.config.get_text_config())]
    for name, module in model.named_modules():
        embeds = name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding)
        if embeds and module.padding_idx is not None:
            limits.append(int(module.num_embeddings) - int(module.padding_idx) - 1)
    return min((limit for limit in limits if limit is not None), default=None)


def other_than_attention(model: "PreTrainedModel") -> list[str]:
    """Return the kinds of layers that keep something else than keys and values of every token."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if not kinds and getattr(model, "_is_stateful", False):
        return ["state"]
    return sorted(kinds - ATTENTION)


def looks_back_over_a_window(config: "PretrainedConfig") -> bool:
    """Tell whether a layer sees only so many columns before a token."""
    windowed = {"sliding_attention", "chunked_attention"} & set(getattr(config, "layer_types", None) or ())
    local = "local" in (getattr(config, "attention_layers", None) or ())  # GPT-Neo
    return bool(windowed or local or getattr(config, "sliding_window", None))


def routes_tokens(config: "PretrainedConfig") -> bool:
    """Tell whether a model routes tokens to experts of its own."""
    return any(max(numbers_of(config, name), default=0) > 1 for name in NUMBERS_OF_EXPERTS)


def loaded_from_an_adapter(model: "PreTrainedModel") -> bool:
    """Tell whether `from_pretrained` was given an adapter's folder, and has loaded the base that it names."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def features_of(module: torch.nn.Module) -> tuple[int, int] | None:
    """Return inputs and outputs of a linear layer (or of GPT-2's Conv1D, which is one transposed), else None."""
    inputs, outputs = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(inputs, int) and isinstance(outputs, int):
        return inputs, outputs
    weight = getattr(module, "weight", None)
    if type(module).__name__ == "Conv1D" and isinstance(weight, torch.Tensor) and weight.dim() == 2:
        return weight.shape[0], weight.shape[1]
    return None
