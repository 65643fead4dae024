"""How many rows fit into the free memory, and what to do when they turn out not to.

The estimate counts the key-value cache, the largest activations of a layer and the logits of a row. It is meant to be
near enough; where it is not, the batch is halved and the work done again.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from swarm_lightning.doors.transformers_config import largest_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# More rows did not pay on two cores: 128 to 256 were best, 1024 slower (they leave the caches).
MOST_ROWS_ON_CPU = 256
MOST_ROWS_ON_GPU = 4096
SHARE = 0.6  # of the free memory: allocators keep some, and rows in flight are counted roughly


def rows_that_fit(model: "PreTrainedModel", tokens: int) -> int:
    """Estimate how many rows of one forward pass fit into the free memory of the model's device.

    Args:
        model: The model.
        tokens: Tokens of a row, prompt and reply together.

    Returns:
        A power of two, so that the free memory of the moment does not change the batch by a few rows.
    """
    on_cpu = model.device.type == "cpu"
    fitting = int(SHARE * free_bytes(model.device) / bytes_of_a_row(model, tokens))
    most = MOST_ROWS_ON_CPU if on_cpu else MOST_ROWS_ON_GPU
    return min(most, 1 << max(fitting.bit_length() - 1, 0))


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
    return tokens * (cache + activations) + 8 * (largest_of(config, "vocab_size") or 1)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory has run out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(
        re.search(r"can't allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED", str(error))
    )
