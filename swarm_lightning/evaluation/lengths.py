"""How many tokens a model reads, and the refusal of what it has no room for.

Examples are refused all at once before any of them is asked, and the texts of a call before any reply: nothing is ever
cut off in silence.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.doors.transformers_config import most_positions, positions_before_stretching
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import CountsTokens, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NAMED = 10


def positions_of(model: "PreTrainedModel") -> int | None:
    """Return how many tokens a model reads so that no row's numbers depend on the length of another; None: any.

    That is the number of its positions, or where rotary positions are stretched for a longer batch (`dynamic` and
    `longrope`), the number up to which they are not: beyond it, a reply would depend on what shares its batch.

    Args:
        model: Its config says so.
    """
    config = model.config.get_text_config()
    limits = [most_positions(config), positions_before_stretching(config)]
    return min((limit for limit in limits if limit is not None), default=None)


def ids_of(model: "PreTrainedModel") -> int:
    """Return how many token ids a model knows; those of its tokenizer may be fewer or more.

    Args:
        model: Its config says so.
    """
    return int(model.config.get_text_config().vocab_size)


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
            "Shorten the template, the in-context prompt or, with model.graphs, its instructions; leave these examples "
            "out, or use another base."
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


def check_lengths(
    model: "PreTrainedModel", sequences: Sequence[Sequence[int]], texts: Sequence[str], room: int
) -> None:
    """Refuse texts that leave the model too little room.

    Args:
        model: Its config says how many positions there are; without that there is no limit.
        sequences: Token ids.
        texts: What they stand for, for the message.
        room: Tokens that must still fit behind every sequence.

    Raises:
        InputError: If a sequence is too long.
    """
    check_room(positions_of(model), sequences, texts, room)


def check_room(
    positions: int | None, sequences: Sequence[Sequence[int]], texts: Sequence[str], room: int, model: str = ""
) -> None:
    """Refuse texts that leave a model too little room.

    Args:
        positions: How many tokens the model reads; None for any number.
        sequences: Token ids.
        texts: What they stand for, for the message.
        room: Tokens that must still fit behind every sequence.
        model: Which model it is, where there are several.

    Raises:
        InputError: If a sequence is too long.
    """
    if positions is None:
        return
    for place, sequence in enumerate(sequences):
        if len(sequence) + room > positions:
            need = f" less {room} for the reply" if room else ""
            whose = f"{model!r}'s" if model else "the model's"
            raise InputError(
                f"Expected prompts of at most {positions - room} tokens ({whose} {positions} positions{need}), but "
                f"prompt {place} has {len(sequence)}: {texts[place][:60]!r}... Shorten it or its template, lower "
                "max_new_tokens, or leave the example out."
            )


def _named(examples: Sequence[Example]) -> str:
    return ", ".join(repr(example.identifier) for example in examples[:NAMED])
