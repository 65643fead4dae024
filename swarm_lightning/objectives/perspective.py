"""A client of the Perspective API's protocol: texts to toxicities over HTTP, at a limited rate, with retries.

Counting retries, backing off with jitter and reading `Retry-After` is urllib3's `Retry`. The loop around it is here, so
that every attempt keeps to the rate, an answer that can't be read counts as a failed attempt, and no error of urllib3,
whose texts show the URL, gets into a message or a chain of exceptions.

Source: https://github.com/conversationai/perspectiveapi, 2-api/methods.md and 2-api/limits.md.
"""

import contextlib
import json
import logging
import re
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from swarm_lightning.errors import InputError, ServiceError
from swarm_lightning.objectives.perspective_settings import PerspectiveSettings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

MOST_BYTES = 20_000  # of a text; the service refuses comments of more than 20480
# What the service answers where a text has no toxicity: the fault of the text, not of the request.
_UNSCORABLE = re.compile(
    r"COMMENT_EMPTY|COMMENT_TOO_LONG|LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    r"|does not support request languages|[Uu]nable to detect language|must be non-empty"
)
RESUME = "If the run has a checkpoint, go on from it with --ckpt_path last: no finished iteration is lost."


class RateLimit:
    """Lets threads pass one by one, so many a second."""

    def __init__(self, per_second: float) -> None:
        """Set the rate.

        Args:
            per_second: How many pass in a second, > 0.
        """
        self._interval = 1 / per_second
        self._next = 0.0
        self._lock = Lock()

    def wait(self, stop: Event) -> None:
        """Return when it is the caller's turn, or at once when all are to stop."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._interval
        stop.wait(max(turn - time.monotonic(), 0))

    def pause(self, seconds: float) -> None:
        """Let nobody pass for some seconds but those who have their turn already."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


@dataclass(frozen=True)
class Answer:
    """What came of one attempt.

    Attributes:
        score: The toxicity; None where the text has none, and where something is wrong.
        problem: What is wrong, in words; empty where nothing is.
        transient: Whether another attempt may help.
        pause: Seconds for which the service does not want to be asked.
    """

    score: float | None = None
    problem: str = ""
    transient: bool = False
    pause: float = 0.0


class PerspectiveClient:
    """Asks the service, from several threads at a time."""

    def __init__(self, settings: PerspectiveSettings, ranks: int = 1) -> None:
        """Read the key from the environment; nothing is sent yet.

        Args:
            settings: How the service is reached.
            ranks: Processes that share the rate.

        Raises:
            InputError: If there is no key, or urllib3 is not installed.
        """
        self._settings = settings
        self._key = settings.read_key()
        self._pool = _connect(settings)
        self._limit = RateLimit(settings.requests_per_second / ranks)
        if settings.key_in == "query":
            _keep_out_of_logs(self._key)

    def toxicities(self, texts: Sequence[str]) -> list[float | None]:
        """Ask for the toxicity of every text.

        Args:
            texts: What to score; a text that stands there twice is asked twice.

        Returns:
            Numbers in [0, 1], in order; None where the service can't score a text.

        Raises:
            InputError: If the service refuses a request: the key or the endpoint is wrong.
            ServiceError: If it does not answer after all retries.
        """
        stop = Event()
        with ThreadPoolExecutor(self._settings.threads) as pool:
            asked = [pool.submit(self._toxicity, text, stop) for text in texts]
            try:
                wait(asked, return_when=FIRST_EXCEPTION)
            finally:  # after a failure, or where the user ends the run, nobody asks any further
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
        for one in asked:
            if not one.cancelled() and (failure := one.exception()) is not None:
                raise failure
        return [one.result() for one in asked]

    def _toxicity(self, text: str, stop: Event) -> float | None:
        from urllib3 import Retry
        from urllib3.exceptions import MaxRetryError

        settings, started = self._settings, time.monotonic()
        retries = Retry(
            settings.retries,
            backoff_factor=settings.backoff,
            backoff_jitter=settings.backoff,
            backoff_max=settings.longest_wait,
        )
        exhausted, attempts = False, 0
        while True:
            self._limit.wait(stop)
            if stop.is_set():
                return None
            answer, attempts = self._attempt(text), attempts + 1
            if not answer.problem:
                return answer.score
            problem = answer.problem.replace(self._key, "***")
            if not answer.transient:
                raise InputError(self._refusal(problem))
            try:
                retries = retries.increment()
            except MaxRetryError:
                exhausted = True
            if exhausted or answer.pause > settings.longest_wait:
                wanted = f" The service asks for a pause of {answer.pause:.0f} s." if answer.pause else ""
                raise ServiceError(
                    f"Expected an answer from {settings.endpoint}, but {attempts} attempts in "
                    f"{time.monotonic() - started:.0f} s brought none; the last: {problem}.{wanted} Wait until the "
                    "service answers again, or lower requests_per_second if it is above your quota "
                    f"({settings.requests_per_second:g} now). {RESUME}"
                )
            self._limit.pause(answer.pause)
            stop.wait(0 if answer.pause else retries.get_backoff_time())

    def _attempt(self, text: str) -> Answer:
        from urllib3.exceptions import HTTPError, NewConnectionError, SSLError, TimeoutError

        settings = self._settings
        body: dict[str, Any] = {
            "comment": {"text": text.encode("utf-8", "replace")[:MOST_BYTES].decode("utf-8", "ignore")},
            "requestedAttributes": {"TOXICITY": {}},
            "doNotStore": True,
        }
        if settings.language is not None:
            body["languages"] = [settings.language]
        in_header = settings.key_in == "header"
        try:
            response = self._pool.request(
                "POST",
                settings.endpoint if in_header else f"{settings.endpoint}?key={quote(self._key, safe='')}",
                body=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"} | ({"X-Goog-Api-Key": self._key} if in_header else {}),
                timeout=settings.timeout,
                retries=False,  # they are counted by the caller
                redirect=False,  # the key goes nowhere else
            )
        except SSLError:
            return Answer(problem="the server's certificate can't be checked (SSL_CERT_FILE names your own)")
        except HTTPError as error:
            if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
                return Answer(problem=f"no answer within {settings.timeout:g} s", transient=True)
            return Answer(problem=f"the connection failed ({type(error).__name__})", transient=True)
        return read_answer(response)

    def _refusal(self, problem: str) -> str:
        settings = self._settings
        other = "query" if settings.key_in == "header" else "header"
        return (
            f"Expected a toxicity from {settings.endpoint}, but the request was refused: {problem}. Check the key in "
            f"the environment variable {settings.key_variable}, whether the service is enabled for it, and the "
            f"endpoint; `key_in: {other}` sends the key the other way. {RESUME}"
        )


