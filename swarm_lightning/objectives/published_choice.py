"""The published rule for multiple choice: any letter near either end of the reply counts, inside a word too.

It is lenient where `choice_letters.py` is strict: `A 7 8 8.` means A, and so do `All of them` and `None of A`; of two
letters the first in the order of the choices wins. Take it to compare with published numbers.

Source: BunsenFeng/model_swarm (also google-research/google-research, model_swarm), evaluate.py,
`multiple_choice_answer_parsing`.
"""

from collections.abc import Mapping

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
