"""Draws tokens from a model's distribution, by noise that belongs to a row and to nothing else.

Every particle has a stream of uniform numbers of its own for every example and every turn; number t decides token t of
the reply. So a sampled reply depends on the run's seed, the number of the particle, the example's content, the turn and
the model's distribution, and not on what shares its batch, where its row runs, or which rank asks. The iteration is no
part of it: a position of a particle has one utility, as with greedy replies. That is what makes the exact stop exact, a
particle that stands on its personal best need not be asked again, and a personal best is beaten by better weights and
not by a luckier draw of the same ones. Different particles draw differently, so that a vote of several gains by it.

A token is chosen by its place on the cumulated probabilities in the vocabulary's order. Sorted by probability, two
tokens that are nearly equally likely would change places with the last digit of a logit, and the choice with them; in
this order such digits move the limits between tokens by as little as themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.generation_settings import GenerationSettings

BASE = -1  # the number of the base model without any expert, as a particle
NUMBERS = 1 << 22  # probabilities that are looked at together, 32 MiB in float64


@dataclass(frozen=True)
class RowNoise:
    """What tells the noise of the rows of one call of an objective from any other.

    Attributes:
        seed: The run's.
        particles: The number of every row's particle in its search.
        examples: The example of every row; by its content, so that it may stand anywhere.
    """

    seed: int
    particles: tuple[int, ...]
    examples: tuple[Example, ...]

    def select(self, places: Sequence[int]) -> "RowNoise":
        """Return what seeds the draws of some of the rows."""
        particles = tuple(self.particles[place] for place in places)
        return RowNoise(self.seed, particles, tuple(self.examples[place] for place in places))

    def keys(self, turn: int) -> Tensor:
        """Return a key for the stream of every row [rows], int64.

        Args:
            turn: How often a model has been asked before, in the same evaluation of the same examples.
        """
        return torch.tensor(
            [
                row_key(self.seed, particle, turn, example.fingerprint)
                for particle, example in zip(self.particles, self.examples, strict=True)
            ],
            dtype=torch.int64,
        )


def row_key(seed: int, particle: int, turn: int, example: str) -> int:
    """Return the key of a stream of uniform numbers: 64 bits that have nothing to do with those of any other.

    Args:
        seed: The run's.
        particle: The particle's number in the search.
        turn: How often a model has been asked before, in the same evaluation.
        example: Fingerprint of the example.

    Returns:
        A signed integer of 64 bits.
    """
    name = f"{seed} {particle} {turn} {example}"
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def uniforms(keys: Tensor, places: Tensor) -> Tensor:
    """Return numbers out of streams of uniform random numbers, each computed on its own: SplitMix64.

    Args:
        keys: Which stream, any shape, int64.
        places: Which number of it, >= 0, the same shape, int64.

    Returns:
        Multiples of 2^-53 in [0, 1), the same shape, float64.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    bits = keys + (places + 1) * _signed(0x9E3779B97F4A7C15)  # integers of torch wrap around
    bits = (bits ^ _shift(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shift(bits, 27)) * _signed(0x94D049BB133111EB)
    return _shift(bits ^ _shift(bits, 31), 11).double() * 2.0**-53


def likely_weights(logits: Tensor, settings: GenerationSettings) -> Tensor:
    """Return the probabilities that tokens are drawn with, up to a common factor.

    Of tokens that are equally likely at the edge of `top_k` or `top_p`, all may be drawn.

    Args:
        logits: [B, V].
        settings: Temperature above 0, and filters.

    Returns:
        [B, V] float64, 1 for the most likely token of every row, 0 where a token is not drawn. Rows whose greatest
        logit is no finite number mean nothing.
    """
    # The difference first: divided by a small temperature, the logits themselves would overflow.
    weights = logits.to(torch.float64, copy=True)
    weights.sub_(weights.amax(dim=-1, keepdim=True)).div_(settings.temperature).exp_()
    count = weights.shape[-1] if settings.top_k is None else min(settings.top_k, weights.shape[-1])
    if count < weights.shape[-1]:
        largest = weights.topk(count, dim=-1).values
        weights = weights.where(weights >= largest[:, -1:], 0.0)
    if settings.top_p < 1:
        if count == weights.shape[-1]:
            largest = weights.sort(dim=-1, descending=True).values
        before = largest.cumsum(dim=-1) - largest
        kept = (before < settings.top_p * weights.sum(dim=-1, keepdim=True)).sum(dim=-1, keepdim=True)
        weights = weights.where(weights >= largest.gather(-1, (kept - 1).clamp_min(0)), 0.0)
    return weights


def draw(logits: Tensor, numbers: Tensor, settings: GenerationSettings) -> Tensor:
    """Choose a token of every row.

    Args:
        logits: [B, V]; of a row with a NaN or an overflow the greatest is taken, as by greedy decoding.
        numbers: Uniform in [0, 1), [B] float64.
        settings: Temperature above 0, and filters.

    Returns:
        Token ids [B].
    """
    rows = max(1, NUMBERS // logits.shape[-1])
    parts = zip(logits.split(rows), numbers.split(rows), strict=True)
    return torch.cat([_draw(part, some, settings) for part, some in parts])


@dataclass(frozen=True)
class Sampler:
    """Chooses the tokens of some rows.

    Attributes:
        settings: Temperature above 0, and filters.
        keys: The stream of every row [rows], int64.
    """

    settings: GenerationSettings
    keys: Tensor

    def __call__(self, logits: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Choose the next token of some rows.

        Args:
            logits: [B, V].
            rows: Which rows they are, B of them.
            lengths: How many tokens the reply of each has already.

        Returns:
            Token ids [B].
        """
        numbers = uniforms(self.keys[list(rows)], torch.tensor(lengths))
        return draw(logits, numbers.to(logits.device), self.settings)


def _draw(logits: Tensor, numbers: Tensor, settings: GenerationSettings) -> Tensor:
    sums = likely_weights(logits, settings).cumsum(dim=-1)
    # The first token whose sum is above the number: never one of weight 0, because the number is below the total.
    drawn = torch.searchsorted(sums, numbers.unsqueeze(-1) * sums[:, -1:], right=True).squeeze(-1)
    return drawn.where(logits.amax(dim=-1).isfinite(), logits.argmax(dim=-1))


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift to the right, with zeros from the left; torch knows signed integers only."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits
