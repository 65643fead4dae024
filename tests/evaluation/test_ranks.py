"""Ranks, in real processes: what is shared out and gathered, and how a failure on one becomes a failure on all."""

import json
import math
from typing import Any

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import Ranks
from tests.forked_ranks import ForkedRanks, torchrun_environments

JOIN = """
import json, math, os, torch
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import RankError, Ranks
ranks = Ranks.join(int(os.environ["LOCAL_WORLD_SIZE"]))
"""


def on_ranks(forked_ranks: ForkedRanks, count: int, program: str) -> list[Any]:
    """Run a program that prints one JSON value per rank."""
    ended = forked_ranks.run(torchrun_environments(count), JOIN + program)
    assert [rank.code for rank in ended] == [0] * count, ended
    return [json.loads(rank.out.splitlines()[-1]) for rank in ended]


def test_one_process_needs_no_other() -> None:
    ranks = Ranks.join(1)
    table = torch.tensor([[0.1, math.nan]], dtype=torch.float64)
    with ranks.together():
        merged = ranks.gather_scores(table)
    assert merged.equal(table) or merged[0, 1].isnan()
    assert ranks.sum(torch.tensor(3)).item() == 3
    assert (ranks.first("a"), ranks.every("a"), ranks.share("abc")) == ("a", ["a"], ["a", "b", "c"])
    assert not torch.distributed.is_initialized()
    with pytest.raises(InputError, match="mine"), ranks.together():
        raise InputError("mine")
    with pytest.raises(KeyError), ranks.together():
        raise KeyError("mine")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_everything_is_shared_out_once_and_comes_back_to_all(forked_ranks: ForkedRanks, count: int) -> None:
    found = on_ranks(
        forked_ranks,
        count,
        "mine = ranks.share(list('abcd'))\n"
        "print(json.dumps([mine, ranks.gather_objects(mine), ranks.sum(torch.tensor([len(mine), 1])).tolist(),"
        " ranks.first(ranks.index), ranks.every(ranks.index)]))",
    )
    shares = {2: ["ac", "bd"], 3: ["ad", "b", "c"], 5: ["a", "b", "c", "d", ""]}[count]
    assert ["".join(mine) for mine, *_ in found] == shares
    for _, gathered, total, first, every in found:
        assert "".join(gathered) == "".join(shares)
        assert (total, first, every) == ([4, count], 0, list(range(count)))


def test_scores_are_merged_to_the_last_bit(forked_ranks: ForkedRanks) -> None:
    # Row k is asked by rank k, and the last row by nobody.
    rows = [[0.1, 1 / 3, -0.0, 5e-324], [math.inf, -1e308, 2**-1074, 0.7000000000000001], [-math.inf, 0.0, 1.0, -2.5]]
    program = f"""
inf = math.inf
scores = torch.full((4, 4), math.nan, dtype=torch.float64)
scores[ranks.index] = torch.tensor({rows!r}, dtype=torch.float64)[ranks.index]
merged = ranks.gather_scores(scores)
print(json.dumps([merged[:3].view(torch.int64).tolist(), bool(merged[3].isnan().all())]))
"""
    bits = torch.tensor(rows, dtype=torch.float64).view(torch.int64).tolist()
    assert on_ranks(forked_ranks, 3, program) == [[bits, True]] * 3


def test_the_same_pair_asked_twice_is_a_fault(forked_ranks: ForkedRanks) -> None:
    program = """
try:
    ranks.gather_scores(torch.tensor([[1.0, math.nan]], dtype=torch.float64))
except ValueError as error:
    print(json.dumps(str(error)))
"""
    assert all("asked by one rank" in told for told in on_ranks(forked_ranks, 2, program))


def test_a_failure_on_one_rank_is_a_failure_on_all_and_the_ranks_can_still_talk(forked_ranks: ForkedRanks) -> None:
    program = """
told = []
def attempt(*failures):
    try:
        with ranks.together():
            failure = failures[ranks.index]
            if failure is not None:
                raise failure
        told.append("done")
    except Exception as error:
        told.append([type(error).__name__, str(error)[:80], getattr(error, "shared", None)])

attempt(None, None, None)
attempt(None, InputError("bad"), None)
attempt(None, None, KeyError("worse"))
attempt(None, InputError("first"), InputError("second"))
attempt(KeyError("first"), InputError("second"), None)
print(json.dumps([told, ranks.every(ranks.index)]))
"""
    found = on_ranks(forked_ranks, 3, program)
    assert [every for _, every in found] == [[0, 1, 2]] * 3
    nothing, mistake, fault, mistakes, mixed = zip(*(told for told, _ in found), strict=True)
    assert nothing == ("done",) * 3
    assert mistake == (["InputError", "bad", True],) * 3
    assert [name for name, *_ in fault] == ["RankError", "RankError", "KeyError"]
    assert "rank 2 failed: KeyError: 'worse'" in fault[0][1]
    assert mistakes == (["InputError", "first", True],) * 3
    assert [name for name, *_ in mixed] == ["KeyError", "InputError", "RankError"]


def test_a_rank_that_is_gone_is_missed_at_once(forked_ranks: ForkedRanks) -> None:
    # Whether the others still meet when it goes, or have met, is for the machine to say: they tell the same.
    program = """
import json, os, signal
from swarm_lightning.evaluation.ranks import RankError, Ranks
try:
    ranks = Ranks.join(3)
    if RANK == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with ranks.together():
        pass
except RankError as error:
    print(json.dumps(str(error)))
"""
    ended = forked_ranks.run(torchrun_environments(3), program)
    assert [rank.code for rank in ended] == [0, -9, 0], ended
    for rank in (0, 2):
        told = json.loads(ended[rank].out.splitlines()[-1])
        assert f"rank {rank} has lost another one" in told
        assert "--ckpt_path" in told
