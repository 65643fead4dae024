"""What a checkpoint's numbers mean: the weights of its architecture in the one order in which they become a vector [D].

The architecture is built without memory for its weights, so names, shapes and ties are those of transformers. Experts
that differ in it, or in any setting that changes what a model computes, are refused by name.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_config import BOOKKEEPING
from swarm_lightning.errors import InputError
from swarm_lightning.experts.checkpoints import Checkpoint
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.safetensors_files import FLOATS, StoredTensor
from swarm_lightning.vectors import windows

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# What to do with models whose weights can't be moved together.
AS_THEY_ARE = (
    "Models of any kind can be mixed as they are (model.mixture: probabilities), or answer each other "
    "(model.graphs.any_models: true, with the optimizer HeterogeneousSwarm and its moves: roles)."
)
# Buffers that models compute from their config: rotary frequencies, causal masks and their fill, positions.
COMPUTED = re.compile(
    r"(^|\.)((original_)?inv_freq|cos_cached|sin_cached|masked_bias|position_ids|attn\.bias|attention\.bias)$"
)
# Settings of a config that change nothing of what the weights compute for a prompt.
WITHOUT_EFFECT = frozenset(
    {
        *BOOKKEEPING, "torch_dtype", "dtype", "use_cache", "architectures",
        "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id", "id2label",
        "label2id", "problem_type", "return_dict", "output_hidden_states", "output_attentions", "task_specific_params",
        "layerdrop", "embd_pdrop", "resid_pdrop", "attn_pdrop",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """The weights of a model class with its config.

    Attributes:
        model: Name of the model's class, `LlamaForCausalLM` for example.
        settings: What its config says, without what has no effect.
        layout: Which weight stands where in a vector; of tied weights only the first name.
        names: For every name of the layout, all names that the same weight has in the model.
        prefix: What the names of the model without its head begin with; files of such a model lack it.
        buffers: Names of the tensors beside the weights that are read from a checkpoint's files.
    """

    model: str
    settings: dict[str, Any]
    layout: Layout
    names: dict[str, tuple[str, ...]] = field(repr=False)
    prefix: str
    buffers: frozenset[str] = field(repr=False)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Build the architecture of a checkpoint without its weights.

    Raises:
        InputError: If transformers has no causal language model for its config.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
            model.tie_weights()  # transformers 5.0 leaves it out where there is no memory
    except Exception as cause:  # configs fail in as many ways as there are architectures
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise InputError(
            f"Expected a causal language model that transformers knows in the expert {checkpoint.name!r}, but it can't "
            f"be built from its config.json ({reason}). Leave it out, or save it again with save_pretrained."
        ) from cause
    return describe(model)


def describe(model: "PreTrainedModel") -> Architecture:
    """Return the architecture of a model, with or without its weights."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    shapes: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        names.setdefault(known, []).append(name)
        shapes[known] = parameter
    return Architecture(
        type(model).__name__,
        effective_settings(model.config),
        Layout.of(shapes),
        {name: tuple(others) for name, others in names.items()},
        model.base_model_prefix,
        frozenset(model.state_dict()) - {known for others in names.values() for known in others},
    )


