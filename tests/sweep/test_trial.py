"""Which objectives draw replies: their first scores belong to one seed and one place in the swarm."""

from pathlib import Path

import pytest
import torch

from swarm_lightning.objectives import ExactMatch, MultipleChoice, MultiTask, Objective
from swarm_lightning.sweep.first_scores import FirstScores
from swarm_lightning.sweep.trial import samples_replies
from tests.search.scripted_search import SaidNumber


@pytest.mark.parametrize(
    ("objective", "drawn"),
    [
        (ExactMatch(), False),
        (MultipleChoice(method="likelihood"), False),
        (ExactMatch(temperature=0.7), True),
        (MultiTask({"one": ExactMatch(), "two": MultipleChoice()}), False),
        (MultiTask({"one": ExactMatch(), "two": ExactMatch(temperature=0.7)}), True),
        (SaidNumber(), True),  # one that is not of this package may do anything
    ],
)
def test_an_objective_draws_where_it_has_a_temperature(objective: Objective, drawn: bool) -> None:
    assert samples_replies(objective) == drawn


def test_drawn_replies_are_filed_by_the_place_in_the_swarm(tmp_path: Path) -> None:
    filed, positions = FirstScores(tmp_path, tmp_path), torch.ones(2, 3)
    one, other = filed.keys(positions, {}, numbered=True)
    same, again = filed.keys(positions, {})
    assert one != other
    assert same == again
