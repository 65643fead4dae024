"""Tells paths from hub ids, finds the folder behind either, and says which one was probably meant.

A source is a path if it exists on disk or begins like one (`.`, `/`, `~`); otherwise it is a hub id if it reads like
one. Only the files that are named are fetched from the hub.
"""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.paths import locate

GGUF = ".gguf"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def convert_gguf(path: Path) -> str:
    """Say how a model in a GGUF file becomes a folder.

    Args:
        path: The file.
    """
    return (
        f"GGUF is a format of other programs: let transformers convert it once (with the package gguf), by "
        f"AutoModelForCausalLM.from_pretrained({str(path.parent)!r}, gguf_file={path.name!r}).save_pretrained(FOLDER) "
        "and AutoTokenizer alike, and name that folder."
    )


def local_folder(source: str, what: str, bare_names: bool = False) -> Path | None:
    """Return the folder that a source names, or None where it is a hub id.

    Args:
        source: A folder, a hub id, or a name inside the demo world (`demo:...`).
        what: What is looked for, for the message: "an adapter", "a base model".
        bare_names: Whether hub ids without an owner (`gpt2`) are allowed.

    Raises:
        InputError: If it is a path to something other than a folder, or neither a path nor a hub id.
    """
    if not source.strip():
        raise InputError(f"Expected the path or hub id of {what}, but got an empty one. Name a folder or a hub id.")
    located = locate(source)
    path = Path(located).expanduser()
    if path.is_dir():
        return path
    if path.suffix.lower() == GGUF and path.exists():
        raise InputError(f"Expected a folder with {what}, but {source!r} is a file. {convert_gguf(path)}")
    if path.exists():
        raise InputError(f"Expected a folder with {what}, but {source!r} is a file. Name the folder it lies in.")
    reads_as_hub_id = HUB_ID.fullmatch(located) or (bare_names and HUB_NAME.fullmatch(located))
    if located.startswith((".", "/", "~")) or not reads_as_hub_id:
        raise InputError(
            f"Expected a folder or a hub id (owner/name) of {what}, but there is no {source!r}.{nearest(path)} "
            f"Paths are taken from {os.getcwd()!r}."
        )
    return None


def nearest(path: Path) -> str:
    """Return " Did you mean '...'?" with the existing neighbour whose name is closest, or an empty string."""
    lost = path
    while lost.parent != lost and not lost.parent.is_dir():
        lost = lost.parent
    try:
        neighbours = [entry.name for entry in lost.parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return ""
    matches = difflib.get_close_matches(lost.name, neighbours, n=1, cutoff=0.75)
    if not matches:
        return ""
    meant = lost.parent / matches[0] / path.relative_to(lost)
    return f" Did you mean {str(meant if meant.exists() else lost.parent / matches[0])!r}?"


def download(hub_id: str, files: Sequence[str], what: str) -> Path:
    """Return the local folder with the named files of a hub repository, fetched unless they are in the cache.

    Args:
        hub_id: `owner/name`.
        files: The only files that are fetched; those that the repository lacks are left out.
        what: What is looked for, for the message.

    Raises:
        InputError: If there is no such repository, no access, or no connection and no copy in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (HfHubHTTPError, OSError, ValueError) as cause:
        raise InputError(hub_message(hub_id, what, cause)) from cause


def hub_message(hub_id: str, what: str, cause: Exception) -> str:
    """Return what to say when a hub id could not be fetched."""
    reason = " ".join(str(cause).split()) or type(cause).__name__
    return (
        f"Expected {what} at {hub_id!r}: there is no such folder, and the Hugging Face hub did not give it either "
        f"({reason}).{nearest(Path(hub_id))} Check the path or id, the connection (HF_HUB_OFFLINE), and access "
        "(`hf auth login` for gated or private ones)."
    )
