"""Which records become the validation and the test split where a dataset does not say so.

The draw depends on the seed, the number of records and the sizes only. It uses a generator of its own, so that it
neither disturbs the random numbers of the search nor depends on how many were drawn before.
"""

import torch

from swarm_lightning.errors import InputError

VALIDATION_SIZE = 200
TEST_SIZE = 1000


def split_sizes(records: int, validation_size: int | None, test_size: int | None) -> tuple[int, int]:
    """Decide how many of the records of a single split go to validation and to test.

    By default 200 and 1000. With fewer than 1200 records, validation keeps its 200 as long as the test split is at
    least as large; below 400 records each gets half (test the odd one). A size that is given is kept.

    Args:
        records: Number of records there are.
        validation_size: Number wanted for validation; None for the default.
        test_size: Number wanted for test; None for the default.

    Returns:
        The sizes of validation and test, both at least 1.

    Raises:
        InputError: If there are not enough records.

    >>> [split_sizes(records, None, None) for records in (5000, 1200, 700, 399, 2)]
    [(200, 1000), (200, 1000), (200, 500), (199, 200), (1, 1)]
    >>> split_sizes(300, 250, None), split_sizes(300, None, 30)
    ((250, 50), (200, 30))
    """
    if validation_size is None and test_size is None:
        validation = min(VALIDATION_SIZE, records // 2)
        test = min(TEST_SIZE, records - validation)
    elif test_size is None:
        validation = _at_least_one(validation_size, "validation_size")
        test = min(TEST_SIZE, records - validation)
    elif validation_size is None:
        test = _at_least_one(test_size, "test_size")
        validation = min(VALIDATION_SIZE, records - test)
    else:
        validation, test = _at_least_one(validation_size, "validation_size"), _at_least_one(test_size, "test_size")
    if validation < 1 or test < 1 or validation + test > records:
        wanted = f"validation_size {validation_size or 'not set'}, test_size {test_size or 'not set'}"
        raise InputError(
            f"Expected enough records for a validation and a test split ({wanted}), but there are {records}. "
            "Ask for fewer, or give each split a file of its own."
        )
    return validation, test


def draw_two(records: int, validation_size: int, test_size: int, seed: int | None) -> tuple[list[int], list[int]]:
    """Draw two disjoint sets of records without replacement.

    Validation takes the first places of `torch.randperm(records)` and test the last ones, so that another validation
    size leaves the test split as it was.

    Args:
        records: Number of records there are.
        validation_size: Number to draw for validation.
        test_size: Number to draw for test; with `validation_size` at most `records`.
        seed: Seed of the draw; None takes `torch.initial_seed()`.

    Returns:
        The indices of both, each in ascending order.
    """
    order = _order(records, seed)
    return sorted(order[:validation_size]), sorted(order[records - test_size :])


def draw(records: int, size: int, seed: int | None, setting: str) -> list[int]:
    """Draw some records of one split without replacement.

    Args:
        records: Number of records there are.
        size: Number to draw.
        seed: Seed of the draw; None takes `torch.initial_seed()`.
        setting: Name of the setting that holds the size, for the message.

    Returns:
        The indices in ascending order.

    Raises:
        InputError: If there are fewer records than that.
    """
    if _at_least_one(size, setting) > records:
        raise InputError(
            f"Expected {setting} to be at most {records}, the number of records that can be scored, but got {size}. "
            "Lower it, or leave it out to take them all."
        )
    return sorted(_order(records, seed)[:size])


def _order(records: int, seed: int | None) -> list[int]:
    generator = torch.Generator().manual_seed(torch.initial_seed() if seed is None else seed)
    order: list[int] = torch.randperm(records, generator=generator).tolist()
    return order


def _at_least_one(size: int | None, setting: str) -> int:
    if size is None or size < 1:
        raise InputError(f"Expected {setting} to be at least 1, but got {size}. Leave it out for the default.")
    return size
