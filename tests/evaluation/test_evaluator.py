"""Particles are real LoRA experts on the tiny base; the reference is plain `peft` with `generate`, prompt by prompt."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluation, Evaluator
from swarm_lightning.experts.adapted import AdaptedModel
from swarm_lightning.experts.base_model import load_base
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.objectives import ExactMatch, LanguageModel, MultipleChoice, Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICES = {"A": "red", "B": "seven", "C": "stone", "D": "a river"}


class Reference:
    """What plain peft replies, expert by expert; loaded once."""

    def __init__(self, base_folder: Path, expert_folders: Sequence[str]) -> None:
        self.base_folder = base_folder
        self.expert_folders = expert_folders

    def replies(self, expert: int | None, prompts: Sequence[str], new_tokens: int) -> list[str]:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.base_folder)
        model: Any = AutoModelForCausalLM.from_pretrained(self.base_folder)
        if expert is not None:
            model = PeftModel.from_pretrained(model, self.expert_folders[expert])
        model.eval()
        replies = []
        for prompt in prompts:
            encoded = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            with torch.no_grad():
                output = model.generate(**encoded, do_sample=False, max_new_tokens=new_tokens)
            new = output[0, encoded["input_ids"].shape[1] :]
            replies.append(str(tokenizer.decode(new, skip_special_tokens=True)))
        return replies


@pytest.fixture(scope="module")
def pool(tiny_experts_folder: Path) -> ExpertPool:
    return load_pool(str(tiny_experts_folder))


@pytest.fixture(scope="module")
def adapted(tiny_base_folder: Path, pool: ExpertPool) -> AdaptedModel:
    return AdaptedModel(load_base(str(tiny_base_folder))[0], pool)


@pytest.fixture(scope="module")
def reference(tiny_base_folder: Path, pool: ExpertPool) -> Reference:
    return Reference(tiny_base_folder, pool.sources)


@pytest.fixture(scope="module")
def examples(reference: Reference, many_prompts: list[str]) -> list[Example]:
    """70 questions; the gold answer of number m is the beginning of what expert m mod 4 replies."""
    prompts = [f"Question: {prompt}\nAnswer:" for prompt in many_prompts]
    golds = [""] * len(prompts)
    for expert in range(4):
        golds[expert::4] = [reply[:4] for reply in reference.replies(expert, prompts[expert::4], 10)]
    return [
        Example(question, gold, CHOICES, str(place))
        for place, (question, gold) in enumerate(zip(many_prompts, golds, strict=True))
    ]


def with_letters(examples: Sequence[Example]) -> list[Example]:
    return [replace(example, answer="ABCD"[place % 4]) for place, example in enumerate(examples)]


def test_particles_reply_as_plain_peft_does_and_are_scored_by_hand(
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    reference: Reference,
    examples: list[Example],
) -> None:
    asked = examples[:8]
    evaluation = Evaluator(adapted, tiny_tokenizer, ExactMatch()).evaluate(pool.vectors, asked)
    prompts = [f"Question: {example.question}\nAnswer:" for example in asked]
    for expert in range(4):
        replies = reference.replies(expert, prompts, 10)
        assert [outcome.reply for outcome in evaluation.outcomes[expert] if outcome] == replies
        scores = [float((example.answer or "").strip() in reply) for example, reply in zip(asked, replies, strict=True)]
        assert evaluation.scores[expert].tolist() == scores
        assert evaluation.utilities[expert].item() == pytest.approx(sum(scores) / 8)
        assert 0.25 <= sum(scores) / 8 < 1  # its own two, and not all


@pytest.mark.parametrize("kind", ["exact match", "letters read", "letters likely", "texts likely"])
def test_the_score_table_is_the_same_at_every_batch_size(
    kind: str,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    def table(batch_size: int) -> torch.Tensor:
        objectives: dict[str, Objective] = {
            "exact match": ExactMatch(max_new_tokens=6, batch_size=batch_size),
            "letters read": MultipleChoice(max_new_tokens=3, batch_size=batch_size),
            "letters likely": MultipleChoice("likelihood", batch_size=batch_size),
            "texts likely": MultipleChoice("likelihood", "text", "tokens", batch_size=batch_size),
        }
        asked = examples if kind == "exact match" else with_letters(examples)
        objectives[kind].check(asked, tiny_tokenizer)
        evaluation = Evaluator(adapted, tiny_tokenizer, objectives[kind]).evaluate(pool.vectors[:2], asked)
        replies.append([[outcome.reply if outcome else None for outcome in row] for row in evaluation.outcomes])
        return evaluation.scores

    replies: list[list[list[str | None]]] = []
    one = table(1)
    assert one.shape == (2, 70)
    if kind != "letters read":  # a random model hardly ever says a letter alone
        assert 0 < one.mean() < 1
    assert torch.equal(one, table(7))
    assert torch.equal(one, table(64))
    assert replies[0] == replies[1] == replies[2]


def test_particles_that_are_not_due_are_not_asked(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluator = Evaluator(adapted, tiny_tokenizer, ExactMatch())
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
    evaluation = Evaluator(adapted, tiny_tokenizer, ExactMatch()).evaluate(pool.vectors, examples[:3])
    assert evaluation.scores.dtype == evaluation.utilities.dtype == torch.float64
    assert not evaluation.scores.is_inference()
    assert not evaluation.utilities.is_inference()
    evaluation.scores.add_(1)
    assert not any(parameter.is_inference() for parameter in adapted.model.parameters())


def test_dropout_of_the_experts_never_adds_noise(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluator = Evaluator(adapted, tiny_tokenizer, ExactMatch())
    quiet = evaluator.evaluate(pool.vectors, examples[:8]).outcomes
    adapted.model.train()
    assert evaluator.evaluate(pool.vectors, examples[:8]).outcomes == quiet


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_particle_that_flew_away_is_scored_like_any_other(
    value: float,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    positions = pool.vectors[:2].clone()
    positions[0] = value
    for objective in (ExactMatch(), MultipleChoice(), MultipleChoice("likelihood", "text")):
        evaluator = Evaluator(adapted, tiny_tokenizer, objective)
        asked = with_letters(examples[:8])
        evaluation = evaluator.evaluate(positions, asked)
        assert not evaluation.scores.isnan().any()
        assert evaluation.outcomes[1] == evaluator.evaluate(pool.vectors[1:2], asked).outcomes[0]


def test_the_base_alone_replies_as_without_experts(
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    reference: Reference,
    examples: list[Example],
) -> None:
    evaluator = Evaluator(adapted, tiny_tokenizer, ExactMatch())
    before = evaluator.evaluate(pool.vectors[:1], examples[:8])
    base = evaluator.evaluate_base(examples[:8])
    replies = reference.replies(None, [f"Question: {example.question}\nAnswer:" for example in examples[:8]], 10)
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
        ((0.5, 2.0), "between 0.0 and 1.0 from Scores.*got 2.0 for example '1'"),
        ((math.nan, 0.5), "nan"),
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
        Evaluator(adapted, tiny_tokenizer, Scores(*scores)).evaluate(pool.vectors[:1], examples[:2])


def test_shapes_that_do_not_fit_are_refused(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    evaluator = Evaluator(adapted, tiny_tokenizer, ExactMatch())
    with pytest.raises(ValueError, match=r"positions \[P, D\]"):
        evaluator.evaluate(pool.vectors[0], examples[:2])
    with pytest.raises(ValueError, match=r"due \[P\]"):
        evaluator.evaluate(pool.vectors, examples[:2], torch.tensor([True]))


def test_utilities_are_means_over_what_was_asked() -> None:
    nan = math.nan
    table = torch.tensor([[1.0, 0.0, nan, 1.0], [nan, nan, nan, nan]], dtype=torch.float64)
    evaluation = Evaluation(table, [])
    assert evaluation.utilities[0].item() == pytest.approx(2 / 3)
    assert evaluation.utilities[1].isnan()
    assert evaluation.evaluated == 3
