"""Candidates that are made when they are asked for."""

import torch
from torch import Tensor

from swarm_lightning.baselines.candidates import LazyCandidates


def test_one_is_made_once_as_long_as_no_other_is_asked_for() -> None:
    made: list[int] = []

    def make(place: int) -> Tensor:
        made.append(place)
        return torch.tensor([float(place)])

    candidates = LazyCandidates(4, make)
    assert len(candidates) == 4
    assert [float(candidates[place]) for place in (0, 0, 2, 2, -2, 3, 0)] == [0.0, 0.0, 2.0, 2.0, 2.0, 3.0, 0.0]
    assert made == [0, 2, 3, 0]
    assert [float(one) for one in candidates[1:3]] == [1.0, 2.0]
