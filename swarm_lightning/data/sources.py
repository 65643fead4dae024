"""Finds out what a `dataset` setting names: a file, a folder, a harness's task, a dataset of the hub, or nothing.

What exists on this machine is taken before the hub is asked.
"""

import difflib
import re
from pathlib import Path

from swarm_lightning.data.csv_files import DELIMITERS, open_csv
from swarm_lightning.data.harness_tasks import PREFIX
from swarm_lightning.data.tables import Source
from swarm_lightning.errors import InputError
from swarm_lightning.paths import locate

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def open_source(source: str, subset: str | None = None) -> Source:
    """Open what a setting names.

    Args:
        source: Path of a file or folder, id of a dataset of the hub, a name in the demo world (`demo:tasks/...`), or
            a task of the lm-evaluation-harness (`lm_eval:...`).
        subset: Configuration of a dataset of the hub, or of a folder with data files.

    Raises:
        InputError: If there is nothing of that name, or it can't be read.
    """
    if not source.strip():  # as a path, it would be the present folder with all that lies in it
        raise InputError(
            "Expected the name of a dataset (data.dataset), but it is empty. Name a file, folder or hub id."
        )
    if source.startswith(PREFIX):
        from swarm_lightning.data.harness_documents import open_harness

        return open_harness(source, subset)
    path = Path(locate(source)).expanduser()
    if path.is_dir():
        from swarm_lightning.data.tabular import open_folder

        return open_folder(path, subset)
    if path.exists():
        return _open_file(path, subset)
    hint = nearest_hint(path)
    if path.suffix.lower() in (*SUFFIXES, ".txt") or not HUB_ID.fullmatch(source):
        raise InputError(f"Expected a file or folder at {source!r}, but there is none.{hint}")
    from swarm_lightning.data.tabular import open_hub

    return open_hub(source, subset, hint)


def _open_file(path: Path, subset: str | None) -> Source:
    from swarm_lightning.data.json_files import open_json, open_json_lines

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"Expected a file that ends in {', '.join(SUFFIXES)}, but got {str(path)!r}. Rename or convert it."
        )
    if subset is not None:
        raise InputError(f"Expected no subset for the file {str(path)!r}, but got {subset!r}. Leave it out.")
    if suffix == ".json":
        return open_json(path)
    if suffix in (".jsonl", ".ndjson"):
        return open_json_lines(path)
    if suffix in DELIMITERS:
        return open_csv(path, DELIMITERS[suffix])
    from swarm_lightning.data.tabular import open_parquet

    return open_parquet(path)


def nearest_hint(path: Path) -> str:
    """Name what lies nearest to a path that does not exist, as a sentence with a blank before it."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        path, folder = folder, folder.parent
    if not folder.is_dir():
        return ""
    close = difflib.get_close_matches(path.name, [entry.name for entry in folder.iterdir()], n=1, cutoff=0.75)
    return f" Did you mean {str(folder / close[0])!r}?" if close else ""
