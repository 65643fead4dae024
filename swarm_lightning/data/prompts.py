"""Reads the prompts that `swarm predict` answers; nothing here is scored."""

from pathlib import Path

from swarm_lightning.data.columns import read_columns
from swarm_lightning.data.examples import Example
from swarm_lightning.data.notices import Notice
from swarm_lightning.data.records import read_examples
from swarm_lightning.data.sources import nearest_hint, open_source
from swarm_lightning.data.tables import Table
from swarm_lightning.errors import InputError
from swarm_lightning.paths import locate
from swarm_lightning.texts import read_text


def read_prompts(source: str) -> tuple[list[Example], tuple[Notice, ...]]:
    """Read a file of prompts.

    Args:
        source: A .txt file with one prompt a line (empty lines are skipped), or a file with records that have a
            `prompt` or a `question`, and perhaps `choices` and `answer`: .jsonl, .json, .csv or .parquet. Of a file
            with two splits the test split is read.

    Returns:
        One example for each prompt, in the order of the file, and what a user should know about the file.

    Raises:
        InputError: If there is no such file, it has no prompts, or a record has neither prompt nor question.
    """
    path = Path(locate(source)).expanduser()
    if not path.is_file():
        raise InputError(f"Expected a file with prompts at {source!r}, but there is none.{nearest_hint(path)}")
    if path.suffix.lower() == ".txt":
        records = [{"prompt": line} for line in read_text(path).splitlines() if line.strip()]
        if not records:
            raise InputError(f"Expected at least one prompt in {path}, but it is empty. Write one prompt a line.")
        table = Table(str(path), records)
        return read_examples([table], read_columns(None))[0], ()
    opened = open_source(source)
    split = "test" if "test" in opened.splits else next(iter(opened.splits))
    prompts = read_examples([opened.splits[split]()], read_columns(None))[0]
    blank = next((index for index, example in enumerate(prompts) if not example.question.strip()), None)
    if blank is not None:
        raise InputError(f"Expected a prompt in every record of {path}, but that of record {blank} is empty.")
    return prompts, opened.notices
