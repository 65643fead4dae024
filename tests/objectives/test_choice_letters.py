import random
from collections.abc import Mapping

import pytest

from swarm_lightning.objectives.choice_letters import choice_is_settled, read_choice

ANIMALS = {"A": "dog", "B": "cat", "C": "horse", "D": "cow"}
TEN_NUMBERS = dict(zip("ABCDEFGHIJ", ["10", "20", "30", "40", "50", "60", "70", "80", "90", "100"], strict=True))

# What a careful person would mark; None where a person could not say which choice is meant.
MARKED_BY_HAND = [
    (" B", "B"),
    ("B.", "B"),
    ("(B)", "B"),
    ("[B]", "B"),
    ("B)", "B"),
    ("B!", "B"),
    ("B: cat", "B"),
    ("B. cat", "B"),
    ("B.cat", "B"),
    ("B - cat", "B"),
    ("- B", "B"),
    (": B", "B"),
    ("=> B", "B"),
    ("'A'", "A"),
    ("**B**", "B"),
    ("<b>C</b>", "C"),
    ("A</s>", "A"),
    ("$\\boxed{C}$", "C"),
    ("b", "B"),
    ("b)", "B"),
    ("B because it purrs", "B"),
    ("B, because cats purr", "B"),
    ("A because it barks", "A"),
    ("A is correct", "A"),
    ("\nB\n\nQuestion: What next?\nA: one\nB: two\nThe answer is A", "B"),
    (" B: cat\n\nQuestion: What next?", "B"),
    ("The answer is B", "B"),
    ("answer: b", "B"),
    ("the answer is d", "D"),
    ("Answer: **B**", "B"),
    ("**Answer:** B", "B"),
    ("The correct answer is (C).", "C"),
    ("The answer is option D", "D"),
    ("B is wrong, the answer is C", "C"),
    ("Option A is wrong. The answer is B", "B"),
    ("I think it's B.", "B"),
    ("I choose (D)", "D"),
    ("likely B", "B"),
    ("Cat", "B"),
    ("a dog", "A"),
    ("A dog", "A"),
    ("A cat", "B"),
    ("The answer is A cat", "B"),
    ("b dog", "A"),
    ("It is the cat (B)", "B"),
    # Nothing can be read out of these.
    ("", None),
    ("   ", None),
    ("Bird", None),
    ("Because", None),
    ("A bird", None),
    ("dogcat", None),
    ("Dense cowl", None),
    ("AB", None),
    ("BBBB", None),
    ("E", None),
    ("A-frame", None),
    ("A.M.", None),
    ("C++", None),
    ("D&D", None),
    ("B's best", None),
    ("not B", None),
    ("The answer is not B", None),
    ("B is not right", None),
    ("Vitamin C", None),
    # These mean two choices.
    ("A or B", None),
    ("A, B", None),
    ("A and B", None),
    ("A/B", None),
    ("B C", None),
    ("Both A and B", None),
    ("A dog or a cat", None),
    ("A: dog\nB: cat\nC: horse", None),
]


@pytest.mark.parametrize(("reply", "expected"), MARKED_BY_HAND)
def test_replies_are_read_as_a_person_reads_them(reply: str, expected: str | None) -> None:
    assert read_choice(reply, ANIMALS) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("J", "J"),
        ("I", "I"),
        ("I. 90", "I"),
        ("I is right", "I"),
        ("(I)", "I"),
        ("100", "J"),
        ("10", "A"),
        ("It is 10.", "A"),
        ("I think it is B", "B"),
        ("B I think so", "B"),
        ("I think so", None),
        ("I'm sure", None),
        ("I was told", None),
        ("110", None),
        ("10.5", None),
        ("-10", None),
        ("1000", None),
        ("B A", None),
    ],
)
def test_ten_choices_with_the_pronoun_i_among_the_letters(reply: str, expected: str | None) -> None:
    assert read_choice(reply, TEN_NUMBERS) == expected


def test_the_order_of_the_letters_does_not_matter() -> None:
    shuffled = {letter: ANIMALS[letter] for letter in "CADB"}
    assert [read_choice(reply, shuffled) for reply, _ in MARKED_BY_HAND] == [answer for _, answer in MARKED_BY_HAND]


def test_a_text_inside_a_longer_choice_is_not_counted_twice() -> None:
    towns = {"A": "York", "B": "New York", "C": "Leeds"}
    assert read_choice("It is New York.", towns) == "B"
    assert read_choice("It is York.", towns) == "A"
    assert read_choice("York, not New York", towns) is None


