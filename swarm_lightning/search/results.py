"""What a search reports in the end: who was best before, who is now, and by how much; and the experts that are asked.

Rows and results are plain values, so that a result can be logged, printed, written as JSON, or put on a model card.
Which particles vote in an ensemble is decided by their utilities on the split that guided the search, never by the one
that is scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.bootstrap import Gain, Resampling, gain_of
from swarm_lightning.evaluation.ensemble import vote
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.objectives.protocol import ComparesReplies, Objective, Outcome
from swarm_lightning.objectives.utility import parts_of, utility_of
from swarm_lightning.swarm.graphs import FIXED, System
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.vectors import Vector

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ResultRow:
    """One line of a table of results.

    Attributes:
        name: What was scored, e.g. `best found expert`.
        detail: Which one it is, e.g. the expert's name or the particles of an ensemble.
        utility: Its utility on the split that was scored, higher is better.
        examples: Number of examples that were scored.
        win_rate: Share of examples on which its reply beats that of the best initial expert, ties counted half; None
            where the objective does not compare replies, or nobody asked it to.
        parts: The utility of every task, where the search has several.
        gain: By how much it is above the best initial expert, on a split that did not guide the search.
    """

    name: str
    detail: str
    utility: float
    examples: int
    win_rate: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    gain: Gain | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values, without a win rate, tasks or a gain where there are none."""
        values = asdict(self)
        if self.gain is not None:
            values["gain"]["within_noise"] = self.gain.within_noise
        return {name: value for name, value in values.items() if value is not None and value != {}}


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a whole search.

    Attributes:
        validation: The best initial and the best found expert on the split that guided the search.
        test: The same two on the test split; empty where there is none.
        particle: The particle whose personal best is the best found expert.
        iterations: Iterations done.
        restarts: Restarts of all particles together.
        seconds: Time of the search in seconds, over all of its resumed parts, without loading and the test split.
        evaluations: (particle, example) evaluations of the search, over all of its resumed parts.
        generated_tokens: Tokens that were generated for them.
        forward_passes: Calls of a model that they took, whatever the batch; None where nobody can count them, or where
            a part of the search was done by a version that did not.
        starts: The utility of everything that an evolution strategy could have begun with, by name, and its beginning
            first; empty for a swarm.
        choices: The utility on the validation split of everything that was chosen among in the end, by name; empty
            where nothing was.
        guide: How the guide that the search was to follow ranks the first positions, whether it was followed, and its
            utility of the best initial expert and of what was found; empty where the objective was followed from the
            beginning.
    """

    validation: tuple[ResultRow, ...]
    test: tuple[ResultRow, ...]
    particle: int
    iterations: int
    restarts: int
    seconds: float
    evaluations: int
    generated_tokens: int
    forward_passes: int | None = None
    starts: Mapping[str, float] = field(default_factory=dict)
    choices: Mapping[str, float] = field(default_factory=dict)
    guide: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, without a guide where there is none."""
        rows = {name: [row.to_dict() for row in getattr(self, name)] for name in ("validation", "test")}
        values = asdict(self) | rows
        return values if self.guide else {name: value for name, value in values.items() if name != "guide"}


def metrics_of(rows: Sequence[ResultRow], split: str) -> dict[str, float]:
    """Return the numbers of a table of results, by the names under which they are logged.

    No name is the beginning of another one, as far as a slash: MLflow makes folders of them.

    Args:
        rows: The table.
        split: Which split was scored.

    >>> metrics_of([ResultRow("best found expert", "particle 1", 0.5, 8, parts={"medqa": 0.25})], "test")
    {'test/best_found_expert': 0.5, 'test/medqa/best_found_expert': 0.25}
    """
    metrics = {}
    for row in rows:
        name = row.name.replace(" ", "_")
        metrics[f"{split}/{name}"] = row.utility
        if row.win_rate is not None:
            metrics[f"{split}/{name}_win_rate"] = row.win_rate
        if row.gain is not None:
            gain = {"gain": row.gain.difference, "gain_low": row.gain.low, "gain_high": row.gain.high}
            metrics |= {f"{split}/{name}_{key}": value for key, value in gain.items()}
        metrics |= {f"{split}/{task}/{name}": value for task, value in row.parts.items()}
    return metrics


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


def references_of(optimizer: HeterogeneousSwarm) -> dict[str, System]:
    """Return graphs of the experts that nobody had to search, by name: the better an expert, the nearer to the end.

    Args:
        optimizer: Which knows how good each expert is alone.
    """
    graphs, utilities = optimizer.graphs, optimizer.expert_utilities
    ordered = utilities.masked_fill(~utilities.isfinite(), -torch.inf).argsort(stable=True).tolist()
    return {f"{name} of the experts": System(made(graphs.nodes), tuple(ordered), graphs.experts)
            for name, made in FIXED.items()}  # fmt: skip
