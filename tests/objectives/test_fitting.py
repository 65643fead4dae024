"""The objective that fits what examples have, and the refusal of one that can't serve any of them."""

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch, MultipleChoice, MultiTask, fitting_objective, refuse_misfit
from swarm_lightning.objectives.fitting import said_of_room, said_of_unread_choices

CHOICES = Example("Which is red?", "A", {"A": "rose", "B": "sky"})
ANSWER = Example("1 + 1?", "2")
OPEN = Example("Tell me a story.")


def test_choices_are_asked_by_multiple_choice_and_answers_by_exact_match() -> None:
    assert type(fitting_objective([CHOICES, CHOICES], "a.csv")) is MultipleChoice
    assert type(fitting_objective([ANSWER, ANSWER], "a.csv")) is ExactMatch


def test_every_task_gets_its_own_objective() -> None:
    examples = [Example("Which?", "A", {"A": "x", "B": "y"}, task="kinds"), Example("1 + 1?", "2", task="sums")]
    found = fitting_objective(examples, "two tasks")
    assert isinstance(found, MultiTask)
    assert {task: type(part) for task, part in found.tasks.items()} == {"kinds": MultipleChoice, "sums": ExactMatch}


def test_replies_have_room_for_the_longest_answer_and_it_is_said() -> None:
    assert fitting_objective([ANSWER], "a.csv").settings.max_new_tokens == 10  # type: ignore[attr-defined]
    long = Example("How are you?", "a" * 90)  # 30 tokens, a quarter more, in tens
    digits = Example("How many?", "123 456 789 012", task="sums")  # a token each
    found = fitting_objective([ANSWER, long], "a.csv")
    assert found.settings.max_new_tokens == 40  # type: ignore[attr-defined]
    assert "may have 40 tokens" in said_of_room(found)
    several = fitting_objective([digits, Example("Which?", "A", {"A": "x", "B": "y"}, task="kinds")], "two")
    assert "Replies of sums may have 20 tokens" in said_of_room(several)
    assert said_of_room(fitting_objective([ANSWER], "a.csv")) == ""
    endless = fitting_objective([Example("Tell.", "word " * 2000)], "a.csv")
    assert endless.settings.max_new_tokens == 250  # type: ignore[attr-defined]


def test_questions_alone_are_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match=r"the examples of a\.csv have a question only\. Add the columns answer"):
        fitting_objective([OPEN], "a.csv")
    with pytest.raises(InputError, match=r"its other columns are gold, topic\. .*--data\.columns"):
        fitting_objective([Example("1 + 1?", extras={"gold": "2", "topic": "sums"})], "a.csv")


def test_an_objective_that_no_example_can_be_asked_by_is_refused_with_the_one_that_fits() -> None:
    with pytest.raises(InputError, match=r"Expected choices .* for MultipleChoice.*--model\.objective ExactMatch"):
        refuse_misfit("MultipleChoice", [ANSWER, ANSWER], "a.csv")
    with pytest.raises(InputError, match=r"Expected an answer .* for ExactMatch.*RewardModel, JudgeRating"):
        refuse_misfit("ExactMatch", [OPEN], "a.csv")


def test_what_some_examples_lack_is_for_the_objective_to_see() -> None:
    refuse_misfit("MultipleChoice", [ANSWER, CHOICES], "a.csv")
    refuse_misfit("ExactMatch", [CHOICES, ANSWER], "a.csv")
    refuse_misfit("RewardModel", [OPEN], "a.csv")
    refuse_misfit("MultipleChoice", [], "a.csv")


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (("A", "B", "C", "D"), "[A, B, C, D]"),
        (("option_2", "option_1"), "[option_1, option_2]"),
        (("Choice a", "Choice b", "source"), "[Choice a, Choice b]"),
        (("B", "C"), ""),
        (("A",), ""),
        (("year", "source"), ""),
    ],
)
def test_columns_that_look_like_choices_are_named_where_nothing_reads_them(
    columns: tuple[str, ...], named: str
) -> None:
    extras = dict.fromkeys(columns, "text")
    said = said_of_unread_choices([Example("Which is red?", "A", extras=extras)])
    assert (f"--data.columns '{{choices: {named}}}'" in said) if named else said == ""
    assert said_of_unread_choices([Example("Which is red?", "A", {"A": "rose", "B": "sky"}, extras=extras)]) == ""
