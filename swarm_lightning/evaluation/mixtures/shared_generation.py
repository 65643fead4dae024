"""Replies of many mixtures of the same experts, token by token, where what they have in common is computed once.

For experts of one vocabulary. As long as the replies of several mixtures to a prompt are the same, every expert reads
one text for all of them; where the mixtures choose other tokens, the text branches. Each mixture sees the distributions
of the experts, weighs them its own way, and gets the tokens that it would get alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swarm_lightning.evaluation.engine.generation import NO_TOKEN, TokenDecoding, TokenReplies, most_likely
from swarm_lightning.evaluation.engine.tokens import padding_id
from swarm_lightning.evaluation.mixtures.mixture import Averaged, mix_logarithms, take_in
from swarm_lightning.evaluation.mixtures.model_groups import Shelf
from swarm_lightning.evaluation.reading import Reading

PIECE_BYTES = 1 << 25  # of distributions that are mixed together
MOST_BRANCHES = 4  # rows of a batch, as a multiple of the texts that share a pass


@dataclass(frozen=True)
class Mixed:
    """How experts are mixed.

    Attributes:
        shelf: The models.
        averaged: What is averaged.
        vocabulary: Number of tokens that all models have.
    """

    shelf: Shelf
    averaged: Averaged
    vocabulary: int


@torch.inference_mode()
def generate_shared(
    mixed: Mixed, prompts: Sequence[Sequence[int]], weights: Tensor, slots: int, decoding: TokenDecoding
) -> TokenReplies:
    """Choose tokens after prompts.

    Args:
        mixed: The experts.
        prompts: Token ids of every row's prompt, R of them; rows with the same prompt share it.
        weights: Of the experts in every row [R, n].
        slots: Texts that share a pass at most, but for branches.
        decoding: Length, ends and choice.

    Returns:
        For every row the new tokens up to the end of text (without it), or to the one after which it was over.
    """
    replies = TokenReplies([[] for _ in prompts])
    ends = decoding.ends.union(*(group.ends for group in mixed.shelf.groups))
    for rows in batches_of(prompts, slots):
        _generate(mixed, rows, prompts, weights, replace(decoding, ends=ends), replies)
    return replies


def batches_of(prompts: Sequence[Sequence[int]], slots: int) -> list[list[int]]:
    """Cut rows into batches, those of the longest prompts first, and those of one prompt together.

    Args:
        prompts: Of every row.
        slots: Different prompts of a batch at most; it has four times as many rows at most, but for those of one
            prompt.

    >>> batches_of(["ab", "c", "ab", "d"], 1)
    [[0, 2], [1], [3]]
    """
    of_prompt: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(prompts):
        of_prompt.setdefault(tuple(prompt), []).append(row)
    batches: list[list[int]] = []
    texts = 0
    for prompt in sorted(of_prompt, key=lambda one: -len(one)):
        rows = of_prompt[prompt]
        if not batches or texts == slots or len(batches[-1]) + len(rows) > MOST_BRANCHES * slots:
            batches.append([])
            texts = 0
        batches[-1] += rows
        texts += 1
    return batches


def _generate(
    mixed: Mixed,
    rows: list[int],
    prompts: Sequence[Sequence[int]],
    weights: Tensor,
    decoding: TokenDecoding,
    replies: TokenReplies,
) -> None:
    shelf = mixed.shelf
    device = shelf.base.adapted.model.device
    readings = {group.name: Reading(len(group.places), padding_id(group.tokenizer)) for group in shelf.groups}
    numbers = {text: number for number, text in enumerate(dict.fromkeys(tuple(prompts[row]) for row in rows))}
    texts, text_of = list(numbers), [numbers[tuple(prompts[row])] for row in rows]
    parents, new = list(range(len(texts))), [list(text) for text in texts]
    running, done = list(rows), set[int]()
    while True:
        logarithms = torch.empty(shelf.count, len(new), mixed.vocabulary, device=device)
        for group in shelf.groups:
            reading = readings[group.name]
            read = reading.tokens
            logits = reading.read(shelf.crowd(group), parents, new)
            logarithms[list(group.places)] = logits.float().log_softmax(dim=-1)[..., : mixed.vocabulary]
            if decoding.heard is not None:
                decoding.heard(0, reading.tokens - read)
        chosen = _choose(mixed, logarithms, text_of, running, weights, decoding, replies)
        alive = end_step(running, chosen, done, decoding, replies)
        if not alive:
            return
        branches: dict[tuple[int, int], int] = {}
        text_of = [branches.setdefault((text_of[place], chosen[place]), len(branches)) for place in alive]
        parents, new = [text for text, _ in branches], [[token] for _, token in branches]
        running = [running[place] for place in alive]


def end_step(
    running: list[int], chosen: list[int], done: set[int], decoding: TokenDecoding, replies: TokenReplies
) -> list[int]:
    """Take in the tokens of a step, tell how many rows it has ended, and return the places of those that go on.

    Args:
        running: The rows of the step.
        chosen: The new token of each.
        done: Rows that have ended; those of this step are added.
        decoding: Length, ends, and who hears of the progress.
        replies: Where tokens are written down.
    """
    before = len(done)
    take_in(running, chosen, done, decoding, replies)
    if decoding.heard is not None:
        decoding.heard(len(done) - before, 0)
    return [place for place, row in enumerate(running) if row not in done]


def _choose(
    mixed: Mixed,
    logarithms: Tensor,
    text_of: Sequence[int],
    running: Sequence[int],
    weights: Tensor,
    decoding: TokenDecoding,
    replies: TokenReplies,
) -> list[int]:
    """Choose the next token of every running row, from the experts' distributions behind its text."""
    chosen: list[int] = []
    size = max(PIECE_BYTES // (4 * logarithms[:, 0].numel()), 1)
    for start in range(0, len(running), size):
        rows = list(running[start : start + size])
        of_rows = logarithms[:, list(text_of[start : start + size])]
        found = mix_logarithms(of_rows, weights[rows], mixed.averaged)
        likely = most_likely(found)
        if decoding.choose is not None:
            drawn = decoding.choose(found, rows, [len(replies.tokens[row]) for row in rows])
            likely = drawn.where(likely != NO_TOKEN, NO_TOKEN)
        chosen += likely.tolist()
    return chosen
