"""The order in which examples are read, and padded batches of them.

Pure functions of the seed and the step, so that training goes on after an interruption where it was. Inside a batch the
micro-batches hold examples of similar lengths: the gradient of the batch is the same, with less padding.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from swarm_lightning.tuning.rendering import IGNORED, TokenExample

MicroBatch = dict[str, Tensor]


def batch_of(step: int, examples: int, batch_size: int, seed: int, shuffle: bool = True) -> list[int]:
    """Return which examples an optimizer step reads.

    Every epoch reads all examples once; its last batch may be smaller.

    Args:
        step: Optimizer step, counted from 0.
        examples: Number of examples.
        batch_size: Examples of a step.
        seed: Seed of the orders: that of epoch k is the k-th permutation drawn from it.
        shuffle: Whether every epoch has an order of its own; else the examples are read as they stand.

    >>> batch_of(3, 5, 2, 0, shuffle=False), batch_of(5, 5, 2, 0, shuffle=False)
    ([0, 1], [4])
    """
    of_epoch = -(-examples // batch_size)
    epoch, place = divmod(step, of_epoch)
    order = _orders(examples, seed, epoch) if shuffle else range(examples)
    return list(order[place * batch_size : (place + 1) * batch_size])


@lru_cache(maxsize=4)
def _orders(examples: int, seed: int, epoch: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epoch):
        torch.randperm(examples, generator=generator)
    return tuple(torch.randperm(examples, generator=generator).tolist())


def hold_out(examples: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw the examples that measure and do not train.

    Args:
        examples: Number of examples.
        share: Share that is held out, in [0, 1); at least one example where it is above 0.
        seed: Seed of the draw.

    Returns:
        The places of the examples to train on and of those held out, each in order.

    >>> [len(part) for part in hold_out(10, 0.2, seed=0)]
    [8, 2]
    """
    count = max(round(share * examples), 1) if share > 0 else 0
    drawn = torch.randperm(examples, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(drawn[count:]), sorted(drawn[:count])


def pad(examples: Sequence[TokenExample], micro_batch_size: int | None, pad_token: int) -> list[MicroBatch]:
    """Pad examples on the right, as micro-batches of similar lengths, the longest first.

    Args:
        examples: At least one.
        micro_batch_size: Rows of a micro-batch at most; all together if None.
        pad_token: What fills the rows; no attention is paid to it, and no loss.

    Returns:
        `input_ids`, `attention_mask` and `labels` [B, T] int64 of each micro-batch.
    """
    ordered = sorted(examples, key=lambda example: -len(example.input_ids))
    rows = micro_batch_size or len(ordered)
    return [_padded(ordered[start : start + rows], pad_token) for start in range(0, len(ordered), rows)]


def _padded(examples: Sequence[TokenExample], pad_token: int) -> MicroBatch:
    shape = (len(examples), max(len(example.input_ids) for example in examples))
    batch = {
        "input_ids": torch.full(shape, pad_token),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, IGNORED),
    }
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        batch["input_ids"][row, :length] = torch.tensor(example.input_ids)
        batch["attention_mask"][row, :length] = 1
        batch["labels"][row, :length] = torch.tensor(example.labels)
    return batch
