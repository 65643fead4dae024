import random
from typing import TYPE_CHECKING

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch, LanguageModel, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def score(objective: ExactMatch, reply: str, gold: str) -> float:
    return objective.score(reply, Example(question="?", answer=gold)).score


@pytest.mark.parametrize(
    ("reply", "gold", "expected"),
    [
        (" It is Paris.", "Paris", 1),
        ("Paris", "Paris.", 0),
        ("paris", "Paris", 0),
        ("Parisian", " Paris ", 1),
        ("115", "5", 1),
        ("", "5", 0),
    ],
)
def test_contained_is_plain_containment(reply: str, gold: str, expected: float) -> None:
    assert score(ExactMatch("contained"), reply, gold) == expected


@pytest.mark.parametrize(
    ("reply", "gold", "expected"),
    [(" New\nYork. ", "New York", 1), ("New York City", "New York", 0), ("new york", "New York", 0), (".", "x", 0)],
)
def test_exact_is_equality_after_normalising(reply: str, gold: str, expected: float) -> None:
    assert score(ExactMatch("exact"), reply, gold) == expected


@pytest.mark.parametrize(
    ("reply", "gold", "expected"),
    [
        ("12 + 7 = 19.", "19", 1),
        ("It costs $1,000.00", "1000", 1),
        ("19 and then 20", "19", 0),
        ("a half is 0.5", "1/2", 1),
        ("-3", "3", 0),
        ("no idea", "3", 0),
        ("72", "so #### 72", 1),
    ],
)
def test_last_number_compares_numbers_not_spellings(reply: str, gold: str, expected: float) -> None:
    assert score(ExactMatch("last_number"), reply, gold) == expected


# Replies to questions as those of GSM8K, each marked by reading it: does it give the gold answer, and do the two rules
# for arithmetic say so? Where one of them is wrong, the comment says why.
MARKED = [
    # (reply, gold, right, last_number, last_five_words)
    ("48/2 = 24 clips in May.\n48 + 24 = 72 clips altogether.\n#### 72", "72", 1, 1, 1),
    ("Natalia sold 24 clips in May, so she sold 72 clips.", "72", 1, 1, 1),
    ("She sold <<48+24=72>>72 clips altogether.", "72", 1, 1, 1),
    ("The answer is $\\boxed{72}$.", "72", 1, 1, 1),
    ("**Answer:** **72**", "72", 1, 1, 1),
    ("She earns $10.00.", "10", 1, 1, 1),
    ("The total is $1,450,000.", "1450000", 1, 1, 0),  # other spelling
    ("That makes 1450000 dollars", "1,450,000", 1, 1, 0),  # other spelling
    ("So it takes her 2.50 hours", "2.5", 1, 1, 1),
    ("The temperature is -5 degrees now.", "-5", 1, 1, 1),
    ("He has 10 - 15 = -5 dollars", "-5", 1, 1, 1),
    ("They need 20% of them", "20", 1, 1, 1),
    ("72, because half of 48 clips is 24 clips.", "72", 1, 0, 0),  # the answer is not the last number
    ("So there are 72 clips on day 2.", "72", 1, 0, 1),  # the answer is not the last number
    ("She has seventy-two clips.", "72", 1, 0, 0),  # in words
    ("It is 72.\n\nQuestion: What is 5 plus 3?\nAnswer: 8", "72", 1, 0, 0),  # goes on; the stop string Question: helps
    ("48 + 24 = 72, and so 71 are left over.", "72", 0, 0, 0),
    ("#### 172", "72", 0, 0, 1),  # contained in a longer number
    ("She earns $72.50 in all", "72", 0, 0, 1),  # contained in a longer number
    ("Half of 72 is the answer: 36", "72", 0, 0, 1),  # contained
    ("Is it 72? No, it is 24.", "72", 0, 0, 1),  # contained
    ("There are not 72 but 24 clips", "72", 0, 0, 1),  # contained
    ("I can't tell.", "72", 0, 0, 0),
]


@pytest.mark.parametrize(("reply", "gold", "right", "number", "words"), MARKED)
def test_replies_marked_by_hand_are_scored_as_they_are_documented_to_be(
    reply: str, gold: str, right: int, number: int, words: int
) -> None:
    assert score(ExactMatch("last_number"), reply, gold) == number
    assert score(ExactMatch("last_five_words"), reply, gold) == words
    # The golds of openai/gsm8k hold the working.
    working = f"He has 48/2 = <<48/2=24>>24 clips.\nSo he has 7 days.\n#### {gold}"
    assert score(ExactMatch("last_number"), reply, working) == number
    if number:
        assert right, "the last number never says right where a person says wrong"


