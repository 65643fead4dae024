import torch

from swarm_lightning.evaluation.engine.batches import lay_out, queues_of

CPU = torch.device("cpu")


def test_every_particle_has_a_queue_with_its_longest_rows_first() -> None:
    queues = queues_of([2, 0, 2, 0, 0], [3, 5, 4, 7, 5])
    assert list(queues) == [0, 2]
    assert [list(queue) for queue in queues.values()] == [[3, 1, 4], [2, 0]]  # of equals, the first stays first


def test_rows_are_padded_on_the_left_and_lie_particle_by_particle() -> None:
    batch = lay_out({1: [2, 0], 4: [1, 3]}, [[1], [2, 3, 4], [5, 6], [7, 8]], 0, 9, CPU)
    assert batch.particles == (1, 4)
    assert batch.rows == (2, 0, 1, 3)
    assert batch.tokens.tolist() == [[9, 5, 6], [9, 9, 1], [2, 3, 4], [9, 7, 8]]
    assert batch.mask.tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 1, 1]]
    assert batch.positions.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 2], [0, 0, 1]]


def test_a_particle_with_fewer_rows_gets_rows_without_meaning() -> None:
    batch = lay_out({0: [1], 1: [0, 2, 3], 2: []}, [[1, 2], [3], [4], [5]], 0, 9, CPU)
    assert batch.rows == (1, None, None, 0, 2, 3, None, None, None)
    assert batch.tokens.tolist() == [[9, 3], [9, 9], [9, 9], [1, 2], [9, 4], [9, 5], [9, 9], [9, 9], [9, 9]]
    assert (batch.mask.sum(dim=1) >= 1).all()  # no row is all padding: its softmax would be empty
    assert batch.mask[[1, 2, 6, 7, 8]].tolist() == [[0, 1]] * 5


def test_skipped_tokens_are_not_fed_but_count_as_positions() -> None:
    batch = lay_out({0: [0, 1]}, [[9, 9, 9, 5], [9, 9, 9, 6, 7]], 3, 0, CPU)
    assert batch.tokens.tolist() == [[0, 5], [6, 7]]
    assert batch.positions.tolist() == [[0, 3], [3, 4]]


def test_every_sequence_may_have_a_beginning_of_its_own_that_is_not_fed() -> None:
    batch = lay_out({0: [0, 1], 1: [2]}, [[9, 9, 9, 5], [9, 6, 7], [9, 9, 8]], [3, 1, 2], 0, CPU)
    assert batch.tokens.tolist() == [[0, 5], [6, 7], [0, 8], [0, 0]]
    assert batch.positions.tolist() == [[0, 3], [1, 2], [0, 2], [0, 1]]
    assert batch.mask.tolist() == [[0, 1], [1, 1], [0, 1], [0, 1]]
