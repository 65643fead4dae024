"""The draw of splits by seed."""

import pytest
import torch

from swarm_lightning.data.sampling import draw, draw_two, split_sizes
from swarm_lightning.errors import InputError


@pytest.mark.parametrize(
    ("records", "validation_size", "test_size", "expected"),
    [
        (1200, None, None, (200, 1000)),
        (1199, None, None, (200, 999)),
        (400, None, None, (200, 200)),
        (9, None, None, (4, 5)),
        (1500, 700, None, (700, 800)),
        (1500, None, 1400, (100, 1400)),
        (1500, 10, 20, (10, 20)),
    ],
)
def test_sizes_follow_the_settings_and_then_what_is_there(
    records: int, validation_size: int | None, test_size: int | None, expected: tuple[int, int]
) -> None:
    assert split_sizes(records, validation_size, test_size) == expected


@pytest.mark.parametrize(
    ("records", "validation_size", "test_size"),
    [(1, None, None), (10, 10, None), (10, None, 10), (10, 6, 5), (10, 0, 5)],
)
def test_sizes_that_leave_a_split_empty_or_ask_too_much_are_refused(
    records: int, validation_size: int | None, test_size: int | None
) -> None:
    with pytest.raises(InputError, match="Expected"):
        split_sizes(records, validation_size, test_size)


def test_the_two_draws_share_no_record_and_have_their_sizes() -> None:
    validation, test = draw_two(1300, 200, 1000, seed=3)
    assert (len(set(validation)), len(set(test))) == (200, 1000)
    assert not set(validation) & set(test)
    assert set(validation) | set(test) <= set(range(1300))
    assert validation == sorted(validation)


def test_the_same_seed_draws_the_same_and_another_seed_something_else() -> None:
    assert draw_two(50, 10, 20, seed=1) == draw_two(50, 10, 20, seed=1)
    assert draw_two(50, 10, 20, seed=1) != draw_two(50, 10, 20, seed=2)


def test_another_validation_size_leaves_the_test_split_as_it_was() -> None:
    assert draw_two(50, 10, 20, seed=1)[1] == draw_two(50, 30, 20, seed=1)[1]


def test_the_draw_takes_the_places_of_the_permutation_that_it_documents() -> None:
    order = torch.randperm(6, generator=torch.Generator().manual_seed(5)).tolist()
    assert draw_two(6, 2, 3, seed=5) == (sorted(order[:2]), sorted(order[3:]))


def test_without_a_seed_the_seed_of_the_run_is_taken_and_its_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    try:
        torch.manual_seed(11)
        torch.rand(3)
        state = torch.random.get_rng_state()
        assert draw(100, 10, None, "test_size") == draw(100, 10, 11, "test_size")
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.random.set_rng_state(before)


def test_more_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="test_size to be at most 3.*got 4"):
        draw(3, 4, 0, "test_size")
