import math

import pytest
import torch

from swarm_lightning.evaluation.ensemble import vote
from swarm_lightning.objectives.protocol import Outcome


def answers_of(*rows: str) -> list[list[Outcome | None]]:
    """One word per particle, one character per example; `-` is a reply without an answer, `.` was not asked."""
    return [
        [
            None if answer == "." else Outcome(f"reply {particle}", None if answer == "-" else answer, 0.0)
            for answer in row
        ]
        for particle, row in enumerate(rows)
    ]


def voted(ballots: list[list[Outcome | None]], utilities: list[float]) -> list[tuple[str | None, str]]:
    outcomes = vote(ballots, torch.tensor(utilities, dtype=torch.float64))
    return [(outcome.answer, outcome.reply) for outcome in outcomes]


def test_the_majority_wins_and_its_best_supporter_speaks() -> None:
    # Two say B; of them particle 2 is better. The best particle, 0, is outvoted.
    assert voted(answers_of("A", "B", "B"), [0.9, 0.1, 0.2]) == [("B", "reply 2")]


def test_a_tie_goes_to_the_answer_of_the_best_particle() -> None:
    # A: particles 0 and 1 (best 0.5), B: 2 and 3 (best 0.6), C: 4 alone is the best but has one vote.
    assert voted(answers_of("A", "A", "B", "B", "C"), [0.5, 0.4, 0.1, 0.6, 0.9]) == [("B", "reply 3")]


def test_a_tie_between_equally_good_particles_goes_to_the_first() -> None:
    assert voted(answers_of("B", "A"), [0.5, 0.5]) == [("B", "reply 0")]
    assert voted(answers_of("A", "B", "B", "A"), [0.1, 0.5, 0.1, 0.5]) == [("B", "reply 1")]


def test_every_example_is_voted_on_by_itself() -> None:
    assert voted(answers_of("AB", "AC", "BC"), [0.3, 0.2, 0.1]) == [("A", "reply 0"), ("C", "reply 1")]


def test_a_reply_without_an_answer_has_no_vote() -> None:
    assert voted(answers_of("-", "-", "B"), [0.9, 0.8, 0.1]) == [("B", "reply 2")]


def test_without_any_answer_the_best_particle_speaks() -> None:
    assert voted(answers_of("-", "-"), [0.1, 0.8]) == [(None, "reply 1")]


def test_a_particle_that_was_not_asked_has_no_vote() -> None:
    assert voted(answers_of(".A", "BB", "CB"), [0.9, 0.1, 0.2]) == [("C", "reply 2"), ("B", "reply 2")]


def test_an_unknown_utility_counts_lowest() -> None:
    assert voted(answers_of("A", "B"), [math.nan, -5.0]) == [("B", "reply 1")]


def test_what_cannot_be_voted_on_is_refused() -> None:
    with pytest.raises(ValueError, match="example 1"):
        vote(answers_of("A.", "B."), torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="2 particles"):
        vote(answers_of("A", "B"), torch.tensor([1.0]))
