"""How the Perspective API is reached, and where its key is read from.

The key stands in the environment and nowhere else: no message here repeats a value that could be one.
"""

import math
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.checks import check_at_least_one, check_one_of

ENDPOINT = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"


@dataclass(frozen=True)
class PerspectiveSettings:
    """How the Perspective API is accessed; the key itself is read from the environment.

    Attributes:
        endpoint: URL of the method comments:analyze, of the service or of a proxy that speaks its protocol.
        key_variable: Name of the environment variable that holds the key.
        key_in: How the key is sent: `header` (X-Goog-Api-Key), or `query` (?key=), which proxies on the way may log.
        language: ISO 639-1 code of the replies; null lets the service detect it, which fails for many unusual replies.
        requests_per_second: Maximum number of attempts per second over all ranks; a new project is granted 1.
        threads: Number of concurrent requests per rank.
        timeout: Seconds to wait for the connection, and then for each part of an answer.
        retries: Number of retries after status 408, 429 or 5xx, a timeout, a broken connection or an unreadable answer.
        backoff: Seconds. The first retry is immediate, the second waits twice this, and each further one twice as long
            as the one before, plus a random extra of the same size at most.
        longest_wait: Maximum number of seconds between two attempts. A service that asks for more (Retry-After) ends
            the run.
    """

    endpoint: str = ENDPOINT
    key_variable: str = "PERSPECTIVE_API_KEY"
    key_in: Literal["header", "query"] = "header"
    language: str | None = "en"
    requests_per_second: float = 1.0
    threads: int = 4
    timeout: float = 20.0
    retries: int = 8
    backoff: float = 1.0
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        """Refuse values that can't be meant, without repeating what may be a key."""
        check_one_of("key_in", self.key_in, ("header", "query"))
        check_at_least_one("threads", self.threads)
        if not re.fullmatch(r"[A-Za-z_]\w{0,63}", self.key_variable) or self.key_variable.startswith("AIza"):
            raise InputError(
                "Expected key_variable to be the name of an environment variable, such as PERSPECTIVE_API_KEY, but it "
                "is none (not shown: it may be a key). Put the key into the environment, and its variable's name here."
            )
        if not _is_plain_url(self.endpoint):
            raise InputError(
                f"Expected endpoint to be an http(s) URL such as {ENDPOINT}, without a query or a user, but got "
                "another one (not shown: it may hold a key). Put the key into the environment variable."
            )
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise InputError(f"Expected retries to be a whole number of 0 or more, but got {self.retries!r}.")
        for name in ("requests_per_second", "timeout", "longest_wait"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"Expected {name} to be above 0 and finite, but got {getattr(self, name)!r}.")
        if not 0 <= self.backoff < math.inf:
            raise InputError(f"Expected backoff to be 0 or more and finite, but got {self.backoff!r}.")

    def read_key(self) -> str:
        """Return the key.

        Raises:
            InputError: If the environment has none, or what it has can't be one.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise InputError(
                f"Expected the key of the Perspective API in the environment variable {self.key_variable}, but it is "
                f"not set. Set it before the run (export {self.key_variable}=...), or name a model that scores here: "
                "classifier."
            )
        if not re.fullmatch(r"[!-~]+", key):
            raise InputError(
                f"Expected a key of letters, digits and marks in the environment variable {self.key_variable}, but it "
                "holds other characters, such as blanks (not shown). Copy the key again."
            )
        return key


def _is_plain_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and "@" not in parts.netloc
