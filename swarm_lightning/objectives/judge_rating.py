"""Human interests: a judge model rates each reply from 1 to 10, and says which of two replies is the better one.

For prompts without one right answer. The judge is any model behind an OpenAI-compatible endpoint, a provider's or a
server of one's own; its answers are kept, so that none is paid for twice. How they are read is in `ratings.py`.
"""

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.asking import Asks, Unscored
from swarm_lightning.objectives.checks import check_at_least_one
from swarm_lightning.objectives.judge import Judge, JudgeSettings, Reading
from swarm_lightning.objectives.judge_prompts import (
    COMPARISON_PROMPT,
    RATING_PROMPT,
    RATING_REMINDER,
    VERDICT_REMINDER,
    check_names,
    fill,
)
from swarm_lightning.objectives.prompts import PromptTemplate
from swarm_lightning.objectives.protocol import LanguageModel, Objective, Outcome
from swarm_lightning.objectives.ratings import HIGHEST, LOWEST, read_rating, read_verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE = "{question}"
REQUEST: Mapping[str, Any] = {"temperature": 0, "max_tokens": 512}
POINTS = {"A": 1.0, "B": 0.0, "C": 0.5}


class JudgeRating(Asks, Objective):
    """Score a reply by the rating of a judge model, 1 to 10.

    A rating that can't be parsed is requested once more and then counts as 1; how many did is reported.
    """

    bounds: tuple[float, float] = (LOWEST, HIGHEST)

    def __init__(
        self,
        judge: str,
        endpoint: str = "https://api.openai.com/v1",
        key_variable: str | None = "OPENAI_API_KEY",
        rating_prompt: str = RATING_PROMPT,
        comparison_prompt: str = COMPARISON_PROMPT,
        judge_system: str | None = None,
        request: dict[str, Any] | None = None,
        concurrency: int = 16,
        retries: int = 6,
        retry_wait: float = 1.0,
        timeout: float = 60.0,
        cache: str | None = None,
        template: str = TEMPLATE,
        max_new_tokens: int = 256,
        **asking: Any,
    ) -> None:
        """Set the judge, its prompts and how the model is prompted.

        Args:
            judge: Name of the judge model at the endpoint.
            endpoint: Base URL of an OpenAI-compatible API, which usually ends in /v1.
            key_variable: Environment variable that holds the API key, which is never written anywhere; null for an
                endpoint without keys.
            rating_prompt: Prompt of the judge, with {prompt} (or {question}) and {reply} in braces, and optionally
                {answer} and further columns of the record.
            comparison_prompt: Prompt of the judge in `swarm test`, with {prompt}, {reply_a} and {reply_b}; the judge
                must answer [[A]], [[B]] or [[C]].
            judge_system: System prompt of the judge.
            request: Further fields of the request; by default temperature 0 and max_tokens 512.
            concurrency: Maximum number of concurrent requests per rank, >= 1.
            retries: Number of retries before the run ends, >= 0.
            retry_wait: Seconds before the first retry; doubled for each further one, up to a minute. The server's
                Retry-After is honoured up to a minute as well.
            timeout: Seconds to wait for an answer.
            cache: Folder of the ratings, shared by all runs; null: the user's cache folder.
            template: Prompt of the model being searched, with placeholders in braces.
            max_new_tokens: Maximum number of tokens of a reply, >= 1.
            **asking: Prompt and generation settings; see `Asks`.

        Raises:
            InputError: If a value can't be used.
        """
        super().__init__(template, max_new_tokens, **asking)
        check_at_least_one("concurrency", concurrency)
        _check_numbers(retries, retry_wait, timeout)
        _check_endpoint(endpoint)
        _check_variable(key_variable)
        if not judge.strip():
            raise InputError("Expected the name of the judge model, but judge is empty. Name a model of the endpoint.")
        check_names("rating_prompt", rating_prompt, ("reply",))
        check_names("comparison_prompt", comparison_prompt, ("reply_a", "reply_b"))
        sent = dict(REQUEST if request is None else request)
        if {"model", "messages", "stream", "n"} & sent.keys():
            raise InputError(f"Expected request without model, messages, stream and n, but got {sorted(sent)}.")
        # What is public belongs to a search: a checkpoint is not resumed with another judge.
        self.judge = judge
        self.endpoint = endpoint
        self.rating_prompt = PromptTemplate(rating_prompt)
        self.judge_system = judge_system
        self.request = json.dumps(sent, sort_keys=True)
        self._comparison_prompt = PromptTemplate(comparison_prompt)
        self._judge = Judge(
            JudgeSettings(
                endpoint, judge, judge_system, sent, key_variable, concurrency, retries, retry_wait, timeout, cache
            )
        )
        self._probed = False

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse prompts that can't be made, and a judge that can't be asked: one trial question is put to it.

        Args:
            examples: What will be asked.
            tokenizer: The base model's.

        Raises:
            InputError: If an example can't be served, the client library or the key is missing, the cache can't be
                used, or the judge gives no rating.
        """
        super().check(examples, tokenizer)
        for example in examples:
            fill(self.rating_prompt, example, reply="")
            fill(self._comparison_prompt, example, reply_a="", reply_b="")
        self._judge.open()
        if self._probed or not examples:
            return
        question = fill(self.rating_prompt, examples[0], reply="I do not know.")
        reading = self._judge.probe(question, read_rating, RATING_REMINDER)
        if reading.value is None:
            raise InputError(
                f"Expected a rating from 1 to 10 of the judge {self.judge!r}, but to a trial question, asked twice, it "
                f"answered {_short(reading.answer)}. Ask for `Rating: [[7]]` in rating_prompt, raise max_tokens in "
                "request where the answer was cut off, or use another judge."
            )
        self._probed = True

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask a model, and a judge what it thinks of the replies.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its score is the rating. There is no answer to vote on.

        Raises:
            InputError: If the judge can't be asked; the ratings so far are kept.
        """
        replies = self.ask(examples, model)
        questions = self.questions(examples, replies)
        readings = self._judge.ask_all(questions, read_rating, RATING_REMINDER)
        _report_unread(questions, readings, f"ratings were counted as {LOWEST:g}")
        return [
            Outcome(reply, None, LOWEST if reading.value is None else reading.value)
            for reply, reading in zip(replies, readings, strict=True)
        ]

    @property
    def answer_tokens(self) -> int | None:
        """The most tokens of a rating with its reasons; None where `request` does not say."""
        sent = json.loads(self.request)
        return sent.get("max_completion_tokens", sent.get("max_tokens"))

    def questions(self, examples: Sequence[Example], replies: Sequence[str]) -> list[str]:
        """Return what the judge is asked about replies; see `PaysForScores`."""
        pairs = zip(examples, replies, strict=True)
        return [fill(self.rating_prompt, example, reply=reply) for example, reply in pairs]

    def replies_only(self) -> Unscored:
        """Return an objective that asks the same and no judge: nothing is paid."""
        return Unscored(self)

    def win_rate(self, examples: Sequence[Example], outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> float:
        """Let the judge compare replies: each pair twice, once in each order, because judges favour a place.

        Args:
            examples: What was asked.
            outcomes: What is compared, one per example.
            others: What it is compared with, one per example.

        Returns:
            The share of judgements for `outcomes`, in [0, 1]; ties, equal replies and judgements that can't be read
            count half.

        Raises:
            InputError: If the judge can't be asked; its judgements so far are kept.
        """
        questions, halves = [], 0
        for example, outcome, other in zip(examples, outcomes, others, strict=True):
            if outcome.reply == other.reply:
                halves += 2
                continue
            for one, two in ((outcome.reply, other.reply), (other.reply, outcome.reply)):
                questions.append(fill(self._comparison_prompt, example, reply_a=one, reply_b=two))
        readings = self._judge.ask_all(questions, read_verdict, VERDICT_REMINDER)
        _report_unread(questions, readings, "comparisons were counted as ties")
        points = [POINTS[reading.value or "C"] for reading in readings]
        # In every second question the two have changed places.
        won = [point if place % 2 == 0 else 1.0 - point for place, point in enumerate(points)]
        return math.fsum([*won, 0.5 * halves]) / (2 * len(examples))


def _report_unread(questions: Sequence[str], readings: Sequence[Reading[Any]], counted: str) -> None:
    unread = {question: reading for question, reading in zip(questions, readings, strict=True) if reading.value is None}
    if unread:
        warnings.warn(
            f"{len(unread)} of {len(set(questions))} {counted}: the judge's answer could not be read, although it was "
            f"asked twice. One of them: {_short(next(iter(unread.values())).answer)}.",
            stacklevel=3,
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:100]} ... {text[-100:]}")


def _check_numbers(retries: int, retry_wait: float, timeout: float) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise InputError(f"Expected retries to be a whole number of 0 or more, but got {retries!r}.")
    if not 0 <= retry_wait < math.inf:
        raise InputError(f"Expected retry_wait to be 0 seconds or more, but got {retry_wait!r}.")
    if not 0 < timeout < math.inf:
        raise InputError(f"Expected timeout to be more than 0 seconds, but got {timeout!r}.")


def _check_variable(name: str | None) -> None:
    if name is not None and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None:
        # Not shown, because it may be the key itself.
        raise InputError(
            "Expected key_variable to be the name of an environment variable, such as OPENAI_API_KEY, but it holds "
            "characters that no name has. The key itself belongs in that variable, never in a config."
        )


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"Expected endpoint to be an address such as http://localhost:8000/v1, but got {endpoint!r}.")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Not shown, because a key may stand in it.
        raise InputError(
            f"Expected endpoint to be an address alone, but the one of {parts.hostname} has a user, a password, or "
            "something behind a ? or #. Keys belong in the environment variable that key_variable names."
        )
