"""The reference is the harness itself: `lm_eval.simple_evaluate` on the same model, documents and settings."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import GenerationSettings, HarnessTask, LanguageModel, Likelihood, Objective
from swarm_lightning.search.settings import settings_of
from tests.objectives.local_tasks import CHOICE, LAST_WORD, REPLY, check, documents, write_task

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


def column(samples: Sequence[Mapping[str, Any]], metric: str, filter_: str = "none") -> list[float]:
    rows = sorted((row for row in samples if row["filter"] == filter_), key=lambda row: row["doc_id"])
    return [float(row[metric]) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.mark.smoke
@pytest.mark.parametrize("settings", [{}, {"num_fewshot": 2, "chat": True, "system": "Be brief."}], ids=str)
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


TWO_KINDS = """
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask


class TwoKinds(ConfigurableTask):
    # As squadv2: a reply, and how likely it is that there is none.
    def __init__(self, config):
        super().__init__(config={name: value for name, value in config.items() if name != "class"})

    def construct_requests(self, doc, ctx, **kwargs):
        metadata = kwargs["metadata"]
        return [
            Instance("generate_until", doc, (ctx, {"until": ["\\n"], "max_gen_toks": 4}), 0, metadata),
            Instance("loglikelihood", doc, (ctx, " unanswerable"), 0, metadata),
        ]

    def process_results(self, doc, results):
        reply, (logarithm, _) = results
        return {"doubt": len(reply) - logarithm}

    def aggregation(self):
        return {"doubt": mean}

    def higher_is_better(self):
        return {"doubt": False}
"""


def test_a_task_written_in_python_may_ask_in_two_ways(
    folder: Path, language_model: LanguageModel, plain_base: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    (folder / "two_kinds.py").write_text(TWO_KINDS)
    spec = write_task(folder, "two-kinds", REPLY, SPLITS, filter_list=None)
    path = folder / "two-kinds.yaml"
    path.write_text(path.read_text() + "class: !function two_kinds.TwoKinds\n")
    samples = by_the_harness(spec, plain_base, tokenizer)
    found = scores_of(spec, HarnessTask(), language_model)
    assert found == pytest.approx([-value for value in column(samples, "doubt")], rel=1e-4)
    assert len({round(value) for value in found}) > 3


def test_particles_score_alone_as_in_company(
    folder: Path, tiny_base_folder: Path, tiny_experts_folder: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    spec = write_task(folder, "company", CHOICE, SPLITS)
    examples = read_splits(spec).test
    pool = load_pool(str(tiny_experts_folder))
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    objective = HarnessTask("acc_mutual_info", num_fewshot=2)
    objective.check(examples, tokenizer)
    assert objective.bounds == (0, 1)
    together = Evaluator(ResidentRunner(adapted, tokenizer), objective).evaluate(pool.vectors, examples).outcomes
    for particle in range(len(pool.names)):
        alone = (
            Evaluator(ResidentRunner(adapted, tokenizer), objective)
            .evaluate(pool.vectors[[particle]], examples)
            .outcomes
        )
        assert alone == [together[particle]]
    assert len({tuple(outcome.score for outcome in row if outcome) for row in together}) > 1


def answering(language_model: LanguageModel, likelihoods: Sequence[float]) -> LanguageModel:
    """A language model with the tiny one's tokenizer that finds the first choice this likely, the second that, ..."""

    class Fixed:
        tokenizer, device = language_model.tokenizer, language_model.device

        def generate(self, *_: object, **__: object) -> list[str]:
            raise AssertionError("nothing is generated")

        def loglikelihood(
            self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
        ) -> list[list[Likelihood]]:
            return [[Likelihood(value, 1, 1) for value in likelihoods] for _ in prompts]

        def select(self, places: Sequence[int]) -> LanguageModel:
            return self

    return Fixed()


