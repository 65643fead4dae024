"""Reads a dataset into its validation and test split: opens it, picks the splits, makes examples, samples.

Records that no reply could score on are left out and named in a notice. Which records a split gets depends on the
files, the settings and the seed only. What the splits have in common is the matter of `checks.py`.
"""

import difflib
from collections.abc import Mapping, Sequence

from swarm_lightning.data.checks import find_unscorable
from swarm_lightning.data.columns import read_columns
from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.notices import Notice
from swarm_lightning.data.records import read_examples
from swarm_lightning.data.sources import open_source
from swarm_lightning.data.tables import Source
from swarm_lightning.errors import InputError

SPLIT_NAMES = {"validation": ("validation", "dev", "val", "valid"), "test": ("test",)}


def read_splits(
    source: str,
    test_source: str | None = None,
    subset: str | None = None,
    validation_split: str | None = None,
    test_split: str | None = None,
    columns: Mapping[str, str | list[str] | None] | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    seed: int | None = None,
) -> ExampleSplits:
    """Read the validation and the test split of a dataset.

    Where both splits are there they keep their sizes, unless a size is given: then that many are drawn. Where there is
    one split only, both are drawn from it, without a common record; see `sampling.py` for the sizes.

    Args:
        source: File, folder, or id of a dataset of the hub.
        test_source: A second one with the test split; None if `source` has it or both are to be drawn from one split.
        subset: Configuration of a dataset that has several.
        validation_split: Name of the split that guides the search; None for `validation`, `dev`, `val` or `valid`.
        test_split: Name of the split that is held back; None for `test`. The same name as `validation_split` draws both
            from that split.
        columns: Which column holds what; see `columns.py`.
        validation_size: Number of records to draw for validation.
        test_size: Number of records to draw for test.
        seed: Seed of the draws; None takes `torch.initial_seed()`.

    Returns:
        The splits, with notices about what was left out and what was drawn.

    Raises:
        InputError: If anything can't be read, found or used.
    """
    name, pools, places, notices = read_pools(source, test_source, subset, validation_split, test_split, columns)
    if len(pools) == 1:
        validation, test, drawn = _draw_both(pools[0], places[0], validation_size, test_size, seed)
    else:
        validation, drawn = _draw_one(pools[0], places[0], "validation_size", validation_size, seed)
        test, more = _draw_one(pools[1], places[1], "test_size", test_size, seed)
        drawn = [*drawn, *more]
    return ExampleSplits(name, tuple(validation), tuple(test), (*notices, *drawn))


def read_pools(
    source: str,
    test_source: str | None = None,
    subset: str | None = None,
    validation_split: str | None = None,
    test_split: str | None = None,
    columns: Mapping[str, str | list[str] | None] | None = None,
) -> tuple[str, list[list[Example]], list[str], list[Notice]]:
    """Read what the splits of a dataset are drawn from; see `read_splits` for the arguments and what is refused.

    Returns:
        The name of the dataset; the examples that can be scored, of both splits or of the one from which both are
        drawn; where they stand, in words; and what was left out.
    """
    parts = read_columns(columns)
    opened = open_source(source, subset)
    notices = list(opened.notices)
    if test_source is None:
        names = [_name_one(opened, "validation", validation_split), _name_one(opened, "test", test_split)]
        # The same name twice is one table: both splits are drawn from it.
        tables = [opened.splits[name]() for name in dict.fromkeys(names)]
    else:
        second = open_source(test_source, subset)
        notices.extend(second.notices)
        tables = [
            opened.splits[_name_one(opened, "validation", validation_split)](),
            second.splits[_name_one(second, "test", test_split)](),
        ]
    places = [table.where for table in tables]
    pools, left_out = _leave_out_unscorable(read_examples(tables, parts), places)
    return opened.name, pools, places, [*notices, *left_out]


def _name_one(source: Source, purpose: str, wanted: str | None) -> str:
    """Name the split of a source that serves a purpose: the wanted one, the only one, or the one of a usual name."""
    names = list(source.splits)
    shown = ", ".join(map(repr, names))
    if wanted is not None:
        # The file form calls its split "dev"; both of its names are understood.
        aliases = [wanted, *(SPLIT_NAMES["validation"][:2] if wanted in SPLIT_NAMES["validation"][:2] else ())]
        found = [name for name in aliases if name in names]
        if found:
            return found[0]
        close = difflib.get_close_matches(wanted, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        if names == [""]:
            raise InputError(
                f"Expected no {purpose}_split for {source.place}, which has one split only, but got {wanted!r}."
            )
        raise InputError(
            f"Expected the {purpose}_split of {source.place} to be among {shown}, but got {wanted!r}.{hint}"
        )
    if len(names) == 1:
        return names[0]
    for name in SPLIT_NAMES[purpose]:
        if name in names:
            return name
    raise InputError(
        f"Expected a split named {' or '.join(SPLIT_NAMES[purpose])} in {source.place}, but there are {shown}. "
        f"Say with {purpose}_split which one to take."
    )


def _leave_out_unscorable(
    pools: Sequence[Sequence[Example]], places: Sequence[str]
) -> tuple[list[list[Example]], list[Notice]]:
    answers_expected = any(example.answer is not None for pool in pools for example in pool)
    kept: list[list[Example]] = []
    notices: list[Notice] = []
    for pool, place in zip(pools, places, strict=True):
        unscorable: set[int] = set()
        found: list[Notice] = []
        for indices, notice in find_unscorable(pool, place, answers_expected):
            unscorable.update(indices)
            message = f"{notice.message} They were left out: mend or remove them."
            found.append(Notice(notice.kind, notice.severity, message, notice.count, notice.identifiers))
        if len(unscorable) == len(pool):
            reasons = " ".join(notice.message for notice in found).replace(
                " They were left out: mend or remove them.", ""
            )
            raise InputError(
                f"Expected at least one record in {place} that can be scored. {reasons} "
                "Check the columns, or name another split."
            )
        kept.append([example for index, example in enumerate(pool) if index not in unscorable])
        notices.extend(found)
    return kept, notices


def _draw_both(
    pool: Sequence[Example], place: str, validation_size: int | None, test_size: int | None, seed: int | None
) -> tuple[list[Example], list[Example], list[Notice]]:
    from swarm_lightning.data.sampling import TEST_SIZE, VALIDATION_SIZE, draw_two, split_sizes

    wanted = (validation_size or VALIDATION_SIZE, test_size or TEST_SIZE)
    sizes = split_sizes(len(pool), validation_size, test_size)
    validation, test = draw_two(len(pool), *sizes, seed)
    message = f"{sizes[0]} validation and {sizes[1]} test examples were drawn by seed from the {len(pool)} of {place}."
    notices = [Notice("sampled", "info", message, sum(sizes))]
    if sizes != wanted:
        message = (
            f"{place} has {len(pool)} records that can be scored, too few for {wanted[0]} validation and {wanted[1]} "
            f"test examples: the splits have {sizes[0]} and {sizes[1]}, and their scores are less certain."
        )
        notices.append(Notice("few records", "warning", message, len(pool)))
    return [pool[index] for index in validation], [pool[index] for index in test], notices


def _draw_one(
    pool: Sequence[Example], place: str, setting: str, size: int | None, seed: int | None
) -> tuple[list[Example], list[Notice]]:
    if size is None:
        return list(pool), []
    from swarm_lightning.data.sampling import draw

    drawn = [pool[index] for index in draw(len(pool), size, seed, setting)]
    message = f"{size} examples were drawn by seed from the {len(pool)} of {place}."
    return drawn, [Notice("sampled", "info", message, size)]
