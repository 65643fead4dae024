"""Gradient descent on a loss that is known: what is chosen, what is read, and how a batch is cut."""

import os
import signal

import pytest
import torch
from torch import Tensor

from swarm_lightning.baselines import gradient_descent
from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.gradient_descent import EPOCHS, GradientDescent
from swarm_lightning.baselines.right_answers import RightAnswer
from swarm_lightning.evaluation.interruption import Interrupted, in_order
from swarm_lightning.tuning.rendering import TokenExample


def answer_of(value: int, length: int = 2) -> RightAnswer:
    row = TokenExample((value,) * length, (value,) * length)
    return RightAnswer((row,), (1,), 0, row)


def descent_to(values: list[int], rate: float = 0.1) -> GradientDescent:
    """Every answer pulls the single weight to a value of its own."""

    def losses(weights: Tensor, answers: list[RightAnswer]) -> Tensor:
        return torch.stack([(weights[0] - answer.closed.input_ids[0]).square() for answer in answers])

    answers = [answer_of(value) for value in values]
    return GradientDescent(answers, losses, lambda answer: 1, lambda answer: [2], rate, seed=0)  # type: ignore[arg-type]


def trained(descent: GradientDescent, start: float) -> tuple[Tensor, int, int]:
    return descent.train(torch.tensor([start]), torch.Generator().manual_seed(0))


def test_what_helps_with_what_is_held_out_is_trained_to_the_end() -> None:
    found, epochs, read = trained(descent_to([100] * 8), start=0.0)
    assert epochs == EPOCHS
    # A batch holds all 8: Adam goes 0.1 a step where gradients barely change.
    assert float(found) == pytest.approx(0.1 * EPOCHS, rel=0.02)
    assert read == 8 * (3 * EPOCHS + EPOCHS + 1 + EPOCHS)


def test_what_does_not_help_is_not_trained() -> None:
    found, epochs, _ = trained(descent_to([3] * 8), start=3.0)
    assert (float(found), epochs) == (3.0, 0)


def test_losses_that_are_no_numbers_count_as_the_worst() -> None:
    # The first step goes to -9 and lower, where the logarithm is none.
    answers = [answer_of(1)] * 8
    descent = GradientDescent(
        answers, lambda weights, some: weights.log().expand(len(some)), lambda answer: 1, lambda answer: [2], 10.0, 0
    )
    found, epochs, _ = trained(descent, start=1.0)
    assert (float(found), epochs) == (1.0, 0)


def test_a_batch_cut_by_its_tokens_has_the_mean_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    descent = descent_to([0, 1, 2, 3, 4])
    whole = [float(part) for part in descent.parts(torch.tensor([0.0]), descent.answers)]
    monkeypatch.setattr(gradient_descent, "TOKENS", 4)
    cut = [float(part) for part in descent.parts(torch.tensor([0.0]), descent.answers)]
    assert whole == [pytest.approx((0 + 1 + 4 + 9 + 16) / 5)]
    assert cut == pytest.approx([1 / 5, 13 / 5, 16 / 5])


def test_fewer_examples_than_folds_are_a_reason_to_be_absent() -> None:
    with pytest.raises(Absent, match="needs 4 validation examples for its folds, and there are 3"):
        trained(descent_to([1, 2, 3]), start=0.0)


def test_a_run_that_is_asked_to_end_does_not_wait_for_the_last_epoch() -> None:
    descent = descent_to([100] * 8)
    with in_order():
        epochs = descent.epochs(torch.tensor([0.0]), descent.answers)
        assert [float(next(epochs)) for _ in range(2)] == [0.0, pytest.approx(0.1, rel=1e-3)]
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            next(epochs)
