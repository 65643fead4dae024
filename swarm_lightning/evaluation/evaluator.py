"""Particles and examples to a score table.

The pairs to ask are cut into lots, the same whatever the number of ranks, and every rank asks its share of them. With
stakes, the asking goes in rounds that end as soon as nothing more can matter. What is asked and how a reply is scored
is the objective's; which particles are due, and what follows from the scores, is the caller's.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.batches import groups_of
from swarm_lightning.evaluation.crowd import Crowd, common_prefix
from swarm_lightning.evaluation.engine import Engine, ParticleRows
from swarm_lightning.evaluation.exact_stop import Stakes, next_examples, reach
from swarm_lightning.evaluation.lengths import check_fits
from swarm_lightning.evaluation.lots import LEAST_PAIRS, Pair, lots_by_task
from swarm_lightning.evaluation.objective_call import BROKEN, ask, prompts_of
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.sampling import BASE, RowNoise
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.tokens import positions_of
from swarm_lightning.evaluation.utility_rule import UtilityRule, rule_of
from swarm_lightning.objectives.protocol import Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.evaluation.settings import EngineSettings
    from swarm_lightning.experts.resident import ResidentModel
    from swarm_lightning.vectors import Vectors

LEAST_LOTS = 4  # up to so many ranks work on the same lots; more lots cost time, as the last rows of each run alone


@dataclass(frozen=True)
class Evaluation:
    """What P particles made of M examples.

    Attributes:
        scores: The score table [P, M], float64 on the CPU; NaN where nothing was asked, -inf where the particle broke.
        outcomes: Replies, answers and scores [P][M]; None where nothing was asked, or where another rank asked and
            whole replies were not wanted.
        utilities: Utility of every particle [P], float64, by default its mean score; NaN where it is not known to the
            last digit, -inf where the particle broke.
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
        asked: (particle, example) pairs asked so far, by all ranks.
        seed: The run's, which the noise of sampled replies belongs to.
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
        self.asked = 0
        self.seed = 0
        self._adapted = adapted
        self._rendered: tuple[tuple[Example, ...], list[str]] = ((), [])

    def check_lengths(self, examples: Sequence[Example]) -> None:
        """Refuse examples whose prompt alone fills the model, all at once and before any of them is asked.

        Args:
            examples: What will be asked. Whether a reply or a choice fits as well is seen when it is asked, unless the
                objective follows `CountsTokens`.

        Raises:
            InputError: If a prompt leaves no room for a single token, or one of a later turn can get too long.
        """
        positions = positions_of(self._adapted.model)
        if positions is not None:
            lengths = [len(sequence) for sequence in self._tokens(examples)]
            check_fits(self.objective, examples, lengths, positions, self.engine.tokenizer)

    def evaluate(
        self,
        positions: "Vectors",
        examples: Sequence[Example],
        due: Tensor | None = None,
        stakes: Stakes | None = None,
        whole_replies: bool = False,
        numbers: Sequence[int] | None = None,
        journal: ScoreJournal | None = None,
    ) -> Evaluation:
        """Score particles.

        Args:
            positions: Weights of P particles [P, D], or P vectors.
            examples: What to ask every particle.
            due: Which particles to ask [P], bool; all where not given.
            stakes: What has to be found out about them; everything where not given, where the settings have no exact
                stop, and where the objective's scores have no bounds.
            whole_replies: Whether the replies matter: then none ends before its end, and all ranks get all outcomes.
            numbers: The particle of the search that each of them is, whose noise its replies are sampled with [P]; 0 to
                P - 1 where not given.
            journal: What is known already of this evaluation, and where to note what it finds.

        Returns:
            The score table, the outcomes, and what they say of the utilities.

        Raises:
            ValueError: If the shapes do not fit each other.
            InputError: If the objective can't serve an example, or gives a score outside its bounds.
        """
        numbers = range(len(positions)) if numbers is None else numbers
        shape = tuple(positions.shape) if isinstance(positions, Tensor) else (len(positions), len(positions[0]))
        if len(shape) != 2 or (due is not None and tuple(due.shape) != shape[:1]):
            raise ValueError(
                f"Expected positions [P, D] and due [P], but got {shape} and "
                f"{None if due is None else tuple(due.shape)}."
            )
        if len(numbers) != len(positions):
            raise ValueError(f"Expected a number for each of {len(positions)} particles, but got {len(numbers)}.")
        asked = range(len(positions)) if due is None else due.nonzero().flatten().tolist()
        return self._evaluate(positions, numbers, list(asked), examples, stakes, whole_replies, journal)

    def evaluate_base(self, examples: Sequence[Example]) -> Evaluation:
        """Score the base model without any expert, as one particle.

        Args:
            examples: What to ask.

        Returns:
            An evaluation with P = 1.
        """
        self._adapted.unload()
        with self._adapted.base_only():
            return self._evaluate(None, [BASE], [0], examples, None, True)

    @contextmanager
    def base_alone(self, examples: Sequence[Example]) -> Iterator[ParticleRows]:
        """Lend the base model without any expert, for the length of a `with` block.

        Args:
            examples: What the rows of its calls belong to.
        """
        self._adapted.model.eval()
        with self._adapted.base_only(), torch.inference_mode():
            noise = RowNoise(self.seed, (BASE,) * len(examples), tuple(examples))
            yield ParticleRows(self.engine, Crowd(self._adapted, None), [0] * len(examples), True, noise=noise)

    def _evaluate(
        self,
        positions: "Vectors | None",
        numbers: Sequence[int],
        due: Sequence[int],
        examples: Sequence[Example],
        stakes: Stakes | None,
        whole_replies: bool,
        journal: ScoreJournal | None = None,
    ) -> Evaluation:
        journal = journal or ScoreJournal()
        table = torch.full((len(numbers), len(examples)), math.nan, dtype=torch.float64)
        outcomes: list[list[Outcome | None]] = [[None] * len(examples) for _ in numbers]
        rule = rule_of(self.objective, examples)
        if not self.engine.settings.exact_stop or not rule.finite:
            stakes = None
        tasks = [example.task for example in examples]
        crowds = {
            task: [Crowd(self._adapted, positions, prefix) for prefix in self._prefixes(examples, task)]
            for task in dict.fromkeys(tasks)
        }
        lengths = [len(sequence) for sequence in self._tokens(examples)]
        waiting = [particle for particle in due if stakes is None or math.isnan(stakes.known[particle])]
        # The first rank says how large lots are: free memory may differ between them.
        rows = self.ranks.first(self.engine.rows(max(lengths, default=1)))
        before = self.engine.generated
        try:
            # Where not all particles share a forward pass, those that do are done with before others are taken up.
            for running in groups_of(waiting, self._adapted.most_particles):
                while asked := self._next(table, running, stakes, rule):
                    with self.ranks.together():
                        interruption.check()
                        known, lots = journal.recall(lots_by_task(asked, tasks, lengths, rows, self._lots))
                        found = known if self.ranks.index == 0 else []
                        for task, share in groupby(self.ranks.share(lots), key=lambda lot: tasks[lot[0][1]]):
                            for lot in share:
                                tokens = self.engine.generated
                                answers = self._ask(crowds[task], lot, examples, numbers, whole_replies)
                                journal.keep(lot, answers, self.engine.generated - tokens)
                                found.extend(zip(lot, answers, strict=True))
                                interruption.check()
                            for crowd in crowds[task] if len(crowds) > 1 else ():  # the next task needs the memory
                                crowd.forget()
                    table = self._merge(table, found)
                    for (particle, place), outcome in self.ranks.gather_objects(found) if whole_replies else found:
                        outcomes[particle][place] = outcome
                    running = list(asked)
                for crowd in (crowd for pair in crowds.values() for crowd in pair):
                    crowd.forget()
        finally:
            self._adapted.unload()
        self.asked += int((~table.isnan()).sum())
        generated = int(self.ranks.sum(torch.tensor(self.engine.generated - before))) + journal.recalled
        reaches = self._reaches(table, due, stakes, rule)
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

    def _next(
        self, table: Tensor, running: Sequence[int], stakes: Stakes | None, rule: UtilityRule
    ) -> dict[int, list[int]]:
        """Return what to ask of whom in the next round; nothing when all is decided."""
        asked: dict[int, list[int]] = {}
        # Rounds of a few rows would take longer than the questions that they save.
        chunk = self.engine.settings.chunk or math.ceil(2 * LEAST_PAIRS / max(len(running), 1))
        for particle in running:
            scores = table[particle].tolist()
            if BROKEN in scores:
                continue
            if stakes is None:
                places = [place for place, score in enumerate(scores) if math.isnan(score)]
            else:
                places = next_examples(
                    scores,
                    stakes.expected[particle].tolist(),
                    float(stakes.personal_bests[particle]),
                    stakes.floor,
                    rule,
                    chunk,
                )
            if places:
                asked[particle] = places
        return asked

    def _ask(
        self,
        crowds: Sequence[Crowd],
        lot: Sequence[Pair],
        examples: Sequence[Example],
        numbers: Sequence[int],
        whole_replies: bool,
    ) -> list[Outcome]:
        self._adapted.model.eval()
        crowd, bare_crowd = crowds
        particles = [particle for particle, _ in lot]
        asked = [examples[place] for _, place in lot]
        noise = RowNoise(self.seed, tuple(numbers[particle] for particle in particles), tuple(asked))
        rows = ParticleRows(self.engine, crowd, particles, whole_replies, bare_crowd, noise)
        with torch.inference_mode():
            return ask(self.objective, asked, particles, rows)

    def _reaches(self, table: Tensor, due: Sequence[int], stakes: Stakes | None, rule: UtilityRule) -> Tensor:
        reaches = torch.full((len(table), 2), math.nan, dtype=torch.float64)
        for particle in due if table.shape[1] else ():
            if (table[particle] == BROKEN).any():
                reaches[particle] = BROKEN
            elif stakes is not None and not math.isnan(stakes.known[particle]):
                reaches[particle] = stakes.known[particle]
            else:
                reaches[particle] = torch.tensor(reach(table[particle].tolist(), rule), dtype=torch.float64)
        return reaches

    def _prompts(self, examples: Sequence[Example]) -> list[str]:
        """Return the prompts; those of the examples asked last are remembered."""
        known, prompts = self._rendered
        if len(known) != len(examples) or any(one is not other for one, other in zip(known, examples, strict=True)):
            prompts = prompts_of(self.objective, examples, self.engine.tokenizer)
            self._rendered = (tuple(examples), prompts)
        return prompts

    def _tokens(self, examples: Sequence[Example]) -> list[list[int]]:
        return self.engine.encode(self._prompts(examples))

    def _prefixes(self, examples: Sequence[Example], task: str) -> list[tuple[int, ...]]:
        """Return what all prompts of a task begin with, with special tokens and without: objectives ask either way."""
        if not self.engine.settings.shared_prefix:
            return [(), ()]
        both = zip(examples, self._prompts(examples), strict=True)
        prompts = [prompt for example, prompt in both if example.task == task]
        return [common_prefix(self.engine.encode(prompts, special)) for special in (True, False)]
