"""The objective against a real server: what is asked, what is paid for, and what a rating becomes."""

import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ComparesReplies, JudgeRating, Objective, Outcome
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel, Likelihood, RowDecided
from swarm_lightning.search.settings import settings_of
from tests.objectives.judge_server import KEY, KEY_VARIABLE, MODEL, Answer, JudgeServer, rating_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXAMPLES = [Example(f"What is {number}?", identifier=str(number)) for number in range(6)]


class Writer:
    """A language model that answers a prompt by its words in reverse order."""

    tokenizer: "PreTrainedTokenizerBase" = None  # type: ignore[assignment]
    device = torch.device("cpu")

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        assert decided is None  # the whole reply counts
        return [" ".join(prompt.split()[::-1]) for prompt in prompts]

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        raise NotImplementedError

    def select(self, places: Sequence[int]) -> "Writer":
        return self


WRITER: LanguageModel = Writer()


def settings(server: JudgeServer, folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "judge": MODEL, "endpoint": server.endpoint, "key_variable": KEY_VARIABLE, "retries": 2, "retry_wait": 0.001,
        "cache": str(folder / "cache"), "rating_prompt": "{prompt} -> {reply}", **changes,
    }  # fmt: skip


def rating(server: JudgeServer, folder: Path, **changes: Any) -> JudgeRating:
    return JudgeRating(**settings(server, folder, **changes))


def question_of(example: Example) -> str:
    return f"{example.question} -> {' '.join(example.question.split()[::-1])}"


def test_it_is_an_objective_that_compares_replies(judge_server: JudgeServer, tmp_path: Path) -> None:
    objective: Objective = rating(judge_server, tmp_path)
    assert objective.bounds == (1.0, 10.0)
    assert isinstance(objective, ComparesReplies)


def test_each_reply_gets_the_rating_of_the_judge(judge_server: JudgeServer, tmp_path: Path) -> None:
    outcomes = rating(judge_server, tmp_path).evaluate(EXAMPLES, WRITER)
    assert [outcome.score for outcome in outcomes] == [rating_of(question_of(example)) for example in EXAMPLES]
    assert len({outcome.score for outcome in outcomes}) > 1
    assert {outcome.answer for outcome in outcomes} == {None}
    assert outcomes[0].reply == "0? is What"


def test_the_same_prompt_and_reply_are_paid_for_once(judge_server: JudgeServer, tmp_path: Path) -> None:
    objective = rating(judge_server, tmp_path)
    first = objective.evaluate([*EXAMPLES, *EXAMPLES[:3]], WRITER)
    assert first[:3] == first[6:]
    assert judge_server.requests == 6
    assert objective.evaluate(EXAMPLES, WRITER) == first[:6]
    assert rating(judge_server, tmp_path).evaluate(EXAMPLES[::-1], WRITER) == first[5::-1]
    code = (
        "import json, sys\n"
        "from tests.objectives.test_judge_rating import EXAMPLES, WRITER, JudgeRating\n"
        "outcomes = JudgeRating(**json.loads(sys.argv[1])).evaluate(EXAMPLES, WRITER)\n"
        "print([outcome.score for outcome in outcomes])"
    )
    arguments = [sys.executable, "-c", code, json.dumps(settings(judge_server, tmp_path))]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [outcome.score for outcome in first[:6]]
    assert judge_server.requests == 6


@pytest.mark.parametrize(
    "change",
    [
        {"rating_prompt": "{prompt} => {reply}"},
        {"judge_system": "You are stern."},
        {"request": {"temperature": 0.5}},
        {"judge": "another"},
        {"template": "{question}!"},
    ],
)
def test_another_question_is_paid_for_again(judge_server: JudgeServer, tmp_path: Path, change: dict[str, Any]) -> None:
    rating(judge_server, tmp_path).evaluate(EXAMPLES[:1], WRITER)
    if "judge" in change:
        with pytest.raises(InputError, match="404"):
            rating(judge_server, tmp_path, **change).evaluate(EXAMPLES[:1], WRITER)
    else:
        rating(judge_server, tmp_path, **change).evaluate(EXAMPLES[:1], WRITER)
    assert judge_server.requests == 2


