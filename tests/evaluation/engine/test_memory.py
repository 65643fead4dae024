from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.evaluation.engine import memory
from swarm_lightning.evaluation.engine.memory import (
    RowBudget,
    bytes_of_a_row,
    free_bytes,
    is_out_of_memory,
    peak_bytes,
    used_bytes,
)

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
    # 2 layers, 2 key-value heads of size 8, keys and values, 4 bytes.
    assert bytes_of_a_row(tiny_model, 100) > 100 * 2 * 2 * 8 * 2 * 4
    # The attention's weights grow with the square of the length.
    assert bytes_of_a_row(tiny_model, 200) > 2 * bytes_of_a_row(tiny_model, 100)


def test_a_row_costs_its_logits_where_they_are_more_than_a_layer_takes(
    tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_model.config, "vocab_size", 10**6)
    # The logits with copies, four times 4 bytes each, behind the keys and values of 10 tokens.
    assert bytes_of_a_row(tiny_model, 10) == 10 * 2 * 2 * 8 * 2 * 4 + 4 * 4 * 10**6


def free(monkeypatch: pytest.MonkeyPatch, rows: float, model: "PreTrainedModel") -> None:
    """Let the free memory be so many rows of 50 tokens large."""
    bytes_free = int(rows * bytes_of_a_row(model, 50))
    monkeypatch.setattr(memory, "free_bytes", lambda device: bytes_free)


@pytest.mark.parametrize(
    ("room", "expected"), [(0.0, 1), (0.5, 1), (1.0, 1), (1.9, 1), (2.1, 2), (7.9, 4), (8.1, 8), (1e9, 256)]
)
def test_rows_are_a_power_of_two_and_at_least_one(
    room: float, expected: int, tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first only a small share of the free memory is used."""
    free(monkeypatch, room / memory.FIRST_SHARE, tiny_model)
    assert RowBudget(tiny_model).rows(50) == expected


@pytest.mark.parametrize(("taken", "factor"), [(0.1, None), (0.6, 1.0), (1.0, 1.0), (2.5, 2.5)])
def test_the_first_pass_is_small_and_the_next_as_large_as_its_measure_allows(
    taken: float, factor: float | None, tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken far below the estimate says nothing: there may have been fewer rows to do."""
    free(monkeypatch, 100, tiny_model)
    budget = RowBudget(tiny_model)
    rows = budget.rows(50)
    assert rows == 8  # 15 fit into the first share
    used = 7 * 10**9
    peaks = iter([used, used + int(taken * rows * bytes_of_a_row(tiny_model, 50))])
    monkeypatch.setattr(memory, "used_bytes", lambda device: used)
    monkeypatch.setattr(memory, "peak_bytes", lambda device: next(peaks))
    with budget.watched(rows, 50):
        pass
    expected = {None: 8, 1.0: 32, 2.5: 16}[factor]  # 60 rows fit, or 24
    assert budget.rows(50) == expected


def test_a_peak_below_an_earlier_one_says_nothing(
    tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 100, tiny_model)
    budget = RowBudget(tiny_model)
    monkeypatch.setattr(memory, "peak_bytes", lambda device: 10**12)
    with budget.watched(8, 50):
        pass
    assert budget.rows(50) == 8


def test_nothing_is_measured_where_memory_is_plenty(
    tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: torch.device) -> int:
        raise AssertionError("measured")

    monkeypatch.setattr(memory, "peak_bytes", fail)
    free(monkeypatch, 10**6, tiny_model)
    budget = RowBudget(tiny_model)
    with budget.watched(budget.rows(50), 50):
        pass
    assert budget.rows(50) == 256


def test_a_pass_on_the_cpu_is_not_larger_than_pays(
    tiny_model: "PreTrainedModel", monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 10**6, tiny_model)
    monkeypatch.setattr(memory, "LARGEST_PASS_ON_CPU", 9 * bytes_of_a_row(tiny_model, 50))
    assert RowBudget(tiny_model).rows(50) == 8


def test_this_machine_has_free_memory_for_a_tiny_row(tiny_model: "PreTrainedModel") -> None:
    cpu = torch.device("cpu")
    assert free_bytes(cpu) > 0
    assert 1 <= RowBudget(tiny_model).rows(10) <= 256
    assert used_bytes(cpu) > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")
def test_the_peak_follows_what_is_taken() -> None:
    cpu = torch.device("cpu")
    taken = torch.ones(2**24)
    peak = peak_bytes(cpu)
    assert peak >= used_bytes(cpu) - 2**20 > 4 * taken.numel()
    del taken
    assert peak_bytes(cpu) >= peak - 2**20  # the system counts in lots


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
