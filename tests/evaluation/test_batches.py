from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.batches import ForwardPass, left_padded_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CPU = torch.device("cpu")


def test_rows_are_sorted_by_length_and_padded_on_the_left() -> None:
    first, second = left_padded_batches([[1], [2, 3, 4], [5, 6]], 2, 9, CPU)
    assert first.rows == (1, 2)
    assert first.tokens.tolist() == [[2, 3, 4], [9, 5, 6]]
    assert first.mask.tolist() == [[1, 1, 1], [0, 1, 1]]
    assert first.positions.tolist() == [[0, 1, 2], [0, 0, 1]]
    assert first.lengths.tolist() == [3, 2]
    assert (second.rows, second.tokens.tolist()) == ((0,), [[1]])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_every_row_stands_in_one_batch(batch_size: int) -> None:
    batches = left_padded_batches([[1]] * 5, batch_size, 0, CPU)
    assert sorted(row for batch in batches for row in batch.rows) == [0, 1, 2, 3, 4]
    assert max(len(batch.rows) for batch in batches) == min(batch_size, 5)


def test_nothing_gives_no_batches() -> None:
    assert left_padded_batches([], 4, 0, CPU) == []


def test_a_padded_row_gets_the_logits_that_it_gets_alone(tiny_model: "PreTrainedModel") -> None:
    (batch,) = left_padded_batches([[5, 6, 7, 8, 9], [10, 11]], 2, 0, CPU)
    with torch.inference_mode():
        logits, _ = ForwardPass(tiny_model)(batch.tokens, batch.mask, batch.positions, keep=2)
        alone = tiny_model(torch.tensor([[10, 11]])).logits
    torch.testing.assert_close(logits[1], alone[0])


def test_logits_of_the_last_columns_only(tiny_model: "PreTrainedModel") -> None:
    (batch,) = left_padded_batches([[5, 6, 7]], 1, 0, CPU)
    with torch.inference_mode():
        logits, cache = ForwardPass(tiny_model)(batch.tokens, batch.mask, batch.positions, keep=1)
    assert logits.shape[:2] == (1, 1)
    assert cache is None


def test_a_model_without_a_cache_is_refused_where_one_is_needed(tiny_model: "PreTrainedModel") -> None:
    class Forgetful(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> object:
            return type("Output", (), {"logits": tiny_model(input_ids).logits})()

    (batch,) = left_padded_batches([[5, 6, 7]], 1, 0, CPU)
    forward = ForwardPass(Forgetful())  # type: ignore[arg-type]
    assert forward(batch.tokens, batch.mask, batch.positions, keep=2)[0].shape[1] == 2
    with pytest.raises(InputError, match="Forgetful"):
        forward(batch.tokens, batch.mask, batch.positions, keep=1, use_cache=True)
