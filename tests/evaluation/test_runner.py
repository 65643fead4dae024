"""A runner that has no model: the journal, the exact stop, lots, ranks and turns work with it as with any."""

import contextlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.runner import Runner
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import ExactMatch, LanguageModel, MultiTask, Outcome
from tests.evaluation.table_runner import EXAMPLES, TABLE, TableRunner, candidates_of
from tests.forked_ranks import ForkedRanks, torchrun_environments

# Candidate 0 scores 5/8, above its best; 1 scores 3/8, between the floor of 2/8 and its best; 2 scores 1/8, below it.
BESTS = torch.tensor([4, 6, 5], dtype=torch.float64) / 8


def stakes() -> Stakes:
    expected = torch.tensor(TABLE, dtype=torch.float64)
    return Stakes(BESTS, 2 / 8, expected, torch.full((3,), math.nan, dtype=torch.float64))


def evaluator(runner: TableRunner, ranks: Ranks | None = None) -> Evaluator[TableRunner]:
    _: Runner = runner
    return Evaluator(runner, ExactMatch(), ranks)


def test_every_candidate_is_asked_every_example_and_counts_as_many_models_as_answer() -> None:
    runner = TableRunner()
    asking = evaluator(runner)
    asking.check_lengths(EXAMPLES)
    found = asking.evaluate(candidates_of(TABLE), EXAMPLES, whole_replies=True)
    assert found.scores.tolist() == TABLE
    assert found.utilities.tolist() == [5 / 8, 3 / 8, 1 / 8]
    assert found.outcomes[1][4] == Outcome("yes", "yes", 1.0)
    assert sorted(runner.asked) == sorted((row, example.identifier) for row in range(3) for example in EXAMPLES)
    assert (found.generated, asking.asked) == (24, 3 * 24)
    assert (found.forward_passes, asking.forward_passes) == (None, None), "this runner can't count them"
    assert asking.evaluate_base(EXAMPLES).utilities.tolist() == [0.0]


def test_the_exact_stop_leaves_unasked_what_can_t_matter() -> None:
    runner = TableRunner(EngineSettings(chunk=1))
    found = evaluator(runner).evaluate(candidates_of(TABLE), EXAMPLES, stakes=stakes())
    # 1: two failed examples show that it can't beat 6/8, and two solved ones that it is not below 2/8.
    assert found.evaluated == 8 + 4 + 8 == len(runner.asked)
    assert found.utilities[[0, 2]].tolist() == [5 / 8, 1 / 8]
    assert found.utilities[1].isnan()
    assert found.reach[1].tolist() == [2 / 8, 6 / 8]
    everything = TableRunner(EngineSettings(exact_stop=False))
    evaluator(everything).evaluate(candidates_of(TABLE), EXAMPLES, stakes=stakes())
    assert len(everything.asked) == 24


def test_what_the_journal_holds_is_not_asked_again(tmp_path: Path) -> None:
    first = TableRunner()
    journal = ScoreJournal(tmp_path)
    journal.begin("a", Ranks())
    expected = evaluator(first).evaluate(candidates_of(TABLE), EXAMPLES, journal=journal)
    second = TableRunner()
    journal = ScoreJournal(tmp_path)
    journal.begin("a", Ranks())
    found = evaluator(second).evaluate(candidates_of(TABLE), EXAMPLES, journal=journal)
    assert second.asked == []
    assert found.scores.equal(expected.scores)
    assert found.generated == expected.generated == 24


def test_a_kill_in_a_long_evaluation_loses_no_more_than_eight_passes(tmp_path: Path) -> None:
    examples = [replace(EXAMPLES[place % 8], identifier=str(place)) for place in range(400)]
    candidates = [*candidates_of(TABLE)[:1]] * 2  # two at a time

    class Killed(TableRunner):
        def rows_at_once(self, tokens: int) -> int:
            return 16

    class Kills(ExactMatch):
        calls = 0

        def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
            self.calls += 1
            if self.calls > 3:
                raise KeyboardInterrupt
            return super().evaluate(examples, model)

    def asked_by(objective: ExactMatch) -> list[tuple[int, str]]:
        runner, journal = Killed(), ScoreJournal(tmp_path)
        journal.begin("first positions", Ranks())
        with contextlib.suppress(KeyboardInterrupt):
            Evaluator(runner, objective).evaluate(candidates, examples, journal=journal)
        return runner.asked

    before, after = asked_by(Kills()), asked_by(ExactMatch())
    # 800 pairs: 7 lots of 8 passes of 16 rows or less; the fourth was running.
    assert len(before) - (800 - len(after)) <= 8 * 16
    assert 3 * 100 < 800 - len(after) <= 3 * 8 * 16
    assert len(set(before) | set(after)) == 800


def test_ranks_share_the_questions(forked_ranks: ForkedRanks) -> None:
    program = """
import json
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.objectives import ExactMatch
from tests.evaluation.table_runner import EXAMPLES, TABLE, TableRunner, candidates_of

class CountingRunner(TableRunner):
    @property
    def passes(self):
        return 2 * len(self.asked)

runner = CountingRunner()
evaluator = Evaluator(runner, ExactMatch(), Ranks.join(2))
found = evaluator.evaluate(candidates_of(TABLE), EXAMPLES)
assert evaluator.forward_passes == found.forward_passes
print(json.dumps([runner.asked, found.scores.tolist(), found.generated, found.forward_passes]))
"""
    ended = forked_ranks.run(torchrun_environments(2), program)
    assert [rank.code for rank in ended] == [0, 0], ended
    results = [json.loads(rank.out.splitlines()[-1]) for rank in ended]
    asked = [tuple(pair) for pairs, *_ in results for pair in pairs]
    assert len(asked) == len(set(asked)) == 24
    assert all(pairs for pairs, *_ in results)
    assert [tuple(found) for _, *found in results] == [(TABLE, 24, 48)] * 2


