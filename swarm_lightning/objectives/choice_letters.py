"""Reads from a free reply which choice of a multiple choice it means.

The rules go from the plainest to the least plain, and the first that finds something decides:

1. The reply opens with a letter that stands alone: `B`, `(B)`, `B.`, `B: text`, `**B**`, `b)`, `B because ...`.
2. It says that the answer is a letter: `The answer is B`, `answer: b`, `Answer: **B**`.
3. Exactly one choice's text stands in it, word for word.
4. It points at exactly one letter otherwise: `I choose B`, `option B`, `... (B)`.

Where a reply could mean two choices there is no answer, rather than a guess.

The published rule is lenient where this is strict: any letter near either end of the reply counts, inside a word too.
`A 7 8 8.` means A, and so do `All of them` and `None of A`; of two letters the first in the order of the choices wins.
Take it to compare with published numbers. Source: BunsenFeng/model_swarm (also google-research/google-research,
model_swarm), evaluate.py, `multiple_choice_answer_parsing`.
"""

import re
from collections.abc import Mapping, Sequence

from swarm_lightning.objectives.answers import normalise

# What may stand between the start of a reply, or a cue such as "the answer is", and the letter.
_OPENING = re.compile(
    r"(?:[\s:=>*_\"'`$#(\[{\u2022\u201c\u2018\u2013\u2014-]|\\(?:boxed|text|mathrm|mathbf)\{|<(?:b|i|strong|em)>)*"
)
# What ends a letter: the end, a line's end, a bracket or colon, or a mark with no word directly behind it.
_CLOSED = re.compile(r"\s*$|\s*\n|\s*[)\]}>:|]|</|\s*[.,;!?*_\"'`$\u2019\u201d\u2013\u2014-](?!\w)")
# After these words a capital A or I is the choice, as no article or pronoun stands before them.
_WORDS_OF_ONE_LETTER = ("A", "I")
_VERB = re.compile(r"\s+(?:is|because|since|seems)\b")
_DENIED = re.compile(r"[ \t]+(?:is|was)(?:\s+not\b|n['\u2019]t\b|\s+(?:\w+\s+)?(?:wrong|incorrect|false)\b)")
_OPEN_WORDS = frozenset({"and", "or", "is", "isn", "was", "wasn"})  # what follows them may still change a letter
_FILLER = r"(?:\s*(?:most|probably|likely|clearly|definitely|the|option|choice|letter|answer)\b)*"
_ANSWER_CUE = re.compile(
    r"\banswer\b(?:\s+(?:to|for)\s+\w[\w\s]{0,40}?)?\s*[*_\"'`]*\s*(?:\b(?:is|would be|must be)\b|[:=]|->)" + _FILLER,
    re.IGNORECASE,
)
_POINTING_CUE = re.compile(
    r"\b(?:option|choice|choose|pick|select|letter|it is|it['\u2019]s|must be|should be|would be|go with"
    r"|probably|likely|clearly|definitely)\b" + _FILLER,
    re.IGNORECASE,
)


