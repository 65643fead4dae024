"""Text to token ids: prompts, prompts with their continuations, and the ids that end and fill a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Continuation:
    """A prompt and one continuation of it as token ids.

    Attributes:
        ids: Both, tokenised together.
        split: Place of the first token that counts as the continuation, >= 1.
    """

    ids: tuple[int, ...]
    split: int


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str], add_special_tokens: bool = True
) -> list[list[int]]:
    """Tokenise prompts; one without any token becomes the token that begins a text.

    Args:
        tokenizer: The base model's.
        prompts: The texts.
        add_special_tokens: Whether the tokenizer adds its special tokens.

    Returns:
        The ids of every prompt, one or more each.

    Raises:
        InputError: If a prompt is empty and the tokenizer has no token that begins a text.
    """
    encoded = _encode(tokenizer, prompts, add_special_tokens)
    return [ids or [_begin(tokenizer, f"prompt {place}")] for place, ids in enumerate(encoded)]


def encode_continuations(
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    add_special_tokens: bool = True,
) -> list[list[Continuation]]:
    """Tokenise prompts together with their continuations and find where the continuations begin.

    White space at the end of a prompt counts to the continuation, because most tokenizers join it to the next word.
    Where a tokenizer merges the end of the prompt with the beginning of a continuation, the merged token counts too:
    for all continuations of that prompt alike, so that they stay comparable.

    Args:
        tokenizer: The base model's.
        prompts: The texts that come first.
        continuations: For every prompt, the texts that may follow.
        add_special_tokens: Whether the tokenizer adds its special tokens.

    Returns:
        For every prompt, one `Continuation` per text.

    Raises:
        InputError: If a continuation has no token, or nothing stands before it.

    Source: lm-evaluation-harness, lm_eval/api/model.py, `_encode_pair`; it takes the prompt's number of tokens as the
    split, which is the same wherever nothing is merged.
    """
    contexts = _encode(tokenizer, [prompt.rstrip() for prompt in prompts], add_special_tokens)
    texts = [prompt + text for prompt, row in zip(prompts, continuations, strict=True) for text in row]
    wholes = iter(_encode(tokenizer, texts, add_special_tokens))
    result = []
    for place, (context, row) in enumerate(zip(contexts, continuations, strict=True)):
        joined = [next(wholes) for _ in row]
        split = min((_shared_length(context, whole) for whole in joined), default=0)
        if split == 0 and joined:
            begin = _begin(tokenizer, f"prompt {place}")
            joined, split = [[begin, *whole] for whole in joined], 1
        for text, whole in zip(row, joined, strict=True):
            if len(whole) <= split:
                raise InputError(
                    f"Expected continuations of one token or more, but {text!r} after prompt {place} has none. "
                    "Give every choice a text."
                )
        result.append([Continuation(tuple(whole), split) for whole in joined])
    return result


def end_of_text_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids that end a reply: those of the model's generation config and that of the tokenizer."""
    settings = getattr(model, "generation_config", None)
    ids = getattr(settings, "eos_token_id", None)
    found = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    if tokenizer.eos_token_id is not None:
        found.append(tokenizer.eos_token_id)
    return sorted(set(found))


def padding_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the id that fills short rows; it is masked, so any id serves."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def _begin(tokenizer: "PreTrainedTokenizerBase", what: str) -> int:
    if tokenizer.bos_token_id is None:
        raise InputError(
            f"Expected a text before the reply, but {what} is empty and the tokenizer has no token that begins a text. "
            "Put some text into the template."
        )
    return int(tokenizer.bos_token_id)


def _shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
