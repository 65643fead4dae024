"""The base model that a search keeps in memory, with its tokenizer and with layers that carry adapters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.experts.adapted import AdaptedModel
    from swarm_lightning.experts.pool import ExpertPool


@dataclass(frozen=True)
class Resident:
    """What is loaded once.

    Attributes:
        adapted: The base with layers that carry adapters.
        tokenizer: The base's.
        fingerprint: What tells the base from others.
    """

    adapted: "AdaptedModel"
    tokenizer: "PreTrainedTokenizerBase"
    fingerprint: str


def load_resident(base: str, dtype: str, device: torch.device, trust_remote_code: bool, pool: "ExpertPool") -> Resident:
    """Load a base and make it carry the experts of a pool.

    Args:
        base: Folder or hub id.
        dtype: `auto` as stored, or the name of a data type.
        device: Where it goes.
        trust_remote_code: Whether code that comes with the base may run.
        pool: The experts, for the layers that they adapt.

    Raises:
        InputError: If it can't be loaded, or the experts do not fit it.
    """
    from swarm_lightning.experts.adapted import AdaptedModel
    from swarm_lightning.experts.base_model import base_fingerprint, load_base
    from swarm_lightning.experts.checks import check_base

    model, tokenizer = load_base(base, dtype, device, trust_remote_code)
    check_base(pool.adapters(), model)
    fingerprint = base_fingerprint(model)
    return Resident(AdaptedModel(model, pool), tokenizer, fingerprint)
