"""The least time that a machine needs to generate replies: what its copy bandwidth and its matrix rate allow.

Both are measured, not read from a data sheet. Every step reads all weights of the base once, and the keys and values of
its rows; every token costs 2 operations per weight. A step takes the longer of the two. Adapters, attention, sampling
and launches are not in it: they come on top, and count against whoever is measured.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Rates(NamedTuple):
    """What a machine does per second.

    Attributes:
        bandwidth: Bytes per second of a copy, read and written.
        operations: Additions and multiplications per second of a product of two large matrices.
    """

    bandwidth: float
    operations: float


def measured_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure a device.

    Args:
        device: The device.
        dtype: Of the matrices.
    """
    on_gpu = device.type == "cuda"
    source = torch.ones(2**30 if on_gpu else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    side = 8192 if on_gpu else 1024
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    copying = _median_seconds(lambda: target.copy_(source), on_gpu)
    multiplying = _median_seconds(lambda: one @ other, on_gpu)
    return Rates(2 * source.numel() / copying, 2 * side**3 / multiplying)


def least_seconds(
    model: "PreTrainedModel", lengths: Sequence[int], particles: int, per_pass: int, new_tokens: int, rates: Rates
) -> float:
    """Return the least time for P particles, which ride in one pass, to reply to all prompts.

    Args:
        model: The base: a Llama or one with the same config.
        lengths: Tokens of every prompt [M].
        particles: Particles P in one pass.
        per_pass: Prompts of every particle in one pass; the longest come first.
        new_tokens: Tokens of every reply.
        rates: Of the machine.
    """
    config: Any = model.config
    width = next(model.parameters()).element_size()
    weights = sum(parameter.numel() for parameter in model.parameters())
    head = config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * head * width  # bytes of one token
    ordered, seconds = sorted(lengths, reverse=True), 0.0
    for start in range(0, len(ordered), per_pass):
        rows = particles * len(ordered[start : start + per_pass])
        tokens = particles * sum(ordered[start : start + per_pass])
        seconds += max(weights * width / rates.bandwidth, 2 * weights * tokens / rates.operations)
        for step in range(1, new_tokens):
            read = weights * width + (tokens + rows * step) * cached
            seconds += max(read / rates.bandwidth, 2 * weights * rows / rates.operations)
    return seconds


def _median_seconds(work: Callable[[], Tensor], on_gpu: bool, repeats: int = 10) -> float:
    seconds = []
    for _ in range(repeats + 2):
        if on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])
