"""What tokens are in bytes, and whether several tokenizers have the same ones.

Two models can be mixed token by token only where an id is the same token to both. Where it is not, their tokens can
still be compared by the bytes that they add to a text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST_KNOWN = 0.5  # of a tokenizer's tokens must be found to add text


def one_vocabulary(tokenizers: Sequence["PreTrainedTokenizerBase"], sizes: Sequence[int]) -> int | None:
    """Tell whether an id is the same token to all of these models.

    A token that a tokenizer has and its model does not know, with an id that the model has no place for, doesn't count:
    some classes of `transformers` add one when a tokenizer is loaded.

    Args:
        tokenizers: One of each model.
        sizes: Number of ids that each model knows.

    Returns:
        How many ids they have in common, from 0 on; None where an id is another token to some.
    """
    known = [
        {token: index for token, index in tokenizer.get_vocab().items() if index < size}
        for tokenizer, size in zip(tokenizers, sizes, strict=True)
    ]
    return max(known[0].values()) + 1 if all(other == known[0] for other in known[1:]) else None


def token_bytes(tokenizer: "PreTrainedTokenizerBase", owner: str) -> list[bytes | None]:
    """Return the bytes that every token adds to a text.

    Of a byte-level vocabulary they are spelled by its own letters. Of any other they are what decoding says: the text
    of a token behind another one, without the text of that alone.

    Args:
        tokenizer: Of a model.
        owner: Whose it is, for the message.

    Returns:
        By id; None for special tokens, and for those that add nothing.

    Raises:
        InputError: If most tokens add nothing that can be told.
    """
    ids = tokenizer.get_vocab()
    special = set(tokenizer.all_special_ids)
    found: list[bytes | None] = [None] * (max(ids.values()) + 1)
    letters = _letters()
    byte_level = _is_byte_level(tokenizer)
    others: list[int] = []
    for token, index in ids.items():
        if index in special:
            continue
        if byte_level and all(letter in letters for letter in token):
            found[index] = bytes(letters[letter] for letter in token) or None
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            found[index] = bytes([int(token[3:5], 16)])
        else:
            others.append(index)
    if others:
        anchor = next((ids[text] for text in ("a", "\u2581a", "\u0120a", "the") if text in ids), others[0])
        (before,) = tokenizer.batch_decode([[anchor]], clean_up_tokenization_spaces=False)
        texts = tokenizer.batch_decode([[anchor, index] for index in others], clean_up_tokenization_spaces=False)
        for index, text in zip(others, texts, strict=True):
            if text.startswith(before) and "\ufffd" not in text[len(before) :]:
                found[index] = text[len(before) :].encode() or None
    known = sum(one is not None for one in found)
    if known < LEAST_KNOWN * max(len(ids) - len(special), 1):
        raise InputError(
            f"Expected a tokenizer whose tokens can be identified by the text they add, but of {owner!r} "
            f"({type(tokenizer).__name__}) only {known} of {len(ids)} could. It can't be matched with the others: "
            "leave it out, or give experts that share its vocabulary."
        )
    return found


def _is_byte_level(tokenizer: "PreTrainedTokenizerBase") -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in str(getattr(backend, "decoder", ""))


def _letters() -> dict[str, int]:
    """Return which byte each letter of a byte-level vocabulary spells.

    Printable bytes of Latin-1 are themselves, and the others, in order, the letters from 256 on. Source: GPT-2,
    `bytes_to_unicode` in github.com/openai/gpt-2, `src/encoder.py`.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
