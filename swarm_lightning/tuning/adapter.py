"""Puts a fresh LoRA adapter into a base model, and takes it out again.

All adapters of one seed begin with the same random A, as those trained by one script do. That keeps experts in one
region of weight space, where sums of adapters make sense element by element.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from swarm_lightning.doors.peft import adapted_but_not_linear, fresh_lora
from swarm_lightning.errors import InputError
from swarm_lightning.tuning.settings import LoraSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@contextmanager
def fresh_adapter(base: "PreTrainedModel", settings: LoraSettings, seed: int) -> "Iterator[PeftModel]":
    """Lend a base with an untrained adapter; the base is as it was when a `with` block ends.

    Args:
        base: The base, without adapters; its own weights never change.
        settings: Shape of the adapter.
        seed: Seed of the random matrices A; B is zero.

    Raises:
        InputError: If the base has no such layers, or ones that a search could not move.
    """
    from peft import LoraConfig

    targets = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets) if isinstance(targets, list) else targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            adapted = fresh_lora(base, config)
        except ValueError as cause:
            raise InputError(_no_target(base, settings, cause)) from cause
    try:
        odd = adapted_but_not_linear(base)
        if odd:
            raise InputError(
                f"Expected lora.target_modules to name linear layers, but {odd[0]!r} is none. Experts are moved by the "
                "A and B matrices of linear layers: name those only."
            )
        yield adapted
    finally:
        adapted.unload()
        base.eval()


def _no_target(base: "PreTrainedModel", settings: LoraSettings, cause: Exception) -> str:
    linear = sorted(
        {name.rpartition(".")[2] for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
    )
    if settings.target_modules is None:
        return (
            f"Expected lora.target_modules for a base of type {base.config.model_type}, for which PEFT has no usual "
            f"choice. Its linear layers are {', '.join(linear)}."
        )
    named = settings.target_modules if isinstance(settings.target_modules, list) else [settings.target_modules]
    close = [match for name in named for match in difflib.get_close_matches(name, linear, n=1) if name not in linear]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"Expected lora.target_modules to name layers of the base, but got {', '.join(named)} ({cause}).{hint} Its "
        f"linear layers are {', '.join(linear)}."
    )
