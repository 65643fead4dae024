"""Reads what a judge says: a rating from 1 to 10, or which of two replies is the better one. Pure functions on text.

What a judge thinks aloud between `<think>` and `</think>` never counts, and neither do the marks of bold and code.
"""

import re

LOWEST, HIGHEST = 1.0, 10.0

_MARKS = re.compile(r"[*_`]")
_OUT_OF = re.compile(r"(?<=\d)\s*(?:/|\bout of\b)\s*(?=\d)", re.IGNORECASE)
# The scale itself is no rating: "1-10", "1 to 10", "between 1 and 10", "scale of 10".
_SCALE = re.compile(r"(?<![\w.])1\s*(?:-|\u2013|\bto\b|\band\b)\s*10(?![\w.%]*\d)|\bscale of 10\b", re.IGNORECASE)
# A number that stands alone or out of ten: not part of a longer one, a word, a percentage, a range or another fraction.
_NUMBER = r"(?<![\w.,/+-])(?P<number>\d{1,3}(?:\.\d+)?)(?:/10)?(?![\w%/]|[.,-]\d)"
_IN_BRACKETS = re.compile(r"\[\[\s*(?P<number>\d{1,3}(?:\.\d+)?)(?:/10)?\s*\]\]")
_NAMED = re.compile(r"\b(?:rating|score|grade)\b[^\d\n]{0,40}?" + _NUMBER, re.IGNORECASE)
_OUT_OF_TEN = re.compile(r"(?<![\w.,/+-])(?P<number>\d{1,3}(?:\.\d+)?)/10(?![\w%/]|[.,]\d)")
_GIVEN = re.compile(
    r"\b(?:give|gave|rate|rated|grade|graded|score|scored|award|deserves?)\b[^\d\n]{0,40}?" + _NUMBER, re.IGNORECASE
)
_ALONE = re.compile(_NUMBER)
_VERDICT = re.compile(r"\[\[\s*([ABC])\s*\]\]")


def read_rating(text: str) -> float | None:
    r"""Read a rating from 1 to 10.

    The first rule that finds a number from 1 to 10 decides, and where it finds several, the last one, because a judge
    that reasons concludes at the end:

    1. A number in double brackets: `[[8]]`.
    2. The first number behind `rating`, `score` or `grade` on the same line: `Rating: 8`, `a score of 8`.
    3. A number out of ten: `8/10`, `8 out of 10`.
    4. The first number behind a word of giving on the same line: `I'd give it a 7.5`, `I rate it 8`.
    5. The only number that stands alone: `8`, `**8**`, `An 8, I think.`; two different ones are no rating.

    A number is read whole, so that `10` is ten. No rating are numbers outside 1 to 10, percentages, fractions of
    another number (`4/5`), ranges (`7-8`), parts of words (`8th`) and the scale itself (`1-10`, `from 1 to 10`).

    Args:
        text: What the judge says.

    Returns:
        The rating, or None where it can't be told.

    >>> read_rating("Clear, but too long. Rating: [[7]]"), read_rating("On a scale of 1 to 10 it is a **7.5**.")
    (7.0, 7.5)
    >>> read_rating("It gives 2 reasons out of 3.") is None
    True
    """
    said = _SCALE.sub(" ", _OUT_OF.sub("/", _MARKS.sub("", _spoken(text))))
    for rule in (_IN_BRACKETS, _NAMED, _OUT_OF_TEN, _GIVEN):
        found = _ratings(rule, said)
        if found:
            return found[-1]
    alone = {float(match["number"]) for match in _ALONE.finditer(said)}
    return alone.pop() if len(alone) == 1 and min(alone) >= LOWEST and max(alone) <= HIGHEST else None


def read_verdict(text: str) -> str | None:
    """Read which of two replies a judge finds better: the last of `[[A]]`, `[[B]]` and `[[C]]`, which is a tie.

    A reply that is nothing but the letter counts as well.

    Args:
        text: What the judge says.

    Returns:
        `A`, `B` or `C`; None where it can't be told.

    >>> read_verdict("Both are short, the first is right: [[A]]"), read_verdict(" **B**."), read_verdict("A or B")
    ('A', 'B', None)
    """
    said = _MARKS.sub("", _spoken(text))
    found = _VERDICT.findall(said)
    if found:
        return str(found[-1])
    letter = said.strip(" \n\t.()[]\"'")
    return letter if letter in ("A", "B", "C") else None


def _spoken(text: str) -> str:
    """Return what follows the thinking; nothing where the thinking was cut off."""
    spoken = text.rpartition("</think>")[2]
    return spoken.partition("<think>")[0]


def _ratings(rule: re.Pattern[str], text: str) -> list[float]:
    numbers = [float(match["number"]) for match in rule.finditer(text)]
    return [number for number in numbers if LOWEST <= number <= HIGHEST]