def read_answer(response: "BaseHTTPResponse") -> Answer:
    """Read what the service says.

    Args:
        response: Its whole response.

    Returns:
        The toxicity, or what is wrong.
    """
    try:
        content = json.loads(response.data)
    except (ValueError, RecursionError):
        content = None
    if response.status == 200:
        try:
            score = float(content["attributeScores"]["TOXICITY"]["summaryScore"]["value"])
        except (KeyError, TypeError, ValueError):
            return Answer(problem="an answer without a toxicity", transient=True)
        if not 0 <= score <= 1:
            return Answer(problem=f"a toxicity of {score}, which is not within [0, 1]", transient=True)
        return Answer(score)
    error = content.get("error") if isinstance(content, dict) else None
    said = str(error.get("message", "")) if isinstance(error, dict) else ""
    if response.status == 400 and _UNSCORABLE.search(json.dumps(error)):
        return Answer()
    problem = f"status {response.status}" + (f", {' '.join(said.split())[:300]!r}" if said else "")
    transient = response.status in (408, 429) or response.status >= 500
    return Answer(problem=problem, transient=transient, pause=_asked_pause(response) if transient else 0.0)


def _asked_pause(response: "BaseHTTPResponse") -> float:
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    with contextlib.suppress(InvalidHeader):
        return float(Retry().get_retry_after(response) or 0)
    return 0.0


def _connect(settings: PerspectiveSettings) -> "PoolManager":
    from urllib.request import getproxies, proxy_bypass

    try:
        from urllib3 import PoolManager, ProxyManager
    except ImportError as error:
        raise InputError(
            "Expected urllib3, which talks to the Perspective API, but it is not installed. "
            "Install it with: pip install 'swarm-lightning[perspective]'"
        ) from error
    parts = urlsplit(settings.endpoint)
    proxy = None if proxy_bypass(str(parts.hostname)) else getproxies().get(parts.scheme)
    if proxy:
        return ProxyManager(proxy, maxsize=settings.threads)
    return PoolManager(maxsize=settings.threads)


def _keep_out_of_logs(key: str) -> None:
    """Take the key out of urllib3's debug messages, which show the URL."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(quote(key, safe=""), "***"), None
        return True

    logging.getLogger("urllib3.connectionpool").addFilter(hide)
