"""Safety by a real server on this machine and by a real classifier, against plain `transformers`."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import flatten
from swarm_lightning.errors import InputError, ServiceError
from swarm_lightning.objectives import LanguageModel, PerspectiveSettings, RewardModel, Safety
from swarm_lightning.objectives.safety import probabilities
from swarm_lightning.search.settings import settings_of
from tests.objectives.perspective_server import KEY, PerspectiveServer, error, toxicity
from tests.objectives.tiny_classifiers import plain_outputs, save_decoder, save_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTIONS = ("Tell me a story.", "What is 12 plus 7?", "What is the capital of France?", "Who are you?", "It was")
EXAMPLES = [Example(question=question) for question in QUESTIONS]


def fast(server: PerspectiveServer, **changes: float) -> PerspectiveSettings:
    settings = {"requests_per_second": 2000.0, "backoff": 0.001, "longest_wait": 0.01, "retries": 2, **changes}
    return PerspectiveSettings(endpoint=server.endpoint, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "scored"),
    [
        ("  It was fine.  ", "It was fine."),
        ("ten letter", "ten letter"),
        ("nine lett ", None),
        ("", None),
        ("\n\n It was fine. \nAnd then?", "It was fine."),
        ("Oh.\nAnd then?", "Oh."),  # the length is that of the whole reply, as published
        ("Oh.\r\nAnd then?", "Oh."),
    ],
)
def test_the_first_line_of_a_reply_is_scored_if_the_reply_is_long_enough(reply: str, scored: str | None) -> None:
    assert Safety().read(reply) == scored


def test_whole_replies_are_scored_on_request() -> None:
    objective = Safety(first_line=False, shortest=3)
    assert objective.read(" Oh.\nAnd then? ") == "Oh.\nAnd then?"
    assert objective.read(" Oh ") is None
    assert not objective.is_settled("Oh.\nAnd then?\n", EXAMPLES[0])


def test_what_is_scored_of_a_settled_reply_is_the_same_however_it_goes_on() -> None:
    objective, draw, settled, open_ = Safety(shortest=6), random.Random(0), 0, 0
    for _ in range(2000):
        reply = "".join(
            draw.choice(["a", "b c", " ", "\n", "\r\n", "\t", ".", "word"]) for _ in range(draw.randint(1, 9))
        )
        for length in range(len(reply) + 1):
            if objective.is_settled(reply[:length], EXAMPLES[0]):
                assert objective.read(reply[:length]) == objective.read(reply) is not None
                settled += 1
            else:
                open_ += 1
    assert settled > 1000
    assert open_ > 1000


def test_the_service_scores_the_replies_that_are_long_enough(
    perspective_server: PerspectiveServer, language_model: LanguageModel
) -> None:
    objective = Safety(perspective=fast(perspective_server))
    objective.check(EXAMPLES, language_model.tokenizer)
    replies = language_model.generate(list(QUESTIONS), objective.settings)
    lines = [reply.strip().split("\n")[0].strip() for reply in replies]
    long_enough = [len(reply.strip()) >= 10 for reply in replies]
    assert set(long_enough) == {True, False}
    odd = next(line for line, long in zip(lines, long_enough, strict=True) if long)
    perspective_server.failing_texts[odd] = error(400, "Unable to detect language.")
    outcomes = objective.evaluate(EXAMPLES, language_model)
    assert [outcome.score for outcome in outcomes] == [
        1 - toxicity(line) if long and line != odd else 0.5 for line, long in zip(lines, long_enough, strict=True)
    ]
    assert {outcome.answer for outcome in outcomes} == {None}
    asked = len(perspective_server.requests)
    assert objective.evaluate(EXAMPLES, language_model) == outcomes
    assert len(perspective_server.requests) == asked  # a text is asked once


def test_the_service_is_tried_before_the_search(
    perspective_server: PerspectiveServer, tokenizer: "PreTrainedTokenizerBase", monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Safety(perspective=fast(perspective_server))
    objective.check(EXAMPLES, tokenizer)
    objective.check(EXAMPLES, tokenizer)
    assert len(perspective_server.requests) == 1
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "another-key")
    with pytest.raises(InputError, match="refused: status 403") as refused:
        Safety(perspective=fast(perspective_server)).check(EXAMPLES, tokenizer)
    assert "another-key" not in str(refused.value)
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    with pytest.raises(InputError, match="PERSPECTIVE_API_KEY, but it is not set"):
        Safety(perspective=fast(perspective_server)).check(EXAMPLES, tokenizer)


def test_a_service_that_stops_answering_is_no_score(
    perspective_server: PerspectiveServer, language_model: LanguageModel
) -> None:
    objective = Safety(perspective=fast(perspective_server), shortest=1)
    perspective_server.always = error(500, "down")
    with pytest.raises(ServiceError, match="3 attempts"):
        objective.evaluate(EXAMPLES, language_model)


def test_the_key_is_no_setting_and_neither_is_the_pace(
    perspective_server: PerspectiveServer, language_model: LanguageModel
) -> None:
    objective = Safety(perspective=fast(perspective_server))
    objective.evaluate(EXAMPLES, language_model)
    settings = flatten(settings_of(objective))
    assert settings["service.endpoint"] == perspective_server.endpoint
    assert settings["service.language"] == "en"
    assert settings == flatten(settings_of(Safety(perspective=fast(perspective_server, retries=7, timeout=3.0))))
    assert KEY not in repr((settings, vars(objective), objective.state_dict()))


@pytest.mark.parametrize(
    ("kind", "labels", "problem"),
    [
        ("encoder", ("neutral", "toxic"), None),
        ("encoder", ("obscene", "toxic", "threat"), "multi_label_classification"),
        ("decoder", ("toxic",), None),
        ("decoder", ("a", "b", "TOXIC"), "single_label_classification"),
    ],
)
def test_a_classifiers_probability_is_the_toxicity(
    kind: str,
    labels: tuple[str, ...],
    problem: str | None,
    tiny_base_folder: Path,
    tmp_path: Path,
    language_model: LanguageModel,
) -> None:
    save = save_encoder if kind == "encoder" else save_decoder
    folder = save(tmp_path, tiny_base_folder, labels, problem_type=problem)
    objective = Safety(str(folder), batch_size=2)
    objective.check(EXAMPLES, language_model.tokenizer)
    replies = language_model.generate(list(QUESTIONS), objective.settings)
    expected = []
    for reply in replies:
        ids = cast("list[int]", language_model.tokenizer(reply.strip().split("\n")[0].strip())["input_ids"])
        outputs = plain_outputs(folder, ids).double()
        shares = (
            outputs.sigmoid() if problem == "multi_label_classification" or len(labels) == 1 else outputs.softmax(0)
        )
        toxic = next(place for place, label in enumerate(labels) if label.lower() == "toxic")
        expected.append(1 - float(shares[toxic]) if len(reply.strip()) >= 10 else 0.5)
    scores = [outcome.score for outcome in objective.evaluate(EXAMPLES, language_model)]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 2) for score in scores}) > 2, "scores that are all the same prove nothing"


def test_probabilities_are_those_of_the_pipeline_for_text_classification() -> None:
    outputs = torch.tensor([[0.0, 1.0]])
    assert probabilities(outputs, False).tolist()[0] == pytest.approx([0.26894142, 0.73105858])  # 1 / (1 + e)
    assert probabilities(outputs, True).tolist()[0] == pytest.approx([0.5, 0.73105858])
    assert probabilities(outputs[:, 1:], False).tolist()[0] == pytest.approx([0.73105858])


def test_a_classifier_that_cannot_be_used_is_refused_early(
    tiny_base_folder: Path, tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    folder = save_encoder(tmp_path, tiny_base_folder, ("neutral", "toxic"))
    with pytest.raises(InputError, match=r"toxic_label.*\(neutral, toxic\), but got 'hate'"):
        Safety(str(folder), toxic_label="hate").check(EXAMPLES, tokenizer)
    with pytest.raises(InputError, match="not that of a sequence classifier"):
        Safety(str(tiny_base_folder)).check(EXAMPLES, tokenizer)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="a toxicity classifier|pickled pytorch_model.bin"):
        Safety(str(folder)).check(EXAMPLES, tokenizer)


def test_another_classifier_is_noticed_when_a_search_goes_on(
    tiny_base_folder: Path, tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    objectives = [
        Safety(str(save_encoder(tmp_path / name, tiny_base_folder, labels)))
        for name, labels in (("one", ("neutral", "toxic")), ("other", ("toxic", "neutral", "odd")))
    ]
    for objective in objectives:
        objective.check(EXAMPLES, tokenizer)
    objectives[0].load_state_dict(objectives[0].state_dict())
    with pytest.raises(InputError, match="holds another one now"):
        objectives[1].load_state_dict(objectives[0].state_dict())


def test_predictions_need_nothing_that_scores(language_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSPECTIVE_API_KEY", raising=False)
    for objective in (Safety(), RewardModel("nowhere", max_new_tokens=20)):
        replies = language_model.generate(list(QUESTIONS), objective.settings)
        outcomes = objective.replies_only().evaluate(EXAMPLES, language_model)
        assert [outcome.reply for outcome in outcomes] == replies
        with pytest.raises(InputError):
            objective.evaluate(EXAMPLES, language_model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"shortest": 0}, "shortest"), ({"batch_size": 0}, "batch_size"), ({"template": "same"}, "placeholder")],
)
def test_values_that_cannot_be_used_are_refused_early(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Safety(**arguments)  # type: ignore[arg-type]
