"""Refuses, before any work starts, experts that can't be moved together or don't belong to the base.

Here are the tensors: names, pairs of A and B, shapes, dtypes, finiteness, and the base's layers behind them. What
stands in `adapter_config.json` is judged in `settings.py`. Every message names the adapter and what to do.

PEFT saves whole layers of the base beside the A and B matrices of `lm_head`, say. They change nothing where they are
the base's own, and A and B matrices can't carry them where they are not.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from swarm_lightning.doors.peft import means_layer
from swarm_lightning.doors.transformers_config import features_of, largest_of
from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CONFIG_FILE, Adapter
from swarm_lightning.experts.safetensors_files import FLOATS, StoredTensor
from swarm_lightning.experts.settings import check_adapter_settings, check_alike, lora_config, rank_of
from swarm_lightning.vectors import windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


PREFIX = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
OTHER_TENSORS = {
    "lora_embedding_": "it adapts an embedding; retrain without embedding layers in target_modules",
    "lora_magnitude_vector": "it is a DoRA magnitude; retrain with use_dora=False",
    ".lora_B.bias": "it is a bias of B; retrain with lora_bias=False",
    ".bias": "it is a bias of the base; retrain with bias='none'",
    "modules_to_save": "it is a whole layer; retrain without modules_to_save",
}
# What wrappers of a model put into the names of its layers: PEFT itself, torch.compile, FSDP, activation checkpoints.
WRAPPERS = (PREFIX, "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
SAVE_UNWRAPPED = (
    "Save the adapter again with PEFT's save_pretrained from the model without wrappers, or mend the names in its "
    "file, or leave it out."
)


def check_adapters(adapters: Sequence[Adapter]) -> None:
    """Check every adapter against the others.

    Raises:
        InputError: For the first adapter and setting or tensor that element-wise arithmetic can't carry.
    """
    check_adapter_settings(adapters)
    for adapter in adapters:
        _check_names(adapter)
        _check_ranks(adapter)
        _check_numbers(adapter)
    _check_stems(adapters)
    _check_shapes(adapters)
    _check_targets(adapters)


def layer_of(name: str) -> str:
    """Return the layer of a base that a tensor of an adapter belongs to.

    >>> layer_of("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight")
    'model.layers.0.mlp.up_proj'
    """
    return name.removeprefix(PREFIX).removesuffix(DOWN).removesuffix(UP)


def layers_of(names: Iterable[str]) -> list[str]:
    """Return the layers that an adapter's tensors belong to, in the order of their names."""
    return [layer_of(name) for name in sorted(names) if name.endswith(DOWN)]


def check_base(adapters: Sequence[Adapter], base: "PreTrainedModel") -> None:
    """Check that each pair of A and B belongs to a linear layer of the base and fits its inputs and outputs.

    Raises:
        InputError: If the base lacks the layer, it is not linear, or its features are others.
    """
    modules = dict(base.named_modules())
    for path in sorted({layer for adapter in adapters for layer in layers_of(adapter.tensors)}):
        if path not in modules:
            raise InputError(_missing_module(_owner(adapters, path), path, base, set(modules)))
        _check_features(_owner(adapters, path), path, modules[path])


def _check_names(adapter: Adapter) -> None:
    for name in adapter.tensors:
        wrapper = next((part for part in WRAPPERS if part in name.removeprefix(PREFIX)), None)
        if wrapper is not None:
            raise InputError(
                f"Expected names of a plain model's layers, but {adapter.name!r} has {name!r}: it was saved from a "
                f"wrapped model ({wrapper!r}), and PEFT loads none of its matrices. {SAVE_UNWRAPPED}"
            )
        if name.startswith(PREFIX) and name.endswith((DOWN, UP)):
            twin = name.removesuffix(DOWN) + UP if name.endswith(DOWN) else name.removesuffix(UP) + DOWN
            if twin not in adapter.tensors:
                raise InputError(
                    f"Expected A and B matrices in pairs, but {adapter.name!r} has {name!r} without {twin!r}. "
                    "The file is incomplete: copy it again, or leave the adapter out."
                )
            continue
        if name.endswith((DOWN, UP)):
            raise InputError(
                f"Expected names of matrices that begin with {PREFIX!r}, but {adapter.name!r} has {name!r}, which PEFT "
                f"loads into no layer. {SAVE_UNWRAPPED}"
            )
        reason = next((text for part, text in OTHER_TENSORS.items() if part in name), "it is not a LoRA matrix")
        if re.search(r"\.lora_[AB]\.[^.]+\.weight$", name):
            reason = "it bears the name of an adapter, by which PEFT loads it nowhere; save it with save_pretrained"
        raise InputError(
            f"Expected only A and B matrices of linear layers ({PREFIX}<layer>{DOWN} and {UP}), but {adapter.name!r} "
            f"carries {name!r}: {reason}, or leave the adapter out."
        )


