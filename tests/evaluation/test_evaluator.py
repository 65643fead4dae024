"""Particles are real LoRA experts on the tiny base; the reference is plain `peft` with `generate`, prompt by prompt."""

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives import ExactMatch, LanguageModel, MultipleChoice, MultiTask, Objective, Outcome
from tests.evaluation.plain_peft import PlainPeft

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICES = {"A": "red", "B": "seven", "C": "stone", "D": "a river"}


@pytest.fixture(scope="module")
def examples(plain: PlainPeft, many_prompts: list[str]) -> list[Example]:
    """24 questions; the gold answer of each is the beginning of what one of the experts replies, by turns."""
    golds = []
    for place, question in enumerate(many_prompts[:24]):
        prompt = f"Question: {question}\nAnswer:"
        replies = (plain.reply((place + turn) % 4, prompt, 10)[:4].strip() for turn in range(4))
        golds.append(next((reply for reply in replies if reply), "never said"))
    return [
        Example(question, gold, CHOICES, str(place))
        for place, (question, gold) in enumerate(zip(many_prompts, golds, strict=False))
    ]


def with_letters(examples: Sequence[Example]) -> list[Example]:
    return [replace(example, answer="ABCD"[place % 4]) for place, example in enumerate(examples)]


def test_particles_reply_as_plain_peft_does_and_are_scored_by_hand(
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    examples: list[Example],
) -> None:
    asked = examples[:8]
    evaluation = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch()).evaluate(
        pool.vectors, asked, whole_replies=True
    )
    prompts = [f"Question: {example.question}\nAnswer:" for example in asked]
    for expert in range(4):
        replies = plain.replies(expert, prompts, 10)
        assert [outcome.reply for outcome in evaluation.outcomes[expert] if outcome] == replies
        scores = [float((example.answer or "").strip() in reply) for example, reply in zip(asked, replies, strict=True)]
        assert evaluation.scores[expert].tolist() == scores
        assert evaluation.utilities[expert].item() == pytest.approx(sum(scores) / 8)
        assert sum(scores) / 8 < 1
    assert evaluation.scores.mean() > 0


