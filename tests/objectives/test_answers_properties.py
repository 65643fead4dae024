"""Reading an answer out of any reply: it never raises, and what was written is read."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from swarm_lightning.objectives.answers import last_number, normalise, write_number
from swarm_lightning.objectives.choice_letters import choice_is_settled, read_choice
from swarm_lightning.objectives.ratings import read_rating
from swarm_lightning.objectives.verdicts import read_verdict, verdict_is_settled

PIECES = st.sampled_from(
    ["A", "B)", "(C)", "answer", " is ", ": ", "not ", "\n", ".", "**", "river", "1/0", "-", "1,0", "٣"]
)
REPLIES = st.text(max_size=60) | st.lists(PIECES, max_size=12).map("".join)
CHOICES = {"A": "red", "B": "seven", "C": "stone", "D": "a river"}


@given(REPLIES)
def test_any_reply_is_read(reply: str) -> None:
    assert read_choice(reply, CHOICES) in (None, *CHOICES)
    assert read_verdict(reply) in (None, True, False)
    rating = read_rating(reply)
    assert rating is None or 1 <= rating <= 10
    assert normalise(normalise(reply)) == normalise(reply) or normalise(reply).endswith(".")
    last_number(reply)


@given(REPLIES, REPLIES)
def test_what_is_settled_is_not_changed_by_what_follows(reply: str, more: str) -> None:
    if choice_is_settled(reply, CHOICES):
        assert read_choice(reply + more, CHOICES) == read_choice(reply, CHOICES)
    if verdict_is_settled(reply):
        assert read_verdict(reply + more) == read_verdict(reply)


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_a_number_is_read_as_it_was_written(digits: int, decimals: int) -> None:
    number = Fraction(digits, 10**decimals)
    assert last_number(f"So it is {write_number(number)}.") == number
    assert last_number(f"So it is {digits:,} in all") == digits
