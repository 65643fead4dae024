import pytest
import torch
from torch import Tensor

from swarm_lightning.doors.transformers_cache import (
    OwnCache,
    OwnLayer,
    drop_first_columns,
    growing_cache,
    keep_rows,
    keeps_keys_and_values,
    kept,
)
from swarm_lightning.doors.transformers_forward import ForwardPass
from tests.doors.contract import changed
from tests.doors.tiny_models import make, rows

pytestmark = pytest.mark.smoke
DOOR = "transformers_cache.py"


class Growing(OwnLayer):
    """Does what the library's own layer does."""

    def take_memory(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys[:, :, :0], values[:, :, :0]

    def columns_before(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def store(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        return self.keys, self.values


class OwnGrowing(OwnCache):
    def new_layer(self, index: int) -> Growing:
        return Growing()


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_a_cache_of_ours_serves_a_model_as_the_library_s_own(family: str) -> None:
    forward = ForwardPass(make(family))
    tokens = torch.tensor(rows([6, 6, 6]))
    positions, mask = torch.arange(6).repeat(3, 1), torch.ones_like(tokens)
    ours, theirs = OwnGrowing(), growing_cache()
    with torch.inference_mode():
        whole = forward(tokens, mask, positions)
        for cache in (ours, theirs):
            assert not keeps_keys_and_values(cache)
            forward(tokens[:, :4], mask[:, :4], positions[:, :4], cache)
            found = forward(tokens[:, 4:], mask, positions[:, 4:], cache)
            message = changed("transformers", f"how {family} asks a cache", DOOR)
            torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4, msg=message)
            assert keeps_keys_and_values(cache), message
    for one, other in zip(kept(ours), kept(theirs), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_growing_cache_keeps_the_rows_and_columns_that_are_left_to_it() -> None:
    forward, cache = ForwardPass(make("llama")), growing_cache()
    tokens = torch.tensor(rows([5, 5, 5]))
    with torch.inference_mode():
        forward(tokens, torch.ones_like(tokens), torch.arange(5).repeat(3, 1), cache)
    keys, values = kept(cache)[1]
    message = changed("transformers", "DynamicLayer's keys and values", DOOR)
    assert keys.shape == values.shape == (3, 2, 5, 8), message
    keep_rows(cache, torch.tensor([2, 0]))
    drop_first_columns(cache, 2)
    assert torch.equal(kept(cache)[1][0], keys[[2, 0], :, 2:]), message
    assert torch.equal(kept(cache)[1][1], values[[2, 0], :, 2:]), message
    assert cache.get_seq_length() == 3, message
