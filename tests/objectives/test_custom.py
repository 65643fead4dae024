"""Functions as objectives: what they are given, what is made of what they return, and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import Custom, LanguageModel
from swarm_lightning.search.settings import settings_of
from tests.objectives import my_scores

FUNCTIONS = "tests.objectives.my_scores"
EXAMPLE = Example("What is 1 + 1?", "2", identifier="sums-7")


def test_a_reply_gets_what_the_function_returns() -> None:
    objective = Custom(f"{FUNCTIONS}.brevity")
    assert objective.score(" one two three", EXAMPLE).score == 1.0
    outcome = objective.score(" one  two three four. ", EXAMPLE)
    assert (outcome.score, outcome.answer, outcome.reply) == (0.25, "one two three four", " one  two three four. ")
    assert Custom(f"{FUNCTIONS}.right").score("it is 2", EXAMPLE).score == 1.0
    assert Custom(f"{FUNCTIONS}.right").score("it is 3", EXAMPLE).score == 0.0


def test_a_model_is_asked_by_template_and_limits(language_model: LanguageModel) -> None:
    objective = Custom(f"{FUNCTIONS}.right", template="{question} It is", max_new_tokens=4)
    assert objective.prompt(EXAMPLE, language_model.tokenizer) == "What is 1 + 1? It is"
    examples = [EXAMPLE, Example("And 2 + 2?", "4"), EXAMPLE]
    outcomes = objective.evaluate(examples, language_model)
    replies = language_model.generate([f"{example.question} It is" for example in examples], objective.settings)
    assert [outcome.reply for outcome in outcomes] == replies
    assert [outcome.score for outcome in outcomes] == [
        float(str(example.answer) in reply) for example, reply in zip(examples, replies, strict=True)
    ]


def test_predictions_need_no_function(language_model: LanguageModel) -> None:
    objective = Custom(f"{FUNCTIONS}.needs_a_column", bounds=(2.0, 9.0))
    with pytest.raises(InputError, match="KeyError"):
        objective.evaluate([EXAMPLE], language_model)
    assert [outcome.score for outcome in objective.replies_only().evaluate([EXAMPLE], language_model)] == [2.0]


def test_a_checkpoint_knows_the_function_by_its_name() -> None:
    by_path = settings_of(Custom(f"{FUNCTIONS}.brevity", bounds=(0, 2)))
    assert by_path["function"] == f"{FUNCTIONS}.brevity"
    assert by_path["bounds"] == [0.0, 2.0]
    assert settings_of(Custom(my_scores.brevity, bounds=(0, 2))) == by_path
    assert settings_of(Custom(f"{FUNCTIONS}.right", bounds=(0, 2))) != by_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("needs_a_column", r"'sums-7' and the reply 'a b' it raised KeyError: 'length' \(my_scores.py, line 18\)"),
        ("forgets", "a number from 0 to 1 .* example 'sums-7' and the reply 'a b' it returned None"),
        ("as_text", "it returned '1.0'"),
        ("not_a_number", "it returned nan"),
        ("too_high", r"as its bounds say, but .* it returned 2\. Correct the function, or set bounds"),
    ],
)
def test_what_is_wrong_with_a_score_is_said_with_the_example(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Custom(f"{FUNCTIONS}.{name}").score("a b", EXAMPLE)


def test_bounds_may_be_wide_open_and_must_be_in_order() -> None:
    assert Custom(f"{FUNCTIONS}.too_high", bounds=(-math.inf, math.inf)).score("a", EXAMPLE).score == 2.0
    for bounds in ((1.0, 0.0), (1.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(InputError, match="the lowest first"):
            Custom(f"{FUNCTIONS}.brevity", bounds=bounds)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("brevity", r"an import path such as my_module.score, .* but got 'brevity'"),
        ("", "an import path such as"),
        ("my scores.py", "an import path such as"),
        ("no_such_module.score", "a module 'no_such_module' for the function 'no_such_module.score', in the current"),
        ("tests.no_such_module.score", "a module 'tests.no_such_module'"),
        (f"{FUNCTIONS}.brevty", r"a function 'brevty' in .*my_scores.py, but there is none. Did you mean 'brevity'"),
        (f"{FUNCTIONS}.LIMIT", "but it is int 3"),
        (f"{FUNCTIONS}.Brevity", "but it is a class. A class that follows the protocol"),
        (f"{FUNCTIONS}.of_the_reply_alone", r"but it takes \(reply: str\) -> float: too many positional arguments"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Custom(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_this_name", "but No module named 'nothing_of_this_name'"),
        ("def score(reply, example):\nreturn 1", "it raised IndentationError"),
        ("LIMIT = 1 / 0", r"it raised ZeroDivisionError: division by zero \(.*, line 1\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_from_one_that_is_not_there(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"scores_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=message):
        Custom(f"{name}.score")


def test_a_function_of_any_kind_can_be_given_from_python() -> None:
    class Longest:
        def __call__(self, reply: str, example: Example) -> float:
            return len(reply) / 10

    objective: Any = Custom(Longest())
    assert objective.score("abcde", EXAMPLE).score == 0.5
    assert "Longest" in objective.function