def effective_settings(config: "PretrainedConfig") -> dict[str, Any]:
    """Return what a config says, defaults filled in, without what does not change what a model computes."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in WITHOUT_EFFECT and not name.endswith("dropout") and "initializer" not in name
    }


def check_same_settings(name: str, one: Architecture, reference: str, other: Architecture) -> None:
    """Refuse an expert of another architecture.

    Args:
        name: The expert.
        one: Its architecture.
        reference: Who it is compared with.
        other: The architecture of that one.

    Raises:
        InputError: If class, shapes of weights, or settings differ; it names the first difference.
    """
    advice = f"Only models of one architecture can be moved together: leave it out. {AS_THEY_ARE}"
    if one.model != other.model:
        raise InputError(
            f"Expected full checkpoints of one architecture, but {name!r} is a {one.model} and {reference!r} a "
            f"{other.model}. {advice}"
        )
    shapes = dict(zip(one.layout.names, one.layout.shapes, strict=True))
    others = dict(zip(other.layout.names, other.layout.shapes, strict=True))
    for tensor in sorted(shapes.keys() & others.keys()):
        if shapes[tensor] != others[tensor]:
            vocabularies = [settings.get("vocab_size") for settings in (one.settings, other.settings)]
            why = f" (vocabularies of {vocabularies[0]} and {vocabularies[1]})" if len(set(vocabularies)) > 1 else ""
            raise InputError(
                f"Expected weights of the same shapes, but {tensor!r} has shape {list(shapes[tensor])} in {name!r} and "
                f"{list(others[tensor])} in {reference!r}{why}. {advice}"
            )
    differing = sorted(
        key for key in one.settings.keys() | other.settings.keys() if one.settings.get(key) != other.settings.get(key)
    )
    if differing:
        key = differing[0]
        raise InputError(
            f"Expected full checkpoints with the same config.json, but {key} is {one.settings.get(key)!r} in {name!r} "
            f"and {other.settings.get(key)!r} in {reference!r}: the same weights would compute something else. {advice}"
        )
    if one.layout != other.layout:
        tensor = sorted(set(one.layout.names) ^ set(other.layout.names))[0]
        raise InputError(f"Expected the same weights in {name!r} and {reference!r}, but {tensor!r} differs. {advice}")


def places_of(checkpoint: Checkpoint, architecture: Architecture) -> dict[str, StoredTensor]:
    """Find the architecture's weights in a checkpoint's files.

    Args:
        checkpoint: The checkpoint, of this architecture.
        architecture: Which weights are wanted.

    Returns:
        Name in the layout -> where it lies.

    Raises:
        InputError: If one is missing, of another shape, or not of a floating-point type that float32 holds exactly; or
            if weights that the architecture ties together differ.
    """
    name, found = checkpoint.name, {}
    for wanted, shape in zip(architecture.layout.names, architecture.layout.shapes, strict=True):
        spellings = [spelt for known in architecture.names[wanted] for spelt in _spellings(known, architecture.prefix)]
        stored = [spelt for spelt in spellings if spelt in checkpoint.tensors]
        if not stored:
            raise InputError(
                f"Expected all weights of {architecture.model} in the expert {name!r}, but its files lack {wanted!r}. "
                "Copy it again, or save it again with save_pretrained of the installed transformers."
            )
        tensor = checkpoint.tensors[stored[0]]
        for spelt in stored:
            other = checkpoint.tensors[spelt]
            if other.shape != shape:
                raise InputError(
                    f"Expected {spelt!r} of the expert {name!r} to have shape {list(shape)}, as its config.json says, "
                    f"but its files hold {list(other.shape)}. Copy it again, or leave it out."
                )
            if other.kind not in FLOATS:
                raise InputError(
                    f"Expected weights in {', '.join(FLOATS)}, but {spelt!r} of the expert {name!r} is {other.kind}. "
                    "Save it in one of these types, or leave it out."
                )
            if spelt != stored[0] and not _same_numbers(tensor, other):
                raise InputError(
                    f"Expected {stored[0]!r} and {spelt!r} of the expert {name!r} to be one weight, as its config.json "
                    "ties them, but they differ. Set tie_word_embeddings to false in all experts and the base, or "
                    "leave it out."
                )
        found[wanted] = tensor
    return found


def others_of(checkpoint: Checkpoint, architecture: Architecture) -> dict[str, StoredTensor]:
    """Return what a checkpoint's files hold beside the architecture's weights: masks and other buffers.

    What older versions of transformers have saved and present ones compute anew is left out.
    """
    passed = _spelt(architecture.names.values(), architecture.prefix) | _computed(checkpoint, architecture)
    return {name: tensor for name, tensor in checkpoint.tensors.items() if name not in passed}


def warn_of_computed(checkpoints: Sequence[Checkpoint], architecture: Architecture) -> None:
    """Name the buffers that only some of the checkpoints hold and no model reads from them."""
    held = {one.name: _computed(one, architecture) for one in checkpoints}
    common = set.intersection(*held.values())
    found = {name: sorted(names - common) for name, names in held.items() if names - common}
    if found:
        listed = ", ".join(f"{name!r} ({names[0]!r}{', ...' if names[1:] else ''})" for name, names in found.items())
        warnings.warn(
            f"Only some experts hold buffers that models compute from their config: {listed}. They change nothing, and "
            "are ignored, as from_pretrained ignores them.",
            stacklevel=3,
        )


def check_same_others(
    checkpoint: Checkpoint, others: Mapping[str, StoredTensor], reference: str, known: Mapping[str, StoredTensor]
) -> None:
    """Refuse a checkpoint whose tensors beside the weights are not those of another one.

    Args:
        checkpoint: The checkpoint.
        others: What it holds beside the weights.
        reference: Who it is compared with.
        known: What that one holds.

    Raises:
        InputError: If a tensor differs, or only one of the two has it.
    """
    advice = "It is no weight of the model and can't be moved. Leave the expert out."
    for name in sorted(others.keys() | known.keys()):
        if name not in others or name not in known:
            holder = checkpoint.name if name in others else reference
            raise InputError(f"Expected the same tensors in all experts, but only {holder!r} has {name!r}. {advice}")
        if others[name].shape != known[name].shape or not _same_numbers(others[name], known[name]):
            raise InputError(
                f"Expected {name!r} to be the same in all experts, but {checkpoint.name!r} and {reference!r} differ in "
                f"it. {advice}"
            )


def _computed(checkpoint: Checkpoint, architecture: Architecture) -> set[str]:
    """Return the names of a checkpoint's buffers that its model computes and does not read."""
    read = _spelt([*architecture.names.values(), architecture.buffers], architecture.prefix)
    return {name for name in checkpoint.tensors if COMPUTED.search(name) and name not in read}


def _spelt(names: Iterable[Iterable[str]], prefix: str) -> set[str]:
    return {spelt for group in names for name in group for spelt in _spellings(name, prefix)}


def _spellings(name: str, prefix: str) -> Sequence[str]:
    bare = name.removeprefix(f"{prefix}.")
    return (name,) if bare == name or not prefix else (name, bare)


def _same_numbers(one: StoredTensor, other: StoredTensor) -> bool:
    if one.kind != other.kind or one.numel != other.numel:
        return False
    pieces = windows(0, one.numel)
    return all(one.window(*piece).equal(other.window(*piece)) for piece in pieces)