def test_the_judge_sees_system_prompt_and_fields_of_the_record(judge_server: JudgeServer, tmp_path: Path) -> None:
    example = Example("{reply}?", "gold", in_context_prompt="Solved: ...", extras={"rubric": "be {kind}"})
    objective = rating(
        judge_server, tmp_path, judge_system="Be stern.", rating_prompt="{question}|{answer}|{rubric}|{reply}|{{reply}}"
    )
    objective.evaluate([example], WRITER)
    turns = judge_server.bodies[0]["messages"]
    assert turns[0] == {"role": "system", "content": "Be stern."}
    assert turns[1] == {"role": "user", "content": "{reply}?|gold|be {kind}|{reply}? ... Solved:|{reply}"}
    assert judge_server.bodies[0]["temperature"] == 0


def test_questions_go_out_together_and_never_more_than_allowed(judge_server: JudgeServer, tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def behave(question: str, times: int) -> Answer:
        together.wait(10)  # goes on only when three requests are here at the same time
        return Answer("[[7]]")

    judge_server.behave = behave
    outcomes = rating(judge_server, tmp_path, concurrency=3).evaluate(EXAMPLES, WRITER)
    assert [outcome.score for outcome in outcomes] == [7.0] * 6
    assert judge_server.most_at_once == 3


def test_an_unreadable_rating_is_asked_for_once_more(judge_server: JudgeServer, tmp_path: Path) -> None:
    def behave(question: str, times: int) -> Answer:
        return Answer("Rating: [[4]]" if question.endswith("Rating: [[7]]") else "Hard to say.")

    judge_server.behave = behave
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcomes = rating(judge_server, tmp_path).evaluate(EXAMPLES, WRITER)
    assert [outcome.score for outcome in outcomes] == [4.0] * 6
    assert judge_server.requests == 12


def test_a_rating_that_stays_unreadable_counts_as_the_lowest_and_is_reported_once(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    def behave(question: str, times: int) -> Answer:
        return Answer("Hard to say." if "1?" in question or "4?" in question else "[[9]]")

    judge_server.behave = behave
    objective = rating(judge_server, tmp_path)
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 of 6 ratings were counted as 1") as told:
            outcomes = objective.evaluate([*EXAMPLES, EXAMPLES[1]], WRITER)
        assert [outcome.score for outcome in outcomes] == [9.0, 1.0, 9.0, 9.0, 1.0, 9.0, 1.0]
        assert len(told) == 1
        assert "'Hard to say.'" in str(told[0].message)
    assert judge_server.requests == 4 + 2 * 2  # nothing is asked a third time


def test_what_fails_now_and_then_changes_no_rating(judge_server: JudgeServer, tmp_path: Path) -> None:
    expected = rating(judge_server, tmp_path / "calm").evaluate(EXAMPLES, WRITER)
    judge_server.forget()
    failures = [Answer("slow down", 429), Answer("oh no", 500), Answer("nonsense", raw=True)]
    calm = judge_server.behave

    def behave(question: str, times: int) -> Answer:
        return failures[rating_of(question) % 3] if times == 1 else calm(question, times)

    judge_server.behave = behave
    assert rating(judge_server, tmp_path / "stormy").evaluate(EXAMPLES, WRITER) == expected
    assert judge_server.requests == 12


def test_an_endpoint_that_goes_down_ends_the_call_and_keeps_what_was_paid_for(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    calm = judge_server.behave
    judge_server.behave = lambda question, times: Answer("down", 503) if "3?" in question else calm(question, times)
    objective = rating(judge_server, tmp_path, concurrency=1)
    with pytest.raises(InputError) as failed:
        objective.evaluate(EXAMPLES, WRITER)
    for part in (MODEL, judge_server.endpoint, "3 attempts", "503 down", "--ckpt_path", str(tmp_path / "cache")):
        assert part in str(failed.value)
    assert judge_server.requests == 3 + 3  # the last two were not asked any more
    judge_server.behave = calm
    judge_server.forget()
    objective.evaluate(EXAMPLES, WRITER)
    assert set(judge_server.asked) == {question_of(example) for example in EXAMPLES[3:]}


def test_check_puts_one_trial_question_past_the_cache(judge_server: JudgeServer, tmp_path: Path) -> None:
    for _ in range(2):
        objective = rating(judge_server, tmp_path)
        objective.check(EXAMPLES, WRITER.tokenizer)
        objective.check(EXAMPLES, WRITER.tokenizer)
    assert dict(judge_server.asked) == {f"{EXAMPLES[0].question} -> I do not know.": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"judge": "nobody"}, "'nobody'"),
        ({"key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"key_variable": None}, "401"),
        ({"rating_prompt": "{reply} {rubric}"}, "rubric"),
        ({"comparison_prompt": "{reply_a} {reply_b} {rubric}"}, "rubric"),
        ({"template": "{rubric}"}, "rubric"),
        ({"cache": __file__}, "cache of ratings"),
    ],
)
def test_check_refuses_a_judge_that_can_not_be_asked(
    judge_server: JudgeServer, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        rating(judge_server, tmp_path, **change).check(EXAMPLES, WRITER.tokenizer)


def test_check_refuses_a_judge_that_gives_no_rating(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.behave = lambda question, times: Answer("I would rather not")
    with pytest.raises(InputError, match="'I would rather not'"):
        rating(judge_server, tmp_path).check(EXAMPLES, WRITER.tokenizer)
    assert judge_server.requests == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rating_prompt": "Rate {prompt}"}, "to name {reply}"),
        ({"rating_prompt": "Rate {prompt} {{reply}}"}, "to name {reply}"),
        ({"comparison_prompt": "{prompt} {reply_a}"}, "to name {reply_b}"),
        ({"judge": " "}, "judge is empty"),
        ({"endpoint": "localhost:8000"}, "address such as"),
        ({"concurrency": 0}, "concurrency"),
        ({"retries": -1}, "retries"),
        ({"retry_wait": -1.0}, "retry_wait"),
        ({"timeout": 0.0}, "timeout"),
        ({"request": {"model": "x"}}, "request without model"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(
    judge_server: JudgeServer, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        rating(judge_server, tmp_path, **change)


@pytest.mark.parametrize(
    "endpoint", ["https://me:secret@host/v1", "https://host/v1?key=secret", "https://host/v1#secret"]
)
def test_an_address_with_a_secret_in_it_is_refused_and_not_shown(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(InputError, match="address alone") as refused:
        JudgeRating("judge", endpoint)
    assert "secret" not in str(refused.value)


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="name of an environment variable") as refused:
        JudgeRating("judge", key_variable=KEY)
    assert KEY not in str(refused.value)


def test_the_settings_that_belong_to_a_search_are_those_that_change_a_rating(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    one = settings_of(rating(judge_server, tmp_path))
    free: dict[str, Any] = {"concurrency": 2, "retries": 5, "timeout": 1.0, "cache": None, "key_variable": "OTHER"}
    for name, value in free.items():
        assert settings_of(rating(judge_server, tmp_path, **{name: value})) == one
    changes: list[dict[str, Any]] = [
        {"judge": "x"}, {"endpoint": "http://x/v1"}, {"rating_prompt": "{reply}"}, {"judge_system": "x"},
        {"request": {"nested": {"deep": 1}}}, {"template": "{question}?"}, {"max_new_tokens": 3},
    ]  # fmt: skip
    for change in changes:
        assert settings_of(rating(judge_server, tmp_path, **change)) != one


def test_the_key_is_written_nowhere(
    judge_server: JudgeServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = rating(judge_server, tmp_path)
    calm = judge_server.behave
    judge_server.behave = lambda question, times: (
        Answer(f"no rating for {KEY}") if "1?" in question else calm(question, times)
    )
    objective.check(EXAMPLES, WRITER.tokenizer)
    with pytest.warns(UserWarning, match=r"no rating for \*\*\*") as told:
        objective.evaluate(EXAMPLES, WRITER)
    monkeypatch.setenv(KEY_VARIABLE, "sk-a-wrong-key-0815")
    with pytest.raises(InputError, match="401") as refused:
        rating(judge_server, tmp_path).check(EXAMPLES, WRITER.tokenizer)
    printed = capfd.readouterr()
    texts = [printed.out, printed.err, str(told[0].message), repr(vars(objective)), json.dumps(settings_of(objective))]
    texts += [str(refused.value), *(path.read_bytes().decode("latin-1") for path in (tmp_path / "cache").iterdir())]
    assert not [text for text in texts if KEY in text or "sk-a-wrong" in text]


def test_replies_can_be_had_without_a_judge(judge_server: JudgeServer, tmp_path: Path) -> None:
    objective = rating(judge_server, tmp_path)
    judge_server.close()
    outcomes = objective.replies_only().evaluate(EXAMPLES[:1], WRITER)
    assert outcomes == [Outcome("0? is What", None, 1.0)]
    assert judge_server.requests == 0


def outcomes_of(*replies: str) -> list[Outcome]:
    return [Outcome(reply, None, 5.0) for reply in replies]


def test_a_win_rate_counts_both_orders_and_ties_half(judge_server: JudgeServer, tmp_path: Path) -> None:
    def behave(question: str, times: int) -> Answer:
        prompt, one, two = question.split("|")
        if prompt.endswith("0?"):
            return Answer("[[A]]" if one == "good" else "[[B]]")  # in both orders the same reply
        if prompt.endswith("1?"):
            return Answer("[[A]]")  # always the first
        return Answer("[[C]]" if one == "x" else "[[B]]" if two == "x" else "[[A]]")

    judge_server.behave = behave
    objective = rating(judge_server, tmp_path, comparison_prompt="{prompt}|{reply_a}|{reply_b}")
    # Won twice; won and lost by place; a tie and a win; equal, and not asked.
    rate = objective.win_rate(EXAMPLES[:4], outcomes_of("good", "a", "x", "same"), outcomes_of("bad", "b", "y", "same"))
    assert rate == (1 + 1 + 1 + 0 + 0.5 + 1 + 0.5 + 0.5) / 8
    assert judge_server.requests == 6
    assert objective.win_rate(EXAMPLES[:1], outcomes_of("bad"), outcomes_of("good")) == 0.0
    assert judge_server.requests == 6  # the same two questions


def test_a_comparison_that_can_not_be_read_is_a_tie_and_reported(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.behave = lambda question, times: Answer("Both, in their way.")
    with pytest.warns(UserWarning, match="2 of 2 comparisons were counted as ties") as told:
        assert rating(judge_server, tmp_path).win_rate(EXAMPLES[:1], outcomes_of("a"), outcomes_of("b")) == 0.5
    assert len(told) == 1
    assert judge_server.requests == 4


def test_records_with_a_prompt_only_are_rated(judge_server: JudgeServer, tmp_path: Path) -> None:
    path = tmp_path / "open.json"
    path.write_text(json.dumps({name: [{"prompt": f"Why {name}?", "id": 0}] for name in ("dev", "test")}))
    splits = read_splits(str(path))
    objective = rating(judge_server, tmp_path)
    objective.check(splits.validation, WRITER.tokenizer)
    objective.evaluate(splits.validation, WRITER)
    assert judge_server.bodies[-1]["messages"][-1]["content"] == "Why dev? -> dev? Why"


@pytest.mark.shared
def test_the_public_human_interests_can_be_rated(
    judge_server: JudgeServer, tmp_path: Path, shared_folder: Path
) -> None:
    files = sorted((shared_folder / "data" / "model_swarms").glob("human_*.json"))
    assert len(files) == 16
    objective = JudgeRating(MODEL, judge_server.endpoint, KEY_VARIABLE, cache=str(tmp_path))
    for path in files:
        splits = read_splits(str(path))
        assert (len(splits.validation), len(splits.test)) == (25, 25)
        objective.check([*splits.validation, *splits.test], WRITER.tokenizer)
    assert objective.evaluate(splits.validation[:1], WRITER)[0].score in range(1, 11)
