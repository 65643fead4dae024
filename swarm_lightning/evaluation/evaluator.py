"""Particles and examples to a score table.

The pairs to ask are cut into lots, the same whatever the number of ranks, and every rank asks its share of them. With
stakes, the asking goes in rounds that end as soon as nothing more can matter. What is asked and how a reply is scored
is the objective's; which particles are due, and what follows from the scores, is the caller's.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.batches import groups_of
from swarm_lightning.evaluation.crowd import Crowd, common_prefix
from swarm_lightning.evaluation.engine import Engine, ParticleRows
from swarm_lightning.evaluation.exact_stop import Stakes, next_examples, reach
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.tokens import positions_of
from swarm_lightning.objectives.protocol import Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.evaluation.settings import EngineSettings
    from swarm_lightning.experts.resident import ResidentModel
    from swarm_lightning.experts.vectors import Vectors

LEAST_LOTS = 4  # up to so many ranks work on the same lots; more lots cost time, as the last rows of each run alone
LEAST_PAIRS = 64  # of a lot, where a forward pass holds so many; a round has two such lots or more
Pair = tuple[int, int]


@dataclass(frozen=True)
class Evaluation:
    """What P particles made of M examples.

    Attributes:
        scores: The score table [P, M], float64 on the CPU; NaN where nothing was asked.
        outcomes: Replies, answers and scores [P][M]; None where nothing was asked, or where another rank asked and
            whole replies were not wanted.
        utilities: Mean score of every particle [P], float64; NaN where it is not known to the last digit.
        reach: The lowest and the highest utility that every particle can have [P, 2], float64; equal where it is
            known, NaN where nothing was asked.
        generated: Number of tokens that were generated.
    """

    scores: Tensor
    outcomes: list[list[Outcome | None]]
    utilities: Tensor
    reach: Tensor
    generated: int = 0

    @property
    def evaluated(self) -> int:
        """Number of (particle, example) pairs that were asked."""
        return int((~self.scores.isnan()).sum())


class Evaluator:
    """Asks an objective's questions of particles.

    Attributes:
        engine: The resident model, and how batches are made.
        objective: What is asked, and how it is scored.
        ranks: The processes that share the work.
    """

    def __init__(
        self,
        adapted: "ResidentModel",
        tokenizer: "PreTrainedTokenizerBase",
        objective: Objective,
        settings: "EngineSettings | None" = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Keep the parts; the model is used in place.

        Args:
            adapted: The resident model.
            tokenizer: The base model's.
            objective: What to ask and how to score.
            settings: How batches are made.
            ranks: The processes that share the work; this one alone if None.
        """
        self.engine = Engine(adapted, tokenizer, settings)
        self.objective = objective
        self.ranks = Ranks() if ranks is None else ranks
        self._adapted = adapted
        self._rendered: tuple[tuple[Example, ...], list[str]] = ((), [])

    def check_lengths(self, examples: Sequence[Example]) -> None:
        """Refuse examples whose prompt alone fills the model, all at once and before any of them is asked.

        Args:
            examples: What will be asked. Whether a reply or a choice fits as well is seen when it is asked.

        Raises:
            InputError: If a prompt leaves no room for a single token.
        """
        positions = positions_of(self._adapted.model)
        if positions is None:
            return
        lengths = [len(sequence) for sequence in self._tokens(examples)]
        too_long = [example for example, length in zip(examples, lengths, strict=True) if length >= positions]
        if too_long:
            named = ", ".join(repr(example.identifier) for example in too_long[:10])
            raise InputError(
                f"Expected prompts of fewer than {positions} tokens, the model's positions, but those of "
                f"{len(too_long)} of {len(examples)} examples are longer, up to {max(lengths)} (id {named}). Shorten "
                "the template or the in-context prompt, leave these examples out, or use another base."
            )

    def evaluate(
        self,
        positions: "Vectors",
        examples: Sequence[Example],
        due: Tensor | None = None,
        stakes: Stakes | None = None,
        whole_replies: bool = False,
    ) -> Evaluation:
        """Score particles.

        Args:
            positions: Weights of P particles [P, D], or P vectors.
            examples: What to ask every particle.
            due: Which particles to ask [P], bool; all where not given.
            stakes: What has to be found out about them; everything where not given, where the settings have no exact
                stop, and where the objective's scores have no bounds.
            whole_replies: Whether the replies matter: then none ends before its end, and all ranks get all outcomes.

        Returns:
            The score table, the outcomes, and what they say of the utilities.

        Raises:
            ValueError: If the shapes do not fit each other.
            InputError: If the objective can't serve an example, or gives a score outside its bounds.
        """
        shape = tuple(positions.shape) if isinstance(positions, Tensor) else (len(positions), len(positions[0]))
        if len(shape) != 2 or (due is not None and tuple(due.shape) != shape[:1]):
            raise ValueError(
                f"Expected positions [P, D] and due [P], but got {shape} and "
                f"{None if due is None else tuple(due.shape)}."
            )
        asked = range(len(positions)) if due is None else due.nonzero().flatten().tolist()
        if not self.engine.settings.exact_stop or not all(map(math.isfinite, self.objective.bounds)):
            stakes = None
        return self._evaluate(positions, len(positions), list(asked), examples, stakes, whole_replies)

    def evaluate_base(self, examples: Sequence[Example]) -> Evaluation:
        """Score the base model without any expert, as one particle.

        Args:
            examples: What to ask.

        Returns:
            An evaluation with P = 1.
        """
        self._adapted.unload()
        with self._adapted.base_only():
            return self._evaluate(None, 1, [0], examples, None, True)

    @contextmanager
    def base_alone(self, rows: int) -> Iterator[ParticleRows]:
        """Lend the base model without any expert, for the length of a `with` block.

        Args:
            rows: How many rows its calls have.
        """
        self._adapted.model.eval()
        with self._adapted.base_only(), torch.inference_mode():
            yield ParticleRows(self.engine, Crowd(self._adapted, None), [0] * rows, whole_replies=True)

    def _evaluate(
        self,
        positions: "Vectors | None",
        count: int,
        due: Sequence[int],
        examples: Sequence[Example],
        stakes: Stakes | None,
        whole_replies: bool,
    ) -> Evaluation:
        table = torch.full((count, len(examples)), math.nan, dtype=torch.float64)
        outcomes: list[list[Outcome | None]] = [[None] * len(examples) for _ in range(count)]
        crowds = [Crowd(self._adapted, positions, prefix) for prefix in self._prefixes(examples)]
        lengths = [len(sequence) for sequence in self._tokens(examples)]
        waiting = [particle for particle in due if stakes is None or math.isnan(stakes.known[particle])]
        # The first rank says how large lots are: free memory may differ between them.
        rows = self.ranks.first(self.engine.rows(max(lengths, default=1)))
        before = self.engine.generated
        try:
            # Where not all particles share a forward pass, those that do are done with before others are taken up.
            for running in groups_of(waiting, self._adapted.most_particles):
                while asked := self._next(table, running, stakes):
                    found: list[tuple[Pair, Outcome]] = []
                    with self.ranks.together():
                        for lot in self.ranks.share(lots_of(asked, lengths, rows, self._lots)):
                            found.extend(zip(lot, self._ask(crowds, lot, examples, whole_replies), strict=True))
                    table = self._merge(table, found)
                    for (particle, place), outcome in self.ranks.gather_objects(found) if whole_replies else found:
                        outcomes[particle][place] = outcome
                    running = list(asked)
                for crowd in crowds:
                    crowd.forget()
        finally:
            self._adapted.unload()
        generated = int(self.ranks.sum(torch.tensor(self.engine.generated - before)))
        reaches = self._reaches(table, due, stakes)
        utilities = torch.where(reaches[:, 0] == reaches[:, 1], reaches[:, 0], math.nan)
        return Evaluation(table, outcomes, utilities, reaches, generated)

    @property
    def _lots(self) -> int:
        """How many lots a round is cut into: as set, or 4, or for more ranks the next power of two."""
        return self.engine.settings.lots or max(LEAST_LOTS, 1 << (self.ranks.count - 1).bit_length())

    def _merge(self, table: Tensor, found: Sequence[tuple[Pair, Outcome]]) -> Tensor:
        """Return the score table with what all ranks have found in this round."""
        news = torch.full_like(table, math.nan)
        for pair, outcome in found:
            news[pair] = outcome.score
        return torch.where(table.isnan(), self.ranks.gather_scores(news), table)

    def _next(self, table: Tensor, running: Sequence[int], stakes: Stakes | None) -> dict[int, list[int]]:
        """Return what to ask of whom in the next round; nothing when all is decided."""
        asked: dict[int, list[int]] = {}
        # Rounds of a few rows would take longer than the questions that they save.
        chunk = self.engine.settings.chunk or math.ceil(2 * LEAST_PAIRS / max(len(running), 1))
        for particle in running:
            scores = table[particle].tolist()
            if stakes is None:
                places = [place for place, score in enumerate(scores) if math.isnan(score)]
            else:
                places = next_examples(
                    scores,
                    stakes.expected[particle].tolist(),
                    float(stakes.personal_bests[particle]),
                    stakes.floor,
                    self.objective.bounds,
                    chunk,
                )
            if places:
                asked[particle] = places
        return asked

    def _ask(
        self, crowds: Sequence[Crowd], lot: Sequence[Pair], examples: Sequence[Example], whole_replies: bool
    ) -> list[Outcome]:
        self._adapted.model.eval()
        asked = [examples[place] for _, place in lot]
        crowd, bare_crowd = crowds
        rows = ParticleRows(self.engine, crowd, [particle for particle, _ in lot], whole_replies, bare_crowd)
        with torch.inference_mode():
            outcomes = self.objective.evaluate(asked, rows)
        self._check(asked, outcomes)
        return list(outcomes)

    def _check(self, examples: Sequence[Example], outcomes: Sequence[Outcome]) -> None:
        name = type(self.objective).__name__
        if len(outcomes) != len(examples):
            raise InputError(
                f"Expected one outcome per example from {name}, but got {len(outcomes)} for {len(examples)} examples."
            )
        lowest, highest = self.objective.bounds
        for example, outcome in zip(examples, outcomes, strict=True):
            if math.isnan(outcome.score) or not lowest <= outcome.score <= highest:
                raise InputError(
                    f"Expected scores between {lowest} and {highest} from {name}, as its bounds say, but got "
                    f"{outcome.score} for example {example.identifier!r}. Give the lowest score where a reply can't be "
                    "scored, or widen the bounds."
                )

    def _reaches(self, table: Tensor, due: Sequence[int], stakes: Stakes | None) -> Tensor:
        reaches = torch.full((len(table), 2), math.nan, dtype=torch.float64)
        for particle in due if table.shape[1] else ():
            if stakes is not None and not math.isnan(stakes.known[particle]):
                reaches[particle] = stakes.known[particle]
            else:
                reaches[particle] = torch.tensor(
                    reach(table[particle].tolist(), self.objective.bounds), dtype=torch.float64
                )
        return reaches

    def _prompts(self, examples: Sequence[Example]) -> list[str]:
        """Return the prompts; those of the examples asked last are remembered."""
        known, prompts = self._rendered
        if len(known) != len(examples) or any(one is not other for one, other in zip(known, examples, strict=True)):
            prompts = [self.objective.prompt(example, self.engine.tokenizer) for example in examples]
            self._rendered = (tuple(examples), prompts)
        return prompts

    def _tokens(self, examples: Sequence[Example]) -> list[list[int]]:
        return self.engine.encode(self._prompts(examples))

    def _prefixes(self, examples: Sequence[Example]) -> list[tuple[int, ...]]:
        """Return what all prompts begin with, with special tokens and without: an objective may ask either way."""
        if not self.engine.settings.shared_prefix:
            return [(), ()]
        prompts = self._prompts(examples)
        return [common_prefix(self.engine.encode(prompts, special)) for special in (True, False)]


