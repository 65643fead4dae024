"""How many rows fit into the free memory, and what to do when they turn out not to.

The estimate counts the key-value cache, the largest activations of a layer and the logits of a row; it has been within
a factor of 1.5 of what was measured for vocabularies of 1,000 to 256,000. Where it is not near enough all the same, the
batch is halved and the work done again.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from swarm_lightning.doors.transformers_config import largest_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# More rows did not pay on two cores: 128 to 256 were best, 1024 slower (they leave the caches).
MOST_ROWS_ON_CPU = 256
MOST_ROWS_ON_GPU = 4096
# Beyond, a pass is hardly faster: at SmolLM2's shape in float32 these are 16 rows of 128 tokens. Passes of many lengths
# leave gaps in the heap, so that an evaluation there takes up to twice as much on top of the model.
LARGEST_PASS_ON_CPU = 300e6
FIRST_SHARE = 0.15  # of the free memory, before anything is measured: an estimate four times too low still fits
SHARE = 0.6  # of the free memory: allocators keep some, and rows in flight are counted roughly


class RowBudget:
    """How many rows share a forward pass: as many as the free memory holds by an estimate that is checked.

    Where an estimate that is much too low would do harm, the first pass is small, and what it takes is measured; then
    the rows grow. Where there is memory in plenty nothing is measured, so that nothing depends on it.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        """Take over a model.

        Args:
            model: The model; memory is that of its device.
        """
        self._model = model
        self._factor: float | None = None  # what rows have taken, as a multiple of the estimate; None before that

    def rows(self, tokens: int) -> int:
        """Return how many rows of one forward pass fit into the free memory of the model's device.

        Args:
            tokens: Tokens of a row, prompt and reply together.

        Returns:
            A power of two, so that the free memory of the moment does not change the batch by a few rows.
        """
        bytes_of_one = bytes_of_a_row(self._model, tokens)
        free = free_bytes(self._model.device)
        fitting = int(SHARE * free / (bytes_of_one * (self._factor or 1)))
        most = MOST_ROWS_ON_GPU
        if self._model.device.type == "cpu":
            most = min(MOST_ROWS_ON_CPU, max(int(LARGEST_PASS_ON_CPU / bytes_of_one), 1))
        if self._factor is None and min(most, fitting) * bytes_of_one > FIRST_SHARE * free:
            fitting = int(FIRST_SHARE * free / bytes_of_one)
        return 1 << max(min(most, fitting).bit_length() - 1, 0)

    @contextmanager
    def watched(self, rows: int, tokens: int) -> Iterator[None]:
        """Measure what rows take for the length of a `with` block, where they were kept few for that.

        Args:
            rows: Rows of a forward pass.
            tokens: Tokens of a row.
        """
        device, estimate = self._model.device, rows * bytes_of_a_row(self._model, tokens)
        if self._factor is not None or 2 * estimate <= FIRST_SHARE * free_bytes(device):
            yield
            return
        used, highest = used_bytes(device), peak_bytes(device)
        yield
        peak = peak_bytes(device)
        # Below an earlier peak, or far below the estimate where there were fewer rows to do, nothing is known.
        if peak > highest and 4 * (peak - used) > estimate:
            self._factor = max((peak - used) / estimate, 1.0)


def bytes_of_a_row(model: "PreTrainedModel", tokens: int) -> int:
    """Estimate what one row takes while a model reads it.

    Args:
        model: The model.
        tokens: Tokens of the row.

    Returns:
        Bytes.
    """
    config = model.config.get_text_config()
    size = model.dtype.itemsize
    hidden = largest_of(config, "hidden_size") or 1
    heads = largest_of(config, "num_attention_heads") or 1
    kept_heads = largest_of(config, "num_key_value_heads") or heads
    head_size = largest_of(config, "head_dim") or hidden // heads
    wide = largest_of(config, "intermediate_size") or 4 * hidden
    cache = 2 * (largest_of(config, "num_hidden_layers") or 1) * kept_heads * head_size * size
    # In a layer: a few tensors of the hidden size, three of the wide size, in float32 for the low-rank product; the
    # attention's weights where they are not computed in pieces.
    activations = (6 * hidden + 3 * wide) * max(size, 4) + heads * tokens * 4
    # Logits follow when the layers are done: those of a row's last place, with copies while they are chosen from, or
    # pieces of bounded size while likelihoods are read.
    logits = 4 * size * (largest_of(config, "vocab_size") or 1)
    return tokens * cache + max(tokens * activations, logits)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; of a container's share where it has one."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    import psutil

    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")  # version 2; a container's share may be less than the machine has
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
        free = min(free, limit - used + int(cached[1] if cached else 0))
    except (OSError, ValueError):
        pass  # no such group, or no limit ("max")
    return max(free, 0)


def used_bytes(device: torch.device) -> int:
    """Return what this process uses of a device's memory in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes(device: torch.device) -> int:
    """Return the most that this process has used of a device's memory so far, in bytes; 0 where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")  # Linux
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory has run out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(
        re.search(r"can't allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED", str(error))
    )
