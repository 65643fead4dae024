"""Loads the base model and its tokenizer, frozen, in eval mode, ready for left-padded batches.

Weights come from safetensors only, and code from a model's folder runs only where `trust_remote_code` is asked for.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from swarm_lightning.doors.transformers_config import loaded_from_an_adapter
from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CONFIG_FILE as ADAPTER_CONFIG_FILE
from swarm_lightning.experts.resident.cpu_dtypes import slow_dtype_hint
from swarm_lightning.experts.sources import GGUF, convert_gguf, hub_message, local_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "float32", "bfloat16", "float16")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_base(
    source: str,
    dtype: str = "auto",
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a causal language model and its tokenizer.

    Args:
        source: A folder as save_pretrained writes it, a hub id, or `demo:base`.
        dtype: "auto" (as saved, with a hint where float32 would be faster), "float32", "bfloat16" or "float16".
        device: Where the model goes; the CPU where absent.
        trust_remote_code: Whether Python code that comes with the model may run.

    Returns:
        The model, in eval mode and without gradients, and the tokenizer, which pads on the left. Where the tokenizer
        has no pad token the model has an embedding for, it pads with end-of-text, or with token 0 (which `decode` then
        skips as a special token); no token is ever added.

    Raises:
        InputError: If this is not a model folder, or the model or tokenizer can't be loaded.
    """
    if dtype not in DTYPES:
        raise InputError(f"Expected dtype to be one of {', '.join(DTYPES)}, but got {dtype!r}.")
    folder = local_folder(source, "a base model", bare_names=True)
    if folder is not None:
        check_model_folder(folder, "a base model", trust_remote_code)
    place = source if folder is None else str(folder)
    model = _load_model(place, dtype, trust_remote_code, folder is None)
    tokenizer = load_tokenizer(place, trust_remote_code, folder is None)
    tokenizer.padding_side = "left"
    _choose_pad_token(tokenizer, model)
    torch.nn.Module.to(model, device or "cpu")
    model.requires_grad_(False)
    if dtype == "auto" and model.device.type == "cpu" and not torch.cuda.is_available():
        hint = slow_dtype_hint(model.dtype)
        if hint is not None:
            warnings.warn(hint, stacklevel=2)
    return model.eval(), tokenizer


def base_fingerprint(model: "PreTrainedModel") -> str:
    """Return SHA-256 in hex over the names, shapes and first numbers of a model's tensors.

    Enough to tell one base from another at once, whatever its size and wherever it lies.

    Args:
        model: The base, without adapters.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten()[:64].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()


def check_model_folder(folder: Path, what: str, trust_remote_code: bool) -> None:
    """Refuse a folder that can't hold a whole model, before anything large is read.

    Args:
        folder: Where the model is said to be.
        what: What is looked for, for the message: "a base model", "a reward model".
        trust_remote_code: Whether Python code that comes with the model may run.

    Raises:
        InputError: If it lacks a config, weights as safetensors or a tokenizer, or holds something else.
    """
    names = {entry.name for entry in folder.iterdir()}
    if ADAPTER_CONFIG_FILE in names:
        advice = "Name the base the adapter was trained on, and give this folder as an expert."
        if what != "a base model":
            advice = "Merge the adapter into its base (PEFT: merge_and_unload), and save the whole model."
        raise InputError(
            f"Expected {what} in {str(folder)!r}, but it holds an adapter ({ADAPTER_CONFIG_FILE}). {advice}"
        )
    gguf = sorted(name for name in names if name.lower().endswith(GGUF))
    if "config.json" not in names and gguf:
        advice = convert_gguf(folder / gguf[0])
        raise InputError(f"Expected {what} in {str(folder)!r}, but it holds {gguf[0]}. {advice}")
    if "config.json" not in names:
        seen = ", ".join(sorted(names)[:8]) or "nothing"
        raise InputError(
            f"Expected {what} in {str(folder)!r}, but there is no config.json; it holds: {seen}. Name a folder "
            "as save_pretrained writes it."
        )
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as cause:
        raise InputError(
            f"Expected JSON in {str(path)!r}, but line {cause.lineno}, column {cause.colno} breaks it: {cause.msg}."
        ) from cause
    except (OSError, UnicodeDecodeError, RecursionError) as cause:
        raise InputError(f"Expected JSON in {str(path)!r}, but it can't be read: {cause}.") from cause
    if not isinstance(config, dict):
        raise InputError(f"Expected a JSON object in {str(path)!r}, but got {type(config).__name__}. Copy it again.")
    if "auto_map" in config and not trust_remote_code and "model_type" not in config:
        raise InputError(
            f"The model in {str(folder)!r} brings its own Python code, which does not run unless you ask for it. Read "
            "the code, and set trust_remote_code to true if you trust it."
        )
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth")))
        found = f"only the pickled {pickled[0]}, which can run code and is never opened here" if pickled else "none"
        raise InputError(
            f"Expected weights (*.safetensors) in {str(folder)!r}, but there are {found}. Save the model again with "
            "save_pretrained, which writes safetensors."
        )
    if not any(name in names for name in TOKENIZER_FILES):
        raise InputError(
            f"Expected a tokenizer in {str(folder)!r} (such as tokenizer.json), but there is none. Save it there with "
            "tokenizer.save_pretrained."
        )


def _load_model(place: str, dtype: str, trust_remote_code: bool, from_hub: bool) -> "PreTrainedModel":
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            place,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as cause:
        raise InputError(load_message(place, "a base model", cause, from_hub)) from cause
    missing = sorted(report["missing_keys"])
    if missing:  # transformers fills them with random numbers
        raise InputError(
            f"Expected all weights of {type(model).__name__} in {place!r}, but {len(missing)} tensors are missing, "
            f"first {missing[0]!r}. Copy the model again, or name a causal language model."
        )
    if loaded_from_an_adapter(model):
        raise InputError(f"Expected a base model at {place!r}, but it is an adapter. Name the base it was trained on.")
    return model


def load_tokenizer(place: str, trust_remote_code: bool, from_hub: bool) -> "PreTrainedTokenizerBase":
    """Load a tokenizer.

    Args:
        place: Folder or hub id.
        trust_remote_code: Whether Python code that comes with it may run.
        from_hub: Whether the place is a hub id.

    Raises:
        InputError: If it can't be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code)
    except Exception as cause:  # tokenizers raises bare Exception for a broken tokenizer.json
        raise InputError(load_message(place, "a tokenizer", cause, from_hub)) from cause


def load_message(place: str, what: str, cause: Exception, from_hub: bool) -> str:
    """Return what to say when something could not be loaded."""
    if from_hub and isinstance(cause, OSError):
        return hub_message(place, what, cause)
    reason = " ".join(f"{type(cause).__name__}: {cause}".split())
    return f"Expected {what} in {place!r}, but it can't be loaded ({reason}). Copy or save it again."


def _choose_pad_token(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel") -> None:
    rows = cast("torch.nn.Embedding", model.get_input_embeddings()).weight.shape[0]
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows:
        return
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id < rows:
        tokenizer.pad_token = tokenizer.eos_token
    else:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