@pytest.mark.parametrize(
    ("reply", "gold", "expected"),
    [
        ("The answer is 72", "72", 1),
        ("72 is one two three four", "72", 0),  # six words
        ("72 is one two three", "72", 1),
        (" 72 is one two three \n\n", "72", 1),  # white space around the reply does not count
        ("72\n\none\ntwo\nthree\nfour\nfive", "72", 1),  # line breaks part no words
        ("72 is  one two three", "72", 0),  # an empty word
        ("It is Paris", " Paris ", 1),
        ("It is paris", "Paris", 0),
        ("", "5", 0),
    ],
)
def test_last_five_words_looks_for_the_gold_answer_in_them(reply: str, gold: str, expected: float) -> None:
    assert score(ExactMatch("last_five_words"), reply, gold) == expected


@pytest.mark.parametrize("rule", ["contained", "exact", "last_five_words"])
def test_a_gold_answer_with_its_working_is_refused_where_no_reply_could_give_it(
    rule: str, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    example = Example("?", "48/2 = <<48/2=24>>24\n#### 1,024", identifier="9")
    with pytest.raises(InputError, match="ends with '#### 1,024'. Set rule: last_number.*or store '1,024' alone"):
        ExactMatch(rule).check([example], tokenizer)  # type: ignore[arg-type]
    ExactMatch("last_number").check([example], tokenizer)
    ExactMatch(rule).check([Example("?", "#### is a heading"), Example("?", "24")], tokenizer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "gold", "expected"),
    [
        ("the answer is blue, not answer is red", "blue", 1),
        ("The answer is blue", "blue", 1),
        ("blue", "blue", 0),
        ("the answer is ", "blue", 0),
    ],
)
def test_regex_compares_the_first_group_of_the_first_match(reply: str, gold: str, expected: float) -> None:
    assert score(ExactMatch("regex", pattern=r"answer is (\w+)"), reply, gold) == expected


def test_a_group_that_takes_no_part_in_the_match_is_no_answer() -> None:
    outcome = ExactMatch("regex", pattern="x|(y)").score("x", Example(question="?", answer="y"))
    assert outcome == Outcome("x", None, 0.0)


@pytest.mark.parametrize("rule", ["contained", "exact", "last_five_words"])
def test_case_can_be_ignored(rule: str) -> None:
    assert score(ExactMatch(rule, ignore_case=True), "PARIS", "Paris") == 1  # type: ignore[arg-type]


def test_case_can_be_ignored_in_a_pattern_too() -> None:
    assert score(ExactMatch("regex", pattern="ANSWER: (.+)", ignore_case=True), "answer: PARIS", "Paris") == 1


@pytest.mark.parametrize(
    ("objective", "reply", "answer"),
    [
        (ExactMatch("contained"), " Paris. ", "Paris"),
        (ExactMatch("contained"), "  ", None),
        (ExactMatch("exact", ignore_case=True), "PARIS.", "paris"),
        (ExactMatch("last_number"), "so $1,000.00.", "1000"),
        (ExactMatch("last_number"), "so what", None),
        (ExactMatch("last_five_words"), "one two three four five six.", "two three four five six"),
        (ExactMatch("regex", pattern="is (.+)"), "it is Rome.", "Rome"),
    ],
)
def test_a_vote_counts_what_was_read_from_the_reply(objective: ExactMatch, reply: str, answer: str | None) -> None:
    assert objective.score(reply, Example(question="?", answer="x")).answer == answer


