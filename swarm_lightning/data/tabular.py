"""Reads what comes through the `datasets` library: Parquet files, local folders, and datasets of the hub.

Local files are converted in a temporary folder that is removed at once, so that nothing is left in the user's cache
and a changed file is never answered from it. Only datasets of the hub use the library's own cache.
"""

import glob
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.data.csv_files import DELIMITERS, check_csv
from swarm_lightning.data.tables import Source, Table
from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder


def open_parquet(path: Path) -> Source:
    """Open a .parquet file.

    Raises:
        InputError: When read, if it is no Parquet file or has no records.
    """
    return Source(path.stem, str(path), {"": lambda: _table(_load_file("parquet", path, {}), str(path))})


def open_folder(folder: Path, subset: str | None) -> Source:
    """Open a folder: one written by `save_to_disk`, or one with data files as `datasets.load_dataset` understands them.

    Raises:
        InputError: If the library can make nothing of it, or a CSV file in it is one that `open_csv` would refuse.
    """
    from datasets import Dataset, load_dataset, load_dataset_builder, load_from_disk

    if not (folder / "dataset_dict.json").is_file() and not (folder / "state.json").is_file():
        expected = f"{folder} to be a folder with data files or one written by save_to_disk"
        with _reading(expected, ". If its files are datasets of their own, name one of them."), _spare_cache() as cache:
            _check_csv_files(load_dataset_builder(str(folder), subset, cache_dir=cache))
            loaded = load_dataset(str(folder), subset, cache_dir=cache, keep_in_memory=True)
    elif subset is not None:
        raise InputError(f"Expected no subset for {folder}, which was written by save_to_disk, but got {subset!r}.")
    else:
        with _reading(f"{folder} to be a folder written by save_to_disk"):
            loaded = load_from_disk(str(folder))
    splits: Mapping[str, Dataset] = {"": loaded} if isinstance(loaded, Dataset) else loaded
    return _source(folder.name, str(folder), splits)


def open_hub(identifier: str, subset: str | None, hint: str = "") -> Source:
    """Open a dataset of the Hugging Face hub.

    Args:
        identifier: The dataset's id, `name` or `owner/name`.
        subset: Its configuration, where it has several.
        hint: A sentence to put behind the message if it can't be had.

    Raises:
        InputError: If it doesn't exist, needs a subset, or can't be reached.
    """
    from datasets import load_dataset

    called = _called(identifier, subset)
    try:
        loaded = load_dataset(identifier, subset)
    # The library, the hub's client and the network have dozens of error classes with no ancestor in common.
    except Exception as error:
        raise InputError(
            f"Expected {called!r} to be a file, a folder, or a dataset of the Hugging Face hub, but nothing of that "
            f"name is here, and the hub gave: {str(error).rstrip('.')}.{hint} Check the name, `subset`, and "
            "the connection."
        ) from error
    return _source(called, identifier, loaded)


def _check_csv_files(builder: "DatasetBuilder") -> None:
    """Refuse a folder whose CSV files the library would read with columns shifted or filled up."""
    config = builder.config
    usual = {"header": "infer", "names": None, "column_names": None, "skiprows": None, "encoding": None}
    if any(getattr(config, setting, config) != value for setting, value in usual.items()):
        return  # no CSV files, or the folder's card says how to read them
    for paths in (config.data_files or {}).values():
        for path in map(Path, paths):
            if path.suffix.lower() in DELIMITERS:
                check_csv(path, config.sep)


def _source(name: str, place: str, splits: "Mapping[str, Dataset]") -> Source:
    def reader(split: str) -> Callable[[], Table]:
        return lambda: _table(splits[split], f"{place} ({split!r})" if split else place)

    return Source(name, place, {str(split): reader(split) for split in splits})


def _table(dataset: "Dataset", where: str) -> Table:
    from datasets import ClassLabel

    class_names = {
        column: feature.names for column, feature in dataset.features.items() if isinstance(feature, ClassLabel)
    }
    with _reading(f"valid text in {where}"):
        # to_list decodes no images or sounds.
        return Table(where, dataset.to_list(), class_names)


def _load_file(form: str, path: Path, settings: Mapping[str, Any]) -> "Dataset":
    from datasets import load_dataset

    with _reading(f"{path} to be a {form} file with records"), _spare_cache() as cache:
        # A name with brackets or stars would be taken for a pattern.
        files = glob.escape(str(path.resolve()))
        return load_dataset(form, data_files=files, split="train", cache_dir=cache, keep_in_memory=True, **settings)


@contextmanager
def _spare_cache() -> Iterator[str]:
    """A cache folder for one reading, without progress bars for what takes milliseconds."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown, log = not are_progress_bars_disabled(), logging.getLogger("datasets")
    level = log.level
    disable_progress_bars()
    log.setLevel(logging.CRITICAL)  # it would print the traceback of what is raised here anyway
    try:
        with tempfile.TemporaryDirectory(prefix="swarm-lightning-") as folder:
            yield folder
    finally:
        log.setLevel(level)
        if shown:
            enable_progress_bars()


@contextmanager
def _reading(expected: str, hint: str = "") -> Iterator[None]:
    """Turn whatever the library raises about a file into an error that names the file."""
    try:
        yield
    except InputError:
        raise
    # Its readers raise errors of pandas, pyarrow and its own, with no ancestor in common.
    except Exception as error:
        cause = error.__cause__ or error
        raise InputError(f"Expected {expected}, but got {type(cause).__name__}: {str(cause).strip()}{hint}") from error


def _called(identifier: str, subset: str | None) -> str:
    return identifier if subset is None else f"{identifier}/{subset}"
