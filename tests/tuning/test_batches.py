"""Every epoch reads every example once, batches depend on the step alone, and padding is inert."""

import torch

from swarm_lightning.tuning.batches import batch_of, hold_out, pad
from swarm_lightning.tuning.rendering import IGNORED, TokenExample


def test_every_epoch_reads_every_example_once_in_an_order_of_its_own() -> None:
    batches = [batch_of(step, 10, 4, seed=3) for step in range(6)]
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_orders_are_the_permutations_of_the_seed_one_after_the_other() -> None:
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(10, generator=generator).tolist() for _ in range(3)]
    for step in (7, 0, 4):  # in any order of asking
        epoch, place = divmod(step, 3)
        assert batch_of(step, 10, 4, seed=3) == orders[epoch][4 * place : 4 * place + 4]


def test_what_is_held_out_is_never_trained_on() -> None:
    train, held = hold_out(20, 0.1, seed=1)
    assert sorted(train + held) == list(range(20))
    assert len(held) == 2
    assert hold_out(20, 0.0, seed=1) == (list(range(20)), [])
    assert len(hold_out(3, 0.01, seed=1)[1]) == 1


def test_micro_batches_hold_similar_lengths_and_ignore_the_padding() -> None:
    examples = [TokenExample(tuple(range(1, n + 1)), tuple([IGNORED] * (n - 1) + [n])) for n in (2, 5, 3, 4)]
    first, second = pad(examples, 2, pad_token=9)
    assert first["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 9]]
    assert first["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert first["labels"].tolist() == [[IGNORED] * 4 + [5], [IGNORED] * 3 + [4, IGNORED]]
    assert second["input_ids"].tolist() == [[1, 2, 3], [1, 2, 9]]
    assert len(pad(examples, None, pad_token=9)) == 1
