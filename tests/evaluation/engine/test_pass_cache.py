"""What a single pass sees before its rows and what it keeps of them, on states of one head and one number each."""

import gc
import weakref

import torch
from torch import Tensor

from swarm_lightning.evaluation.engine.pass_cache import Before, PassCache


def states(table: list[list[float]]) -> Tensor:
    return torch.tensor(table)[:, None, :, None]


def before(table: list[list[float]], row_of: list[int]) -> Before:
    return Before([(states(table), -states(table))], torch.tensor(row_of))


def put(cache: PassCache, table: list[list[float]]) -> list[list[float]]:
    keys, values = cache.update(states(table), -states(table), 0)
    assert torch.equal(keys, -values)
    return keys[:, 0, :, 0].tolist()


def test_parts_stand_before_their_rows_in_order() -> None:
    cache = PassCache([before([[10, 11], [20, 21]], [1, 0, 1]), before([[5], [6]], [0, 0, 1])])
    assert cache.get_seq_length() == 3
    assert put(cache, [[1], [2], [3]]) == [[20, 21, 5, 1], [10, 11, 5, 2], [20, 21, 6, 3]]


def test_only_what_is_new_of_the_wanted_rows_is_kept() -> None:
    cache = PassCache([before([[10]], [0, 0, 0])], keep=torch.tensor([2, 0]))
    put(cache, [[1, 2], [3, 4], [5, 6]])
    [(keys, values)] = cache.kept()
    assert keys[:, 0, :, 0].tolist() == [[5, 6], [1, 2]]
    assert torch.equal(keys, -values)


def test_what_is_kept_does_not_hold_the_states_it_comes_from() -> None:
    cache = PassCache([], keep=torch.tensor([0, 1]))
    fused = torch.ones(2, 1, 3, 8)
    cache.update(fused[..., :4], fused[..., 4:], 0)
    assert cache.kept()[0][0].untyped_storage().nbytes() == 2 * 3 * 4 * 4


def test_memory_is_free_as_soon_as_the_cache_is_let_go() -> None:
    """Without a garbage collection, which may come late: there is no circle of references."""
    gc.disable()
    try:
        cache = PassCache([], keep=torch.tensor([0]))
        put(cache, [[1]])
        held = weakref.ref(cache.kept()[0][0])
        assert held() is not None
        del cache
        assert held() is None
    finally:
        gc.enable()
