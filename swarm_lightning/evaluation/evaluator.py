"""Candidates and examples to a score table.

The pairs to ask are cut into lots, the same whatever the number of ranks, and every rank asks its share of them. With
stakes, the asking goes in rounds that end as soon as nothing more can matter. What a candidate is and how it replies is
the runner's; what is asked and how a reply is scored, the objective's; which candidates are due, and what follows from
the scores, the caller's.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.counts import less, plus
from swarm_lightning.evaluation.engine.batches import groups_of
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes, rule_of
from swarm_lightning.evaluation.kept_scores import KeptScores
from swarm_lightning.evaluation.lengths import check_fits
from swarm_lightning.evaluation.lots import LEAST_PAIRS, Pair, lots_by_task
from swarm_lightning.evaluation.objective_call import ask_until, prompts_of
from swarm_lightning.evaluation.progress import Course, Watcher
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.rounds import next_round, reaches_of
from swarm_lightning.evaluation.runner import Rows, Runner, Session, passes_of
from swarm_lightning.evaluation.sampling import BASE, RowNoise
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.whole_tables import KnowsLikelihoods, Part, divide, scored_at_once
from swarm_lightning.objectives.protocol import Objective, Outcome

if TYPE_CHECKING:
    from swarm_lightning.evaluation.runners.resident import ResidentRunner

LEAST_LOTS = 4  # up to so many ranks work on the same lots; more lots cost time, as the last rows of each run alone
# What is lost at a kill is a lot: with a large model no more than so many passes.
MOST_PASSES = 8
AnyRunner = TypeVar("AnyRunner", bound=Runner)
OtherRunner = TypeVar("OtherRunner", bound=Runner)


@dataclass
class Common:
    """What all evaluators of a search have in common.

    Attributes:
        pairs: Asked so far, by all ranks.
        passes: Forward passes that they took; None where nobody can count them.
        kept: Where evaluations without a journal of their own keep their scores; None for nowhere.
    """

    pairs: int = 0
    passes: int | None = 0
    kept: KeptScores | None = None


class Evaluator(Generic[AnyRunner]):
    """Asks an objective's questions of candidates.

    Attributes:
        runner: What takes up candidates and answers.
        objective: What is asked, and how it is scored.
        ranks: The processes that share the work.
        seed: The run's, which the noise of sampled replies belongs to.
        watcher: Who is told how evaluations go on; None for nobody.
    """

    def __init__(self, runner: AnyRunner, objective: Objective, ranks: Ranks | None = None) -> None:
        """Keep the parts.

        Args:
            runner: What takes up candidates and answers.
            objective: What to ask and how to score.
            ranks: The processes that share the work; this one alone if None.
        """
        self.runner = runner
        self.objective = objective
        self.ranks = Ranks() if ranks is None else ranks
        self.seed = 0
        self.watcher: Watcher | None = None
        self._common = Common()
        self._rendered: tuple[tuple[Example, ...], list[str]] = ((), [])
        self._prepared: tuple[tuple[Example, ...], list[list[int]], list[Part]] = ((), [], [])

    @property
    def asked(self) -> int:
        """(particle, example) pairs asked so far, by all ranks; a mixture counts each of its particles."""
        return self._common.pairs

    def keep(self, kept: KeptScores | None) -> None:
        """Keep the scores of evaluations that have no journal of their own; of this and all evaluators made of it.

        Args:
            kept: Where; None for nowhere any more.
        """
        self._common.kept = kept

    @property
    def forward_passes(self) -> int | None:
        """Forward passes that this took, by all ranks; None where nobody can count them."""
        return self._common.passes

    def on(self, runner: OtherRunner) -> "Evaluator[OtherRunner]":
        """Return what asks the same of other candidates; what it asks counts here too.

        Args:
            runner: Takes them up.
        """
        other = cast("Evaluator[OtherRunner]", copy.copy(self))
        other.runner = runner
        return other

    def asking(self, objective: Objective) -> "Evaluator[AnyRunner]":
        """Return what asks the same candidates something else; what it asks counts here too.

        Args:
            objective: What to ask and how to score.
        """
        other = copy.copy(self)
        other.objective, other._rendered, other._prepared = objective, ((), []), ((), [], [])
        return other

    def check_lengths(self, examples: Sequence[Example]) -> None:
        """Refuse examples whose prompt alone fills the model, all at once and before any of them is asked.

        Args:
            examples: What will be asked. Whether a reply or a choice fits as well is seen when it is asked, unless the
                objective follows `CountsTokens`.

        Raises:
            InputError: If a prompt leaves no room for a single token, or one of a later turn can get too long.
        """
        positions = self.runner.positions
        if positions is not None:
            lengths = self.prompt_lengths(examples)
            check_fits(self.objective, examples, lengths, positions, self.runner.tokenizer)

    def prompt_lengths(self, examples: Sequence[Example]) -> list[int]:
        """Return how many tokens the prompt of every example has."""
        return self.runner.lengths(self._prompts(examples))

    def evaluate(
        self,
        candidates: Sized,
        examples: Sequence[Example],
        due: Tensor | None = None,
        stakes: Stakes | None = None,
        whole_replies: bool = False,
        numbers: Sequence[int] | None = None,
        journal: ScoreJournal | None = None,
        wanted: Tensor | None = None,
    ) -> Evaluation:
        """Score candidates.

        Args:
            candidates: P of them, in the form that the runner takes: for particles their weights [P, D] or P vectors.
            examples: What to ask every candidate.
            due: Which candidates to ask [P], bool; all where not given.
            stakes: What has to be found out about them; everything where not given, where the settings have no exact
                stop, and where the objective's scores have no bounds.
            whole_replies: Whether the replies matter: then none ends before its end, and all ranks get all outcomes.
            numbers: The particle of the search that each of them is, whose noise its replies are sampled with [P]; 0 to
                P - 1 where not given.
            journal: What is known already of this evaluation, and where to note what it finds.
            wanted: Which examples to ask which candidate [P, M], bool; all where not given. The utility of a candidate
                is then that of the examples that it is asked; nothing of these is left unasked, so there are no stakes.

        Returns:
            The score table, the outcomes, and what they say of the utilities.

        Raises:
            ValueError: If the shapes do not fit each other.
            InputError: If the objective can't serve an example, or gives a score outside its bounds.
        """
        count = len(candidates)
        numbers = range(count) if numbers is None else numbers
        if due is not None and tuple(due.shape) != (count,):
            raise ValueError(f"Expected due [{count}], one for each candidate, but got {list(due.shape)}.")
        if len(numbers) != count:
            raise ValueError(f"Expected a number for each of {count} candidates, but got {len(numbers)}.")
        if wanted is not None and tuple(wanted.shape) != (count, len(examples)):
            raise ValueError(f"Expected wanted {[count, len(examples)]}, but got {list(wanted.shape)}.")
        if wanted is not None and stakes is not None:
            raise ValueError("Expected no stakes where every candidate has examples of its own.")
        asked = range(count) if due is None else due.nonzero().flatten().tolist()
        return self._evaluate(candidates, numbers, list(asked), examples, stakes, whole_replies, journal, wanted)

    def evaluate_base(self, examples: Sequence[Example]) -> Evaluation:
        """Score the base model without any expert, as one candidate.

        Args:
            examples: What to ask.

        Returns:
            An evaluation with P = 1.
        """
        return self._evaluate(None, [BASE], [0], examples, None, True)

    def read(
        self: "Evaluator[ResidentRunner]", candidate: Tensor, examples: Sequence[Example], turn: Callable[[int], None]
    ) -> int:
        """Let a candidate read the prompts of examples one by one, for whoever listens to the model's layers.

        Every rank reads all of them, so that what is heard is the same whatever the number of ranks; as many pairs are
        counted as examples.

        Args:
            candidate: The weights or coefficients of a particle.
            examples: Whose prompts.
            turn: Told before each which one it is.

        Returns:
            The forward passes that it took, those of other ranks not counted.
        """
        before = self.runner.meter.passes
        course = Course(self.watcher, self.runner, 1)

        def told(example: int) -> None:
            turn(example)
            left = len(examples) - example
            course.round(example, 0, left, left)

        with course.followed(), self.ranks.together():
            interruption.check()
            self.runner.read(candidate, self._prompts(examples), told)
        passes = self.runner.meter.passes - before
        self._common.pairs += len(examples)
        self._common.passes = plus(self._common.passes, passes)
        return passes

    @contextmanager
    def base_alone(self, examples: Sequence[Example]) -> Iterator[Rows]:
        """Lend the base model without any expert, for the length of a `with` block.

        Args:
            examples: What the rows of its calls belong to.
        """
        noise = RowNoise(self.seed, (BASE,) * len(examples), tuple(examples))
        with self.runner.session(None, {}) as session, torch.inference_mode():
            yield session.rows([0] * len(examples), examples, noise, True)

    def _evaluate(
        self,
        candidates: Sized | None,
        numbers: Sequence[int],
        due: Sequence[int],
        examples: Sequence[Example],
        stakes: Stakes | None,
        whole_replies: bool,
        journal: ScoreJournal | None = None,
        wanted: Tensor | None = None,
    ) -> Evaluation:
        runner = self.runner
        if journal is None:
            kept, how = self._common.kept, (self.seed, type(self.objective).__qualname__, whole_replies)
            journal = ScoreJournal() if kept is None else kept.journal(candidates, numbers, examples, self.ranks, how)
        table = torch.full((len(numbers), len(examples)), math.nan, dtype=torch.float64)
        outcomes: list[list[Outcome | None]] = [[None] * len(examples) for _ in numbers]
        rule = rule_of(self.objective, examples)
        if not self.runner.settings.exact_stop or not rule.finite:
            stakes = None
        tasks, prompts = [example.task for example in examples], self._prompts(examples)
        lengths = runner.lengths(prompts)
        waiting = [candidate for candidate in due if stakes is None or math.isnan(stakes.known[candidate])]
        # The first rank says how large lots are: free memory may differ between them.
        rows = self.ranks.first(runner.rows_at_once(max(lengths, default=1)))
        generated_before, passes_before = runner.generated, passes_of(runner)
        course = Course(self.watcher, runner, self.ranks.count)
        with course.followed(), runner.session(candidates, _by_task(tasks, prompts)) as session:
            if not whole_replies and wanted is None and scored_at_once(self.objective, session):
                # A text is asked of every expert: a lot needs few of them.
                least = math.ceil(min(rows, LEAST_PAIRS) / session.models)
                lots = lots_by_task({0: range(len(examples))}, tasks, lengths, least, self._lots(len(examples), rows))
                columns = [[place for _, place in lot] for lot in lots]
                table = self._at_once(cast("KnowsLikelihoods", session), table, waiting, examples, columns, course)
                waiting = []
            # Where not all candidates share a forward pass, those that do are done with before others are taken up.
            later = list(waiting)
            for running in groups_of(waiting, runner.at_once):
                later = later[len(running) :]
                while asked := next_round(table, running, stakes, rule, wanted, runner.settings.chunk):
                    with self.ranks.together():
                        interruption.check()
                        known, lots = journal.recall(
                            lots_by_task(asked, tasks, lengths, rows, self._lots(sum(map(len, asked.values())), rows))
                        )
                        found = known if self.ranks.index == 0 else []
                        still = table.isnan() if wanted is None else table.isnan() & wanted
                        left = int(still[[*asked, *later]].sum())
                        course.round(int((~table.isnan()).sum()), len(known), sum(map(len, lots)), left)
                        for _, share in groupby(self.ranks.share(lots), key=lambda lot: tasks[lot[0][1]]):
                            for lot in share:
                                tokens, passes = runner.generated, passes_of(runner)
                                with course.lot(len(lot)):
                                    answered = self._ask(session, lot, examples, numbers, whole_replies)
                                pairs, news = [pair for pair, _ in answered], [outcome for _, outcome in answered]
                                took = less(passes_of(runner), passes)
                                journal.keep(pairs, news, runner.generated - tokens, took)
                                found.extend(answered)
                                interruption.check()
                            if len(set(tasks)) > 1:  # the next task needs the memory
                                session.forget()
                    table = self._merge(table, found)
                    for (candidate, place), outcome in self.ranks.gather_objects(found) if whole_replies else found:
                        outcomes[candidate][place] = outcome
                    running = list(asked)
                session.forget()
            self._common.pairs += session.models * int((~table.isnan()).sum())
        passes = less(passes_of(runner), passes_before)
        spent = self.ranks.sum(torch.tensor([runner.generated - generated_before, passes or 0]))
        generated = int(spent[0]) + journal.recalled
        passes = None if passes is None else plus(int(spent[1]), journal.recalled_passes)
        self._common.passes = plus(self._common.passes, passes)
        reaches = reaches_of(self.objective, table, due, stakes, examples, wanted)
        utilities = torch.where(reaches[:, 0] == reaches[:, 1], reaches[:, 0], math.nan)
        return Evaluation(table, outcomes, utilities, reaches, generated, passes)

    def _at_once(
        self,
        session: KnowsLikelihoods,
        table: Tensor,
        candidates: Sequence[int],
        examples: Sequence[Example],
        lots: Sequence[list[int]],
        course: Course,
    ) -> Tensor:
        """Return the score table of candidates whose likelihoods are known together; ranks share the examples."""
        if not candidates:
            return table
        news, rows = torch.full_like(table, math.nan), torch.tensor(candidates)[:, None]
        with self.ranks.together():
            interruption.check()
            course.round(0, 0, len(candidates) * len(examples), len(candidates) * len(examples))
            for part in self.ranks.share(self._texts(examples, lots)):
                with course.lot(len(candidates) * len(part.places)):
                    news[rows, torch.tensor(part.places)] = part.scores(session, candidates)
                interruption.check()
        return self.ranks.gather_scores(news)

    def _texts(self, examples: Sequence[Example], lots: Sequence[list[int]]) -> list[Part]:
        """Return what is asked of whole tables; that of the examples asked last is remembered."""
        known, places, parts = self._prepared
        if places != lots or not _same(known, examples):
            parts = divide(self.objective, examples, lots, self.runner.tokenizer)
            self._prepared = (tuple(examples), list(lots), parts)
        return parts

    def _lots(self, pairs: int, rows: int) -> int:
        """Return how many lots a round is cut into at most.

        As many as are set; else 4, for more ranks the next power of two, and so many that none takes too long.
        """
        enough = math.ceil(pairs / max(MOST_PASSES * rows, LEAST_PAIRS))
        return self.runner.settings.lots or max(LEAST_LOTS, 1 << (self.ranks.count - 1).bit_length(), enough)

    def _merge(self, table: Tensor, found: Sequence[tuple[Pair, Outcome]]) -> Tensor:
        """Return the score table with what all ranks have found in this round."""
        news = torch.full_like(table, math.nan)
        if found:
            candidates, places = torch.tensor([pair for pair, _ in found]).unbind(dim=1)
            news[candidates, places] = torch.tensor([outcome.score for _, outcome in found], dtype=news.dtype)
        return torch.where(table.isnan(), self.ranks.gather_scores(news), table)

    def _ask(
        self,
        session: Session,
        lot: Sequence[Pair],
        examples: Sequence[Example],
        numbers: Sequence[int],
        whole_replies: bool,
    ) -> list[tuple[Pair, Outcome]]:
        """Return what came of a lot: of all its pairs, or of some if the run was asked to end meanwhile."""
        candidates = [candidate for candidate, _ in lot]
        asked = [examples[place] for _, place in lot]
        noise = RowNoise(self.seed, tuple(numbers[candidate] for candidate in candidates), tuple(asked))
        with torch.inference_mode():
            rows = session.rows(candidates, asked, noise, whole_replies)
            answered = ask_until(interruption.asked, self.objective, asked, candidates, rows)
        return [(lot[row], outcome) for row, outcome in answered]

    def _prompts(self, examples: Sequence[Example]) -> list[str]:
        """Return the prompts; those of the examples asked last are remembered."""
        known, prompts = self._rendered
        if not _same(known, examples):
            prompts = prompts_of(self.objective, examples, self.runner.tokenizer)
            self._rendered = (tuple(examples), prompts)
        return prompts


def _same(known: Sequence[Example], examples: Sequence[Example]) -> bool:
    """Tell whether examples are the very same."""
    return len(known) == len(examples) and all(one is other for one, other in zip(known, examples, strict=True))


def _by_task(tasks: Sequence[str], prompts: Sequence[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task, prompt in zip(tasks, prompts, strict=True):
        found.setdefault(task, []).append(prompt)
    return found
