"""A look from outside at how often models are called: what a count of forward passes is compared with."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def calls_of(models: Sequence[torch.nn.Module]) -> Iterator[list[int]]:
    """Note every call of some models."""
    calls: list[int] = []
    with ExitStack() as hooks:
        for number, model in enumerate(models):
            hook = model.register_forward_hook(lambda *_, number=number: calls.append(number))
            hooks.callback(hook.remove)
        yield calls
