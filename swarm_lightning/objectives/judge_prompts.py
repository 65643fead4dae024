"""What a judge is asked: the default prompts, and how examples and replies are put into prompts of any wording."""

from collections.abc import Sequence
from dataclasses import replace

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.prompts import PromptTemplate

RATING_PROMPT = """\
Please rate how good the reply below is on a scale of 1 to 10, where 10 is the best. A good reply answers what was \
asked: it is correct, helpful, relevant, deep enough and clear, and no longer than it has to be.

[Prompt]
{prompt}

[Reply]
{reply}

[End of the reply]

Explain your judgement in one or two sentences, and then end with the rating in exactly this form: Rating: [[7]]"""
COMPARISON_PROMPT = """\
Please say which of the two replies below answers the prompt better. A good reply is correct, helpful, relevant, deep \
enough and clear, and no longer than it has to be. The order in which the replies stand means nothing.

[Prompt]
{prompt}

[Reply A]
{reply_a}

[Reply B]
{reply_b}

[End of the replies]

Explain your judgement in one or two sentences, and then end with exactly one of these: [[A]] if reply A is better, \
[[B]] if reply B is better, [[C]] if they are equally good."""
RATING_REMINDER = "Answer with nothing but the rating, a number from 1 to 10, in this form: Rating: [[7]]"
VERDICT_REMINDER = "Answer with nothing but [[A]], [[B]] or [[C]]."


def fill(template: PromptTemplate, example: Example, **replies: str) -> str:
    """Put an example and replies to it into a prompt for the judge.

    Args:
        template: May name {prompt}, {question} (the same), {answer}, {choices} and further columns of the record.
        example: What was asked; its in-context prompt is left out.
        replies: What was replied, by the name that the template uses.

    Returns:
        The text that the judge sees; braces in the example and in the replies mean nothing.

    Raises:
        InputError: If the template names something that is not there.

    >>> fill(PromptTemplate("{prompt} {reply}"), Example("What is {x}?"), reply="{y}.")
    'What is {x}? {y}.'
    """
    known = {} if example.answer is None else {"answer": example.answer}
    extras = {**known, **example.extras, "prompt": example.question, **replies}
    return template.fill(replace(example, in_context_prompt="", extras=extras))


def check_names(setting: str, template: str, names: Sequence[str]) -> None:
    """Refuse a prompt that leaves out what the judge must see.

    Args:
        setting: What the user calls it.
        template: The prompt.
        names: What it must name in braces.

    Raises:
        InputError: If a name is missing.
    """
    for name in names:
        if f"{{{name}}}" not in template.replace(f"{{{{{name}}}}}", ""):
            raise InputError(
                f"Expected {setting} to name {{{name}}}, but it does not: {template[:80]!r}. Without it the judge does "
                "not see what it is to judge."
            )
