import pytest

from swarm_lightning.objectives.ratings import read_rating, read_verdict


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: 8", 8),
        ("[[8]]", 8),
        ("[[ 8.5 ]]", 8.5),
        ("[[8/10]]", 8),
        ("8/10", 8),
        ("8 / 10.", 8),
        ("8 out of 10", 8),
        ("**8**", 8),
        ("**Rating**: **8**/10", 8),
        ("`Rating: 8`", 8),
        ("I'd give 7.5", 7.5),
        ("An 8, I think.", 8),
        ("10", 10),
        ("Rating: 10", 10),
        ("10/10", 10),
        ("1", 1),
        ("Rating:\n8", 8),
        ("Rating (1-10): 9", 9),
        ("On a scale of 1 to 10, I'd rate this an 8.", 8),
    ],
)
def test_a_rating_is_read_from_the_ways_in_which_judges_write_it(text: str, rating: float) -> None:
    assert read_rating(text) == rating


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eight", "Rating: 11", "[[0]]", "Rating: 100", "Rating: -3", "4/5", "Rating: 4/5", "3 out of 5", "80%", "8th",
        "7,5", "7-8", "1 to 10", "B2B", "version 2.0.1", "1. Correct\n2. Short", "A 7 or an 8", "<think>maybe a 9",
    ],
)  # fmt: skip
def test_what_is_no_number_from_1_to_10_by_itself_is_no_rating(text: str) -> None:
    assert read_rating(text) is None


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: 3 for style, 10/10 for length. [[6]]", 6),
        ("[[3]] at first, but then [[5]]", 5),
        ("[[12]], that is [[9]]", 9),
        ("1. Correct\n2. Short\nRating: 8", 8),
        ("Score: 7. A score of 9 would need 3 examples.", 9),
        ("It gave 3 examples, so 8/10.", 8),
        ("In 2 words I give it a 4", 4),
        ("It has 7 parts, and 7 is what it gets", 7),
        ("<think>A 3? Rating: 4.</think>\nRating: 8", 8),
    ],
)
def test_of_several_numbers_the_plainest_way_of_rating_counts_and_of_these_the_last(text: str, rating: float) -> None:
    assert read_rating(text) == rating


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("[[A]]", "A"),
        ("Both are fine, B has more: **[[B]]**", "B"),
        ("[[A]]? No: [[C]]", "C"),
        ("B", "B"),
        ("<think>[[A]]</think> [[B]]", "B"),
        ("A is better", None),
        ("[[D]]", None),
        ("", None),
    ],
)
def test_a_verdict_is_the_last_letter_in_double_brackets_or_a_letter_alone(text: str, verdict: str | None) -> None:
    assert read_verdict(text) == verdict