def _check_ranks(adapter: Adapter) -> None:
    for name, tensor in adapter.tensors.items():
        expected = rank_of(adapter.config, layer_of(name))
        axis = 0 if name.endswith(DOWN) else 1
        if tensor.dim() != 2 or tensor.shape[axis] != expected:
            raise InputError(
                f"Expected rank {expected} (adapter_config.json) in {adapter.name!r}, but {name!r} has shape "
                f"{list(tensor.shape)}. The two files belong to different adapters: copy them again, or leave it out."
            )


def _check_stems(adapters: Sequence[Adapter]) -> None:
    """Refuse an adapter that calls the layers of most others by longer or shorter names; of a tie the base decides."""
    stems = {adapter.name: {_stem(layer) for layer in layers_of(adapter.tensors)} for adapter in adapters}
    counts = Counter(stem for held in stems.values() for stem in held)
    for name, held in stems.items():
        for stem in sorted(held):
            rivals = [other for other in counts if _is_longer(other, stem) or _is_longer(stem, other)]
            common = max(rivals, key=lambda other: counts[other], default=stem)
            if counts[common] > counts[stem]:
                raise InputError(
                    f"Expected every expert to call the base's layers by the same names, but {name!r} has "
                    f"'{stem}<number>...' where most have '{common}<number>...': was it saved from a wrapped model, or "
                    f"for another version of the base? {SAVE_UNWRAPPED}"
                )


def _stem(layer: str) -> str:
    """Return a layer's name up to its number.

    >>> _stem("model.layers.0.mlp.up_proj"), _stem("lm_head")
    ('model.layers.', '')
    """
    numbered = re.match(r"(.*?\.)\d+\.", layer)
    return numbered[1] if numbered else ""


def _is_longer(one: str, other: str) -> bool:
    """Tell whether one name has further parts before all of another's."""
    return bool(other) and one.endswith(f".{other}")


def _check_shapes(adapters: Sequence[Adapter]) -> None:
    """Refuse adapters that take one layer for layers of different sizes."""
    for name in sorted({name for adapter in adapters for name in adapter.tensors}):
        holders = [adapter for adapter in adapters if name in adapter.tensors]
        axis, word = (1, "inputs") if name.endswith(DOWN) else (0, "outputs")
        check_alike(holders, partial(_size, name, axis), f"number of {word} of {layer_of(name)!r}")


def _size(name: str, axis: int, adapter: Adapter) -> int:
    return adapter.tensors[name].shape[axis]


def _check_targets(adapters: Sequence[Adapter]) -> None:
    """Refuse files that lack a layer which their config adapts, or hold one which it leaves out.

    What an adapter was never meant to adapt is zero; what got lost is not. Which layers there are, the other adapters
    tell; the base is asked later.
    """
    layers = sorted({layer for adapter in adapters for layer in layers_of(adapter.tensors)})
    for adapter in adapters:
        if adapter.config.get("target_modules") in (None, "all-linear"):  # PEFT asks the base then
            continue
        held = set(layers_of(adapter.tensors))
        stems = {_stem(layer) for layer in held}
        try:
            config = lora_config(adapter.config)
            adapted = {layer for layer in layers if means_layer(config, layer)}
        except (InputError, re.error, TypeError, AttributeError) as cause:
            raise InputError(
                f"Expected {CONFIG_FILE} of {adapter.name!r} to name the layers it adapts, but PEFT can't read its "
                f"target_modules or what goes with them: {cause}. Save it again with PEFT, or leave it out."
            ) from cause
        for layer in layers:
            if any(_is_longer(_stem(layer), stem) or _is_longer(stem, _stem(layer)) for stem in stems):
                continue  # another expert's name for a layer of this one's, or for no layer: the base tells
            meant = layer in adapted
            if meant != (layer in held):
                found = "lacks it" if meant else "holds it"
                raise InputError(
                    f"Expected {adapter.name!r} to hold just the layers that its adapter_config.json adapts, but that "
                    f"{'names' if meant else 'leaves out'} {layer!r} and the file with the weights {found}. The two "
                    "files belong to different adapters or one is incomplete: copy them again, or leave it out."
                )