def test_an_example_without_a_gold_answer_is_answered_and_scores_nothing() -> None:
    assert ExactMatch().score("Rome", Example(question="?")) == Outcome("Rome", "Rome", 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "equal"}, "rule to be one of contained, exact, last_number, last_five_words, regex, but got 'equal'"),
        ({"rule": "regex"}, "but got none"),
        ({"rule": "regex", "pattern": "("}, "regular expression"),
        ({"rule": "regex", "pattern": "a"}, "has 0"),
        ({"rule": "regex", "pattern": "(a)(b)"}, "has 2"),
        ({"rule": "exact", "pattern": "(a)"}, "only with the rule regex"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": "\n"}, "list of strings"),
        ({"template": "no placeholder"}, "placeholder"),
        ({"system": "Be kind."}, "chat: true"),
    ],
)
def test_values_that_cannot_be_used_are_refused_early(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExactMatch(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "answer", "message"),
    [
        ("contained", None, "gold answer in every example"),
        ("contained", "  ", "gold answer in every example"),
        ("exact", ".", "rule exact can read"),
        ("last_number", "seven", "rule last_number can read"),
    ],
)
def test_a_gold_answer_that_cannot_be_compared_is_refused_early(
    rule: str, answer: str | None, message: str, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    example = Example(question="?", answer=answer, identifier="9")
    with pytest.raises(InputError, match=message) as error:
        ExactMatch(rule).check([example], tokenizer)  # type: ignore[arg-type]
    assert "'9'" in str(error.value)


def test_a_template_that_the_examples_cannot_fill_is_refused_early(tokenizer: "PreTrainedTokenizerBase") -> None:
    with pytest.raises(InputError, match=r"names \{context\}"):
        ExactMatch(template="{context} {question}").check([Example(question="?", answer="x")], tokenizer)


def test_a_model_is_asked_and_scored_in_order(language_model: LanguageModel) -> None:
    questions = ["What is 12 plus 7?", "What is the capital of France?", "What is 12 plus 7?"]
    objective = ExactMatch("exact", max_new_tokens=5)
    texts = [f"Question: {question}\nAnswer:" for question in questions]
    replies = language_model.generate(texts, objective.settings)
    assert replies[0] != replies[1]
    examples = [Example(question=question, answer=replies[0]) for question in questions]
    objective.check(examples, language_model.tokenizer)
    outcomes = objective.evaluate(examples, language_model)
    assert [objective.prompt(example, language_model.tokenizer) for example in examples] == texts
    assert [outcome.reply for outcome in outcomes] == replies
    assert [outcome.score for outcome in outcomes] == [1, 0, 1]


# What replies are put together from: parts of the gold answers, what `normalise` removes, and letters whose lower case
# is longer or looks different.
PIECES = ["a", "A", "ab", "New", "York", " ", "  ", "\n", "\t", ".", ". ", "..", "x", "\u00df", "SS", "\u0130", "-"]
GOLDS = ["ab", "New York", "a.b", "A.", "ss", "\u00df", "i\u0307", "York.", "x", "a a"]


@pytest.mark.parametrize("ignore_case", [False, True])
@pytest.mark.parametrize("rule", ["contained", "exact"])
def test_the_score_of_a_settled_reply_is_the_same_however_it_goes_on(rule: str, ignore_case: bool) -> None:
    objective = ExactMatch(rule, ignore_case=ignore_case)  # type: ignore[arg-type]
    draw = random.Random(0)
    settled = open_ = 0
    for _ in range(2500):
        example = Example(question="?", answer=draw.choice(GOLDS))
        start = draw.choice(["", "", example.answer, f" {example.answer}."]) or ""
        reply = start + "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 5)))
        score = objective.score(reply, example).score
        for length in range(len(reply) + 1):
            if objective.is_settled(reply[:length], example):
                assert objective.score(reply[:length], example).score == score, (reply[:length], reply, example.answer)
                settled += 1
            else:
                open_ += 1
    assert settled > 1000
    assert open_ > 1000


@pytest.mark.parametrize(
    ("objective", "reply", "expected"),
    [
        (ExactMatch("contained"), "It is Pari", False),
        (ExactMatch("contained"), "It is Paris", True),
        (ExactMatch("contained"), "It is paris", False),
        (ExactMatch("contained", ignore_case=True), "It is paris", True),
        (ExactMatch("exact"), " Paris", False),  # may become "Paris." and is right, or "Paris is" and is wrong
        (ExactMatch("exact"), " Paris .\n", False),
        (ExactMatch("exact"), " Paris i", True),
        (ExactMatch("exact"), "p", True),
        (ExactMatch("exact", ignore_case=True), "p", False),
        (ExactMatch("last_number"), "12. Paris 13", False),
        (ExactMatch("last_five_words"), "It is Paris\n", False),  # five more words hide it
        (ExactMatch("regex", pattern="is (.*)"), "It is Paris\n", False),
    ],
)
def test_what_settles_a_reply(objective: ExactMatch, reply: str, expected: bool) -> None:
    assert objective.is_settled(reply, Example(question="?", answer="Paris")) == expected
    assert objective.is_settled(reply, Example(question="?"))  # without a gold answer there is nothing to score
