"""When a reply needs no further token: a stop string has appeared, or the objective says that its score is settled.

An objective is shown only the part of a reply that later tokens can't change. So a reply that ends early gets the
score that it would have got at its full length.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.objectives.protocol import RowDecided

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHORT = 16  # tokens; up to this length replies are looked at after every token, and texts are remembered
INTERVAL = 8  # tokens between two looks at a longer reply, which is decoded as a whole each time
# Some tokenizers remove spaces before punctuation: at most this many characters at the end may still change then.
CLEANED = 4


class StopCheck:
    """Tells after every new token which rows need no further one."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", stop: Sequence[str], decided: RowDecided | None = None
    ) -> None:
        """Take what ends a reply.

        Args:
            tokenizer: Turns tokens into text.
            stop: Strings that end a reply.
            decided: Tells whether the score of a row is settled by the beginning of its reply.
        """
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._decided = decided
        self._texts: dict[tuple[int, ...], str] = {}
        # A stop string that the newest token completes stands within so many tokens: one holds a byte or more.
        self._window = max((len(string.encode()) for string in stop), default=0) + 4
        self._cleans = bool(getattr(tokenizer, "clean_up_tokenization_spaces", False))
        self._bytes = byte_tokens(tokenizer) if decided is not None else frozenset()

    @property
    def needed(self) -> bool:
        """Whether any row can end by this check."""
        return bool(self._stop) or self._decided is not None

    def __call__(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[bool]:
        """Look at replies.

        Args:
            rows: The rows that have a new token.
            tokens: All new tokens of each.

        Returns:
            For every row, whether it is over.
        """
        over = [False] * len(rows)
        if self._stop:
            recent = [reply[-self._window :] if len(reply) > SHORT else reply for reply in tokens]
            for place, text in enumerate(self._decode(recent)):
                over[place] = any(string in text for string in self._stop)
        if self._decided is not None:
            looked = [
                place
                for place, reply in enumerate(tokens)
                if not over[place] and (len(reply) <= SHORT or len(reply) % INTERVAL == 0)
            ]
            texts = self._decode([self._whole(tokens[place]) for place in looked])
            for place, text in zip(looked, texts, strict=True):
                over[place] = self._decided(rows[place], self._settled(text))
        return over

    def _whole(self, reply: Sequence[int]) -> Sequence[int]:
        """Return a reply without the byte tokens at its end: as long as more may follow, they may become others."""
        end = len(reply)
        while end and reply[end - 1] in self._bytes:
            end -= 1
        return reply[:end]

    def _settled(self, text: str) -> str:
        """Return the part of a text that further tokens can't change."""
        text = text.rstrip("\ufffd")  # a character whose last bytes are still to come
        if self._cleans:
            text = text[: max(len(text) - CLEANED, 0)]
        longest = max((len(string) for string in self._stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(string.startswith(text[-length:]) for string in self._stop):
                return text[:-length]  # may become a stop string, before which the reply is cut
        return text

    def _decode(self, replies: Sequence[Sequence[int]]) -> list[str]:
        keys = [tuple(reply) for reply in replies]
        unknown = [key for key in dict.fromkeys(keys) if key not in self._texts]
        found = (
            self._tokenizer.batch_decode([list(key) for key in unknown], skip_special_tokens=True) if unknown else []
        )
        texts = dict(zip(unknown, found, strict=True))
        self._texts.update((key, text) for key, text in texts.items() if len(key) <= SHORT)
        return [texts[key] if key in texts else self._texts[key] for key in keys]


def byte_tokens(tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Return the ids of tokens for single bytes, `<0x0A>` for example, which some tokenizers keep for rare characters.

    Their decoder turns a run of them into text as a whole: where it is no UTF-8, none of its bytes stays what it was.
    """
    ids = (tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in range(256))
    return frozenset(found for found in ids if isinstance(found, int)) - {tokenizer.unk_token_id}


def cut(text: str, stop: Sequence[str]) -> str:
    """Return a text up to the first stop string in it.

    >>> cut("one. two. three", ["two", ". "])
    'one'
    """
    places = [place for string in stop if (place := text.find(string)) >= 0]
    return text[: min(places)] if places else text
