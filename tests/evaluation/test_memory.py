from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.evaluation import memory
from swarm_lightning.evaluation.memory import bytes_of_a_row, free_bytes, is_out_of_memory, rows_that_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def test_a_real_failure_to_allocate_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as shortage:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(shortage.value)
    with pytest.raises(RuntimeError) as mistake:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(mistake.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_messages_of_other_devices_are_known(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_a_row_costs_at_least_its_keys_values_and_logits(tiny_model: "PreTrainedModel") -> None:
    # 2 layers, 2 key-value heads of size 8, keys and values, 4 bytes; a logit of 4 bytes per word.
    assert bytes_of_a_row(tiny_model, 100) > 100 * 2 * 2 * 8 * 2 * 4 + 4 * tiny_model.config.vocab_size
    # The attention's weights grow with the square of the length.
    assert bytes_of_a_row(tiny_model, 200) > 2 * bytes_of_a_row(tiny_model, 100) - 8 * tiny_model.config.vocab_size


@pytest.mark.parametrize(
    ("room", "expected"), [(0.0, 1), (0.5, 1), (1.0, 1), (1.9, 1), (2.1, 2), (7.9, 4), (8.1, 8), (1e9, 256)]
)
def test_rows_are_a_power_of_two_and_at_least_one(
    room: float, expected: int, tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The free memory is so many rows large, of which a share is used."""
    free = int(room * bytes_of_a_row(tiny_model, 50) / memory.SHARE)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    assert rows_that_fit(tiny_model, 50) == expected


def test_this_machine_has_free_memory_for_a_tiny_row(tiny_model: "PreTrainedModel") -> None:
    assert free_bytes(torch.device("cpu")) > 0
    assert 1 <= rows_that_fit(tiny_model, 10) <= 256


def test_a_number_for_every_layer_counts_as_the_largest() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    def bytes_with(wide: "int | list[int]") -> int:
        config = AutoConfig.for_model(
            "gemma3n_text",
            intermediate_size=wide,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            layer_types=["sliding_attention", "full_attention"],
            num_kv_shared_layers=0,
            vocab_size=64,
            vocab_size_per_layer_input=64,
            hidden_size_per_layer_input=8,
            laurel_rank=4,
            altup_num_inputs=2,
            activation_sparsity_pattern=[0.0, 0.0],
        )
        with torch.device("meta"):
            return bytes_of_a_row(AutoModelForCausalLM.from_config(config), 100)

    assert bytes_with([64, 96]) == bytes_with([96, 96]) == bytes_with(96) > bytes_with([64, 64])
