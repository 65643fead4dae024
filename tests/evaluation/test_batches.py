from typing import TYPE_CHECKING

import pytest
import torch
from transformers import DynamicCache

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.batches import ForwardPass, lay_out, queues_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CPU = torch.device("cpu")


def test_every_particle_has_a_queue_with_its_longest_rows_first() -> None:
    queues = queues_of([2, 0, 2, 0, 0], [3, 5, 4, 7, 5])
    assert list(queues) == [0, 2]
    assert [list(queue) for queue in queues.values()] == [[3, 1, 4], [2, 0]]  # of equals, the first stays first


def test_rows_are_padded_on_the_left_and_lie_particle_by_particle() -> None:
    batch = lay_out({1: [2, 0], 4: [1, 3]}, [[1], [2, 3, 4], [5, 6], [7, 8]], 0, 9, CPU)
    assert batch.particles == (1, 4)
    assert batch.rows == (2, 0, 1, 3)
    assert batch.tokens.tolist() == [[9, 5, 6], [9, 9, 1], [2, 3, 4], [9, 7, 8]]
    assert batch.mask.tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 1, 1]]
    assert batch.positions.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 2], [0, 0, 1]]


def test_a_particle_with_fewer_rows_gets_rows_without_meaning() -> None:
    batch = lay_out({0: [1], 1: [0, 2, 3], 2: []}, [[1, 2], [3], [4], [5]], 0, 9, CPU)
    assert batch.rows == (1, None, None, 0, 2, 3, None, None, None)
    assert batch.tokens.tolist() == [[9, 3], [9, 9], [9, 9], [1, 2], [9, 4], [9, 5], [9, 9], [9, 9], [9, 9]]
    assert (batch.mask.sum(dim=1) >= 1).all()  # no row is all padding: its softmax would be empty
    assert batch.mask[[1, 2, 6, 7, 8]].tolist() == [[0, 1]] * 5


def test_skipped_tokens_are_not_fed_but_count_as_positions() -> None:
    batch = lay_out({0: [0, 1]}, [[9, 9, 9, 5], [9, 9, 9, 6, 7]], 3, 0, CPU)
    assert batch.tokens.tolist() == [[0, 5], [6, 7]]
    assert batch.positions.tolist() == [[0, 3], [3, 4]]


def test_a_padded_row_gets_the_logits_that_it_gets_alone(tiny_model: "PreTrainedModel") -> None:
    batch = lay_out({0: [0, 1]}, [[5, 6, 7, 8, 9], [10, 11]], 0, 0, CPU)
    with torch.inference_mode():
        logits = ForwardPass(tiny_model)(batch.tokens, batch.mask, batch.positions, keep=2)
        alone = tiny_model(torch.tensor([[10, 11]])).logits
    assert logits.shape[:2] == (2, 2)
    torch.testing.assert_close(logits[1], alone[0])


class Forgetful(torch.nn.Module):
    """Takes tokens only, returns logits of all columns, and keeps no keys and values."""

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.config = model.config
        self._model = [model]

    def forward(self, input_ids: torch.Tensor) -> object:
        return type("Output", (), {"logits": self._model[0](input_ids).logits})()


def test_a_model_is_called_with_what_it_knows(tiny_model: "PreTrainedModel") -> None:
    batch = lay_out({0: [0]}, [[5, 6, 7]], 0, 0, CPU)
    forward = ForwardPass(Forgetful(tiny_model))  # type: ignore[arg-type]
    assert not forward.takes_positions
    assert forward(batch.tokens, batch.mask, batch.positions, keep=2).shape[1] == 2
    assert ForwardPass(tiny_model).takes_positions


def test_a_model_without_a_cache_is_refused_where_one_is_needed(tiny_model: "PreTrainedModel") -> None:
    batch = lay_out({0: [0]}, [[5, 6, 7]], 0, 0, CPU)
    forward = ForwardPass(Forgetful(tiny_model))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Forgetful keeps none"):
        forward(batch.tokens, batch.mask, batch.positions, 1, DynamicCache())


def test_a_model_that_keeps_something_else_than_keys_and_values_is_refused() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "qwen3_next",
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=2,
        layer_types=["linear_attention", "full_attention"],
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match="layers of the kind linear_attention. Use another base model"):
        ForwardPass(model)
