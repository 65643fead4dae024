"""Keys are single numbers here (one head of size 1), so that a cache reads as a table of rows and columns."""

import gc
import weakref

import torch
from torch import Tensor

from swarm_lightning.evaluation.engine.row_cache import Filling, RowCache


def states(table: list[list[float]]) -> Tensor:
    """Numbers [rows, columns] as keys [rows, 1, columns, 1]."""
    return torch.tensor(table)[:, None, :, None]


def shown(tensor: Tensor | None) -> list[list[float]]:
    assert tensor is not None
    return tensor[:, 0, :, 0].tolist()


def put(cache: RowCache, table: list[list[float]], layer: int = 0) -> list[list[float]]:
    """Store keys, and their negatives as values; return the keys that the new tokens see."""
    keys, values = cache.update(states(table), -states(table), layer)
    assert torch.equal(keys, -values)
    return shown(keys)


def filled() -> RowCache:
    """Three slots, six columns; two rows of two tokens in slots 2 and 0, and the last columns free."""
    cache = RowCache(3, 6)
    cache.end = 3
    cache.fill(Filling(torch.tensor([0, 2]), torch.tensor([2, 0]), torch.zeros(3, dtype=torch.long)))
    assert cache.get_seq_length() == 0
    assert put(cache, [[1, 2], [8, 8], [3, 4]]) == [[1, 2], [8, 8], [3, 4]]
    return cache


def test_new_rows_end_in_the_newest_column_of_their_slots() -> None:
    cache = filled()
    assert shown(cache.row_layers[0].keys) == [[0, 3, 4, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 2, 0, 0, 0]]
    assert shown(cache.row_layers[0].values) == [[0, -3, -4, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, -1, -2, 0, 0, 0]]


def test_a_step_writes_one_column_and_reads_the_columns_in_use() -> None:
    cache = filled()
    cache.step(start=1)
    assert cache.get_seq_length() == 2
    assert put(cache, [[5], [6], [7]]) == [[3, 4, 5], [0, 0, 6], [1, 2, 7]]


def test_a_row_that_takes_a_slot_leaves_nothing_of_the_one_before() -> None:
    cache = filled()
    cache.fill(Filling(None, slice(2, 3), torch.zeros(1, dtype=torch.long)))
    cache.end = 4
    put(cache, [[9]])
    assert shown(cache.row_layers[0].keys)[2] == [0, 0, 0, 9, 0, 0]


def test_kept_slots_stand_in_the_order_that_is_asked_for() -> None:
    cache = filled()
    cache.keep(torch.tensor([2, 0]))
    assert cache.slots == 2
    assert shown(cache.row_layers[0].keys) == [[0, 1, 2, 0, 0, 0], [0, 3, 4, 0, 0, 0]]


def test_columns_move_to_the_left() -> None:
    cache = filled()
    cache.move_left(1)
    assert cache.end == 2
    assert [row[:2] for row in shown(cache.row_layers[0].keys)] == [[3, 4], [0, 0], [1, 2]]
    cache.step(start=0)
    assert put(cache, [[5], [6], [7]]) == [[3, 4, 5], [0, 0, 6], [1, 2, 7]]


def test_prefixes_stand_before_the_rows_of_their_particles() -> None:
    prefix = states([[10, 11], [20, 21]])
    cache = RowCache(2, 5, [(prefix, -prefix)])
    cache.end = 4
    cache.fill(Filling(None, slice(0, 2), torch.tensor([1, 0])))
    assert cache.get_seq_length() == 2
    assert put(cache, [[1], [2]]) == [[20, 21, 1], [10, 11, 2]]
    assert shown(cache.row_layers[0].keys) == [[0, 20, 21, 1, 0], [0, 10, 11, 2, 0]]


def test_every_layer_has_rows_of_its_own() -> None:
    cache = filled()
    cache.fill(Filling(None, slice(0, 3), torch.zeros(3, dtype=torch.long)))
    put(cache, [[1], [2], [3]], layer=1)
    assert len(cache) == 2
    assert shown(cache.row_layers[1].keys)[0] == [0, 0, 1, 0, 0, 0]
    assert shown(cache.row_layers[0].keys)[0] == [0, 3, 4, 0, 0, 0]


def test_memory_is_free_as_soon_as_the_cache_is_let_go() -> None:
    """Without a garbage collection, which may come late: there is no circle of references."""
    gc.disable()
    try:
        cache = filled()
        held = weakref.ref(cache.row_layers[0].keys)
        assert held() is not None
        del cache
        assert held() is None
    finally:
        gc.enable()