def _check_numbers(adapter: Adapter) -> None:
    for name, tensor in adapter.tensors.items():
        if not tensor.is_floating_point():
            raise InputError(
                f"Expected floating-point weights, but {name!r} of {adapter.name!r} has dtype {tensor.dtype}. Save "
                "the adapter unquantised, or leave it out."
            )
        broken = int((~torch.isfinite(tensor.float())).sum())
        if broken:
            raise InputError(
                f"Expected finite weights, but {broken} of {tensor.numel()} numbers in {name!r} of {adapter.name!r} "
                "are NaN or infinite. Its training diverged or its file is damaged: leave it out."
            )


def _missing_module(adapter: Adapter, path: str, base: "PreTrainedModel", modules: set[str]) -> str:
    known = path
    while known and known not in modules:
        known = known.rpartition(".")[0]
    config = base.config.get_text_config() if hasattr(base.config, "get_text_config") else base.config
    layers = largest_of(config, "num_hidden_layers")
    facts = f"{type(base).__name__}" + (f", {layers} layers" if layers else "")
    hint = f" What it has ends at {known!r}." if known else ""
    if own := next((name for name in sorted(modules) if _is_longer(path, name) or _is_longer(name, path)), None):
        return (
            f"Adapter {adapter.name!r} carries {path!r}, which the base calls {own!r}: it was saved from a wrapped "
            f"model, or for a model class or version of transformers that calls it so. {SAVE_UNWRAPPED}"
        )
    return (
        f"Adapter {adapter.name!r} carries {path!r}, but the base has no such module ({facts}): is it an adapter of "
        f"another base?{hint} It names {adapter.config.get('base_model_name_or_path')!r}; give that base, or leave "
        "the adapter out. If it was trained with an older transformers that called the module so, and PEFT loads it on "
        "this base, save it again from there (save_pretrained): that writes the present names."
    )


def _check_features(adapter: Adapter, path: str, module: torch.nn.Module) -> None:
    down, up = (adapter.tensors[f"{PREFIX}{path}{end}"] for end in (DOWN, UP))
    features = features_of(module)
    if features is None:
        raise InputError(
            f"Expected {path!r} to be a linear layer, as adapter {adapter.name!r} expects, but in the base it "
            f"is {type(module).__name__}. Is it an adapter of another base? Leave it out, or give its base."
        )
    if (down.shape[-1], up.shape[0]) != features:
        raise InputError(
            f"Adapter {adapter.name!r} is made for {path!r} with {down.shape[-1]} inputs and {up.shape[0]} outputs, "
            f"but the base has {features[0]} inputs and {features[1]} outputs there: is it an adapter of another "
            f"base? It names {adapter.config.get('base_model_name_or_path')!r}; give that base, or leave it out."
        )


def _owner(adapters: Sequence[Adapter], path: str) -> Adapter:
    """Return the first adapter that adapts a layer, as one that holds nothing but zeros there may never have done."""
    holders = [adapter for adapter in adapters if f"{PREFIX}{path}{DOWN}" in adapter.tensors]
    return next((adapter for adapter in holders if adapter.tensors[f"{PREFIX}{path}{DOWN}"].any()), holders[0])


def check_copies(name: str, copies: Mapping[str, StoredTensor], base: "PreTrainedModel") -> None:
    """Check that whole layers in an adapter's file are the base's own, rounded to either one's data type at most.

    Args:
        name: The adapter.
        copies: Where each lies, by its name in the file.
        base: The base as it was loaded.

    Raises:
        InputError: If the base lacks one, or has other numbers there.
    """
    weights = base.state_dict()
    for stored, copy in copies.items():
        own = stored.removeprefix(PREFIX).replace(".base_layer.", ".")
        if own not in weights or not _is_copy(copy, weights[own]):
            held = f"of shape {list(weights[own].shape)}" if own in weights else "none"
            raise InputError(
                f"Expected whole layers in an adapter's file to be copies of the base's, but {name!r} carries "
                f"{stored!r} of shape {list(copy.shape)}, and the base's {own!r} is another ({held}). A and B matrices "
                "can't carry a layer that was trained or resized: if it was not, give the base that the adapter was "
                "trained on, or save the adapter again with save_embedding_layers=False; else leave it out."
            )


def _is_copy(copy: StoredTensor, weight: torch.Tensor) -> bool:
    if copy.shape != tuple(weight.shape) or copy.kind not in FLOATS:
        return False
    flat = weight.detach().reshape(-1)
    for start, stop in windows(0, copy.numel):
        theirs, ours = copy.window(start, stop), flat[start:stop].cpu()
        if not theirs.equal(ours.to(theirs.dtype)) and not theirs.to(ours.dtype).equal(ours):
            return False
    return True
