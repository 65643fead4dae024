"""Compares the tokenizers that lie beside experts with the base's, the only one that a search uses.

An expert that has learned other ids for the same text can't be asked through the base's tokenizer, and is refused. One
that has learned other prompts, as another chat template makes them, can be asked, and is warned of.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.experts.sources import download, local_folder
from swarm_lightning.experts.tokenizers.tokenizer_files import (
    TOKENIZER_PARTS,
    TokenizerFiles,
    Vocabulary,
    read_tokenizer,
)

MATTERING = ("bos_token", "eos_token")  # the others are put into no prompt and end no reply
NAMED_AT_MOST = 4


def check_tokenizers(experts: Mapping[str, str], base: str) -> None:
    """Compare the experts' tokenizers with the base's, as far as their files say something.

    Args:
        experts: Folder or hub id of each, by its name.
        base: Folder or hub id of the base.

    Raises:
        InputError: If one gives a token another id, or another token an id of the base's.
    """
    read = _read(experts)
    if not any(one.vocabulary or one.template or one.special for one in read.values()):
        return
    bases = read_tokenizer(_folder_of(base), base)
    _check_ids(read, bases, f"the base ({base!r})")
    _warn_of_added(read, bases)
    _warn_of_special(read, bases)
    _warn_of_templates(read, bases)


def check_same_ids(experts: Mapping[str, str]) -> None:
    """Refuse experts whose tokenizers give other ids than those of most others (of the first, where none are most).

    Args:
        experts: Folder or hub id of each, by its name.

    Raises:
        InputError: If one gives a token another id, or another token the same id.
    """
    read = _read(experts)
    digests = [one.vocabulary.digest for one in read.values() if one.vocabulary is not None]
    if len(set(digests)) > 1:
        common = max(digests, key=digests.count)
        held = {name: one for name, one in read.items() if one.vocabulary is not None}
        name, reference = next((name, one) for name, one in held.items() if _digest(one) == common)
        _check_ids(held, reference, repr(name))


def _check_ids(read: Mapping[str, TokenizerFiles], reference: TokenizerFiles, whose: str) -> None:
    for name, own in read.items():
        if own.vocabulary is None or reference.vocabulary is None or _digest(own) == _digest(reference):
            continue
        if differing := _other_ids(own.vocabulary, reference.vocabulary, _padding(own) | _padding(reference)):
            raise InputError(
                f"Expected every expert's tokenizer to give the same ids, but that of {name!r} differs from that of "
                f"{whose} in {len(differing)} tokens: {'; '.join(differing[:2])}. All experts share one "
                "tokenizer, which would read different words here: leave it out, or give the base and the experts that "
                "it belongs to. If the tokenizer's files do not belong to it, move them away."
            )


def _other_ids(own: Vocabulary, reference: Vocabulary, padding: set[str]) -> list[str]:
    """Say which tokens have other ids, and which ids are other tokens of the vocabulary that was learned."""
    moved = [
        f"{token!r} is {index} there and {reference.ids[token]} here"
        for token, index in own.ids.items()
        if reference.ids.get(token, index) != index and token not in padding
    ]
    tokens = {index: token for token, index in reference.ids.items()}
    replaced = [
        f"{index} is {token!r} there and {tokens[index]!r} here"
        for token, index in own.ids.items()
        if token not in reference.ids
        and tokens.get(index, token) != token
        and not (token in own.added and tokens[index] in reference.added)
    ]
    return moved + replaced


def _padding(one: TokenizerFiles) -> set[str]:
    """Return the token that does nothing but pad: the model never sees it."""
    used = {token for kind, token in one.special.items() if kind != "pad_token"}
    return {token for kind, token in one.special.items() if kind == "pad_token"} - used


def _digest(one: TokenizerFiles) -> str | None:
    return None if one.vocabulary is None else one.vocabulary.digest


def _read(experts: Mapping[str, str]) -> dict[str, TokenizerFiles]:
    """Read the tokenizers; equal vocabularies become one, which is read once at most."""
    known: dict[str, Vocabulary] = {}
    read = {}
    for name, source in experts.items():
        one = read_tokenizer(_folder_of(source), name)
        vocabulary = one.vocabulary and known.setdefault(one.vocabulary.digest, one.vocabulary)
        read[name] = replace(one, vocabulary=vocabulary)
    return read


def _warn_of_added(read: Mapping[str, TokenizerFiles], base: TokenizerFiles) -> None:
    found = {}
    for name, one in read.items():
        if one.vocabulary is not None and base.vocabulary is not None and _digest(one) != _digest(base):
            more = sorted(one.vocabulary.ids.keys() - base.vocabulary.ids.keys() - _padding(one))
            if more:
                found[name] = ", ".join(map(repr, more[:NAMED_AT_MOST])) + (", ..." if more[NAMED_AT_MOST:] else "")
    _warn(found, "have tokens in their tokenizers that the base's lacks", "What they learned of them is never asked.")


def _warn_of_special(read: Mapping[str, TokenizerFiles], base: TokenizerFiles) -> None:
    found = {}
    for name, one in read.items():
        other = [
            f"{kind} {one.special[kind]!r} instead of {base.special[kind]!r}"
            for kind in MATTERING
            if kind in one.special and kind in base.special and one.special[kind] != base.special[kind]
        ]
        if other:
            found[name] = ", ".join(other)
    _warn(
        found,
        "have other special tokens in their tokenizers than the base",
        "The base's are used: a reply ends at its eos_token.",
    )


def _warn_of_templates(read: Mapping[str, TokenizerFiles], base: TokenizerFiles) -> None:
    theirs = {name: one.template.strip() for name, one in read.items() if one.template is not None}
    bases = None if base.template is None else base.template.strip()
    odd = {name: "" for name, template in theirs.items() if template != bases}
    has = "none" if bases is None else "another"
    _warn(
        odd,
        f"come with a chat template, where the base has {has}",
        "They may have learned other prompts than they are asked: where the objective uses a chat template (chat: "
        "true), it is the base's.",
    )


def _warn(found: Mapping[str, str], what: str, effect: str) -> None:
    if found:
        more = len(found) - NAMED_AT_MOST
        listed = [f"{name!r} ({text})" if text else repr(name) for name, text in found.items()][:NAMED_AT_MOST]
        warnings.warn(
            f"These experts {what}: {', '.join(listed)}{f' and {more} more' if more > 0 else ''}. {effect}",
            stacklevel=4,
        )


def _folder_of(source: str) -> Path:
    folder = local_folder(source, "an expert or base", bare_names=True)
    return download(source, TOKENIZER_PARTS, "a tokenizer") if folder is None else folder
