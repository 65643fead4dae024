"""Reads what the files of a tokenizer say of its vocabulary, special tokens and chat template, without loading it.

`tokenizer.json`, or `vocab.json` or `vocab.txt` of an older one; a SentencePiece model is not opened. Whether two of
them go together is decided in `tokenizers.py`.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.experts.safetensors_files import read_json_object

VOCABULARY, CONFIG = "tokenizer.json", "tokenizer_config.json"
OLDER_VOCABULARY, LISTED_VOCABULARY, OLDER_ADDED = "vocab.json", "vocab.txt", "added_tokens.json"
SPECIAL_TOKENS = "special_tokens_map.json"
TEMPLATE, OLDER_TEMPLATE = "chat_template.jinja", "chat_template.json"
# What is fetched of a hub repository beside an expert's weights.
TOKENIZER_PARTS = (
    VOCABULARY, CONFIG, OLDER_VOCABULARY, LISTED_VOCABULARY, OLDER_ADDED, SPECIAL_TOKENS, TEMPLATE, OLDER_TEMPLATE,
)  # fmt: skip


class Vocabulary:
    """The ids of a tokenizer, read when they are asked for: equal files need no reading.

    Attributes:
        digest: What tells its files from others.
    """

    def __init__(self, path: Path, owner: str) -> None:
        """Take note of a file.

        Args:
            path: The file with the vocabulary; `added_tokens.json` beside an older one belongs to it.
            owner: Whose it is, for messages.

        Raises:
            InputError: If it can't be read.
        """
        self.path, self.owner = path, owner
        added = path.parent / OLDER_ADDED
        parts = [path, *([added] if path.name != VOCABULARY and added.is_file() else [])]
        self.digest = hashlib.sha256(b"".join(_bytes(part, owner) for part in parts)).hexdigest()

    @property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        return self._read[0]

    @property
    def added(self) -> frozenset[str]:
        """Those tokens that were added to the vocabulary that was learned."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[dict[str, int], frozenset[str]]:
        try:
            return self._parts()
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            if isinstance(cause, InputError):
                raise
            raise InputError(
                f"Expected tokens with their ids in {str(self.path)!r} of {self.owner!r}, but it can't be read "
                f"({cause!r}). Copy it again, or move it away if it does not belong to the expert."
            ) from cause

    def _parts(self) -> tuple[dict[str, int], frozenset[str]]:
        if self.path.name == LISTED_VOCABULARY:
            lines = self.path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            ids = {token: index for index, token in enumerate(lines)}
        else:
            content = read_json_object(self.path, self.owner)
            ids = content["model"]["vocab"] if self.path.name == VOCABULARY else content
        if isinstance(ids, list):  # Unigram: tokens with their scores, in the order of their ids
            ids = {token: index for index, (token, _) in enumerate(ids)}
        if self.path.name == VOCABULARY:
            added = {entry["content"]: int(entry["id"]) for entry in content.get("added_tokens") or []}
        else:
            added = _json(self.path.parent / OLDER_ADDED, self.owner)
        return {**ids, **added}, frozenset(added)


@dataclass(frozen=True)
class TokenizerFiles:
    """What is known of a tokenizer from its files; nothing of what they do not say.

    Attributes:
        vocabulary: Its ids.
        special: Tokens with a meaning of their own, such as `eos_token`, by that name.
        template: The chat template that is used where none is named.
    """

    vocabulary: Vocabulary | None
    special: dict[str, str]
    template: str | None


def read_tokenizer(folder: Path, owner: str) -> TokenizerFiles:
    """Read the files of a tokenizer; a folder without any gives one of which nothing is known.

    Args:
        folder: Where they are.
        owner: Whose it is, for messages.

    Raises:
        InputError: If one of them can't be read.
    """
    config = _json(folder / CONFIG, owner)
    special = {
        name: text
        for name, token in {**_json(folder / SPECIAL_TOKENS, owner), **config}.items()
        if name.endswith("_token") and (text := _content(token)) is not None
    }
    return TokenizerFiles(_vocabulary(folder, owner), special, _template(folder, config, owner))


def _vocabulary(folder: Path, owner: str) -> Vocabulary | None:
    paths = [folder / name for name in (VOCABULARY, OLDER_VOCABULARY, LISTED_VOCABULARY)]
    return next((Vocabulary(path, owner) for path in paths if path.is_file()), None)


def _template(folder: Path, config: dict[str, Any], owner: str) -> str | None:
    if (folder / TEMPLATE).is_file():
        return _bytes(folder / TEMPLATE, owner).decode("utf-8", errors="replace")
    found = config.get("chat_template") or _json(folder / OLDER_TEMPLATE, owner).get("chat_template")
    if isinstance(found, list):  # several with names
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _content(token: object) -> str | None:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _json(path: Path, owner: str) -> dict[str, Any]:
    return read_json_object(path, owner) if path.is_file() else {}


def _bytes(path: Path, owner: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise InputError(f"Expected to read {str(path)!r} of {owner!r}, but: {cause}.") from cause
