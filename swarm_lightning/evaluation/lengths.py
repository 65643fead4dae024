"""Refuses examples that the model has no room for, all at once and before any of them is asked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import CountsTokens, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMED = 10


def check_fits(
    objective: Objective,
    examples: Sequence[Example],
    lengths: Sequence[int],
    positions: int,
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    """Refuse examples that are too long for the model.

    Args:
        objective: What is asked of them.
        examples: What will be asked.
        lengths: Tokens of every example's prompt.
        positions: Tokens that the model reads at most.
        tokenizer: The base model's.

    Raises:
        InputError: If a prompt leaves no room for a single token, or if the objective follows `CountsTokens` and a turn
            can need more than there is.
    """
    too_long = [example for example, length in zip(examples, lengths, strict=True) if length >= positions]
    if too_long:
        raise InputError(
            f"Expected prompts of fewer than {positions} tokens, the model's positions, but those of "
            f"{len(too_long)} of {len(examples)} examples are longer, up to {max(lengths)} (id {_named(too_long)}). "
            "Shorten the template or the in-context prompt, leave these examples out, or use another base."
        )
    if not isinstance(objective, CountsTokens):
        return
    needed = [objective.tokens_needed(example, tokenizer) for example in examples]
    too_long = [example for example, tokens in zip(examples, needed, strict=True) if tokens > positions]
    if too_long:
        raise InputError(
            f"Expected every turn of {type(objective).__name__} to need at most {positions} tokens, the model's "
            f"positions, for its prompt and its reply, but a turn of {len(too_long)} of {len(examples)} examples can "
            f"need up to {max(needed)} (id {_named(too_long)}): a later turn holds what the model said before, up to "
            "max_new_tokens of it. Lower max_new_tokens or the tokens of later replies, shorten the templates, leave "
            "these examples out, or use another base."
        )


def _named(examples: Sequence[Example]) -> str:
    return ", ".join(repr(example.identifier) for example in examples[:NAMED])
