"""What is wrong with a dataset although it can be read: leaks, duplicates, and records that nothing can score.

Two texts are the same here if they are equal after every run of white space has become one blank. Nothing is ever
removed for being a duplicate: whether a score on a leaking test split means anything is for its reader to judge.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.notices import Notice, name_some
from swarm_lightning.data.same_answers import find_same_answer


def check_splits(splits: ExampleSplits) -> list[Notice]:
    """Look for leaks between the splits and for faults inside each of them.

    Args:
        splits: The splits as a search would use them.

    Returns:
        The findings, the gravest first; those of severity "error" make a search impossible.
    """
    answers_expected = any(example.answer is not None for example in (*splits.validation, *splits.test))
    notices = list(find_leaks(splits.validation, splits.test, repr(splits.name)))
    for label, examples in (("validation", splits.validation), ("test", splits.test)):
        where = f"the {label} split of {splits.name!r}"
        if not examples:
            message = f"Expected at least one example in {where}, but it is empty. Name another file or split for it."
            notices.append(Notice("empty split", "error", message))
        notices.extend(notice for _, notice in find_unscorable(examples, where, answers_expected))
        same = find_same_answer(examples, where)
        notices.extend([same] if same else [])
        notices.extend(_duplicates(examples, where))
        notices.extend(_equal_choices(examples, where))
        notices.extend(_repeated_identifiers(examples, where))
    grave_first = {"error": 0, "warning": 1, "info": 2}
    return sorted(notices, key=lambda notice: grave_first[notice.severity])


def find_unscorable(
    examples: Sequence[Example], where: str, answers_expected: bool
) -> Iterator[tuple[list[int], Notice]]:
    """Find the examples that no reply could score on: no question, no answer, or an answer that is not a choice.

    Args:
        examples: The examples of one split.
        where: The split in words, for the messages.
        answers_expected: Whether other records have answers, so that one without is incomplete, not open.

    Yields:
        For every kind of fault that occurs: the indices of its examples in the split, and the notice that names them.
    """
    faults: dict[str, list[int]] = {"no question": [], "no answer": [], "answer not among the choices": []}
    for index, example in enumerate(examples):
        if not example.question.strip():
            faults["no question"].append(index)
        elif example.answer is None:
            if answers_expected:
                faults["no answer"].append(index)
        elif example.choices is not None and example.answer not in example.choices:
            faults["answer not among the choices"].append(index)
    for kind, indices in faults.items():
        if not indices:
            continue
        identifiers = tuple(examples[index].identifier for index in indices)
        named = name_some(identifiers)
        message = f"{len(indices)} of {len(examples)} records in {where} can't be scored: {kind} ({named})."
        if kind == "answer not among the choices":
            first = examples[indices[0]]
            message += f" The first has the answer {first.answer!r} and the choices {', '.join(first.choices or {})}."
        yield indices, Notice(kind, "warning", message, len(indices), identifiers)


def find_leaks(
    validation: Sequence[Example], test: Sequence[Example], where: str, known: Sequence[Example] = ()
) -> Iterator[Notice]:
    """Find test examples that stand in a validation split as well.

    Args:
        validation: Examples that guide the search.
        test: Examples that are held back.
        where: The dataset in words, for the message.
        known: Examples that were looked for already: test examples that are among these are not named again.

    Yields:
        One notice, if there are any.
    """
    contents = {_content(example) for example in validation}
    reorderable = {_content_in_any_order(example) for example in validation}
    named_before = {_content_in_any_order(example) for example in known}
    looked_at = [example for example in test if _content_in_any_order(example) not in named_before]
    same = [example for example in looked_at if _content(example) in contents]
    reordered = [
        example
        for example in looked_at
        if _content(example) not in contents and _content_in_any_order(example) in reorderable
    ]
    if not same and not reordered:
        return
    identifiers = tuple(example.identifier for example in (*same, *reordered))
    message = (
        f"LEAK in {where}: {len(same)} of {len(test)} test examples stand in the validation split too, "
        "with the same question and choices"
    )
    if reordered:
        message += f"; {len(reordered)} more stand there with the same choices in another order"
    message += (
        f" ({name_some(identifiers)}). The search chooses by them, so the test score is not one on unseen examples. "
        "They were left in: use another test split, or say so beside the score."
    )
    yield Notice("leak", "warning", message, len(identifiers), identifiers)


def _duplicates(examples: Sequence[Example], where: str) -> Iterator[Notice]:
    first: dict[Hashable, Example] = {}
    repeated: list[str] = []
    contradicting = 0
    for example in examples:
        content = _content(example)
        if content in first:
            repeated.append(example.identifier)
            contradicting += first[content].answer != example.answer
        first.setdefault(content, example)
    if not repeated:
        return
    message = (
        f"{len(repeated)} of {len(examples)} examples in {where} repeat the question and choices of an earlier one "
        f"({name_some(repeated)}), {contradicting} of them with another answer. They were left in and count twice."
    )
    yield Notice("duplicates", "warning", message, len(repeated), tuple(repeated))


def _equal_choices(examples: Sequence[Example], where: str) -> Iterator[Notice]:
    found: list[str] = []
    of_the_answer = 0
    for example in examples:
        texts = {label: _one_blank(text) for label, text in (example.choices or {}).items()}
        if len(set(texts.values())) == len(texts):
            continue
        found.append(example.identifier)
        of_the_answer += example.answer in texts and list(texts.values()).count(texts[example.answer]) > 1
    if not found:
        return
    message = (
        f"{len(found)} of {len(examples)} examples in {where} have two choices with the same text ({name_some(found)})."
    )
    if of_the_answer:
        message += f" In {of_the_answer} of them the answer is one of these, and the other label counts as wrong."
    yield Notice("equal choices", "warning" if of_the_answer else "info", message, len(found), tuple(found))


def _repeated_identifiers(examples: Sequence[Example], where: str) -> Iterator[Notice]:
    counts = Counter(example.identifier for example in examples if example.identifier)
    repeated = tuple(identifier for identifier, count in counts.items() if count > 1)
    if repeated:
        total = sum(counts[identifier] for identifier in repeated)
        message = (
            f"{total} of {len(examples)} examples in {where} share their id with another one ({name_some(repeated)}). "
            "Nothing depends on it, but an id does not say which example is meant."
        )
        yield Notice("repeated ids", "info", message, total, repeated)


def _one_blank(text: str) -> str:
    return " ".join(text.split())


def _content(example: Example) -> Hashable:
    choices = tuple((label, _one_blank(text)) for label, text in (example.choices or {}).items())
    return _one_blank(example.question), choices


def _content_in_any_order(example: Example) -> Hashable:
    return _one_blank(example.question), tuple(sorted(_one_blank(text) for text in (example.choices or {}).values()))
