"""How far an evaluation has come: counted by hand from what is asked."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.progress import Headway
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives import ExactMatch, MultipleChoice, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICES = dict(zip("ABCD", ("red", "a town", "seven", "a bear"), strict=True))
EXAMPLES = [Example(f"Which is number {place}?", "A", CHOICES, identifier=str(place)) for place in range(9)]


class Noting:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.standings: list[Headway] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def go_on(self, standing: Headway) -> None:
        self.calls.append("go on")
        self.standings.append(standing)

    def end(self, whole: bool) -> None:
        self.calls.append("end" if whole else "break off")


def watched(
    adapted: AdaptedModel, tokenizer: "PreTrainedTokenizerBase", objective: Objective
) -> tuple[Evaluator[ResidentRunner], Noting]:
    settings = EngineSettings(rows=4, shared_prefix=False, row_stops=False)
    evaluator = Evaluator(ResidentRunner(adapted, tokenizer, settings), objective)
    evaluator.watcher = noting = Noting()
    return evaluator, noting


def check_course(noting: Noting, pairs: int) -> None:
    done = [standing.done for standing in noting.standings]
    assert noting.calls == ["begin", *["go on"] * len(done), "end"]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, pairs)
    assert {standing.due for standing in noting.standings} == {pairs}


def test_generation_counts_replies_as_they_end_and_tokens_as_they_are_read(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    objective = ExactMatch(max_new_tokens=5)
    evaluator, noting = watched(adapted, tiny_tokenizer, objective)
    evaluation = evaluator.evaluate(pool.vectors, EXAMPLES)
    check_course(noting, 4 * 9)
    assert len({standing.done for standing in noting.standings}) > 4, "not only at the ends of lots"
    prompts = tiny_tokenizer([objective.prompt(example, tiny_tokenizer) for example in EXAMPLES])["input_ids"]
    # The last token of a reply, or the one that ends the text, is not read again.
    expected = 4 * sum(map(len, prompts)) + evaluation.generated - 36
    assert noting.standings[-1].tokens == expected


def test_likelihoods_of_letters_count_prompts(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    objective = MultipleChoice("likelihood")
    evaluator, noting = watched(adapted, tiny_tokenizer, objective)
    evaluator.evaluate(pool.vectors[:2], EXAMPLES)
    check_course(noting, 2 * 9)
    prompts = [objective.prompt(example, tiny_tokenizer) for example in EXAMPLES]
    rows = tiny_tokenizer([f"{prompt} A" for prompt in prompts])["input_ids"]
    assert noting.standings[-1].tokens == 2 * sum(len(row) - 1 for row in rows)


def test_likelihoods_of_texts_count_prompts_once_and_each_choice_behind_them(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    objective = MultipleChoice("likelihood", "text")
    evaluator, noting = watched(adapted, tiny_tokenizer, objective)
    evaluator.evaluate(pool.vectors[:2], EXAMPLES)
    check_course(noting, 2 * 9)
    assert len({standing.done for standing in noting.standings}) > 6
    read = 0
    for example in EXAMPLES:
        prompt = objective.prompt(example, tiny_tokenizer)
        shared = len(tiny_tokenizer(prompt)["input_ids"])
        rows = {tuple(tiny_tokenizer(f"{prompt} {text}")["input_ids"][:-1]) for text in CHOICES.values()}
        read += shared + sum(len(row) - shared for row in rows)
    assert noting.standings[-1].tokens == 2 * read


def test_what_is_known_from_before_counts_as_done(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, tmp_path: Path
) -> None:
    for known in (0, 36):
        evaluator, noting = watched(adapted, tiny_tokenizer, ExactMatch(max_new_tokens=2))
        journal = ScoreJournal(tmp_path)
        journal.begin("key", Ranks())
        evaluator.evaluate(pool.vectors, EXAMPLES, journal=journal)
        last = noting.standings[-1]
        assert (last.done, last.due, last.known) == (36, 36, known)
    assert last.tokens == 0


def test_an_evaluation_that_breaks_off_ends_for_its_watcher(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    evaluator, noting = watched(adapted, tiny_tokenizer, MultipleChoice())
    with pytest.raises(ValueError, match="Expected weights"):
        evaluator.evaluate(torch.zeros(1, 2, 3), EXAMPLES)
    assert noting.calls == ["begin", "break off"]
    assert evaluator.runner.meter.tell is None
