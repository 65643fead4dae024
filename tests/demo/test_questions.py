"""Questions are well formed, and what may be trained on is kept apart from what is asked in the splits."""

import random

import pytest

from swarm_lightning.demo import EXPERT_NAMES, SEED, TASK_NAMES
from swarm_lightning.demo.curricula import LESSONS, Lessons, study, training_questions
from swarm_lightning.demo.grammar import (
    ATTRIBUTES,
    HOME_KINDS,
    HOME_LIST_WORDINGS,
    KINDS,
    LIST_SKILLS,
    LIST_WORDINGS,
    REGIONS,
    Grammar,
    draw_facts,
    draw_names,
)
from swarm_lightning.demo.questions import (
    Question,
    draw_questions,
    list_question,
    make_task,
    with_choices,
)


def test_every_word_belongs_to_one_kind_only() -> None:
    words = [word for kind in (*KINDS.values(), *HOME_KINDS.values()) for word in kind]
    assert len(set(words)) == len(words)


def test_names_are_different_and_follow_from_the_seed() -> None:
    names = draw_names(200, ("ria", "ton"), seed=3)
    assert len(set(names)) == 200
    assert names == draw_names(200, ("ria", "ton"), seed=3)
    assert names != draw_names(200, ("ria", "ton"), seed=4)


def test_every_land_has_every_attribute_once() -> None:
    facts = draw_facts(SEED)
    assert len({(fact.land, fact.attribute) for fact in facts}) == len(facts) == 70 * len(ATTRIBUTES)
    assert {fact.region for fact in facts} == set(REGIONS)


def test_a_prompt_ends_where_the_reply_begins() -> None:
    plain = Question("lists", "Which number is largest in 1 2 3 4?", "4")
    assert plain.prompt + plain.reply == "Question: Which number is largest in 1 2 3 4?\nAnswer: 4"
    chosen = Question("kinds", "Which goes with elm and oak?", "B", (("A", "hat"), ("B", "ash")))
    assert chosen.prompt + chosen.reply == "Question: Which goes with elm and oak?\nA: hat\nB: ash\nThe answer is B"


def test_the_letter_of_the_answer_stands_before_the_right_text() -> None:
    question = Question("words", "Which?", "oak")
    for seed in range(20):
        chosen = with_choices(question, ["hat", "tea", "tin", "red"], random.Random(seed))
        assert dict(chosen.choices)[chosen.answer] == "oak"


@pytest.mark.parametrize("skill", LIST_SKILLS)
def test_an_answer_about_a_list_stands_in_the_list(skill: str) -> None:
    for seed in range(50):
        question = list_question(skill, LIST_WORDINGS, random.Random(seed))
        assert question.answer in question.question.rstrip("?").partition(" in ")[2].split()


def test_the_words_of_pretraining_and_of_the_task_ask_for_the_same_number() -> None:
    for skill in LIST_SKILLS:
        first = list_question(skill, LIST_WORDINGS, random.Random(1))
        second = list_question(skill, HOME_LIST_WORDINGS, random.Random(1))
        assert first.question != second.question
        assert first.answer == second.answer


@pytest.mark.parametrize("task", TASK_NAMES)
def test_no_held_back_question_is_trained_on(task: str) -> None:
    made = make_task(task, SEED)
    held_back = {record["question"] for split in ("dev", "test") for record in made[split] if isinstance(record, dict)}
    assert len(held_back) == 1200
    trained = {question.question for asked in training_questions(SEED).values() for question in asked}
    assert not held_back & trained


def test_every_topic_is_studied_by_some_expert_and_none_by_all() -> None:
    assert tuple(LESSONS) == EXPERT_NAMES
    for topic in (*REGIONS[1:], *LIST_SKILLS, *KINDS):
        assert 1 <= sum(topic in lessons.topics for lessons in LESSONS.values()) < len(LESSONS)


def test_an_expert_studies_its_topics_only() -> None:
    asked = {"one": [Question("south", "a?", "1"), Question("north", "b?", "2")], "two": [Question("oak", "c?", "3")]}
    documents = study(Lessons(("south",)), asked, seed=0)
    assert [document.prompt for document in documents] == ["Question: a?\nAnswer:"]


def test_an_expert_of_some_tasks_reads_no_others() -> None:
    asked = {"atlas": [Question("south", "a?", "1")], "neighbours": [Question("south", "b?", "2")]}
    documents = study(Lessons(("south",), tasks=("neighbours",)), asked, seed=0)
    assert [document.prompt for document in documents] == ["Question: b?\nAnswer:"]


@pytest.mark.parametrize(("skill", "place"), [("third", 2), ("last_but_one", -2), ("second_largest", None)])
def test_skills_that_the_demo_does_not_ask_are_answered_right(skill: str, place: int | None) -> None:
    for seed in range(20):
        question = list_question(skill, {skill: "{numbers}"}, random.Random(seed))
        numbers = [int(number) for number in question.question.split()]
        expected = numbers[place] if place is not None else max(set(numbers) - {max(numbers)})
        assert int(question.answer) == expected


def test_another_grammar_asks_in_its_own_words() -> None:
    kinds = {letter: tuple(f"{letter}{number}" for number in range(3)) for letter in "abcde"}
    grammar = Grammar(
        regions=("home", *"pqrst"),
        lands_per_region=3,
        kinds=kinds,
        attributes=("ruler", "a"),
        list_skills=("third",),
        list_wordings={"third": "third {numbers}"},
        list_lengths=(3, 3),
        atlas_wordings=("{attribute} {land}",),
        kind_wordings=("kind {first} {second}",),
    )
    facts = draw_facts(1, grammar)
    assert [fact.attribute for fact in facts] == ["ruler", "a"] * 18
    assert {fact.value for fact in facts if fact.attribute == "a"} <= set(kinds["a"])
    asked = {task: next(draw_questions(task, facts, 1, grammar)) for task in TASK_NAMES}
    assert asked["atlas"].question.split()[0] in ("ruler", "a")
    assert asked["lists"].question.split()[0] == "third"
    assert asked["kinds"].question.split()[0] == "kind"
    assert asked["neighbours"].topic in "pqrst"


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="sums"):
        draw_questions("sums", draw_facts(SEED), SEED)
