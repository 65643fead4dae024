"""Asks the experts of an ended search: what the best ones score on any split, and what the best replies to prompts.

Which particles vote in an ensemble is decided by their utilities on the split that guided the search, never by the one
scored here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.bootstrap import Resampling, gain_of
from swarm_lightning.evaluation.ensemble import vote
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.objectives.protocol import ComparesReplies, Objective, Outcome
from swarm_lightning.objectives.utility import parts_of, utility_of
from swarm_lightning.search.heterogeneous import references_of
from swarm_lightning.search.results import FOUND, INITIAL, ResultRow
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.vectors import Vector

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Bests:
    """The best experts of a search, and who asks them.

    Attributes:
        pool: The experts that the search began with.
        initial: Which of them was best, by the utility before the first iteration.
        optimizer: What has found one of them.
        evaluator: Asks.
        objective: What is asked.
        ranks: The processes that share the work.
    """

    pool: Pool
    initial: int
    optimizer: SearchOptimizer
    evaluator: Evaluator
    objective: Objective
    ranks: Ranks

    def ask(self, examples: Sequence[Example]) -> list[list[Outcome]]:
        """Ask the best initial and the best found expert.

        Args:
            examples: The examples to ask, M of them.

        Returns:
            What came of every example, of each of the two [2][M].
        """
        space = self.optimizer.space
        candidates = [space.expert(self.initial), self.optimizer.found_asked]
        # Sampled replies are drawn as in the search, so that its utilities come again on the split that guided it.
        return self._ask(candidates, examples, [self.initial, self.optimizer.found_particle])

    def score(
        self,
        examples: Sequence[Example],
        ensemble_size: int = 0,
        win_rates: bool = False,
        held_back: bool = True,
        asked: Sequence[list[Outcome]] = (),
        references: bool = False,
    ) -> tuple[ResultRow, ...]:
        """Score the best initial expert, the best found expert and, on request, the vote of the best particles.

        Args:
            examples: The examples to ask, M of them.
            ensemble_size: How many of the best personal bests vote as well, by majority, ties by utility; 0 for none.
            win_rates: Whether replies are compared with those of the best initial expert, where the objective can do
                so.
            held_back: Whether the search has not seen the examples: then the gain over the best initial expert is
                measured. On examples that it was guided by, a gain says nothing of others.
            asked: What `ask` returned for these examples, where there is no ensemble; asked now if empty.
            references: Whether the experts answer together as well, where the search is one of graphs: along a chain,
                along a star, each with the best expert at its end, and by majority.

        Returns:
            One row each.
        """
        optimizer, initial, count = self.optimizer, self.initial, len(examples)
        swarm = optimizer.swarm
        chosen = swarm.personal_best_utilities.argsort(descending=True, stable=True)[:ensemble_size]
        outcomes = list(asked or self.ask(examples))
        named = [(INITIAL, self.pool.names[initial]), (FOUND, optimizer.found_name)]
        if ensemble_size:
            # By themselves: the last digits of a row depend on what shares its batch, in half precision so much that
            # replies change, and the two above are to score the same with and without an ensemble beside them.
            voters: list[Vector] = [
                optimizer.space.vector(swarm.personal_bests[particle]) for particle in chosen.tolist()
            ]
            ballots = self._ask(voters, examples, chosen.tolist())
            outcomes.append(vote(ballots, swarm.personal_best_utilities[chosen]))
            named.append((f"top-{len(chosen)} ensemble", f"particles {chosen.tolist()}"))
        if references and isinstance(optimizer, HeterogeneousSwarm):
            utilities, systems = optimizer.expert_utilities, references_of(optimizer)
            outcomes += self._ask(list(systems.values()), examples, [0] * len(systems))
            experts = [optimizer.space.expert(expert) for expert in range(len(utilities))]
            outcomes.append(vote(self._ask(experts, examples, range(len(experts))), utilities))
            named += [(name, f"{len(utilities)} experts") for name in (*systems, "vote of the experts")]
        scores = [[outcome.score for outcome in found] for found in outcomes]
        rows = [
            ResultRow(
                *name,
                utility_of(self.objective, found, examples),
                count,
                parts=parts_of(self.objective, found, examples),
            )
            for name, found in zip(named, scores, strict=True)
        ]
        if held_back:
            sampling = Resampling.of(self.objective, examples)
            gains = [gain_of(scores[0], found, sampling) for found in scores[1:]]
            rows[1:] = [replace(row, gain=gain) for row, gain in zip(rows[1:], gains, strict=True)]
        if win_rates and isinstance(self.objective, ComparesReplies):
            rates = [self._win_rate(self.objective, examples, found, outcomes[0]) for found in outcomes[1:]]
            rows[1:] = [replace(row, win_rate=rate) for row, rate in zip(rows[1:], rates, strict=True)]
        return tuple(rows)

    def answer(self, prompts: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> list[dict[str, str]]:
        """Let the best found expert reply.

        Args:
            prompts: Examples made from a file of prompts.
            tokenizer: The base's.

        Returns:
            One mapping per prompt: `id`, `task` where there are several, `question`, `prompt` as the model saw it,
            `reply`.
        """
        optimizer = self.optimizer
        best, numbers = [optimizer.found_asked], [optimizer.found_particle]
        outcomes = self.evaluator.evaluate(best, prompts, whole_replies=True, numbers=numbers).outcomes[0]
        return [
            {
                "id": example.identifier,
                **({"task": example.task} if example.task else {}),
                "question": example.question,
                "prompt": self.objective.prompt(example, tokenizer),
                "reply": outcome.reply if outcome is not None else "",
            }
            for example, outcome in zip(prompts, outcomes, strict=True)
        ]

    def _ask(
        self, candidates: list[Vector], examples: Sequence[Example], numbers: Sequence[int]
    ) -> list[list[Outcome]]:
        """Return what candidates [P] make of examples [M], with whole replies: outcomes [P][M]."""
        evaluation = self.evaluator.evaluate(candidates, examples, whole_replies=True, numbers=numbers)
        return [[outcome for outcome in row if outcome is not None] for row in evaluation.outcomes]

    def _win_rate(
        self,
        objective: ComparesReplies,
        examples: Sequence[Example],
        outcomes: Sequence[Outcome],
        initial: Sequence[Outcome],
    ) -> float | None:
        """Let the first rank compare replies: every rank holds them all."""
        rate: float | None = None
        with self.ranks.together():
            if self.ranks.index == 0:
                rate = objective.win_rate(examples, outcomes, initial)
        return self.ranks.first(rate)
