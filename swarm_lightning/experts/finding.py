"""Finds the experts that paths and hub ids name, of either kind, and names what lies beside them and is not taken.

An expert is a folder with the files of a LoRA adapter or of a full checkpoint. Where a folder of experts holds one a
level or more further in, as PEFT saves adapters that have names of their own and trainers save `checkpoint-500`, it is
taken under the name of the folder it lies in; of several, the user has to choose.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CONFIG_FILE, PICKLED_FILE, WEIGHTS_FILE
from swarm_lightning.experts.checkpoints import CONFIG_FILE as CHECKPOINT_CONFIG
from swarm_lightning.experts.checkpoints import holds_checkpoint, holds_weights
from swarm_lightning.experts.naming import name_of
from swarm_lightning.experts.sources import download, local_folder
from swarm_lightning.files import LEFTOVER

ExpertKind = Literal["adapter", "checkpoint"]
LOGS = "logs"  # where `swarm experts` puts its logs, beside the experts
DEEPEST = 3  # levels below an entry of a folder of experts that are looked through
NAMED_AT_MOST = 8


@dataclass(frozen=True)
class FoundExpert:
    """An expert that was found and not read yet.

    Attributes:
        name: What it is called in tables and messages.
        source: Its folder or hub id.
        kind: Whether it is a LoRA adapter or a full checkpoint.
    """

    name: str
    source: str
    kind: ExpertKind


def find_experts(sources: str | Sequence[str | FoundExpert]) -> list[FoundExpert]:
    """Return all experts that the sources name, in order; those of one folder sorted by name.

    Args:
        sources: A folder of expert folders, an expert's folder, a hub id, `demo:experts`, or a list that mixes them;
            what was found before stays as it is.

    Raises:
        InputError: If a path does not exist, a folder holds no expert, or several that are no entries of it.
    """
    listed = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not listed:
        raise InputError("Expected at least one folder or hub id with experts, but got an empty list.")
    found: list[FoundExpert] = []
    for source in listed:
        if isinstance(source, FoundExpert):
            found.append(source)
            continue
        folder = local_folder(os.fspath(source), "adapters")
        if folder is None:
            found.append(FoundExpert(source, source, _kind_on_hub(source)))
        elif (kind := _kind_of(folder)) is not None:
            found.append(FoundExpert(name_of(folder), str(folder), kind))
            _warn_of_more_inside([folder])
        else:
            found.extend(_inside(folder))
    return found


def check_found(found: Sequence[FoundExpert], least: int = 2, advice: str | None = None) -> None:
    """Refuse too few experts, and one that is given twice.

    Args:
        found: The experts.
        least: How many there must be, 1 or 2.
        advice: What to add where there are fewer; what goes with the kind of those that are there where not given.

    Raises:
        InputError: It names what was found.
    """
    if len(found) < least:
        if advice is None:
            whole = any(one.kind == "checkpoint" for one in found)
            advice = f"Add {'full checkpoints of the same architecture' if whole else 'adapters of the same base'}."
        listed = ", ".join(repr(one.source) for one in found)
        raise InputError(f"Expected at least two experts, but found {len(found)}: {listed}. {advice}")
    folders = [Path(one.source).expanduser() for one in found]
    keys = [str(path.resolve()) if path.is_dir() else str(path) for path in folders]
    twice = [one.source for one, key in zip(found, keys, strict=True) if keys.count(key) > 1]
    if twice:
        ways = "" if len(set(twice)) == 1 else f" ({', '.join(map(repr, twice[:NAMED_AT_MOST]))})"
        raise InputError(
            f"Expected every expert once, but {twice[0]!r} is given {len(twice)} times{ways}. List it once."
        )


def _inside(folder: Path) -> list[FoundExpert]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as cause:
        raise InputError(f"Expected a folder with experts, but {str(folder)!r} can't be read: {cause}.") from cause
    found, outer, passed, deeper = [], [], [], []
    for entry in entries:
        kind = _kind_of(entry) if entry.is_dir() else None
        if entry.name.startswith("."):
            if kind is not None and not LEFTOVER.fullmatch(entry.name):
                passed.append(f"{entry.name!r} (hidden)")
        elif kind is not None:
            found.append(FoundExpert(entry.name, str(entry), kind))
            outer.append(entry)
        elif below := list(_below(entry, DEEPEST)):
            inner = _only_one(folder, entry, below)
            found.append(FoundExpert(entry.name, str(inner), "adapter" if _holds_adapter(inner) else "checkpoint"))
            deeper.append(f"{entry.name!r} from {inner.relative_to(folder).as_posix()!r}")
        elif not _is_log_folder(entry):
            passed.append(f"{entry.name!r} ({_what_it_is(entry)})")
    if not found:
        raise InputError(
            f"Expected {str(folder)!r} to hold {CONFIG_FILE} or sub-folders that do, or full checkpoints, but it "
            f"holds: {_shortened(passed) or 'nothing'}. Name a folder of PEFT adapters, or of full checkpoints."
        )
    if deeper:
        warnings.warn(f"Using experts found deeper inside {str(folder)!r}: {', '.join(deeper)}.", stacklevel=2)
    if passed:
        warnings.warn(
            f"Skipped in {str(folder)!r}, because these are not experts (an expert is a folder with {CONFIG_FILE} or "
            f"{CHECKPOINT_CONFIG}, and weights): {_shortened(passed)}.",
            stacklevel=2,
        )
    _warn_of_more_inside(outer)
    return found


def _only_one(folder: Path, entry: Path, below: list[Path]) -> Path:
    if len(below) > 1:
        names = [path.relative_to(folder).as_posix() for path in below]
        listed = ", ".join(repr(str(path)) for path in below[:2])
        raise InputError(
            f"Expected one expert in {str(entry)!r}, but it holds {len(below)}: {_shortened(map(repr, names))}. Name "
            f"those you want one by one, as in [{listed}, ...], or move the others away."
        )
    return below[0]


def _warn_of_more_inside(experts: Sequence[Path]) -> None:
    """Name whole experts that lie inside of others and are not taken."""
    more = [path for expert in experts for path in _below(expert, 1)]
    if more:
        warnings.warn(
            f"Skipped, because they are inside other experts: {_shortened(repr(str(path)) for path in more)}. Name "
            "them one by one to take them.",
            stacklevel=3,
        )


def _below(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the folders further in that hold a whole expert; what can't be read is said to hold none."""
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return
    for entry in inside:
        adapter = _holds_adapter(entry) and (entry / CONFIG_FILE).exists()
        if adapter or (holds_weights(entry) and (entry / CHECKPOINT_CONFIG).exists()):
            yield entry
        elif levels > 1:
            yield from _below(entry, levels - 1)


