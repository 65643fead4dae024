"""Scores of first positions are those of exactly that position, and count once."""

import math
import threading
from pathlib import Path

import torch

from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.sweep.first_scores import FirstScores

POSITIONS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def evaluation(scores: list[list[float]]) -> Evaluation:
    table = torch.tensor(scores, dtype=torch.float64)
    utilities = table.mean(dim=1)
    return Evaluation(table, [[None] * 2 for _ in scores], utilities, torch.stack([utilities, utilities], dim=1), 7)


def test_what_was_asked_is_taken_and_the_rest_is_asked(tmp_path: Path) -> None:
    filed = FirstScores(tmp_path / "filed", tmp_path / "locks")
    first = filed.keys(POSITIONS[:2], {"base": "a"})
    assert filed.missing(first).tolist() == [True, True]
    whole = filed.complete(first, evaluation([[0, 1], [1, 1]]), filed.missing(first))
    assert (whole.evaluated, whole.taken) == (4, 0)
    filed.keep(first, evaluation([[0, 1], [1, 1]]), torch.tensor([True, True]))

    keys = filed.keys(POSITIONS[[1, 2, 0]], {"base": "a"})
    missing = filed.missing(keys)
    assert missing.tolist() == [False, True, False]
    found = filed.complete(keys, evaluation([[math.nan, math.nan], [0, 0], [math.nan, math.nan]]), missing)
    assert found.scores.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert found.utilities.tolist() == [1, 0, 0.5]
    assert found.reach.tolist() == [[1, 1], [0, 0], [0.5, 0.5]]
    assert (found.evaluated, found.taken, found.generated) == (2, 4, 7)
    assert filed.count() == 4


def test_another_position_base_or_data_is_another_question(tmp_path: Path) -> None:
    filed = FirstScores(tmp_path, tmp_path)
    nearly = POSITIONS.clone()
    nearly[0, 0] += 1e-6
    keys = [
        filed.keys(positions, what)[0]
        for positions in (POSITIONS, nearly)
        for what in ({"base": "a", "data": "x"}, {"base": "b", "data": "x"}, {"base": "a", "data": "y"})
    ]
    assert len(set(keys)) == 6
    assert filed.keys(POSITIONS, {"base": "a"}) == filed.keys(POSITIONS.clone(), {"base": "a"})


def test_who_would_ask_the_same_waits_and_who_asks_something_else_does_not(tmp_path: Path) -> None:
    one, other = (FirstScores(tmp_path / "filed", tmp_path / "locks") for _ in range(2))
    found: list[dict[str, float] | None] = []

    def ask() -> None:
        with other.alone({"base": "a"}):
            found.append(other.state({"base": "a"}))

    waiting = threading.Thread(target=ask)
    with one.alone({"base": "a"}):
        with other.alone({"base": "b"}):
            assert other.state({"base": "b"}) is None
        waiting.start()
        waiting.join(0.3)
        assert not found
        one.keep_state({"base": "a"}, {"lowest": 0.1})
    waiting.join()
    assert found == [{"lowest": 0.1}]
