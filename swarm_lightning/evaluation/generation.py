"""Greedy replies to prompts, by one loop over a causal language model with a key-value cache.

A reply is the same whatever shares its batch and however many rows a batch has: padding is masked and takes no
position, and every row ends by itself. What comes after a row's end is computed with the batch and thrown away.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.evaluation.batches import Batch, ForwardPass, left_padded_batches
from swarm_lightning.evaluation.tokens import check_lengths, encode_prompts, end_of_text_ids, padding_id
from swarm_lightning.objectives.protocol import GenerationSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def greedy_generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    settings: GenerationSettings,
    add_special_tokens: bool = True,
) -> list[str]:
    """Reply to prompts, always with the most likely next token.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        prompts: The texts.
        settings: Length, stop strings and batch size.
        add_special_tokens: Whether the tokenizer adds its special tokens to the prompts.

    Returns:
        One reply per prompt, in order: the new text without special tokens, cut before the first stop string.

    Raises:
        InputError: If a prompt is too long for the model or empty.
    """
    batches = prompt_batches(model, tokenizer, prompts, settings, add_special_tokens)
    return generate_replies(model, tokenizer, batches, settings)


def prompt_batches(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    settings: GenerationSettings,
    add_special_tokens: bool,
) -> list[Batch]:
    """Tokenise prompts and lay them out in batches; see `greedy_generate` for the arguments."""
    sequences = encode_prompts(tokenizer, prompts, add_special_tokens)
    check_lengths(model, sequences, prompts, room=settings.max_new_tokens)
    return left_padded_batches(sequences, settings.batch_size, padding_id(tokenizer), model.device)


def generate_replies(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    batches: Sequence[Batch],
    settings: GenerationSettings,
) -> list[str]:
    """Reply to prompts that are laid out already.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        batches: The prompts.
        settings: Length and stop strings.

    Returns:
        The replies, in the order that the batches' rows name.
    """
    tokens = generate_tokens(model, tokenizer, batches, settings)
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True) if tokens else []
    return [_cut(text, settings.stop) for text in texts]


@torch.inference_mode()
def generate_tokens(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    batches: Sequence[Batch],
    settings: GenerationSettings,
) -> list[list[int]]:
    """Choose the most likely tokens after prompts that are laid out already.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        batches: The prompts.
        settings: Length and stop strings.

    Returns:
        For every prompt, in the order that the batches' rows name, the new tokens up to the end of text (without it)
        or to the one that completes a stop string.
    """
    forward = ForwardPass(model)
    ends = torch.tensor(end_of_text_ids(model, tokenizer), dtype=torch.long, device=model.device)
    replies: list[list[int]] = [[] for batch in batches for _ in batch.rows]
    for batch in batches:
        tokens, counts = _new_tokens(forward, tokenizer, batch, ends, settings)
        for row, new, count in zip(batch.rows, tokens.tolist(), counts.tolist(), strict=True):
            replies[row] = new[:count]
    return replies


def _new_tokens(
    forward: ForwardPass,
    tokenizer: "PreTrainedTokenizerBase",
    batch: Batch,
    ends: Tensor,
    settings: GenerationSettings,
) -> tuple[Tensor, Tensor]:
    """Return the new tokens [B, max_new_tokens] and how many of each row count [B], without the end-of-text token."""
    rows, width = batch.tokens.shape
    limit = settings.max_new_tokens
    new = torch.zeros(rows, limit, dtype=torch.long, device=batch.tokens.device)
    counts = torch.full((rows,), limit, device=batch.tokens.device)
    finished = torch.zeros(rows, dtype=torch.bool, device=batch.tokens.device)
    mask = torch.cat([batch.mask, batch.mask.new_ones(rows, limit)], dim=1)
    positions = batch.lengths.unsqueeze(1)
    logits, cache = forward(batch.tokens, batch.mask, batch.positions, keep=1, use_cache=True)
    for step in range(limit):
        chosen = logits[:, -1].argmax(dim=-1)
        new[:, step] = chosen
        ended = torch.isin(chosen, ends) & ~finished
        counts.masked_fill_(ended, step)
        finished |= ended
        if settings.stop:
            stopped = _rows_with_stop(tokenizer, new[:, : step + 1], finished, settings.stop)
            counts[stopped] = step + 1
            finished[stopped] = True
        if step + 1 == limit or bool(finished.all()):
            break
        logits, cache = forward(
            chosen.unsqueeze(1), mask[:, : width + step + 1], positions + step, keep=1, cache=cache, use_cache=True
        )
    return new, counts


def _rows_with_stop(
    tokenizer: "PreTrainedTokenizerBase", new: Tensor, finished: Tensor, stop: Sequence[str]
) -> list[int]:
    running = (~finished).nonzero().flatten().tolist()
    texts = tokenizer.batch_decode(new[running].tolist(), skip_special_tokens=True) if running else []
    return [row for row, text in zip(running, texts, strict=True) if any(string in text for string in stop)]


def _cut(text: str, stop: Sequence[str]) -> str:
    places = [place for string in stop if (place := text.find(string)) >= 0]
    return text[: min(places)] if places else text