def test_a_text_that_holds_another_letter_names_its_own_choice() -> None:
    assert read_choice("Vitamin C", {"A": "Vitamin C", "B": "Iron", "C": "Zinc"}) == "A"


def test_equal_texts_are_no_answer_without_a_letter() -> None:
    assert read_choice("red", {"A": "red", "B": "red"}) is None
    assert read_choice("B red", {"A": "red", "B": "red"}) == "B"


@pytest.mark.parametrize(
    ("reply", "expected"), [(" 2", "2"), ("2. cat", "2"), ("2.5", None), ("12", None), ("(1)", "1")]
)
def test_numbers_serve_as_letters(reply: str, expected: str | None) -> None:
    assert read_choice(reply, {"1": "dog", "2": "cat"}) == expected


def test_words_and_other_scripts_serve_as_letters() -> None:
    assert read_choice("Yes, it does", {"yes": "supported", "no": "refuted"}) == "yes"
    assert read_choice(" \u0411.", {"\u0410": "\u0434\u0430", "\u0411": "\u043d\u0435\u0442"}) == "\u0411"


def test_letters_that_differ_only_in_case_are_told_apart() -> None:
    both = {"a": "small", "A": "great"}
    assert (read_choice("a", both), read_choice("A", both)) == ("a", "A")


@pytest.mark.parametrize("piece", ["answer ", "A ", "( ", "answer to a ", "\n", "option ", "a B c ", "the answer is "])
def test_a_run_away_reply_is_read_to_the_end(piece: str) -> None:
    assert read_choice(piece * 3000, TEN_NUMBERS) in (None, "A")


# What replies are put together from: everything that the rules look for, and what may come between.
PIECES = (
    ["A", "B", "C", "I", " A", " B", "b", "a", "1", " or", " and", ",", " ", "\n", ".", ":", ")", "(", "**", '"', "'"]
    + ["The answer is", "answer:", " is", " not", " because", " wrong", "is", "was", "isn't", " correct", " to be", ";"]
    + [" the", " option", "a dog", " cat", " red", "/", "<", "</b>", "-", "A:", "B.", "Answer", " choice", "x", "_"]
    + ["\t", " A.", " B)", "'s", " would be"]
)
SETS_OF_CHOICES: list[dict[str, str]] = [
    {"A": "a dog", "B": "a cat", "C": "red"},
    {"A": "x", "I": "1", "B": "the option"},
    {"1": "A", "2": "B"},
    {"a": "dog", "b": "cat"},
]


def test_a_settled_reply_means_the_same_choice_however_it_goes_on() -> None:
    draw = random.Random(0)
    settled = 0
    for _ in range(4000):
        choices = draw.choice(SETS_OF_CHOICES)
        reply = "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 7)))
        meant = read_choice(reply, choices)
        for length in range(1, len(reply)):
            if choice_is_settled(reply[:length], choices):
                assert read_choice(reply[:length], choices) == meant, (reply[:length], reply, choices)
                settled += 1
    assert settled > 1000


@pytest.mark.parametrize(("reply", "expected"), MARKED_BY_HAND)
def test_no_beginning_of_a_marked_reply_is_settled_on_another_choice(reply: str, expected: str | None) -> None:
    for length in range(len(reply) + 1):
        assert not choice_is_settled(reply[:length], ANIMALS) or read_choice(reply[:length], ANIMALS) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (" B", False),  # may become "Bird"
        (" B because ", True),
        (" B or", False),
        ("B is ", False),  # may become "B is not right"
        (" B\n", False),
        ("B.\n", False),  # may go on to list the choices
        ("B: cat\n", False),
        ("(B) ", False),
        ("The answer is B", False),
        ("The answer is B\n", True),
        ("The answer is B, ", False),  # may become "B, C"
        ("Cat", False),
        ("", False),
    ],
)
def test_what_settles_a_choice(reply: str, expected: bool) -> None:
    assert choice_is_settled(reply, ANIMALS) == expected


@pytest.mark.parametrize("choices", [{"A.": "dog", "B.": "cat"}, {"(a)": "dog", "(b)": "cat"}])
def test_letters_with_marks_in_them_are_never_settled(choices: Mapping[str, str]) -> None:
    assert not choice_is_settled("The answer is A. because\n", choices)
