"""Distributions that are mixed, against sums by hand."""

import pytest
import torch

from swarm_lightning.evaluation.mixtures.mixture import mix


def test_probabilities_are_averaged_by_their_weights() -> None:
    # Distributions (0.2, 0.8) and (0.6, 0.4): with weights 1/4 and 3/4, (0.5, 0.5).
    logits = torch.tensor([[[0.2, 0.8]], [[0.6, 0.4]]]).log() + torch.tensor([1.0, 5.0])[:, None, None]
    found = mix(logits, torch.tensor([[0.25, 0.75]]), "probabilities")
    assert found.exp().flatten().tolist() == pytest.approx([0.5, 0.5])


def test_a_particle_of_no_weight_has_no_say() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    for averaged in ("probabilities", "logits"):
        found = mix(logits, torch.tensor([[0.0, 1.0]] * 3), averaged)
        torch.testing.assert_close(found, logits[1].log_softmax(dim=-1))
