"""Asks a judge model many questions at once and reads its answers; what has been answered before is never asked again.

How one question is sent is in `judge_client.py`, how answers are kept in `rating_cache.py`, and what is asked and how
an answer is read is the caller's.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.judge_client import JudgeClient, Unanswered
from swarm_lightning.objectives.rating_cache import RatingCache, Stopped, default_folder

Value = TypeVar("Value")


@dataclass(frozen=True)
class JudgeSettings:
    """Which judge is asked, and how; of these only the first four can change an answer.

    Attributes:
        endpoint: Base address of the API.
        judge: Name of the model.
        system: Its system prompt; None for none.
        request: Further fields of each request, such as temperature.
        key_variable: Environment variable that holds the key; None for an endpoint that asks for none.
        concurrency: Questions that are out at the same time at most.
        retries: Attempts after the first one.
        retry_wait: Seconds before the second attempt; doubled with each further one.
        timeout: Seconds to wait for an answer.
        cache: Folder of the answers; None for the user's cache folder.
    """

    endpoint: str
    judge: str
    system: str | None
    request: Mapping[str, Any]
    key_variable: str | None
    concurrency: int
    retries: int
    retry_wait: float
    timeout: float
    cache: str | None


@dataclass(frozen=True)
class Reading(Generic[Value]):
    """What was read of a judge's answer.

    Attributes:
        value: What it means; None where that can't be told, although it was asked twice.
        answer: The judge's text.
    """

    value: Value | None
    answer: str


class Judge:
    """A judge model with a memory. Nothing is opened or sent before it is used."""

    def __init__(self, settings: JudgeSettings) -> None:
        """Keep the settings.

        Args:
            settings: Which judge, and how it is asked.
        """
        self._settings = settings
        self._client: JudgeClient | None = None
        self._cache: RatingCache | None = None
        self._opening = threading.Lock()

    def open(self) -> tuple[JudgeClient, RatingCache]:
        """Return the client and the cache, made at the first call.

        Raises:
            InputError: If the client library is not installed, the key is not set, or the cache can't be used.
        """
        settings = self._settings
        with self._opening:
            if self._client is None:
                self._client = JudgeClient(
                    settings.endpoint,
                    settings.judge,
                    settings.key_variable,
                    settings.request,
                    settings.timeout,
                    settings.retries,
                    settings.retry_wait,
                )
            if self._cache is None:
                folder = default_folder() if settings.cache is None else Path(settings.cache).expanduser()
                self._cache = RatingCache(folder)
            return self._client, self._cache

    def probe(self, question: str, read: Callable[[str], Value | None], reminder: str) -> Reading[Value]:
        """Put one question past the cache: it shows that the endpoint, the key and the model can be used.

        Args:
            question: As in `ask_all`.
            read: As in `ask_all`.
            reminder: As in `ask_all`.

        Returns:
            What was read.

        Raises:
            InputError: If the judge can't be asked.
        """
        client, _ = self.open()
        return _read_twice(question, read, reminder, lambda text: self._send(client, text, threading.Event()))

    def ask_all(
        self, questions: Sequence[str], read: Callable[[str], Value | None], reminder: str
    ) -> list[Reading[Value]]:
        """Put questions to the judge, several at a time, each different one once.

        A question whose answer can't be read is asked once more, with the reminder behind it. Every answer is kept as
        soon as it comes. When one question can't be asked, no further one is; those that are out are waited for.

        Args:
            questions: One text each, the user's turn.
            read: Says what an answer means; None where that can't be told.
            reminder: What the answer should look like.

        Returns:
            One reading per question, in order.

        Raises:
            InputError: If the judge can't be asked, or its answers can't be kept.
        """
        if not questions:
            return []
        client, cache = self.open()
        stop = threading.Event()

        def answer(text: str) -> str:
            return cache.fetch(self._key(text), lambda: self._send(client, text, stop), stop)

        def work(text: str) -> Reading[Value]:
            if stop.is_set():
                raise Stopped
            try:
                return _read_twice(text, read, reminder, answer)
            except BaseException:
                stop.set()
                raise

        different = list(dict.fromkeys(questions))
        found: dict[str, Reading[Value]] = {}
        threads = ThreadPoolExecutor(min(self._settings.concurrency, len(different)), thread_name_prefix="judge")
        try:
            waiting = {threads.submit(work, text): text for text in different}
            for done in as_completed(waiting):
                with suppress(Stopped):  # another one has failed, and will be met
                    found[waiting[done]] = done.result()
        finally:
            stop.set()
            threads.shutdown(cancel_futures=True)
        return [found[question] for question in questions]

    def _messages(self, question: str) -> list[dict[str, str]]:
        system = self._settings.system
        turns = [] if system is None else [{"role": "system", "content": system}]
        return [*turns, {"role": "user", "content": question}]

    def _key(self, question: str) -> str:
        """Return a digest of all that an answer depends on."""
        settings = self._settings
        asked = [settings.endpoint, settings.judge, self._messages(question), dict(settings.request)]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _send(self, client: JudgeClient, question: str, stop: threading.Event) -> str:
        try:
            return client.ask(self._messages(question), stop)
        except Unanswered as reason:
            kept = "" if self._cache is None else f" in {str(self._cache.path)!r}"
            attempts = self._settings.retries + 1
            raise InputError(
                f"Expected an answer of the judge {client.judge!r} at {client.endpoint}, but {attempts} attempts got "
                f"none, the last: {reason}. Ratings so far are kept{kept}, and are not requested again: once the "
                "endpoint responds, resume with --ckpt_path, or start again if there is no checkpoint yet."
            ) from None


def _read_twice(
    question: str, read: Callable[[str], Value | None], reminder: str, answer: Callable[[str], str]
) -> Reading[Value]:
    said = answer(question)
    value = read(said)
    if value is None:
        # Another text, because the same one gets the same answer at temperature 0.
        said = answer(f"{question}\n\n{reminder}")
        value = read(said)
    return Reading(value, said)
