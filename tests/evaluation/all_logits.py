"""Logits of all places of a batch, as a crowd gives those that are wanted."""

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_output import Places
from swarm_lightning.evaluation.engine.batches import Batch
from swarm_lightning.evaluation.engine.crowd import Crowd


def all_logits(crowd: Crowd, batch: Batch) -> Tensor:
    """Return logits [B, T, vocabulary]."""
    rows, columns = batch.tokens.shape
    places = Places([row for row in range(rows) for _ in range(columns)], list(range(columns)) * rows)
    pieces = list(crowd.logits_at(places, batch.particles, batch.tokens, batch.mask, batch.positions))
    assert torch.cat([wanted for wanted, _ in pieces]).tolist() == list(range(rows * columns))
    return torch.cat([logits for _, logits in pieces]).unflatten(0, (rows, columns))