@pytest.mark.parametrize("kind", ["exact match", "letters read", "letters likely", "texts likely"])
def test_the_score_table_is_the_same_whatever_shares_a_pass(
    kind: str,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    objectives: dict[str, Objective] = {
        "exact match": ExactMatch(max_new_tokens=6),
        "letters read": MultipleChoice(max_new_tokens=3),
        "letters likely": MultipleChoice("likelihood"),
        "texts likely": MultipleChoice("likelihood", "text", "tokens"),
    }
    objective = objectives[kind]
    asked = examples if kind == "exact match" else with_letters(examples)
    objective.check(asked, tiny_tokenizer)
    tables, replies = [], []
    for settings in (
        EngineSettings(),
        EngineSettings(rows=2),
        EngineSettings(rows=7, particles=2),
        EngineSettings(rows=64, particles=1, shared_prefix=False),
    ):
        evaluation = Evaluator(ResidentRunner(adapted, tiny_tokenizer, settings), objective).evaluate(
            pool.vectors[:3], asked, whole_replies=True
        )
        tables.append(evaluation.scores)
        replies.append([[outcome.reply if outcome else None for outcome in row] for row in evaluation.outcomes])
    assert tables[0].shape == (3, 24)
    if kind != "letters read":  # a random model hardly ever says a letter alone
        assert 0 < tables[0].mean() < 1
    assert all(torch.equal(table, tables[0]) for table in tables)
    assert all(rows == replies[0] for rows in replies)


@pytest.mark.parametrize(
    "objective",
    [
        ExactMatch("contained", max_new_tokens=30),
        ExactMatch("contained", max_new_tokens=30, stop=["a", "\n"]),
        ExactMatch("contained", max_new_tokens=30, ignore_case=True),
        ExactMatch("exact", max_new_tokens=30),
        MultipleChoice(template="Question: {question}\nAnswer:", max_new_tokens=30),
    ],
    ids=["contained", "with stop strings", "ignore case", "exact", "choices"],
)
def test_replies_that_end_when_they_are_settled_get_the_scores_of_whole_ones(
    objective: Objective,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    examples: list[Example],
) -> None:
    """The gold answers are a part of what an expert says, or all of it; the choices are the experts' first words."""
    asked = []
    for place, example in enumerate(examples[:18]):
        replies = [plain.reply(expert, f"Question: {example.question}\nAnswer:", 30) for expert in range(4)]
        if isinstance(objective, MultipleChoice):
            words = [match[1] for reply in replies if (match := re.match(r"\W*([^\W_]+)", reply))]
            letters = {word: f"choice {number}" for number, word in enumerate(["never", *words])}
            asked.append(replace(example, choices=letters, answer=[*words, "never"][0]))
        else:
            reply = replies[place % 4].strip().strip(".")
            asked.append(replace(example, answer=reply if place % 3 == 0 else reply[len(reply) // 3 :][:2]))
    asked = [example for example in asked if (example.answer or "").strip()]
    found = {
        row_stops: Evaluator(
            ResidentRunner(adapted, tiny_tokenizer, EngineSettings(row_stops=row_stops)), objective
        ).evaluate(pool.vectors, asked)
        for row_stops in (True, False)
    }
    assert torch.equal(found[True].scores, found[False].scores)
    assert 0 < found[True].scores.mean() < 1
    assert found[True].generated < found[False].generated
    whole = Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective).evaluate(
        pool.vectors, asked, whole_replies=True
    )
    assert whole.outcomes == found[False].outcomes
    assert whole.generated == found[False].generated


@pytest.mark.parametrize(
    "objective",
    [ExactMatch(), ExactMatch(chat=True, system="Be short."), MultipleChoice("likelihood", chat=True)],
    ids=["plain", "chat", "likelihood in a chat"],
)
def test_what_all_prompts_begin_with_is_computed_once_per_particle(
    objective: Objective,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    """A chat template brings its own `<s>`, so that its prompts are tokenised in another way."""
    asked = [replace(example, in_context_prompt="Tell me a story about a fox.") for example in with_letters(examples)]
    tables, fed = [], []
    for shared_prefix in (True, False):
        tokens: list[int] = []
        hook = adapted.model.register_forward_pre_hook(
            lambda _, __, arguments, tokens=tokens: tokens.append(arguments["input_ids"].numel()), with_kwargs=True
        )
        settings = EngineSettings(shared_prefix=shared_prefix)
        evaluation = Evaluator(ResidentRunner(adapted, tiny_tokenizer, settings), objective).evaluate(
            pool.vectors, asked[:20]
        )
        hook.remove()
        tables.append((evaluation.scores.tolist(), evaluation.outcomes))
        fed.append(sum(tokens))
    assert tables[0] == tables[1]
    # "Tell me a story about a fox." has 16 tokens or more; 4 particles x 20 examples need it 4 times instead of 80.
    assert fed[1] - fed[0] >= 76 * 16


def test_particles_that_are_not_due_are_not_asked(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluator = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch())
    whole = evaluator.evaluate(pool.vectors, examples[:8])
    part = evaluator.evaluate(pool.vectors, examples[:8], torch.tensor([False, True, False, True]))
    assert torch.equal(part.scores[[1, 3]], whole.scores[[1, 3]])
    assert part.scores[[0, 2]].isnan().all()
    assert part.outcomes[0] == [None] * 8
    assert part.utilities.isnan().tolist() == [True, False, True, False]
    assert (whole.evaluated, part.evaluated) == (32, 16)


def test_scores_are_ordinary_tensors_that_outlive_the_evaluation(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluation = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch()).evaluate(pool.vectors, examples[:3])
    assert evaluation.scores.dtype == evaluation.utilities.dtype == torch.float64
    assert not evaluation.scores.is_inference()
    assert not evaluation.utilities.is_inference()
    evaluation.scores.add_(1)
    assert not any(parameter.is_inference() for parameter in adapted.model.parameters())


def test_dropout_of_the_experts_never_adds_noise(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluator = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch())
    quiet = evaluator.evaluate(pool.vectors, examples[:8]).outcomes
    adapted.model.train()
    assert evaluator.evaluate(pool.vectors, examples[:8]).outcomes == quiet


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_particle_that_flew_away_touches_no_other_and_is_broken_where_nothing_is_finite(
    value: float,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    positions = pool.vectors[:2].clone()
    positions[0] = value
    for objective in (ExactMatch(), MultipleChoice(), MultipleChoice("likelihood", "text")):
        evaluator = Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective)
        asked = with_letters(examples[:8])
        evaluation = evaluator.evaluate(positions, asked)
        if not math.isfinite(value):
            assert evaluation.scores[0].eq(-math.inf).all()
            assert evaluation.reach[0].tolist() == [-math.inf, -math.inf]
        assert not evaluation.scores.isnan().any()
        assert evaluation.outcomes[1] == evaluator.evaluate(pool.vectors[1:2], asked).outcomes[0]


def test_the_base_alone_replies_as_without_experts(
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    examples: list[Example],
) -> None:
    evaluator = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch())
    before = evaluator.evaluate(pool.vectors[:1], examples[:8])
    base = evaluator.evaluate_base(examples[:8])
    replies = plain.replies(None, [f"Question: {example.question}\nAnswer:" for example in examples[:8]], 10)
    assert base.scores.shape == (1, 8)
    assert [outcome.reply for outcome in base.outcomes[0] if outcome] == replies
    assert evaluator.evaluate(pool.vectors[:1], examples[:8]).outcomes == before.outcomes != base.outcomes


class Scores:
    """Gives the scores it was made with."""

    bounds = (0.0, 1.0)

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        pass

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        return example.question

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return [Outcome("", None, score) for score in self.scores]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            (0.5, 2.0),
            "between 0.0 and 1.0 from Scores.*got 2.0 for example '0'",
        ),  # the longer question, 1, is asked first
        ((1.0,), "1 for 2"),
    ],
)
def test_an_objective_that_breaks_its_own_word_is_told_so(
    scores: tuple[float, ...],
    message: str,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    with pytest.raises(InputError, match=message):
        Evaluator(ResidentRunner(adapted, tiny_tokenizer), Scores(*scores)).evaluate(pool.vectors[:1], examples[:2])


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_the_particles_is_kept_afterwards(
    fails: bool,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    examples: list[Example],
) -> None:
    objective: Objective = Scores(2.0) if fails else ExactMatch()
    with pytest.raises(InputError) if fails else nullcontext():
        Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective).evaluate(pool.vectors, examples[:1])
    with torch.no_grad():
        torch.testing.assert_close(
            adapted.model(torch.tensor([[1, 40, 50]])).logits[0], plain.logits(None, [1, 40, 50])
        )


