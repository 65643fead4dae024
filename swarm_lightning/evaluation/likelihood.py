"""How likely a model finds given continuations of prompts, without generating.

A forward pass is shared wherever what is fed is the same: choices of one token each (letters, mostly) cost one row per
prompt, and equal continuations get exactly equal numbers. Logits are computed for the continuations' columns only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.evaluation.batches import Batch, ForwardPass, left_padded_batches
from swarm_lightning.evaluation.tokens import Continuation, check_lengths, encode_continuations, padding_id
from swarm_lightning.objectives.protocol import Likelihood

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ScoredBatch:
    """A batch of fed sequences and the S tokens whose probability is wanted from it.

    Attributes:
        batch: What is fed.
        keep: Number of columns at the end that hold these tokens' logits.
        row: Row of every token [S].
        column: Column of every token within the kept ones [S].
        token: Id of every token [S].
        continuation: Number of the continuation, over all prompts, that every token belongs to [S].
    """

    batch: Batch
    keep: int
    row: Tensor
    column: Tensor
    token: Tensor
    continuation: Tensor


@dataclass(frozen=True)
class ContinuationBatches:
    """Prompts and continuations, laid out for the model.

    Attributes:
        batches: What to run.
        sizes: For every prompt, (tokens, characters) of each continuation.
    """

    batches: tuple[ScoredBatch, ...]
    sizes: tuple[tuple[tuple[int, int], ...], ...]


def choice_loglikelihoods(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    batch_size: int,
    add_special_tokens: bool = True,
) -> list[list[Likelihood]]:
    """Measure the log-probability of every continuation after its prompt.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        prompts: The texts that come first.
        continuations: For every prompt, the texts that may follow.
        batch_size: Rows of one forward pass, >= 1.
        add_special_tokens: Whether the tokenizer adds its special tokens to the prompts.

    Returns:
        For every prompt, one likelihood per continuation, in order.

    Raises:
        InputError: If a text is too long for the model, or a continuation has no token.
    """
    laid_out = continuation_batches(model, tokenizer, prompts, continuations, batch_size, add_special_tokens)
    return loglikelihoods_of(model, laid_out)


def continuation_batches(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    batch_size: int,
    add_special_tokens: bool,
) -> ContinuationBatches:
    """Tokenise prompts with their continuations and lay them out; see `choice_loglikelihoods` for the arguments."""
    encoded = encode_continuations(tokenizer, prompts, continuations, add_special_tokens)
    sizes = tuple(
        tuple((len(one.ids) - one.split, len(text.strip())) for one, text in zip(row, texts, strict=True))
        for row, texts in zip(encoded, continuations, strict=True)
    )
    everything = [one for row in encoded for one in row]
    # The last token is only predicted, never fed.
    places: dict[tuple[int, ...], int] = {}
    fed_by = [places.setdefault(one.ids[:-1], len(places)) for one in everything]
    texts = [prompt + text for prompt, row in zip(prompts, continuations, strict=True) for text in row]
    check_lengths(model, [one.ids[:-1] for one in everything], texts, room=0)
    members: list[list[int]] = [[] for _ in places]
    for number, place in enumerate(fed_by):
        members[place].append(number)
    batches = left_padded_batches(list(places), batch_size, padding_id(tokenizer), model.device)
    return ContinuationBatches(tuple(_scored(batch, members, everything) for batch in batches), sizes)


@torch.inference_mode()
def loglikelihoods_of(model: "PreTrainedModel", laid_out: ContinuationBatches) -> list[list[Likelihood]]:
    """Run the model over laid out continuations and sum the log-probabilities of their tokens, in float32.

    Args:
        model: A causal language model in eval mode.
        laid_out: What to run.

    Returns:
        For every prompt, one likelihood per continuation.
    """
    forward = ForwardPass(model)
    sums = torch.zeros(sum(len(row) for row in laid_out.sizes), dtype=torch.float64)
    for scored in laid_out.batches:
        logits, _ = forward(scored.batch.tokens, scored.batch.mask, scored.batch.positions, keep=scored.keep)
        normaliser = logits.float().logsumexp(dim=-1)[scored.row, scored.column]
        logarithms = logits[scored.row, scored.column, scored.token].float() - normaliser
        sums.index_add_(0, scored.continuation, logarithms.cpu().double())
    values = iter(sums.tolist())
    return [[Likelihood(next(values), tokens, characters) for tokens, characters in row] for row in laid_out.sizes]


def _scored(batch: Batch, members: Sequence[Sequence[int]], everything: Sequence[Continuation]) -> ScoredBatch:
    wanted = [
        (row, len(one.ids) - place, one.ids[place], number)
        for row, fed in enumerate(batch.rows)
        for number in members[fed]
        for one in (everything[number],)
        for place in range(one.split, len(one.ids))
    ]
    row, from_end, token, number = (torch.tensor(column) for column in zip(*wanted, strict=True))
    keep = int(from_end.max())
    device = batch.tokens.device
    return ScoredBatch(batch, keep, row.to(device), (keep - from_end).to(device), token.to(device), number)
