import random

import pytest

from swarm_lightning.objectives.verdicts import read_verdict, verdict_is_settled


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("True", True),
        (" false.", False),
        ("FALSE", False),
        ("**False**, because it is red.", False),
        ("The proposed answer is true.", True),
        ("The proposed answer is not true.", False),
        ("It isn't correct.", False),
        ("I don't think that it is right.", False),
        ("That is untrue.", False),
        ("Incorrect: the capital is Paris.", False),
        ("Wrong", False),
        ("It is not wrong.", True),
        ("I am not sure, but true", True),
        ("No.", False),
        ("no", False),
        ("Yes, the answer is B.", True),
        ("(Yes)", True),
        ("No doubt that it is true", True),
        ("True or false? False.", False),
        ("true/false: true", True),
        ("Is the proposed answer correct or incorrect? It is incorrect.", False),
        ("The correct answer is B, so this is false.", False),
        ("This is not the correct answer.", False),
        ("This is a wrong answer.", False),
        ("True. Anything else would be false.", True),
        ("False. The right choice is A.", False),
        ("The correct answer is B.", None),
        ("true or false", None),
        ("I don't know.", None),
        ("B", None),
        ("", None),
        ("Falsehoods are truer in the nose", None),
    ],
)
def test_the_verdict_of_a_reply(reply: str, expected: bool | None) -> None:
    assert read_verdict(reply) is expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("", False),
        ("True", False),  # may become "True or false"
        ("True ", False),
        ("True or", False),
        ("True o", False),
        ("True.", True),
        ("True\n", True),
        ("True, because ", True),
        ("Correct answ", False),  # may become "Correct answer: A", which says nothing
        ("Correct\n", True),
        ("No", False),  # may become "No doubt"
        ("No,", True),
        ("not", False),
        ("It is not true.", True),
        ("true/false", False),
    ],
)
def test_what_settles_a_verdict(reply: str, expected: bool) -> None:
    assert verdict_is_settled(reply) is expected


PIECES = [
    "true", "True", "false", "FALSE", "correct", "incorrect", "wrong", "right", "un", "ly", "not", "isn't", "no", "No",
    "yes", "answer", "choice", "s", "or", "o", "r", "the", "it is", "/", "|", ",", ".", ":", "\n", "*", "**", "(", ")",
    " ", " ", " ", " ", " ", "  ",
]  # fmt: skip


def test_a_settled_verdict_is_the_same_however_the_reply_goes_on() -> None:
    draw = random.Random(0)
    settled = open_ = 0
    for _ in range(4000):
        reply = "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 14)))
        verdict = read_verdict(reply)
        for length in range(len(reply) + 1):
            if verdict_is_settled(reply[:length]):
                assert read_verdict(reply[:length]) is verdict, (reply[:length], reply)
                settled += 1
            else:
                open_ += 1
    assert settled > 5000
    assert open_ > 5000
