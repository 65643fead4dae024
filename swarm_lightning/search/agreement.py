"""Refuses to go on where the ranks of a run do not hold the same: before the search, and in every iteration.

Every rank moves the whole swarm with the same numbers. Files that differ between two machines, or a rank whose
arithmetic went another way, would make of one search several that look like one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import differences_between
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import RESUME, RankError, Ranks, digest
from swarm_lightning.swarm.search_optimizer import SearchOptimizer


def check_same_run(ranks: Ranks, own: Mapping[str, Any], run: Path) -> None:
    """Compare base, experts, data, settings and run folder between the ranks.

    Args:
        ranks: The processes that share the work.
        own: What this rank has, as plain values.
        run: Its run folder.

    Raises:
        InputError: If a rank has others than the first; on all ranks, by name.
    """
    if ranks.count == 1:
        return
    first, *others = ranks.every({**own, "run folder": str(run)})
    for rank, other in enumerate(others, start=1):
        differing = differences_between(first, other, "on rank 0")
        if differing:
            named = "; ".join(differing)
            error = InputError(
                f"Expected the same files and settings on all {ranks.count} ranks, but on rank {rank} {named}. Give "
                "every rank the same config and the same files, and a seed."
            )
            error.shared = True
            raise error


def check_same_swarm(ranks: Ranks, optimizer: SearchOptimizer, examples: Sequence[Example]) -> None:
    """Compare the candidates, those that are due and what they are asked between the ranks.

    Candidates are compared by the sum of their bits as whole numbers, which no order of adding changes: one pass over
    [P, D] at the speed of memory.

    Args:
        ranks: The processes that share the work.
        optimizer: The swarm.
        examples: What is about to be asked.

    Raises:
        RankError: If a rank holds others than the first; on all ranks.
    """
    if ranks.count == 1:
        return
    bits = optimizer.candidates.view(torch.int32).sum(dim=1, dtype=torch.int64)
    asked = [(example.identifier, example.question) for example in examples]
    wanted = None if optimizer.wanted is None else optimizer.wanted.nonzero().tolist()
    digests = ranks.every(digest(bits.tolist(), optimizer.due.tolist(), asked, wanted))
    differing = [rank for rank, held in enumerate(digests) if held != digests[0]]
    if differing:
        error = RankError(
            f"Expected the same swarm and the same examples on all {ranks.count} ranks, but those of {differing} are "
            f"others than those of rank 0. Are machines, devices and library versions the same? {RESUME}"
        )
        error.shared = True
        raise error
