"""Reads numbers and free text out of replies: pure functions on strings.

The letter of a multiple choice has rules of its own, in `choice_letters.py`.
"""

import re
from fractions import Fraction

# A number: an optional sign and currency sign, digits in well-formed groups of three or plain, decimals, an exponent
# of at most two digits; or a plain fraction such as 1/2. Digits that follow a latin letter (x2, H2O) are a name.
_NUMBER = re.compile(
    r"""
    (?<![A-Za-z0-9_])(?<![0-9]\.)                    # no name, and no middle of a longer number
    (?P<sign>(?<![\w)\]])[-+\u2212])?                # 5-3 is five and three, not five and minus three
    [$\u20ac\u00a3\u00a5]?
    (?P<inner>(?<=[$\u20ac\u00a3\u00a5])[-\u2212])?  # $-5 as well as -$5
    (?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+|(?=\.[0-9]))
    (?:
        (?P<parts>(?:/[0-9]+)+)(?!\.?[0-9])          # 1/2, or the date 1/2/2024
        |
        (?P<decimals>\.[0-9]+)?
        (?:[eE](?P<exponent>[-+]?[0-9]{1,2})(?!\w))?
    )
    """,
    re.VERBOSE,
)
# LaTeX writes 1,000 as 1{,}000, 1,\!000 or 1\,000.
_LATEX_COMMA = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,)(?=[0-9]{3}(?![0-9]))")
_LONGEST_NUMBER = 1000  # digits; more is a run-away reply, and Python refuses to read integers from about 4000 on


def normalise(text: str, ignore_case: bool = False) -> str:
    r"""Bring a text into the form in which answers are compared.

    White space around it and one full stop at its end go, and white space inside counts as one space.

    Args:
        text: A reply or a gold answer.
        ignore_case: Whether upper and lower case are the same.

    Returns:
        The normalised text.

    >>> normalise("  New\n York. ")
    'New York'
    """
    text = " ".join(text.split())
    text = text.removesuffix(".").rstrip()
    return text.casefold() if ignore_case else text


def last_number(text: str) -> Fraction | None:
    """Return the last number of a text, exactly.

    `1,000` and LaTeX's `1{,}000` are one thousand, `$5.00` and `5.` are five, `-3` is minus three, `1/2` is one half,
    `2e3` two thousand and `50%` fifty; of a date such as `1/2/2024` the last part counts. A minus sign directly after a
    letter, a digit or a closing bracket is no sign (`5-3`), commas that do not part groups of three part numbers
    (`1,2,3`), and digits directly after a latin letter are no number (`H2O`).

    Args:
        text: A reply or a gold answer.

    Returns:
        The number, or None where there is none.

    >>> last_number("She has $1,250.50.")
    Fraction(2501, 2)
    """
    found = None
    for match in _NUMBER.finditer(_LATEX_COMMA.sub(",", text)):
        number = _read_number(match)
        if number is not None:
            found = number
    return found


def last_words(text: str, count: int) -> str:
    r"""Return the last words of a text, as the published code parts them: at single spaces, and at nothing else.

    So two spaces have an empty word between them, and a line break parts no words.

    Args:
        text: A reply; white space around it does not count.
        count: How many words, >= 1.

    >>> last_words(" So she has\n72 apples left over. ", 3), last_words("a  b", 2)
    ('apples left over.', ' b')

    Source: google-research, model_swarm/evaluate.py, `evaluate`, the case of gsm8k.
    """
    return " ".join(text.strip().split(" ")[-count:])


def write_number(number: Fraction) -> str:
    """Write a number in the one form that all ways of writing it share: as a decimal where that is exact.

    Args:
        number: What to write.

    Returns:
        An integer, a decimal, or a fraction in lowest terms.

    >>> write_number(Fraction(5, 2)), write_number(Fraction(2, 6))
    ('2.5', '1/3')
    """
    digits = 0
    while number.denominator != 1 and 10**digits % number.denominator and digits < 20:
        digits += 1
    if 10**digits % number.denominator:
        return f"{number.numerator}/{number.denominator}"
    whole, rest = divmod(abs(number.numerator) * 10**digits // number.denominator, 10**digits)
    sign = "-" if number < 0 else ""
    return f"{sign}{whole}.{rest:0{digits}d}" if digits else f"{sign}{whole}"


def _read_number(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _LONGEST_NUMBER:
        return None
    whole = match["whole"].replace(",", "") or "0"
    if match["parts"] is not None:
        parts = [int(whole), *(int(part) for part in match["parts"].split("/")[1:])]
        if len(parts) > 2:
            return Fraction(parts[-1])
        if parts[1] == 0:
            return None
        number = Fraction(parts[0], parts[1])
    else:
        number = Fraction(whole + (match["decimals"] or "")) * Fraction(10) ** int(match["exponent"] or 0)
    negative = (match["sign"] or "+") != "+" or match["inner"] is not None
    return -number if negative else number
