"""What the replies of a model that was not tuned for a task say of how it is asked.

A search can only choose among what its experts do. So it is worth knowing before it starts that a model guesses, always
says the same letter, or never comes to its answer, and which setting to try then.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.asking import Asks
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.protocol import Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAME = 0.9  # share of examples with the same letter from which on it is no judgement of the examples
MOST = 0.5  # "in most cases"
FEWEST = 20  # examples; among fewer, the same letter comes by chance


def hints_of(
    name: str,
    objective: Objective,
    examples: Sequence[Example],
    outcomes: Sequence[Outcome],
    interval: tuple[float, float],
    tokenizer: "PreTrainedTokenizerBase",
) -> list[str]:
    """Say what is striking about replies, and what to try.

    Args:
        name: Whose replies they are.
        objective: What was asked.
        examples: What it was asked, M of them.
        outcomes: Replies, answers and scores [M]; replies went on to their end.
        interval: The ends of the 95% interval of the utility.
        tokenizer: The base's.

    Returns:
        Sentences; none where nothing is striking.
    """
    if not isinstance(objective, Asks):
        return []
    cut = _cut_off(name, objective, outcomes, tokenizer)  # says more than that there is no choice
    of_choices = hints_of_choices(name, objective, examples, outcomes, interval, tokenizer, cut is None)
    found = [_empty(name, objective, outcomes, tokenizer), cut]
    return [*of_choices, *(hint for hint in found if hint is not None)]


def hints_of_choices(
    name: str,
    objective: Objective,
    examples: Sequence[Example],
    outcomes: Sequence[Outcome],
    interval: tuple[float, float],
    tokenizer: "PreTrainedTokenizerBase",
    with_missing: bool = True,
) -> list[str]:
    """Say what is striking about the choices that are made; replies may have ended as soon as one was. See `hints_of`.

    Args:
        name: Whose replies they are.
        objective: What was asked.
        examples: What it was asked, M of them.
        outcomes: Replies, answers and scores [M].
        interval: The ends of the 95% interval of the utility.
        tokenizer: The base's.
        with_missing: Whether to say that there are none.
    """
    if not isinstance(objective, MultipleChoice):
        return []
    found = [
        _at_chance(name, objective, examples, interval, tokenizer),
        _same_letter(name, objective, examples, outcomes, tokenizer),
        _no_choice(name, objective, outcomes, tokenizer) if with_missing else None,
    ]
    return [hint for hint in found if hint is not None]


def _at_chance(
    name: str,
    objective: MultipleChoice,
    examples: Sequence[Example],
    interval: tuple[float, float],
    tokenizer: "PreTrainedTokenizerBase",
) -> str | None:
    chance = sum(1 / len(example.choices or {}) for example in examples) / len(examples)
    low, high = interval
    if low > chance:
        return None
    where, how = ("at", "holds") if chance <= high else ("below", "is below")
    return (
        f"{name} is {where} chance: its 95% interval on validation, [{low:.4f}, {high:.4f}], {how} {chance:.4f}, what "
        f"guessing gives. A search finds little where no expert does better. {_other_ways(objective, tokenizer)}"
    )


def _no_choice(
    name: str, objective: MultipleChoice, outcomes: Sequence[Outcome], tokenizer: "PreTrainedTokenizerBase"
) -> str | None:
    none = sum(outcome.answer is None and bool(outcome.reply.strip()) for outcome in outcomes)
    if none <= MOST * len(outcomes):
        return None
    return (
        f"The replies of {name} name no choice in {none / len(outcomes):.0%} of cases. "
        f"{_other_ways(objective, tokenizer)}"
    )


def _same_letter(
    name: str,
    objective: MultipleChoice,
    examples: Sequence[Example],
    outcomes: Sequence[Outcome],
    tokenizer: "PreTrainedTokenizerBase",
) -> str | None:
    letters = Counter(outcome.answer for outcome in outcomes if outcome.answer is not None)
    if len(outcomes) < FEWEST or not letters:
        return None
    letter, count = letters.most_common(1)[0]
    right = sum(example.answer == letter for example in examples) / len(examples)
    if count < SAME * len(outcomes) or right >= SAME:
        return None
    return (
        f"{name} answers {letter} in {count / len(outcomes):.0%} of cases, and it is right in {right:.0%}. "
        f"{_other_ways(objective, tokenizer)}"
    )


def _empty(name: str, objective: Asks, outcomes: Sequence[Outcome], tokenizer: "PreTrainedTokenizerBase") -> str | None:
    empty = sum(not outcome.reply.strip() for outcome in outcomes)
    if not _replies(objective) or empty <= MOST * len(outcomes):
        return None
    ways = ["end the template where the answer begins, without white space", *_chat(objective, tokenizer)]
    if objective.settings.stop:
        ways.append("see whether a reply begins with one of the stop strings")
    return f"The replies of {name} are empty in {empty / len(outcomes):.0%} of cases. To try: {'; '.join(ways)}."


def _cut_off(
    name: str, objective: Asks, outcomes: Sequence[Outcome], tokenizer: "PreTrainedTokenizerBase"
) -> str | None:
    """Say that replies end at the limit before they come to an answer; whatever has scored was long enough."""
    if not _replies(objective):
        return None
    limit, lowest = objective.settings.max_new_tokens, objective.bounds[0]
    replies = [outcome.reply for outcome in outcomes if outcome.answer is None or outcome.score <= lowest]
    tokens = tokenizer(replies, add_special_tokens=False)["input_ids"] if replies else []
    cut = sum(len(ids) >= limit for ids in tokens)
    if cut <= MOST * len(outcomes):
        return None
    ways = ["raise max_new_tokens", "ask for the answer alone", *_chat(objective, tokenizer)]
    return (
        f"The replies of {name} are cut off at max_new_tokens ({limit}) without a right answer in "
        f"{cut / len(outcomes):.0%} of cases. To try: {'; '.join(ways)}."
    )


def _replies(objective: Asks) -> bool:
    """Tell whether replies are generated, and not choices compared."""
    return not (isinstance(objective, MultipleChoice) and objective.method == "likelihood")


def _other_ways(objective: MultipleChoice, tokenizer: "PreTrainedTokenizerBase") -> str:
    """Name the settings by which the same multiple-choice questions can be asked in another way."""
    ways = []
    if objective.method == "generate":
        ways.append("likelihood of the texts (method: likelihood, scored: text)")
    elif objective.scored == "letter":
        ways.append("likelihood of the texts (scored: text)")
    elif objective.normalize == "none":
        ways.append("likelihood per token (normalize: tokens)")
    ways += [*_chat(objective, tokenizer), "solved examples before the question (in_context_prompt)"]
    return f"To try: {'; '.join(ways)}."


def _chat(objective: Asks, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    given = objective.template.chat_template or getattr(tokenizer, "chat_template", None)
    return ["the chat template (chat: true)"] if given and not objective.template.chat else []