def test_candidates_that_do_not_share_a_pass_take_turns() -> None:
    runner = TableRunner()
    evaluator(runner).evaluate(candidates_of(TABLE), EXAMPLES)
    turns = [key for key, _ in itertools.groupby(candidate // 2 for candidate, _ in runner.asked)]
    assert turns == [0, 1]


def test_a_row_without_numbers_breaks_its_candidate() -> None:
    candidates = candidates_of(TABLE)
    candidates[1][EXAMPLES[3].question] = "nonsense"
    assert evaluator(TableRunner()).evaluate(candidates, EXAMPLES).utilities.tolist() == [5 / 8, -math.inf, 1 / 8]


class Likelihoods(ExactMatch):
    """Asks what the table can't tell."""

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return [Outcome("", None, one.logarithm) for [one] in model.loglikelihood(["why?"], [["yes"]])]


def test_what_a_runner_raises_is_not_the_objective_s_fault() -> None:
    with pytest.raises(NotImplementedError):
        Evaluator(TableRunner(), Likelihoods()).evaluate(candidates_of(TABLE), EXAMPLES)


def test_prompts_that_are_longer_than_the_runner_reads_are_refused() -> None:
    with pytest.raises(InputError, match="fewer than 100 tokens"):
        evaluator(TableRunner()).check_lengths([*EXAMPLES, Example("why? " * 30, "yes")])


WANTED = torch.tensor(
    [[1, 0, 1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.bool
)  # fmt: skip


def test_every_candidate_is_asked_its_own_examples_and_no_other() -> None:
    runner = TableRunner()
    asking = evaluator(runner)
    found = asking.evaluate(candidates_of(TABLE), EXAMPLES, wanted=WANTED)
    assert sorted(runner.asked) == [(0, "0"), (0, "2"), (0, "3"), (1, "0"), (1, "2"), (1, "3")]
    assert (~found.scores.isnan()).equal(WANTED)
    assert found.utilities[:2].tolist() == [2 / 3, 1 / 3]  # of 1, 1, 0 and of 1, 0, 0
    assert found.utilities[2].isnan()
    assert (found.evaluated, asking.asked) == (6, 3 * 6)


def test_a_candidate_that_is_not_due_is_not_asked_its_own_examples() -> None:
    runner = TableRunner()
    evaluator(runner).evaluate(candidates_of(TABLE), EXAMPLES, torch.tensor([False, True, True]), wanted=WANTED)
    assert sorted(runner.asked) == [(1, "0"), (1, "2"), (1, "3")]


def test_own_examples_of_several_tasks_are_combined_as_the_objective_does() -> None:
    tasks = ["even", "odd"]
    examples = [replace(example, task=tasks[place % 2]) for place, example in enumerate(EXAMPLES)]
    objective = MultiTask({task: ExactMatch() for task in tasks}, combine="mean")
    found = Evaluator(TableRunner(), objective).evaluate(candidates_of(TABLE), examples, wanted=WANTED)
    # Candidate 0 scores 1, 1 on the even and 0 on the odd one; candidate 1 scores 1, 0 and 0.
    assert found.utilities[:2].tolist() == [0.5, 0.25]


def test_own_examples_that_the_journal_holds_are_not_asked_again(tmp_path: Path) -> None:
    for asked in (6, 0):
        runner, journal = TableRunner(), ScoreJournal(tmp_path)
        journal.begin("a", Ranks())
        found = evaluator(runner).evaluate(candidates_of(TABLE), EXAMPLES, journal=journal, wanted=WANTED)
        assert found.utilities[:2].tolist() == [2 / 3, 1 / 3]
        assert len(runner.asked) == asked


def test_ranks_share_own_examples(forked_ranks: ForkedRanks) -> None:
    program = """
import json
import torch
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.objectives import ExactMatch
from tests.evaluation.table_runner import EXAMPLES, TABLE, TableRunner, candidates_of

runner = TableRunner()
wanted = torch.arange(24).view(3, 8) % 3 > 0
asking = Evaluator(runner, ExactMatch(), Ranks.join(2))
found = asking.evaluate(candidates_of(TABLE), EXAMPLES, wanted=wanted)
print(json.dumps([runner.asked, found.utilities.tolist()]))
"""
    ended = forked_ranks.run(torchrun_environments(2), program)
    assert [rank.code for rank in ended] == [0, 0], ended
    (first, utilities), (second, same) = (json.loads(rank.out.splitlines()[-1]) for rank in ended)
    assert len({tuple(pair) for pair in first + second}) == len(first + second) == 16
    assert first
    assert second
    # Without places 0, 3, 6 of the first row, 1, 4, 7 of the second and 2, 5 of the third.
    assert utilities == same == [3 / 5, 2 / 5, 0 / 6]


def test_a_mask_of_another_shape_and_stakes_beside_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected wanted \[3, 8\], but got \[8, 3\]"):
        evaluator(TableRunner()).evaluate(candidates_of(TABLE), EXAMPLES, wanted=WANTED.T)
    with pytest.raises(ValueError, match="Expected no stakes"):
        evaluator(TableRunner()).evaluate(candidates_of(TABLE), EXAMPLES, stakes=stakes(), wanted=WANTED)