def test_shapes_that_do_not_fit_are_refused(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluator = Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch())
    with pytest.raises(ValueError, match=r"weights \[P, D\]"):
        evaluator.evaluate(pool.vectors[0], examples[:2])
    with pytest.raises(ValueError, match=r"due \[4\]"):
        evaluator.evaluate(pool.vectors, examples[:2], torch.tensor([True]))


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_tasks_have_beginnings_of_their_own_and_reply_as_each_does_alone(
    shared_prefix: bool,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    shots = {"one": "Question: red?\nAnswer: fox\n" * 4, "other": "Question: seven plus seven?\nAnswer: town\n" * 5}
    parts: dict[str, Objective] = {"one": ExactMatch(max_new_tokens=5), "other": ExactMatch("exact", max_new_tokens=3)}
    asked = {
        task: [replace(example, in_context_prompt=shot, task=task) for example in examples[:7]]
        for task, shot in shots.items()
    }
    settings = EngineSettings(shared_prefix=shared_prefix)
    mixed = [example for pair in zip(asked["one"], asked["other"], strict=True) for example in pair]
    runner = ResidentRunner(adapted, tiny_tokenizer, settings)
    prompts = {task: [part.prompt(one, tiny_tokenizer) for one in asked[task]] for task, part in parts.items()}
    with runner.session(pool.vectors, prompts) as session:
        shared = [len(session._models[task]._crowds[True].prefix) > 16 for task in shots]
    assert shared == [shared_prefix] * 2
    found = Evaluator(runner, MultiTask(parts)).evaluate(pool.vectors, mixed, whole_replies=True)
    for place, task in enumerate(shots):
        alone = Evaluator(ResidentRunner(adapted, tiny_tokenizer), parts[task]).evaluate(
            pool.vectors, asked[task], whole_replies=True
        )
        assert found.scores[:, place::2].equal(alone.scores)
        assert [row[place::2] for row in found.outcomes] == alone.outcomes