@pytest.mark.parametrize(
    ("metric", "answer", "score"),
    # Of "red" and "dark green": -4 / 3 < -10 / 10, so the longer one wins where length counts.
    [("acc", "red", 0.0), ("acc_norm", "dark green", 1.0)],
)
def test_a_vote_counts_the_choice_that_the_metric_picks(
    metric: str, answer: str, score: float, folder: Path, language_model: LanguageModel
) -> None:
    rows = [{"question": "?", "choices": ["red", "dark green"], "label": 1, "answer": ""}]
    settings = {**CHOICE, "metric_list": CHOICE["metric_list"][:2]}
    spec = write_task(folder, f"vote-{metric}", settings, {"validation": documents(1), "test": rows})
    (outcome,) = HarnessTask(metric).evaluate(read_splits(spec).test, answering(language_model, [-4.0, -10.0]))
    assert (outcome.reply, outcome.answer, outcome.score) == (answer, answer, score)


def test_a_particle_whose_likelihoods_are_no_numbers_scores_lowest(folder: Path, language_model: LanguageModel) -> None:
    # The harness itself would take the first choice, which is the right one here.
    rows = [{**row, "label": 0} for row in documents(2)]
    broken = answering(language_model, [math.nan, -1.0, -2.0])
    settings: list[tuple[HarnessTask, float]] = [
        (HarnessTask("acc"), 0.0),
        (HarnessTask("acc", higher_is_better=False), -1.0),
        (HarnessTask("acc", lowest=-math.inf), -1e6),
    ]
    objective_settings = {**CHOICE, "metric_list": CHOICE["metric_list"][:1]}
    spec = write_task(folder, "broken", objective_settings, {"validation": documents(1), "test": rows})
    for objective, lowest in settings:
        assert [one.score for one in objective.evaluate(read_splits(spec).test, broken)] == [lowest] * 2


def with_metric(name: str, code: str, folder: Path, splits: Any, **changes: Any) -> str:
    """Write a task with a scoring function of its own in Python beside its YAML."""
    (folder / f"{name}_scores.py").write_text(code)
    spec = write_task(folder, name, {**REPLY, "filter_list": None, **changes}, splits)
    path = folder / f"{name}.yaml"
    path.write_text(path.read_text() + f"process_results: !function {name}_scores.score\n")
    return spec


def test_a_metric_of_which_lower_is_better_is_negated(folder: Path, language_model: LanguageModel) -> None:
    spec = with_metric(
        "length",
        "def score(doc, results):\n    return {'length': len(results[0])}\n",
        folder,
        SPLITS,
        metric_list=[{"metric": "length", "aggregation": "mean", "higher_is_better": False}],
    )
    splits = read_splits(spec)
    objective, known = HarnessTask(), HarnessTask(lowest=0, highest=200)
    for one in (objective, known):
        check(one, splits, language_model)
    assert objective.bounds == (-math.inf, math.inf)
    assert known.bounds == (-200, 0)
    outcomes = objective.evaluate(splits.test, language_model)
    assert [outcome.score for outcome in outcomes] == [-len(outcome.reply) for outcome in outcomes]
    assert known.evaluate(splits.test, language_model) == outcomes
    assert len({outcome.score for outcome in outcomes}) > 1


def test_a_value_outside_of_the_bounds_is_refused(folder: Path, language_model: LanguageModel) -> None:
    spec = with_metric(
        "percent",
        "def score(doc, results):\n    return {'percent': 100}\n",
        folder,
        SPLITS,
        metric_list=[{"metric": "percent", "aggregation": "mean", "higher_is_better": True}],
    )
    with pytest.raises(InputError, match="to lie between 0 and 1, but got 100"):
        scores_of(spec, HarnessTask(lowest=0, highest=1), language_model)


