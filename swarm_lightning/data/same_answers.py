"""Finds datasets in which one and the same reply is right nearly everywhere, so that a search can win by saying it.

Choices that come from columns of their own often stand with the right one first; so do those of truthful_qa.
"""

import math
from collections import Counter
from collections.abc import Sequence

from swarm_lightning.data.examples import Example
from swarm_lightning.data.notices import Notice

# From this share on, a model that always gives the one reply passes for a good one.
SHARE = 0.8
# Among so few records the share comes about by chance: the probability that places drawn at random would reach it.
PROBABILITY = 1e-3
# Without choices nothing says how many answers there could be, so chance is not known.
FEWEST_WITHOUT_CHOICES = 20


def find_same_answer(examples: Sequence[Example], where: str) -> Notice | None:
    """Say if the right choice stands in the same place, or the answer is the same text, in nearly all examples.

    Args:
        examples: The examples of one split.
        where: The split in words, for the message.

    Returns:
        The notice, or None if there is nothing to say.
    """
    answered = [
        (list(example.choices), example.answer)
        for example in examples
        if example.choices is not None and len(example.choices) > 1 and example.answer in example.choices
    ]
    if answered:
        places = Counter(labels.index(answer) for labels, answer in answered if answer is not None)
        place, count = places.most_common(1)[0]
        chance = sum(1 / len(labels) for labels, _ in answered if len(labels) > place) / len(answered)
        # Any of the places could have been the one that stands out.
        by_chance = max(len(labels) for labels, _ in answered) * _at_least(count, len(answered), chance)
        if count < SHARE * len(answered) or by_chance > PROBABILITY:
            return None
        usual = Counter(labels[place] for labels, _ in answered if len(labels) > place).most_common(1)[0][0]
        message = (
            f"In {count} of {len(answered)} examples in {where} the right answer is always the same choice, number "
            f"{place + 1} ({usual}), where chance would give {chance:.0%}: a model that always says so scores "
            f"{count / len(answered):.2f} without reading the question. Shuffle the order of the choices in the file, "
            "or see to it that every label is right about as often."
        )
        return Notice("same answer", "warning", message, count)
    answers = [example.answer for example in examples if example.answer is not None]
    if len(answers) < FEWEST_WITHOUT_CHOICES:
        return None
    answer, count = Counter(answers).most_common(1)[0]
    if count < SHARE * len(answers):
        return None
    message = (
        f"{count} of {len(answers)} examples in {where} have the same answer ({answer!r:.60}): a model that always "
        f"says so scores {count / len(answers):.2f} without reading the question. Use records with other answers too."
    )
    return Notice("same answer", "warning", message, count)


def _at_least(successes: int, trials: int, probability: float) -> float:
    """Return the probability of at least so many successes in independent trials.

    >>> round(_at_least(3, 3, 0.5), 6), round(_at_least(2, 3, 0.5), 6)
    (0.125, 0.5)
    """
    if probability >= 1:
        return 1.0
    logarithms = [
        math.lgamma(trials + 1)
        - math.lgamma(count + 1)
        - math.lgamma(trials - count + 1)
        + count * math.log(probability)
        + (trials - count) * math.log1p(-probability)
        for count in range(successes, trials + 1)
    ]
    return sum(map(math.exp, logarithms))
