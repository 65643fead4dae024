"""Work in threads that stay."""

import threading
import time

import pytest

from swarm_lightning.threads import in_threads


def test_calls_share_their_threads_and_keep_the_order_of_the_pieces() -> None:
    seen: set[int] = set()

    def work(piece: int) -> int:
        seen.add(threading.get_ident())
        time.sleep(0.001 * (5 - piece))
        return piece * piece

    for _ in range(4):
        assert in_threads(work, range(5), threads=2) == [0, 1, 4, 9, 16]
    assert 1 <= len(seen) <= 2
    assert threading.get_ident() not in seen


def test_nothing_is_at_work_any_more_when_an_error_comes_out() -> None:
    running: set[int] = set()
    begun: list[int] = []

    def work(piece: int) -> None:
        begun.append(piece)
        if piece == 0:
            raise ValueError("the first piece")
        running.add(piece)
        time.sleep(0.02)
        running.remove(piece)

    with pytest.raises(ValueError, match="the first piece"):
        in_threads(work, range(50), threads=2)
    assert not running
    assert len(begun) < 50, "what had not begun is left out"
