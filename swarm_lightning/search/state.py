"""What a search knows and has done: the one object of it that changes, and what a checkpoint holds of it.

Lightning stores the positions and the optimizer's state; here is all that is added to them, as tensors and plain
values, so that a resumed search goes on as the uninterrupted one would. The memory of scores is part of it, so that it
also asks what the uninterrupted one would ask.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.counts import plus
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes, expected_scores
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.objectives.protocol import Outcome
from swarm_lightning.search.guide import GuideCheck, Shown
from swarm_lightning.search.results import ResultRow, SearchResult
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.state import Swarm

KEY = "swarm_lightning"
FORMAT = 2
COUNTS = ("seconds", "evaluations", "generated_tokens", "forward_passes", "examples", "seed")
LATER = {"forward_passes"}  # which checkpoints of earlier versions lack


def _nothing() -> Tensor:
    return torch.empty(0, 0, dtype=torch.float64)


def _without_broken(scores: Tensor) -> Tensor:
    """Put the mean of the others where a broken particle has no score, 0 where nobody has one."""
    known = scores.masked_fill(~scores.isfinite(), math.nan)
    return torch.where(known.isnan(), known.nanmean(dim=0).nan_to_num(), known) if known.isnan().any() else known


@dataclass
class ScoreMemory:
    """Scores of N particles on M examples.

    Attributes:
        known: The last known score of every particle on every example [N, M] float64.
        best: The scores of its personal best [N, M] float64.
        reach: The lowest and the highest utility that its last evaluated position can have [N, 2] float64; equal where
            the utility is known.
    """

    known: Tensor = field(default_factory=_nothing)
    best: Tensor = field(default_factory=_nothing)
    reach: Tensor = field(default_factory=_nothing)

    def begin(self, evaluation: Evaluation) -> None:
        """Start with the scores of the first positions."""
        self.known = _without_broken(evaluation.scores)
        self.best = self.known.clone()
        self.reach = evaluation.reach.clone()

    def stakes(self, swarm: Swarm, repel: bool, last: bool = True) -> Stakes:
        """Say what the evaluation of the current positions has to find out.

        Args:
            swarm: The swarm, moved and not yet evaluated.
            repel: Whether the search uses the global worst.
            last: Whether a position that was asked before has the same utility now.
        """
        bests = swarm.personal_best_utilities
        still = [
            last and math.isfinite(best) and torch.equal(position, personal_best)
            for position, personal_best, best in zip(swarm.positions, swarm.personal_bests, bests.tolist(), strict=True)
        ]
        return Stakes(
            personal_bests=bests.clone(),
            floor=float(swarm.global_worst_utility) if repel else -math.inf,
            expected=expected_scores(self.known, self.best, int(swarm.best_particle)),
            known=torch.where(torch.tensor(still), bests, math.nan),
        )

    def update(self, evaluation: Evaluation, swarm: Swarm, due: Tensor) -> None:
        """Take in an evaluation, before the swarm does.

        Args:
            evaluation: What the particles made of the examples.
            swarm: The swarm with the bests from before.
            due: Which particles were evaluated [N] bool.
        """
        self.known = torch.where(evaluation.scores.isfinite(), evaluation.scores, self.known)
        improved = evaluation.utilities > swarm.personal_best_utilities
        self.best[improved] = evaluation.scores[improved]
        self.reach[due] = evaluation.reach[due]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the three tensors, by name."""
        return {"known": self.known, "best": self.best, "reach": self.reach}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        self.known, self.best, self.reach = (state[name].cpu().clone() for name in ("known", "best", "reach"))


