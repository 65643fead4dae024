from fractions import Fraction

import pytest

from swarm_lightning.objectives.answers import last_number, last_words, normalise, write_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Paris ", "Paris"),
        ("Paris.", "Paris"),
        ("New  York\n City . ", "New York City"),
        ("3.5", "3.5"),
        ("etc..", "etc."),
        (".", ""),
        ("", ""),
    ],
)
def test_white_space_and_one_full_stop_do_not_matter(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_case_matters_unless_ignored() -> None:
    assert normalise("PARIS") == "PARIS"
    assert normalise("STRASSE", ignore_case=True) == normalise("straße", ignore_case=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,000", 1000),
        ("1,000,000.", 1_000_000),
        ("$5.00", 5),
        ("5.", 5),
        ("-3", -3),
        ("\u22127", -7),
        ("$-5", -5),
        ("-$5", -5),
        ("+4", 4),
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        (".5", Fraction(1, 2)),
        ("3.14.", Fraction(157, 50)),
        ("2e3", 2000),
        ("50%", 50),
        ("5-3", 3),
        ("f(x)-3", 3),
        ("10 - 3", 3),
        ("(-3)", -3),
        ("1,2,3", 3),
        ("100,200", 100_200),
        ("1/2/2024", 2024),
        ("10:30", 30),
        ("It is 7th of 12 apples", 12),
        ("#### 72", 72),
        ("The answer is 5, not H2O or x3", 5),
        ("\u7b54\u6848\u662f5", 5),
        ("007", 7),
        ("1.2.3", Fraction(6, 5)),
        (r"$\boxed{1{,}250}$", 1250),
        (r"1,\!000,\!000", 1_000_000),
        (r"\$1\,000.50", Fraction(2001, 2)),
        (r"\{1\,2\}", 2),
    ],
)
def test_the_last_number_is_read_exactly(text: str, expected: Fraction | int) -> None:
    assert last_number(text) == expected


@pytest.mark.parametrize("text", ["", "none", "H2O", "x2", "3/0", "9" * 5000, "-", "$", "e5", "."])
def test_a_text_without_a_number_gives_none(text: str) -> None:
    assert last_number(text) is None


def test_a_run_away_number_does_not_hide_an_earlier_one() -> None:
    assert last_number("12 and " + "9" * 5000) == 12


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("one two three", 2, "two three"),
        ("one two", 5, "one two"),
        (" one two \n", 1, "two"),  # white space around the text does not count
        ("one\ntwo three", 2, "one\ntwo three"),  # a line break parts no words
        ("one two  three", 3, "two  three"),  # between two spaces stands an empty word
        ("", 5, ""),
    ],
)
def test_words_are_parted_by_single_spaces(text: str, count: int, expected: str) -> None:
    assert last_words(text, count) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (Fraction(1000), "1000"),
        (Fraction(-5, 2), "-2.5"),
        (Fraction(1, 3), "1/3"),
        (Fraction(-1, 3), "-1/3"),
        (Fraction(1, 8), "0.125"),
        (Fraction(1, 100), "0.01"),
        (Fraction(0), "0"),
    ],
)
def test_equal_numbers_are_written_alike(number: Fraction, expected: str) -> None:
    assert write_number(number) == expected
    assert last_number(write_number(number)) == number
