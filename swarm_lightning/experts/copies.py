"""Whole layers of the base in adapters' files, which PEFT saves beside the A and B matrices of `lm_head`, say.

They change nothing where they are the base's own, and A and B matrices can't carry them where they are not.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from swarm_lightning.errors import InputError
from swarm_lightning.experts.checks import PREFIX
from swarm_lightning.experts.safetensors_files import FLOATS, StoredTensor
from swarm_lightning.vectors import windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_copies(name: str, copies: Mapping[str, StoredTensor], base: "PreTrainedModel") -> None:
    """Check that whole layers in an adapter's file are the base's own, rounded to either one's data type at most.

    Args:
        name: The adapter.
        copies: Where each lies, by its name in the file.
        base: The base as it was loaded.

    Raises:
        InputError: If the base lacks one, or has other numbers there.
    """
    weights = base.state_dict()
    for stored, copy in copies.items():
        own = stored.removeprefix(PREFIX).replace(".base_layer.", ".")
        if own not in weights or not _is_copy(copy, weights[own]):
            held = f"of shape {list(weights[own].shape)}" if own in weights else "none"
            raise InputError(
                f"Expected whole layers in an adapter's file to be copies of the base's, but {name!r} carries "
                f"{stored!r} of shape {list(copy.shape)}, and the base's {own!r} is another ({held}). A and B matrices "
                "can't carry a layer that was trained or resized: if it was not, give the base that the adapter was "
                "trained on, or save the adapter again with save_embedding_layers=False; else leave it out."
            )


def _is_copy(copy: StoredTensor, weight: torch.Tensor) -> bool:
    if copy.shape != tuple(weight.shape) or copy.kind not in FLOATS:
        return False
    flat = weight.detach().reshape(-1)
    for start, stop in windows(0, copy.numel):
        theirs, ours = copy.window(start, stop), flat[start:stop].cpu()
        if not theirs.equal(ours.to(theirs.dtype)) and not theirs.to(ours.dtype).equal(ours):
            return False
    return True
