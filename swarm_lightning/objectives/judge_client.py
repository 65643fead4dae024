"""Sends one question to a judge model behind an OpenAI-compatible endpoint, patiently, and says why where it can't.

What may pass is tried again, with a longer wait each time: a busy or failing server, a lost connection, a time-out, an
answer that is none. What won't pass by waiting (a wrong key, an unknown model, a refused request) ends at once. The
key is read from the environment, is sent to the endpoint, and is blotted out of every text that comes back.
"""

import os
import random
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.rating_cache import Stopped

if TYPE_CHECKING:
    from openai import OpenAI

LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
PASSING = frozenset({408, 409, 425, 429})  # and 500 and above
SHOWN = 300  # characters of a server's message
Messages = Sequence[Mapping[str, str]]


class Unanswered(Exception):  # noqa: N818 - becomes an InputError, with what the caller knows
    """The endpoint could not be made to answer; the message is the last reason."""


class JudgeClient:
    """A judge model at an endpoint.

    Attributes:
        endpoint: Base address of the API.
        judge: Name of the model.
    """

    def __init__(
        self,
        endpoint: str,
        judge: str,
        key_variable: str | None,
        request: Mapping[str, Any],
        timeout: float,
        retries: int,
        retry_wait: float,
    ) -> None:
        """Take the settings; nothing is sent.

        Args:
            endpoint: Base address of the API, such as `https://api.openai.com/v1`.
            judge: Name of the model there.
            key_variable: Environment variable that holds the key; None for an endpoint that asks for none.
            request: Further fields of each request, such as temperature.
            timeout: Seconds to wait for an answer.
            retries: Attempts after the first one.
            retry_wait: Seconds before the second attempt; doubled with each further one.

        Raises:
            InputError: If the client library is not installed or the key is not set.
        """
        self.endpoint = endpoint
        self.judge = judge
        self._variable = key_variable
        self._key = _read_key(key_variable)
        self._request = dict(request)
        self._retries = retries
        self._retry_wait = retry_wait
        self._client = _client(endpoint, self._key, timeout)
        # Not the module's generator: the search draws from that one.
        self._random = random.Random()

    def ask(self, messages: Messages, stop: threading.Event) -> str:
        """Put a question and return the answer.

        Args:
            messages: The turns of the conversation.
            stop: Ends the waiting between two attempts.

        Returns:
            The judge's text; empty where the judge or the provider's filter declines.

        Raises:
            Unanswered: If no attempt was answered.
            Stopped: If `stop` was set while this call waited.
            InputError: If trying again can't help.
        """
        for attempt in range(self._retries + 1):
            answer, reason, wished = self._attempt(messages)
            if answer is not None:
                return answer
            if attempt < self._retries:
                wait = max(wished, self._retry_wait * 2**attempt * self._random.uniform(0.5, 1.0))
                if stop.wait(min(wait, LONGEST_WAIT)):
                    raise Stopped
        raise Unanswered(reason)

    def _attempt(self, messages: Messages) -> tuple[str | None, str, float]:
        """Return the answer, or the reason why there is none and the seconds that the server asks to wait."""
        import openai

        # The error is raised outside, so that no traceback shows what the server said, which may hold the key.
        refused = None
        try:
            completion: Any = self._client.chat.completions.create(
                model=self.judge,
                messages=messages,  # type: ignore[arg-type]
                extra_body=self._request,
            )
            answer = _text_of(completion)
            if answer is not None:
                return self._blot(answer), "", 0.0
            return None, f"an answer without a message: {self._shown(completion)}", 0.0
        except openai.APIStatusError as error:
            code = getattr(error, "code", None)
            if code == "content_filter":
                return "", "", 0.0
            said = error.body.get("message") if isinstance(error.body, dict) else None
            reason = f"{error.status_code} {self._shown(said or error.message)}"
            passing = error.status_code in PASSING or error.status_code >= 500
            if passing and code != "insufficient_quota":
                return None, reason, _wished_wait(error.response.headers)
            refused = (error.status_code, reason)
        except openai.APIConnectionError as error:
            cause = "" if error.__cause__ is None else str(error.__cause__)
            return None, self._shown(f"{error} {cause}" if cause and cause not in str(error) else error), 0.0
        except (openai.APIError, ValueError) as error:
            return None, f"an answer that can't be read: {self._shown(error)}", 0.0
        raise self._refusal(*refused)

    def _refusal(self, status: int, reason: str) -> InputError:
        where = f"Expected the endpoint {self.endpoint} to"
        if status in (401, 403):
            told = "a request without a key" if self._variable is None else f"the key in {self._variable}"
            return InputError(
                f"{where} accept {told}, but it answered {reason}. Set the environment variable that key_variable "
                f"names to a key of this endpoint that may use {self.judge!r}."
            )
        if status == 404:
            return InputError(
                f"{where} know the model {self.judge!r}, but it answered {reason}. Correct judge; or endpoint, which "
                "usually ends in /v1."
            )
        return InputError(
            f"{where} take a question to {self.judge!r}, but it answered {reason}. Fix what it names: `request` holds "
            "the fields that are sent with the question, and some models accept no temperature, or want "
            "max_completion_tokens instead of max_tokens."
        )

    def _blot(self, text: str) -> str:
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return clean if self._key is None else clean.replace(self._key, "***")

    def _shown(self, value: object) -> str:
        text = " ".join(self._blot(str(value)).split())
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _read_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"Expected the key of the judge's endpoint in the environment variable {variable}, but it is not set. Set "
            "it, name another variable with key_variable, or set key_variable: null for an endpoint that asks for none."
        )
    return key


def _client(endpoint: str, key: str | None, timeout: float) -> "OpenAI":
    try:
        from openai import OpenAI
    except ImportError as error:
        raise InputError(
            "Expected the package openai, which talks to the judge, but it is not installed. Install it: "
            "pip install 'swarm-lightning[judge]'."
        ) from error
    # Attempts are counted here, so that a run that ends can stop them, and so that all of them have one limit.
    return OpenAI(base_url=endpoint, api_key=key or "none", timeout=timeout, max_retries=0)


def _text_of(completion: Any) -> str | None:
    """Return the text of an answer; None where it is none, as from a server that speaks something else."""
    try:
        message = completion.choices[0].message
        text = message.content
    except (AttributeError, IndexError, TypeError, KeyError):
        return None
    if text is None:
        return ""
    return text if isinstance(text, str) else None


def _wished_wait(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:  # a date
        return 0.0
