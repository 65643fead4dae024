"""Which settings of `adapter_config.json` this package carries, and which it refuses.

A particle is the A and B matrices of plain LoRA; PEFT adds scaling * B(A(x)) to the base's layers. A setting is ignored
if it does not change that at inference, carried if it says which layers, ranks and scalings there are (where experts
differ in them, `common_form.py` makes them alike), and refused by name if it puts anything else into the model.
Source: peft 0.21, `peft/tuners/lora/config.py` and `layer.py`.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from swarm_lightning.doors.peft import lora_settings, pattern_of
from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CONFIG_FILE, Adapter

if TYPE_CHECKING:
    from peft import LoraConfig

# Setting -> PEFT's default. They make the rank and the scaling of every layer.
SCALING = {"r": 8, "lora_alpha": 8, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}}
# How the targets are spelt: two spellings of one set of layers are the same adapter.
SPELLING = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
# No effect on what a plain LoRA layer computes at inference.
IGNORED = {
    "peft_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode", "task_type",
    "lora_dropout", "fan_in_fan_out", "init_lora_weights", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying",
}  # fmt: skip
# Setting -> why plain A and B matrices can't carry it.
REFUSED = {
    "use_dora": "DoRA keeps a magnitude for every output, normalised by the base's weights",
    "bias": "it trains the base's biases too",
    "lora_bias": "it adds a bias to B",
    "modules_to_save": "it replaces whole layers of the base",
    "layer_replication": "it changes the layers of the base",
    "trainable_token_indices": "it changes rows of the base's embedding",
    "target_parameters": "it adapts bare parameters, not linear layers",
    "alora_invocation_tokens": "it acts only after certain tokens",
    "use_qalora": "it pools the inputs of A",
    "use_bdlora": "its matrices are block-diagonal",
    "arrow_config": "it routes between several adapters",
    "kasa_config": "it adds a diagonal between A and B",
    "velora_config": "it keeps more state than A and B",
    "monteclora_config": "it samples its weights",
    "megatron_config": "its layers are split over devices",
}
# Values of a refused setting that mean it is off, beside None, False and empty ones.
OFF = {"bias": ("none",)}
# Other initialisations change the base's own weights when PEFT loads the adapter.
HARMLESS_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
# PEFT puts a classification head into the model for these.
HEADED_TASKS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
LEAVE_OUT = "Re-train it as plain LoRA, or leave it out."


def check_adapter_settings(adapters: Sequence[Adapter]) -> None:
    """Refuse, by name, every setting that element-wise arithmetic on A and B can't carry.

    Raises:
        InputError: For the first such setting; it names the adapter and the setting.
    """
    for adapter in adapters:
        _check_alone(adapter)
    _warn_of_different_bases(adapters)


def check_alike(adapters: Sequence[Adapter], value: Callable[[Adapter], object], what: str) -> None:
    """Refuse adapters whose value differs from that of most others (of the first, where none is most common)."""
    texts = [str(value(adapter)) for adapter in adapters]
    expected, _ = Counter(texts).most_common(1)[0]
    odd = [(adapter.name, text) for adapter, text in zip(adapters, texts, strict=True) if text != expected]
    if odd:
        listed = ", ".join(f"{name!r} has {text}" for name, text in odd[:4])
        more = f" and {len(odd) - 4} more differ" if len(odd) > 4 else ""
        raise InputError(
            f"Expected every expert to have the same {what}, but {listed}{more} (others: {expected}). "
            "Is it an adapter of another base? Leave it out."
        )


def rank_of(config: Mapping[str, Any], layer: str) -> int:
    """Return the rank that an adapter's config gives a layer, as PEFT reads it.

    >>> rank_of({"r": 4, "rank_pattern": {"q_proj": 2}}, "layers.0.q_proj")
    2
    """
    return int(_of_layer(config, "rank_pattern", "r", layer))


def scaling_of(config: Mapping[str, Any], layer: str) -> float:
    """Return what PEFT multiplies the product of a layer's A and B with.

    >>> scaling_of({"r": 4, "lora_alpha": 8}, "q_proj"), scaling_of({"r": 4, "lora_alpha": 8, "use_rslora": True}, "q")
    (2.0, 4.0)
    """
    rank, alpha = rank_of(config, layer), float(_of_layer(config, "alpha_pattern", "lora_alpha", layer))
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _of_layer(config: Mapping[str, Any], patterns: str, setting: str, layer: str) -> Any:
    pattern = config.get(patterns) or {}
    value = config.get(setting)
    return pattern.get(pattern_of(list(pattern), layer), SCALING[setting] if value is None else value)


def lora_config(config: Mapping[str, Any]) -> "LoraConfig":
    """Return PEFT's object for an adapter's config, set for inference and without a random start.

    Keys that the installed PEFT does not know are left out, as PEFT itself does when it loads a folder.

    Raises:
        InputError: If PEFT refuses the values.
    """
    from peft import LoraConfig

    known = lora_settings()
    kept = {key: deepcopy(value) for key, value in config.items() if key in known}  # PEFT changes some in place
    kept |= {"inference_mode": True, "lora_dropout": 0.0, "init_lora_weights": True}
    try:
        return LoraConfig(**kept)
    except (TypeError, ValueError) as cause:
        raise InputError(f"Expected LoRA settings in {CONFIG_FILE}, but PEFT refuses them: {cause}.") from cause


def _check_alone(adapter: Adapter) -> None:
    config = adapter.config
    kind = config.get("peft_type")
    if kind != "LORA":
        raise InputError(
            f"Expected every expert to be a LoRA adapter (peft_type LORA), but {adapter.name!r} has {kind!r}. "
            "Leave it out: only A and B matrices of plain LoRA can be moved."
        )
    for setting, reason in REFUSED.items():
        value = config.get(setting)
        if value and value not in OFF.get(setting, ()):
            raise InputError(
                f"Expected plain LoRA, but {adapter.name!r} has {setting}={_short(value)}, which A and B matrices "
                f"can't carry: {reason}. {LEAVE_OUT}"
            )
    start = config.get("init_lora_weights")
    if not any(start is harmless or start == harmless for harmless in HARMLESS_STARTS):
        raise InputError(
            f"Expected experts on the unchanged base, but {adapter.name!r} has init_lora_weights={_short(start)}, with "
            "which PEFT changes the base's own weights. Save it again as plain LoRA (save_pretrained with "
            "path_initial_model_for_weight_conversion), or leave it out."
        )
    if config.get("task_type") in HEADED_TASKS:
        raise InputError(
            f"Expected experts of a causal language model, but {adapter.name!r} has task_type={config['task_type']!r}, "
            f"which adds a head to the base. {LEAVE_OUT}"
        )
    _check_numbers(adapter)
    _check_unlisted(adapter)


def _check_numbers(adapter: Adapter) -> None:
    config = adapter.config
    ranks, alphas = {"r": config.get("r")}, {"lora_alpha": config.get("lora_alpha")}
    for setting, numbers in (("rank_pattern", ranks), ("alpha_pattern", alphas)):
        pattern = config.get(setting) or {}
        if not isinstance(pattern, dict):
            raise InputError(f"Expected {setting} of {adapter.name!r} to be a JSON object, but got {_short(pattern)}.")
        for key, number in pattern.items():
            _check_expression(adapter, setting, key)
            numbers[f"{setting}[{key!r}]"] = number
    for setting, rank in ranks.items():
        if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or rank < 1):
            raise InputError(
                f"Expected the rank ({setting}) of {adapter.name!r} to be an integer >= 1, but got {rank!r}."
            )
    for setting, alpha in alphas.items():
        number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
        if alpha is not None and not (number and math.isfinite(alpha)):
            raise InputError(
                f"Expected the alpha ({setting}) of {adapter.name!r} to be a finite number, but got {alpha!r}."
            )


def _check_expression(adapter: Adapter, setting: str, key: str) -> None:
    try:
        re.compile(key)
    except re.error as cause:
        raise InputError(
            f"Expected the keys of {setting} to be names of layers or regular expressions, but {adapter.name!r} has "
            f"{_short(key)}: {cause}. Save the adapter again with PEFT."
        ) from cause


def _check_unlisted(adapter: Adapter) -> None:
    """Refuse settings of a newer PEFT that are switched on; warn of keys that no PEFT here knows, as PEFT does."""
    defaults = lora_settings()
    unknown = []
    for key in sorted(set(adapter.config) - SCALING.keys() - SPELLING - IGNORED - REFUSED.keys()):
        value = adapter.config[key]
        if not value:
            continue
        if key not in defaults:
            unknown.append(key)
        elif defaults[key] is MISSING or value != defaults[key]:
            raise InputError(
                f"Expected settings whose effect is known here, but {adapter.name!r} has {key}={_short(value)}. "
                f"{LEAVE_OUT}"
            )
    if unknown:
        warnings.warn(
            f"{adapter.name!r} has settings that neither this package nor the installed PEFT knows, and both ignore: "
            f"{', '.join(unknown)}.",
            stacklevel=2,
        )


def _warn_of_different_bases(adapters: Sequence[Adapter]) -> None:
    bases = {str(adapter.config.get("base_model_name_or_path") or ""): adapter.name for adapter in adapters}
    bases.pop("", None)
    if len(bases) > 1:
        listed = ", ".join(f"{name!r}: {base!r}" for base, name in list(bases.items())[:4])
        warnings.warn(
            f"The experts name different base models ({listed}). Paths may differ for one model; if the models "
            "differ, leave out the experts of the other one.",
            stacklevel=2,
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