def read_choice(reply: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter of the choice that a reply means.

    A letter inside a word is no answer, and neither is an English word of one letter before another word: `A dog` and
    `I think` say nothing about the choices A and I. An answer in small letters counts where nothing but punctuation
    follows it (`b`, `b)`, `b. text`). Two letters side by side (`A or B`, `A, B`) are no answer, and neither is a
    reply that only repeats the list of choices.

    Args:
        reply: The model's text.
        choices: Letter (any short label will do) to text, in any order.

    Returns:
        One of the letters, or None where the reply means none of them, or several.

    >>> choices = {"A": "a dog", "B": "a cat"}
    >>> read_choice(" (B) because it purrs", choices), read_choice(" A cat", choices), read_choice(" A bird", choices)
    ('B', 'B', None)
    """
    letters = [letter for letter in choices if letter.strip()]
    opening = None if _lists_choices(reply, letters) else _letter_at(reply, 0, letters)
    if opening is not None:
        return opening
    stated = _letters_after(_ANSWER_CUE, reply, letters)
    if stated:
        return stated[0]
    named = _letters_of_texts(reply, choices)
    if named:
        return named[0] if len(named) == 1 else None
    bracketed = re.compile(rf"[(\[]({_any_of(letters)})[)\]]|\*\*({_any_of(letters)})\*\*")
    pointed = set(_letters_after(_POINTING_CUE, reply, letters))
    pointed |= {match[1] or match[2] for match in bracketed.finditer(reply)}
    return pointed.pop() if len(pointed) == 1 else None


def choice_is_settled(reply: str, choices: Mapping[str, str]) -> bool:
    r"""Tell whether a reply that begins like this means the same choice however it goes on.

    That is so once a letter by rule 1 or 2 is followed by enough to know that it stands alone, and rule 1 can no longer
    fail because the reply turns out to repeat the list of choices. Any doubt counts as not settled.

    Args:
        reply: The beginning of a reply.
        choices: Letter to text.

    >>> choices = {"A": "a dog", "B": "a cat"}
    >>> [choice_is_settled(text, choices) for text in (" B", " B because", " B because ", "B or", "The answer is B\n")]
    [False, False, True, False, True]
    """
    letters = [letter for letter in choices if letter.strip()]
    if not all(letter.isalnum() for letter in letters):
        return False
    opening = _letter_at(reply, 0, letters)
    if opening is not None:
        return not _may_list_choices(reply, letters) and _ends_here(reply, 0, opening, letters)
    first = re.match(r"[\s*_\"'`]*(\w+)(?=\W)", reply)
    if first is None or first[1].casefold() in {letter.casefold() for letter in letters}:
        return False  # may still become a letter at the start
    cue = _ANSWER_CUE.search(reply)
    stated = _letter_at(reply, cue.end(), letters) if cue else None
    return cue is not None and stated is not None and _ends_here(reply, cue.end(), stated, letters)


def _ends_here(reply: str, start: int, letter: str, letters: Sequence[str]) -> bool:
    """Whether enough follows the letter at a place to know that nothing behind it can change its meaning."""
    opening = _OPENING.match(reply, start)
    rest = reply[(opening.end() if opening else start) + len(letter) :]
    behind = rest.lstrip(" \t)]")
    if behind.startswith("\n"):
        return True
    word = re.match(r"(\w+)(?=\W)", behind)
    if word is not None:
        return word[1].casefold() not in _OPEN_WORDS | {other.casefold() for other in letters}
    return len(behind) > 1 and not behind[0].isalnum() and behind[0] not in "_,/&+<'\u2019"


def _may_list_choices(reply: str, letters: Sequence[str]) -> bool:
    """Whether a reply may still turn out to repeat the list of choices."""
    lines = [line for line in reply.splitlines(keepends=True) if line.strip()]
    if not lines or re.match(rf"\s*[(\[]?(?:{_any_of(letters)})(?:$|[.:)\]])", lines[0]) is None:
        return False
    whole = len(lines) > 2 or (len(lines) == 2 and lines[1].endswith("\n"))
    return not whole or _lists_choices(reply, letters)


def _any_of(letters: Sequence[str]) -> str:
    return "|".join(re.escape(letter) for letter in letters)


def _letters_after(cue: re.Pattern[str], reply: str, letters: Sequence[str]) -> list[str]:
    found = [_letter_at(reply, match.end(), letters) for match in cue.finditer(reply)]
    return [letter for letter in found if letter is not None]


def _letter_at(reply: str, start: int, letters: Sequence[str]) -> str | None:
    """Return the letter that stands alone at a place of the reply, after white space and opening marks."""
    opening = _OPENING.match(reply, start)
    place = opening.end() if opening else start
    for letter in letters:
        if reply.startswith(letter, place) and _stands_alone(reply, place + len(letter), letter, letters):
            return letter
    for letter in letters:
        end = place + len(letter)
        if reply[place:end].casefold() == letter.casefold() and _CLOSED.match(reply, end):
            return None if _goes_on(reply, end, letters) else letter
    return None


def _stands_alone(reply: str, end: int, letter: str, letters: Sequence[str]) -> bool:
    """Whether a letter, written as in the choices, is an answer by itself, given what follows it."""
    if _goes_on(reply, end, letters) or _DENIED.match(reply, end):
        return False
    if _CLOSED.match(reply, end):
        return True
    if letter in _WORDS_OF_ONE_LETTER:
        return _VERB.match(reply, end) is not None
    return reply[end].isspace()


def _goes_on(reply: str, end: int, letters: Sequence[str]) -> bool:
    """Whether another letter follows directly, as in `A or B`, `A, B` and `A B`."""
    joined = re.compile(
        rf"[ \t)\]]*(?:[,/&+]|\b(?:and|or)\b)[ \t(\[]*(?:(?:and|or)[ \t(\[]+)?(?:{_any_of(letters)})(?![\w'\u2019])"
        rf"|[ \t]+(?:{_any_of(letters)})(?![\w'\u2019]|[ \t]+[a-z])"
    )
    return joined.match(reply, end) is not None


def _lists_choices(reply: str, letters: Sequence[str]) -> bool:
    """Whether a reply opens with two lines that begin with two different letters: it repeats the choices."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()][:2]
    line_start = re.compile(rf"[(\[]?({_any_of(letters)})[.:)\]]+\s*\S")
    starts = [match[1] for line in lines if (match := line_start.match(line))]
    return len(set(starts)) == 2


def _letters_of_texts(reply: str, choices: Mapping[str, str]) -> list[str]:
    """Return the letters whose texts stand in the reply; a text inside a longer choice's text does not count."""
    by_text: dict[str, list[str]] = {}
    for letter, text in choices.items():
        by_text.setdefault(normalise(text, ignore_case=True), []).append(letter)
    by_text.pop("", None)
    rest = " ".join(reply.split()).casefold()
    found: list[str] = []
    for text in sorted(by_text, key=len, reverse=True):
        # A number is not part of a longer one: 3 stands neither in 13 nor in -3, 0.3 or 3.5.
        pattern = re.compile(rf"(?<!\w)(?<![0-9][.,])(?<![-\u2212](?=[0-9])){re.escape(text)}(?!\w|[.,][0-9])")
        if pattern.search(rest):
            found.extend(by_text[text])
            rest = pattern.sub("\0", rest)
    return found


NEAR = 5  # characters at each end of a reply


def read_published_choice(reply: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter that the published code reads from a reply.

    The first that finds something decides: a letter in the first five characters, a letter in the last five, a
    choice's text anywhere, in capital or small letters. White space around the reply does not count.

    Args:
        reply: The model's text.
        choices: Letter to text; their order decides where several would do.

    Returns:
        One of the letters, or None where there is none, which is wrong whatever is asked.

    >>> choices = {"A": "a dog", "B": "a cat"}
    >>> [read_published_choice(reply, choices) for reply in (" A 7 8 8.", "It is a B.", "My cat", "A CAT, B", "no")]
    ['A', 'B', None, 'A', None]
    """
    reply = reply.strip()
    for part in (reply[:NEAR], reply[-NEAR:]):
        for letter in choices:
            if letter in part:
                return letter
    return next((letter for letter, text in choices.items() if text.lower() in reply.lower()), None)


def published_choice_is_settled(reply: str, choices: Mapping[str, str]) -> bool:
    """Tell whether a reply that begins like this means the same choice however it goes on.

    That is so once its first five characters are there and hold a letter. A character of which only some bytes have
    come may still become another.

    Args:
        reply: The beginning of a reply.
        choices: Letter to text.

    >>> choices = {"A": "a dog", "B": "a cat"}
    >>> [published_choice_is_settled(reply, choices) for reply in (" B", " B 7", " B 7 8", " b 7 8")]
    [False, False, True, False]
    """
    start = reply.lstrip()[:NEAR]
    whole = len(start) == NEAR and "\ufffd" not in start
    return whole and any(letter in start for letter in choices)
