"""How many examples tell a difference from noise, checked by drawing many test sets."""

import pytest
import torch

from swarm_lightning.evaluation.power import examples_needed, noise_of, smallest_difference


def test_so_many_examples_find_the_difference_four_times_in_five() -> None:
    generator = torch.Generator().manual_seed(0)
    agree = 0.7  # of the examples both answer alike, on the others one of them is right
    gain = 0.05
    only_first = (1 - agree - gain) / 2
    drawn = torch.rand(400_000, generator=generator, dtype=torch.float64)
    difference = torch.where(drawn < only_first, -1.0, torch.where(drawn < 2 * only_first + gain, 1.0, 0.0))
    count = examples_needed(gain, float(difference.var()))
    sets = difference[: count * (len(difference) // count)].view(-1, count)
    error = sets.std(dim=1) / count**0.5
    found = (sets.mean(dim=1).abs() > 1.96 * error).double().mean()
    assert float(found) == pytest.approx(0.8, abs=0.06)


def test_models_that_answer_alike_need_fewer_of_the_same_examples() -> None:
    one = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    other = one.clone()
    other[0] = 0.0
    noise = noise_of(torch.stack([one, other]))
    # By hand: one difference of eight, 1/8 - 1/64 times 8/7; variances 2/7 and 15/56.
    assert noise.paired == pytest.approx(1 / 8)
    assert noise.unpaired == pytest.approx(2 / 7 + 15 / 56)


def test_the_smallest_difference_is_the_way_back() -> None:
    assert smallest_difference(examples_needed(0.04, 0.3), 0.3) == pytest.approx(0.04, rel=1e-3)


def test_one_model_tells_no_noise() -> None:
    with pytest.raises(ValueError, match="2 models"):
        noise_of(torch.zeros(1, 5))