@dataclass
class SearchState:
    """The state of a search beside its swarm. `ModelSwarm` owns it; everybody else reads.

    Attributes:
        seed: Of the search; None before there is a population.
        seconds: Time of the search, over all of its resumed parts.
        earlier: That of the parts before the present one.
        evaluations: (particle, example) pairs that were asked.
        generated_tokens: Tokens that were generated for them.
        forward_passes: Forward passes that they took; None where nobody can count them, or has counted them all.
        examples: Number of examples M that guide the search.
        parts: The utility of every task, of the best initial and the best found expert; empty where there are no tasks.
        starts: The utility of everything that an evolution strategy could begin with, by name, its beginning first.
        choices: The utility of everything that was chosen among in the end, by name.
        scores: What is known of scores.
        generator: Source of the random numbers before the swarm begins; from then on its state is the swarm's.
        fit: Which fit of the experts the second versions are, so that scores of the same coefficients are told apart; 0
            where there is none.
        check: How the guide ranks the first positions; None where the search follows its objective from the beginning.
        shown: What the objective is asked while a guide is followed; None where none is.
        reported: The utilities of the first positions by the objective [N] float64; empty where it is followed.
        reported_scores: The scores that these are made of [N, M] float64; empty in runs of earlier versions.
        found_scores: Those of what was chosen in the end by the objective [M] float64 where a guide was followed; empty
            before that, and in runs of earlier versions.
        evaluation: The latest evaluation of the swarm, with its score table; None where nothing was scored since the
            search was made or resumed.
        besides: The evaluation of what the latest iteration has asked beside its particles; None where it has not.
        scoring_seconds: How long scoring took in the latest iteration.
        broken: Which particles it found broken [N] bool.
        metrics: What is logged of the latest iteration, by name. All are unitless but the seconds.
        rows: The table of the latest validation or test.
        tested: What the best initial and the best found expert made of the test split [2][M], once it is scored.
        result: The summary, once the search has ended.
        origin: What a checkpoint says of its search, where the swarm was taken out of one to be looked at.
    """

    seed: int | None = None
    seconds: float = 0.0
    earlier: float = 0.0
    evaluations: int = 0
    generated_tokens: int = 0
    forward_passes: int | None = 0
    examples: int = 0
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    starts: dict[str, float] = field(default_factory=dict)
    choices: dict[str, float] = field(default_factory=dict)
    scores: ScoreMemory = field(default_factory=ScoreMemory)
    generator: torch.Generator = field(default_factory=torch.Generator)
    fit: int = 0
    check: GuideCheck | None = None
    shown: Shown | None = None
    reported: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    reported_scores: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))
    found_scores: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    evaluation: Evaluation | None = None
    besides: Evaluation | None = None
    scoring_seconds: float = 0.0
    broken: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    metrics: dict[str, float] = field(default_factory=dict)
    rows: tuple[ResultRow, ...] = ()
    tested: list[list[Outcome]] = field(default_factory=list)
    result: SearchResult | None = None
    origin: dict[str, Any] | None = None

    def start(self, seed: int) -> None:
        """Begin a new search; nothing of an earlier one counts.

        Args:
            seed: Of its random numbers.
        """
        self.seed = seed
        self.generator.manual_seed(seed)
        self.earlier, self.seconds, self.result = 0.0, 0.0, None
        self.evaluations, self.generated_tokens, self.forward_passes = 0, 0, 0
        self.parts, self.starts, self.choices, self.metrics = {}, {}, {}, {}
        self.found_scores, self.fit = self.found_scores.new_zeros(0), 0
        self.evaluation, self.besides, self.origin, self.check, self.shown = None, None, None, None, None

    @property
    def guided(self) -> bool:
        """Whether the search follows a guide, so that its utilities are not those that are reported."""
        return self.check is not None and self.check.followed

    def before(self, optimizer: SearchOptimizer) -> Tensor:
        """Return the utilities of the first positions by the objective [N].

        Args:
            optimizer: Which has begun.
        """
        return self.reported if self.guided or not optimizer.begun else optimizer.expert_utilities

    def after(self, optimizer: SearchOptimizer) -> float:
        """Return the utility of what was found by the objective; NaN while only a guide has spoken.

        Args:
            optimizer: Which has found it.
        """
        return math.nan if self.guided and not optimizer.chosen else optimizer.found_utility

    def guidance(self, optimizer: SearchOptimizer, initial: int) -> dict[str, Any]:
        """Say how the search was guided, as plain values; nothing where it followed its objective from the beginning.

        Args:
            optimizer: What has searched.
            initial: Which particle is the best initial expert.
        """
        if self.check is None:
            return {}
        told = {}
        if self.guided and isinstance(optimizer, ParticleSwarm):
            swarm = optimizer.swarm
            told["before"] = float(swarm.initial_utilities[initial])
            told["after"] = float(swarm.personal_best_utilities[optimizer.found_particle])
        return {**asdict(self.check), **told}

    def take_scores(self, evaluation: Evaluation, broken: Tensor, optimizer: SearchOptimizer) -> None:
        """Take in an evaluation, before the swarm does.

        Args:
            evaluation: Of the positions that have just been reached.
            broken: Which of them are broken [N] bool.
            optimizer: The swarm, in the middle of an iteration.
        """
        if optimizer.asks_besides:
            self.besides = evaluation
            return
        self.evaluation, self.broken = evaluation, broken
        if not optimizer.asks_particles:  # what other candidates score says nothing of any particle
            return
        if optimizer.begun:
            self.scores.update(evaluation, optimizer.swarm, optimizer.due)
            self.scores.reach[optimizer.lost] = -torch.inf
        else:
            self.scores.begin(evaluation)

    def replace_first(self, place: int, told: Evaluation, row: int, reported: Evaluation | None) -> None:
        """Take in what stands in the place of a first position, before the swarm begins.

        Args:
            place: Of the particle.
            told: An evaluation of it by what is followed.
            row: Its place there.
            reported: An evaluation of it alone by the objective, where a guide is followed; else None.
        """
        assert self.evaluation is not None
        self.evaluation = self.evaluation.with_row(place, told, row)
        self.scores.begin(self.evaluation)
        self.broken[place] = False
        if reported is not None:
            self.reported, self.reported_scores = self.reported.clone(), self.reported_scores.clone()
            self.reported[place], self.reported_scores[place] = reported.utilities[0], reported.scores[0]

    def count(self, seconds: float, examples: int, besides: bool = False) -> None:
        """Count the evaluation that was taken in.

        Args:
            seconds: How long it took.
            examples: Number of examples M.
            besides: Whether it is that of what was asked beside the particles.
        """
        evaluation = self.besides if besides else self.evaluation
        assert evaluation is not None
        self.scoring_seconds = seconds + (self.scoring_seconds if besides else 0.0)
        self.add(evaluation, seconds)
        self.examples = examples

    def add(self, evaluation: Evaluation, seconds: float) -> None:
        """Count what was asked and how long it took.

        Args:
            evaluation: Of any candidates.
            seconds: How long it took.
        """
        self.seconds += seconds
        self.evaluations += evaluation.evaluated
        self.generated_tokens += evaluation.generated
        self.forward_passes = plus(self.forward_passes, evaluation.forward_passes)

    def count_read(self, pairs: int, passes: int, seconds: float) -> None:
        """Count what was read for nothing but the model's inner numbers.

        Args:
            pairs: (model, example) pairs.
            passes: Forward passes that it took.
            seconds: How long it took.
        """
        self.seconds += seconds
        self.evaluations += pairs
        self.forward_passes = plus(self.forward_passes, passes)

    def sum_up(
        self, optimizer: SearchOptimizer, initial: int, names: Sequence[str], test: tuple[ResultRow, ...]
    ) -> SearchResult:
        """Say what came out of a search.

        Args:
            optimizer: The swarm.
            initial: Which particle is the best initial expert.
            names: Of the experts.
            test: What the best ones score on the test split; empty where there is none.
        """
        swarm = optimizer.swarm
        before, after = float(self.before(optimizer)[initial]), self.after(optimizer)
        return SearchResult(
            validation=(
                ResultRow(INITIAL, names[initial], before, self.examples, parts=self.parts.get(INITIAL, {})),
                ResultRow(FOUND, optimizer.found_name, after, self.examples, parts=self.parts.get(FOUND, {})),
            ),
            test=test,
            particle=optimizer.found_particle,
            iterations=int(swarm.iterations),
            restarts=int(swarm.restarts.sum()),
            seconds=self.seconds,
            evaluations=self.evaluations,
            generated_tokens=self.generated_tokens,
            forward_passes=self.forward_passes,
            starts=self.starts,
            choices=self.choices,
            guide=self.guidance(optimizer, initial),
        )

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the state itself."""
        counts = {name: getattr(self, name) for name in COUNTS}
        kept = {"parts": self.parts, "starts": self.starts, "choices": self.choices}
        guided: dict[str, Any] = {}
        if self.check is not None:
            guided = {"check": asdict(self.check), "reported": self.reported}
            guided["reported_scores"] = self.reported_scores
            guided["found_scores"] = self.found_scores
        if self.shown is not None:
            guided["shown"] = asdict(self.shown)
        fitted = {"fit": self.fit} if self.fit else {}
        return {**counts, "scores": self.scores.state_dict(), **kept, **guided, **fitted}

    def resume(self, record: Mapping[str, Any]) -> None:
        """Take up what `record` returned.

        Args:
            record: What a checkpoint says.
        """
        for name in COUNTS:
            setattr(self, name, record.get(name) if name in LATER else record[name])
        self.earlier = self.seconds
        self.parts, self.starts, self.choices = (record.get(name, {}) for name in ("parts", "starts", "choices"))
        self.scores.load_state_dict(record["scores"])
        self.fit = record.get("fit", 0)
        self.check = GuideCheck(**record["check"]) if "check" in record else None
        self.reported = record.get("reported", self.reported)
        self.reported_scores = record.get("reported_scores", self.reported_scores)
        self.found_scores = record.get("found_scores", self.found_scores)
        self.shown = Shown(**record["shown"]) if "shown" in record else None  # the history of older runs has no room


def record_in(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of its search.

    Args:
        checkpoint: The content of a checkpoint file.

    Raises:
        InputError: If it is not one of a swarm in the present format.
    """
    record = checkpoint.get(KEY)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(
            f"Expected a checkpoint of a swarm in format {FORMAT}, but this one holds "
            f"{'nothing of a swarm' if record is None else record.get('format')}. "
            "Give the last.ckpt of a run folder of this version of swarm-lightning."
        )
    record["identity"].setdefault("draws", "particle")  # all that there was at first
    return record