def _kind_of(folder: Path) -> ExpertKind | None:
    adapter = _holds_adapter(folder)
    if adapter and holds_weights(folder):  # a config.json alone is what some trainers write beside an adapter
        raise InputError(
            f"Expected an expert to be a LoRA adapter or a full checkpoint, but {str(folder)!r} holds the files of "
            "both. Keep them in two folders."
        )
    if adapter:
        return "adapter"
    return "checkpoint" if holds_checkpoint(folder) else None


def _holds_adapter(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG_FILE, WEIGHTS_FILE, PICKLED_FILE))


def _kind_on_hub(hub_id: str) -> ExpertKind:
    folder = download(hub_id, (CONFIG_FILE, CHECKPOINT_CONFIG), "an adapter")
    return "adapter" if (folder / CONFIG_FILE).exists() else "checkpoint"


def _is_log_folder(entry: Path) -> bool:
    return entry.name == LOGS and entry.is_dir()


def _what_it_is(entry: Path) -> str:
    if not entry.is_dir():
        return "a file" if entry.exists() else "a link to something that is not there"
    try:
        names = sorted(path.name for path in entry.iterdir())
    except OSError as cause:
        return f"a folder that can't be read: {cause.strerror}"
    return f"a folder with {_shortened(names)}" if names else "an empty folder"


def _shortened(texts: "Iterator[str] | Sequence[str]") -> str:
    listed = list(texts)
    more = f" and {len(listed) - NAMED_AT_MOST} more" if len(listed) > NAMED_AT_MOST else ""
    return ", ".join(listed[:NAMED_AT_MOST]) + more
