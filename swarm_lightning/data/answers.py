"""Which choice a stored answer means: datasets store its label, its text, or its index.

One dataset stores all its answers in one way, so the way is chosen for the dataset and not for the record. Choosing
record by record would take the answer "2" for the text of a choice here and for an index there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError


@dataclass(frozen=True)
class Draft:
    """An example whose answer still stands as it was stored.

    Attributes:
        example: The example; its answer is the stored one as text.
        labels: The labels of the choices in their stored order, those of empty choices too: what an index counts.
        numeric: Whether the answer was stored as a whole number and not as text.
    """

    example: Example
    labels: tuple[str, ...] = ()
    numeric: bool = False


def settle_answers(drafts: Sequence[Draft], where: str) -> list[Example]:
    """Replace the stored answers of examples with choices by the labels they mean.

    Text is taken as a label, else as the text of a choice, else as an index counted from 0; whole numbers as a label,
    else as an index. The first of these ways that fits most answers is used for all of them. An answer that it does not
    fit stays as it is. Answers of examples without choices are not touched.

    Args:
        drafts: The drafts of the whole dataset.
        where: The dataset in words, for the message.

    Returns:
        The examples, in the order of the drafts.

    Raises:
        InputError: If the answers look like indices that are counted from 1.

    >>> colours = {"A": "red", "B": "green"}
    >>> drafts = [Draft(Example("Grass?", "green", colours), ("A", "B"))]
    >>> settle_answers(drafts, "colours")[0].answer
    'B'
    """
    examples = [draft.example for draft in drafts]
    for numeric, ways in ((False, (_by_label, _by_text, _by_index)), (True, (_by_label, _by_index))):
        members = [
            index
            for index, draft in enumerate(drafts)
            if draft.example.choices and draft.example.answer is not None and draft.numeric is numeric
        ]
        if not members:
            continue
        meanings = [[way(drafts[index]) for index in members] for way in ways]
        fitting = [sum(label is not None for label in meaning) for meaning in meanings]
        best = fitting.index(max(fitting))
        if ways[best] is _by_index:
            _refuse_counting_from_one([drafts[index] for index in members], where)
        for index, label in zip(members, meanings[best], strict=True):
            if label is not None:
                examples[index] = replace(examples[index], answer=label)
    return examples


def _by_label(draft: Draft) -> str | None:
    answer = draft.example.answer
    return answer if answer in (draft.example.choices or {}) else None


def _by_text(draft: Draft) -> str | None:
    answer = (draft.example.answer or "").split()
    return next((label for label, text in (draft.example.choices or {}).items() if text.split() == answer), None)


def _by_index(draft: Draft) -> str | None:
    index = _whole_number(draft)
    # Never from the end: -1 stands for a hidden answer in many datasets.
    if index is None or not 0 <= index < len(draft.labels):
        return None
    label = draft.labels[index]
    return label if label in (draft.example.choices or {}) else None


def _whole_number(draft: Draft) -> int | None:
    try:
        return int(draft.example.answer or "")
    except ValueError:
        return None


def _refuse_counting_from_one(drafts: Sequence[Draft], where: str) -> None:
    indices = [_whole_number(draft) for draft in drafts]
    past_the_end = [index == len(draft.labels) for index, draft in zip(indices, drafts, strict=True)]
    if 0 not in indices and any(past_the_end):
        first = drafts[past_the_end.index(True)]
        raise InputError(
            f"Expected the answers of {where} to be indices of the choices counted from 0, but no answer is 0 and "
            f"record id {first.example.identifier} has the answer {first.example.answer} with {len(first.labels)} "
            "choices: they seem to be counted from 1. Subtract 1, or store the labels of the choices as answers."
        )
