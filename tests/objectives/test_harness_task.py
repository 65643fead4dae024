"""The reference is the harness itself: `lm_eval.simple_evaluate` on the same model, documents and settings."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import GenerationSettings, HarnessTask, LanguageModel, Likelihood, Objective
from tests.objectives.local_tasks import CHOICE, LAST_WORD, REPLY, documents, write_task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

lm_eval = pytest.importorskip("lm_eval")

SPLITS = {"training": documents(9, 70), "validation": documents(5), "test": documents(16, 20)}


def by_the_harness(
    spec: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", **settings: Any
) -> list[dict[str, Any]]:
    """Let the harness evaluate its own way, and return what it notes down of each document and pipeline of filters."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    results = lm_eval.simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4),
        tasks=[spec.removeprefix("lm_eval:")],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        **settings,
    )
    (samples,) = results["samples"].values()
    return list(samples)


def scores_of(spec: str, objective: HarnessTask, model: LanguageModel) -> list[float]:
    splits = read_splits(spec)
    check(objective, splits, model)
    return [outcome.score for outcome in objective.evaluate(splits.test, model)]


def check(objective: HarnessTask, splits: ExampleSplits, model: LanguageModel) -> None:
    objective.check(splits.validation, model.tokenizer)
    objective.check(splits.test, model.tokenizer)


def column(samples: Sequence[Mapping[str, Any]], metric: str, filter_: str = "none") -> list[float]:
    rows = sorted((row for row in samples if row["filter"] == filter_), key=lambda row: row["doc_id"])
    return [float(row[metric]) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.mark.parametrize("settings", [{}, {"num_fewshot": 2}, {"chat": True, "system": "Be brief."}], ids=str)
def test_choices_score_as_in_the_harness(
    settings: dict[str, Any],
    folder: Path,
    language_model: LanguageModel,
    plain_base: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    spec = write_task(folder, f"choice-{len(settings)}{'chat' in settings}", CHOICE, SPLITS)
    names = {"chat": "apply_chat_template", "system": "system_instruction"}
    samples = by_the_harness(
        spec, plain_base, tokenizer, **{names.get(name, name): value for name, value in settings.items()}
    )
    for metric in ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"):
        found = scores_of(spec, HarnessTask(metric, **settings), language_model)
        assert found == column(samples, metric), metric
    assert 0 < sum(column(samples, "acc")) < len(SPLITS["test"])
    assert column(samples, "acc") != column(samples, "acc_norm")


def test_beginnings_of_one_ending_score_as_in_the_harness(
    folder: Path, language_model: LanguageModel, plain_base: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    # As in winogrande: the choices are beginnings, the label stands in the text, and documents have 2 to 3 of them.
    rows = [
        {**row, "choices": row["choices"][: 2 + place % 2], "label": place % 2}
        for place, row in enumerate(SPLITS["test"])
    ]
    settings = {
        **CHOICE,
        "doc_to_text": "label",
        "doc_to_choice": "{{[choices[0] + ' is', choices[1] + ' is'] + choices[2:]}}",
        "doc_to_target": "{{answer}}",
        "metric_list": CHOICE["metric_list"][:1],
    }
    spec = write_task(folder, "beginnings", settings, {**SPLITS, "test": rows})
    samples = by_the_harness(spec, plain_base, tokenizer)
    objective = HarnessTask()
    assert scores_of(spec, objective, language_model) == column(samples, "acc")
    assert 0 < sum(column(samples, "acc")) < len(rows)
    example = read_splits(spec).test[1]
    assert (example.question.splitlines()[-1], example.answer) == (rows[1]["choices"][2], f"{rows[1]['choices'][1]} is")


@pytest.mark.parametrize("end", ["", " "], ids=["", "space"])
def test_a_continuation_scores_as_in_the_harness(
    end: str,
    folder: Path,
    language_model: LanguageModel,
    plain_base: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    prompts = [f"Question: {row['question']}{end}" for row in SPLITS["test"]]
    said = language_model.generate(prompts, GenerationSettings(2))
    rows = [
        {**row, "answer": reply if place % 2 and reply else row["answer"]}
        for place, (row, reply) in enumerate(zip(SPLITS["test"], said, strict=True))
    ]
    settings = {**LAST_WORD, "doc_to_text": "Question: {{question}}" + end}
    spec = write_task(folder, f"ending-{len(end)}", settings, {**SPLITS, "test": rows})
    samples = by_the_harness(spec, plain_base, tokenizer)
    # The task's first metric, perplexity, is no mean; acc is its first that is.
    assert scores_of(spec, HarnessTask(), language_model) == column(samples, "acc")
    if not end:
        assert 0 < sum(column(samples, "acc")) < len(rows)
    likely = language_model.loglikelihood(prompts, [[row["answer"]] for row in rows])
    assert [one.logarithm for (one,) in likely] == pytest.approx(column(samples, "perplexity"), rel=1e-4)


def test_replies_score_as_in_the_harness_by_the_filter_that_is_named(
    folder: Path, language_model: LanguageModel, plain_base: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    rows = [{**row, "answer": "aeiou"[place % 2]} for place, row in enumerate(SPLITS["test"])]
    spec = write_task(folder, "reply", REPLY, {**SPLITS, "test": rows})
    samples = by_the_harness(spec, plain_base, tokenizer)
    for named, filter_ in ((None, "vowel"), ("vowel", "vowel"), ("none", "none")):
        objective = HarnessTask(filter=named)
        assert scores_of(spec, objective, language_model) == column(samples, "exact_match", filter_)
    assert 0 < sum(column(samples, "exact_match", "vowel")) < len(rows)
    outcomes = objective.evaluate(read_splits(spec).test, language_model)
    assert [outcome.reply for outcome in outcomes] == [row["resps"][0][0] for row in samples if row["filter"] == "none"]
