"""Several particles as one model: their next-token distributions are mixed for every row, by weights of the row.

All particles of a mixture ride in one forward pass and read the same tokens, those that the mixture has chosen. How the
weights come about, and what is asked, is the caller's. `runners/mixture.py` puts objectives' questions to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_output import Places
from swarm_lightning.evaluation.engine.batches import Batch, lay_out
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.generation import NO_TOKEN, TokenDecoding, TokenReplies, most_likely
from swarm_lightning.evaluation.engine.tokens import Continuation

# probabilities: the weighted mean of the distributions. logits: the weighted mean of the logits, which is the weighted
# geometric mean of the distributions.
Averaged = Literal["probabilities", "logits"]
# What the mixing numbers of a token swarm multiply. A weighted sum of log-probabilities, normalised, is that of logits.
MixtureKind = Literal["probabilities", "log_probabilities"]
AVERAGED: Mapping[MixtureKind, Averaged] = {"probabilities": "probabilities", "log_probabilities": "logits"}


def mix(logits: Tensor, weights: Tensor, averaged: Averaged) -> Tensor:
    """Mix next-token distributions.

    Args:
        logits: Of every particle and row [P, R, vocabulary].
        weights: Of every particle in every row [R, P], >= 0, those of a row summing to one.
        averaged: What is averaged.

    Returns:
        Log-probabilities of the mixture [R, vocabulary], float32.

    >>> ones = torch.tensor([[[0.0, 0.0]], [[3.0, 1.0]]])
    >>> mix(ones, torch.tensor([[0.5, 0.5]]), "logits").exp().round(decimals=4)  # e^1.5 and e^0.5
    tensor([[0.7311, 0.2689]])
    """
    if averaged == "logits":
        shares = weights.to(logits.device, torch.float32).T[:, :, None]
        return (shares * logits.float()).sum(dim=0).log_softmax(dim=-1)
    return mix_logarithms(logits.float().log_softmax(dim=-1), weights, averaged)


def mix_logarithms(logarithms: Tensor, weights: Tensor, averaged: Averaged) -> Tensor:
    """Mix log-probabilities: of all tokens, or for a mean of probabilities of any.

    A weight of 0 leaves an expert out, whatever its numbers are.

    Args:
        logarithms: Of every expert and row [n, R, K].
        weights: Of every expert in every row [R, n]; for probabilities >= 0, those of a row summing to one.
        averaged: What is averaged: with logits, the weighted sum, which over all tokens is normalised.

    Returns:
        Log-probabilities of the mixture [R, K].

    >>> logarithms = torch.tensor([[[0.5, 0.5]], [[0.1, 0.9]]]).log()
    >>> mix_logarithms(logarithms, torch.tensor([[0.75, 0.25]]), "probabilities").exp()  # 0.375 + 0.025
    tensor([[0.4000, 0.6000]])
    >>> mix_logarithms(logarithms, torch.tensor([[1.0, -1.0]]), "logits").exp()  # 0.5 / 0.1 against 0.5 / 0.9
    tensor([[0.9000, 0.1000]])
    """
    if averaged == "logits":
        return weighted_sum(logarithms, weights).log_softmax(dim=-1)
    shares = weights.to(logarithms).T[:, :, None]
    return torch.where(shares > 0, logarithms + shares.log(), -torch.inf).logsumexp(dim=0)


def weighted_sum(logarithms: Tensor, weights: Tensor) -> Tensor:
    """Sum log-probabilities up by weights; one of 0 leaves an expert out, whatever its numbers are.

    Args:
        logarithms: Of every expert and row [n, R, K].
        weights: Of every expert in every row [R, n].

    Returns:
        Sums [R, K], which are not normalised.
    """
    shares = weights.to(logarithms).T[:, :, None]
    return torch.where(shares != 0, shares * logarithms, 0.0).sum(dim=0)


def shares_of(numbers: Tensor, mixture: MixtureKind) -> Tensor:
    """Return the weights by which experts are mixed.

    Args:
        numbers: Mixing numbers [P, n].
        mixture: With probabilities, numbers below 0 count as 0 and the rest is normalised; where none is above 0, all
            experts weigh the same. With log_probabilities, the numbers are the weights.

    Returns:
        Weights [P, n] float64.

    >>> shares_of(torch.tensor([[3.0, 1.0, -2.0], [0.0, -1.0, 0.0]]), "probabilities").round(decimals=4).tolist()
    [[0.75, 0.25, 0.0], [0.3333, 0.3333, 0.3333]]
    """
    weights = numbers.detach().to("cpu", torch.float64)
    if mixture == "log_probabilities":
        return weights
    weights = weights.clamp_min(0.0)
    weights = weights.where(weights.sum(dim=1, keepdim=True) > 0, 1.0)
    return weights / weights.sum(dim=1, keepdim=True)


@torch.inference_mode()
def generate_mixed(
    crowd: Crowd,
    particles: int,
    prompts: Sequence[Sequence[int]],
    weights: Tensor,
    averaged: Averaged,
    decoding: TokenDecoding,
) -> TokenReplies:
    """Choose the most likely tokens of a mixture after prompts.

    Args:
        crowd: The particles on the resident model.
        particles: How many of them are mixed, P: the first ones.
        prompts: The token ids of every row's prompt, R of them.
        weights: Of every particle in every row [R, P].
        averaged: What is averaged.
        decoding: Length, ends and number of slots; a row takes P of them.

    Returns:
        For every row the new tokens up to the end of text (without it), or to the one after which it was over.
    """
    replies = TokenReplies([[] for _ in prompts])
    for batch, rows in _batches(prompts, particles, decoding.slots, decoding.padding, crowd):
        _generate_batch(crowd, batch, rows, prompts, weights, averaged, decoding, replies)
    return replies


@torch.inference_mode()
def mixed_loglikelihoods(
    crowd: Crowd,
    particles: int,
    continuations: Sequence[Continuation],
    weights: Tensor,
    averaged: Averaged,
    slots: int,
    padding: int,
) -> list[tuple[float, bool]]:
    """Sum the log-probabilities that a mixture gives to continuations' tokens, in float32.

    Args:
        crowd: The particles on the resident model.
        particles: How many of them are mixed, P: the first ones.
        continuations: Token ids with their prompts', R of them.
        weights: Of every particle in every row [R, P].
        averaged: What is averaged.
        slots: Rows of one forward pass at most; a continuation takes P of them.
        padding: Id that fills short rows.

    Returns:
        For every continuation its natural logarithm, and whether each of its tokens is the likeliest at its place.
    """
    sums = torch.zeros(len(continuations), dtype=torch.float64)
    surprises = torch.zeros(len(continuations), dtype=torch.long)
    fed = [one.ids[:-1] for one in continuations]  # the last token is only predicted
    for batch, rows in _batches(fed, particles, slots, padding, crowd):
        # Of every particle the places in the same order, and those of one place side by side.
        width = batch.tokens.shape[1]
        asked = [
            (place, width - len(one.ids) + token, one.ids[token], row)
            for place, row in enumerate(rows)
            for one in (continuations[row],)
            for token in range(one.split, len(one.ids))
        ]
        places = Places(
            [place + particle * len(rows) for place, *_ in asked for particle in range(particles)],
            [column for _, column, *_ in asked for _ in range(particles)],
        )
        forward = (batch.particles, batch.tokens, batch.mask, batch.positions)
        for wanted, logits in crowd.logits_at(places, *forward, together=particles):
            found = [asked[place // particles] for place in wanted[::particles].tolist()]
            token, row = (torch.tensor(column) for column in list(zip(*found, strict=True))[2:])
            logarithms = mix(logits.unflatten(0, (-1, particles)).transpose(0, 1), weights[row], averaged)
            token = token.to(logarithms.device)
            sums.index_add_(0, row, logarithms.gather(1, token[:, None])[:, 0].cpu().double())
            surprises.index_add_(0, row, (logarithms.argmax(dim=-1) != token).long().cpu())
    return list(zip(sums.tolist(), (surprises == 0).tolist(), strict=True))


def _batches(
    sequences: Sequence[Sequence[int]], particles: int, slots: int, padding: int, crowd: Crowd
) -> Iterator[tuple[Batch, list[int]]]:
    """Lay out rows for all particles alike, the longest first, as many at a time as there are slots for."""
    order = sorted(range(len(sequences)), key=lambda row: -len(sequences[row]))
    height = max(1, slots // particles)
    for start in range(0, len(order), height):
        rows = order[start : start + height]
        picks = dict.fromkeys(range(particles), rows)
        yield lay_out(picks, sequences, 0, padding, crowd.device), rows


def _generate_batch(
    crowd: Crowd,
    batch: Batch,
    rows: list[int],
    prompts: Sequence[Sequence[int]],
    weights: Tensor,
    averaged: Averaged,
    decoding: TokenDecoding,
    replies: TokenReplies,
) -> None:
    from swarm_lightning.doors.transformers_cache import growing_cache, keep_rows

    cache, count = growing_cache(), len(batch.particles)
    tokens, mask, positions = batch.tokens, batch.mask, batch.positions
    lengths = torch.tensor([len(prompts[row]) for row in rows], device=crowd.device)
    running, done = list(rows), set[int]()
    while True:
        logits = crowd.forward(batch.particles, tokens, mask, positions, cache)
        mixed = mix(logits.view(count, len(running), -1), weights[running], averaged)
        chosen = most_likely(mixed)
        if decoding.choose is not None:
            drawn = decoding.choose(mixed, running, [len(replies.tokens[row]) for row in running])
            chosen = drawn.where(chosen != NO_TOKEN, NO_TOKEN)
        take_in(running, chosen.tolist(), done, decoding, replies)
        chosen = chosen.clamp_min(0)
        alive = [place for place, row in enumerate(running) if row not in done]
        if not alive:
            return
        if 2 * len(alive) <= len(running):
            kept = torch.tensor(alive, device=crowd.device)
            places = (torch.arange(count, device=crowd.device)[:, None] * len(running) + kept).flatten()
            keep_rows(cache, places)
            mask, chosen, lengths = mask[places], chosen[kept], lengths[kept]
            running = [running[place] for place in alive]
        tokens, positions = chosen.repeat(count).unsqueeze(1), lengths.repeat(count).unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        lengths = lengths + 1


def take_in(
    running: list[int], chosen: list[int], done: set[int], decoding: TokenDecoding, replies: TokenReplies
) -> None:
    """Write down the new tokens of rows that are not done, and note which are done now."""
    going_on = []
    for row, token in zip(running, chosen, strict=True):
        if row in done:
            continue
        replies.generated += 1
        if token == NO_TOKEN:
            replies.broken.add(row)
        if token == NO_TOKEN or token in decoding.ends:
            done.add(row)
            continue
        replies.tokens[row].append(token)
        if len(replies.tokens[row]) == decoding.limit:
            done.add(row)
        else:
            going_on.append(row)
    if decoding.over is not None and going_on:
        over = decoding.over(going_on, [replies.tokens[row] for row in going_on])
        done.update(row for row, is_over in zip(going_on, over, strict=True) if is_over)
