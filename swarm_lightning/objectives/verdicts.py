"""Reads from a free reply whether it calls a proposed answer right or wrong.

The reply opens with `yes` or `no`, or else its first word of judgement decides: true, correct and right, or false,
untrue, incorrect and wrong, each turned round by a `not` before it. `true or false`, as a reply repeats the question,
and `the correct answer`, which tells of another answer, are no judgement. The published code looks for the letters
`false` anywhere: that reads `not false` and `true, and that is no falsehood` as a rejection, and misses `wrong`.
"""

import re

_MARKS = r"[ \t*_\"'`)\]]*"
_JUDGEMENT = r"(?:true|false|untrue|correct|incorrect|right|wrong)"
_WORD = re.compile(rf"\b(?:(?P<right>true|correct|right)|{_JUDGEMENT})\b", re.IGNORECASE)
_EITHER = re.compile(rf"\b{_JUDGEMENT}\b{_MARKS}(?:,?[ \t]*\bor\b|[/|])[ \t*_\"'`(\[]*\b{_JUDGEMENT}\b", re.IGNORECASE)
_NOT = re.compile(r"(?:\b(?:not|cannot|never)|n['\u2019]t)[ \t]+(?:(?!but\b)\w+[ \t]+){0,4}\Z", re.IGNORECASE)
_OPENING = re.compile(r"[\s*_\"'`(\[]*(?:(?P<yes>yes)|no)\b(?P<end>[ \t*_\"'`)\]]*(?:[.,;:!\n]|$))", re.IGNORECASE)
_NOUN = r"(?:answer|choice|option|letter|one|solution|response|reply)"
_OTHER_ANSWER = re.compile(rf"[ \t]+{_NOUN}\b", re.IGNORECASE)
# Behind a word of judgement: that nothing can change its meaning any more.
_DECISIVE = re.compile(rf"{_MARKS}(?:[.!;:\n]|,?[ \t]+(?!(?:or|{_NOUN})\b)\w+\W)", re.IGNORECASE)


def read_verdict(reply: str) -> bool | None:
    """Return whether a reply calls the proposed answer right.

    Args:
        reply: What a model says of a proposed answer.

    Returns:
        True for right, False for wrong, None where the reply does not say.

    >>> read_verdict(" False."), read_verdict("It is not correct"), read_verdict("Yes, it is"), read_verdict("Perhaps")
    (False, False, True, None)
    """
    return _read(reply)[0]


def verdict_is_settled(reply: str) -> bool:
    """Tell whether a reply that begins like this gives the same verdict however it goes on.

    Args:
        reply: The beginning of a reply.

    >>> [verdict_is_settled(text) for text in ("Fal", "False", "False.", "True or", "It is wrong because ")]
    [False, False, True, False, True]
    """
    verdict, settled = _read(reply)
    return verdict is not None and settled


def _read(reply: str) -> tuple[bool | None, bool]:
    """Return the verdict, and whether it is the same however the reply goes on."""
    opening = _OPENING.match(reply)
    if opening is not None:
        return opening["yes"] is not None, opening["end"][-1:] not in ("", *" \t*_\"'`)]")
    text = _EITHER.sub(lambda match: "/" * len(match[0]), reply)
    for match in _WORD.finditer(text):
        right, denied = match["right"] is not None, _NOT.search(text, 0, match.start()) is not None
        if right and not denied and _OTHER_ANSWER.match(text, match.end()):
            continue
        return right is not denied, _DECISIVE.match(text, match.end()) is not None
    return None, False