def lots_of(asked: Mapping[int, Sequence[int]], lengths: Sequence[int], rows: int, lots: int) -> list[list[Pair]]:
    """Cut pairs of particles and examples into lots of about the same size, the longest prompts first.

    A lot holds equally many examples of each of its particles, of similar lengths, as far as they go round.

    Args:
        asked: Places of the examples to ask, by particle.
        lengths: Length of every example's prompt.
        rows: Rows of one forward pass.
        lots: How many lots there are at most; fewer where each would have less than a pass or 64 pairs.

    Returns:
        Lots of (particle, example) pairs; every pair stands in one.

    >>> lots_of({0: [0, 1], 2: [1, 0]}, [5, 9], rows=2, lots=4)
    [[(0, 1), (2, 1)], [(0, 0), (2, 0)]]
    """
    queues = {particle: deque(sorted(places, key=lambda place: -lengths[place])) for particle, places in asked.items()}
    left = sum(len(places) for places in asked.values())
    count = max(min(lots, left // min(rows, LEAST_PAIRS)), 1)
    cut: list[list[Pair]] = []
    while any(queues.values()):
        size = math.ceil(left / max(count - len(cut), 1))
        waiting = [particle for particle, queue in queues.items() if queue][:size]
        longest = max(len(queues[particle]) for particle in waiting)
        height = next(
            (
                height
                for height in range(math.ceil(size / len(waiting)), longest)
                if sum(min(height, len(queues[particle])) for particle in waiting) >= size
            ),
            longest,
        )
        cut.append(
            [
                (particle, queues[particle].popleft())
                for particle in waiting
                for _ in range(min(height, len(queues[particle])))
            ]
        )
        left -= len(cut[-1])
    return cut