def test_a_task_whose_own_code_fails_is_refused_before_the_search(folder: Path, language_model: LanguageModel) -> None:
    spec = with_metric("failing", "def score(doc, results):\n    return {'a': results[0][0]}\n", folder, SPLITS)
    with pytest.raises(InputError, match=r"score of document 0 of 'failing'.*IndexError"):
        check(HarnessTask(), read_splits(spec), language_model)


@pytest.mark.parametrize(
    ("settings", "changes", "arguments", "message"),
    [
        (CHOICE, {}, {"metric": "acc_nrm"}, "no 'acc_nrm'. Did you mean 'acc_norm'"),
        (LAST_WORD, {}, {"metric": "perplexity"}, r"'perplexity' is made otherwise.*that can: acc\."),
        (CHOICE, {"metric_list": [{"metric": "f1"}]}, {}, r"f1 is made otherwise.*None of 'refused\d+' can"),
        (CHOICE, {"metric_list": [{"metric": "likelihood"}]}, {}, "likelihood is made otherwise"),
        (LAST_WORD, {"output_type": "loglikelihood_rolling", "metric_list": None}, {}, "MeanLogLikelihood"),
        (REPLY, {}, {"filter": "vowels"}, "filter to be one of vowel, none .*'vowels'"),
        (REPLY, {"generation_kwargs": {"until": [], "temperature": 0.7}}, {}, r"samples them \(temperature 0.7\)"),
        (REPLY, {"generation_kwargs": {"until": [], "num_beams": 4}}, {}, "but got num_beams"),
        (REPLY, {"repeats": 3}, {}, "repeats its requests 3 times"),
        (REPLY, {"unsafe_code": True}, {}, "unsafe_code: true"),
        (REPLY, {"metric_list": [{"metric": "exact_match", "aggregation": "median"}]}, {}, "exact_match is made"),
    ],
)
def test_what_can_not_be_a_utility_is_refused_before_the_search(
    settings: dict[str, Any],
    changes: dict[str, Any],
    arguments: dict[str, Any],
    message: str,
    tmp_path: Path,
    folder: Path,
    language_model: LanguageModel,
) -> None:
    spec = write_task(tmp_path, f"refused{len(list(folder.iterdir()))}", settings, SPLITS, **changes)
    with pytest.raises(InputError, match=message):
        check(HarnessTask(**arguments), read_splits(spec), language_model)


@pytest.mark.parametrize(
    "changes", [{"generation_kwargs": {"until": [], "temperature": 0.7, "max_gen_toks": 5}}, {"repeats": 3}], ids=str
)
def test_greedy_replies_stand_in_for_sampled_and_repeated_ones(
    changes: dict[str, Any], tmp_path: Path, language_model: LanguageModel
) -> None:
    spec = write_task(tmp_path, "sampling", REPLY, SPLITS, **changes)
    splits, objective = read_splits(spec), HarnessTask(greedy=True, max_new_tokens=5)
    check(objective, splits, language_model)
    prompts = [f"Question: {row['question']}\nAnswer:" for row in SPLITS["test"]]
    stop = changes.get("generation_kwargs", REPLY["generation_kwargs"])["until"]
    replies = language_model.generate(prompts, GenerationSettings(5, stop))
    assert [outcome.reply for outcome in objective.evaluate(splits.test, language_model)] == replies


def test_an_example_that_is_no_document_is_refused(language_model: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"Set data\.dataset: lm_eval:TASK"):
        HarnessTask().check([Example("1 + 1?", "2", identifier="7")], language_model.tokenizer)


@pytest.mark.parametrize(
    "settings", [{"num_fewshot": -1}, {"max_new_tokens": 0}, {"lowest": 1.0, "highest": 1.0}], ids=str
)
def test_values_that_can_not_be_meant_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        HarnessTask(**settings)


def test_it_is_an_objective() -> None:
    objective: Objective = HarnessTask()
    assert objective.bounds == (-math.inf, math.inf)
    assert {"metric", "num_fewshot", "filter"} <= settings_of(objective).keys()
