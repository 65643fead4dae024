"""The base model that a search keeps in memory, with its tokenizer, as the model that becomes its particles."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.experts.resident import ResidentModel
    from swarm_lightning.search.model_swarm import ModelSwarm


@dataclass(frozen=True)
class Resident:
    """What is loaded once.

    Attributes:
        adapted: The base as the model that becomes particles: by adapters, or by all of its weights.
        tokenizer: The base's.
        fingerprint: What tells the base from others.
    """

    adapted: "ResidentModel"
    tokenizer: "PreTrainedTokenizerBase"
    fingerprint: str


def base_of(module: "ModelSwarm") -> str:
    """Return folder or hub id of the base model: the one that was named, or the first of the full checkpoints.

    Raises:
        InputError: If none was named and the experts are adapters.
    """
    base = module.base if module.base is not None else module.pool.base
    if base is None:
        raise InputError(
            "Expected model.base to name the base model that the adapters belong to, but it is not set. Give its "
            "folder or hub id."
        )
    return base


def load_resident(module: "ModelSwarm", device: torch.device) -> Resident:
    """Load the base of a search and make it carry the experts.

    Args:
        module: The search.
        device: Where the base goes.

    Raises:
        InputError: If it can't be loaded, or the experts do not fit it.
    """
    from swarm_lightning.experts.base_model import base_fingerprint, load_base

    base = base_of(module)
    model, tokenizer = load_base(base, module.base_dtype, device, module.trust_remote_code)
    fingerprint = base_fingerprint(model)
    return Resident(module.pool.resident(model, base), tokenizer, fingerprint)
