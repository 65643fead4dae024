"""What an evaluation asks next, and what its score table says by then of every candidate.

A round asks the candidates that are not decided yet. Nothing here asks anybody or holds a state.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.exact_stop import Stakes, UtilityRule, next_examples, reach, rule_of
from swarm_lightning.evaluation.lots import LEAST_PAIRS
from swarm_lightning.evaluation.objective_call import BROKEN
from swarm_lightning.objectives.protocol import Objective


def next_round(
    table: Tensor,
    running: Sequence[int],
    stakes: Stakes | None,
    rule: UtilityRule,
    wanted: Tensor | None,
    chunk: int | None,
) -> dict[int, list[int]]:
    """Return what to ask of whom in the next round, the places of examples by candidate; nothing when all is decided.

    Args:
        table: The score table so far [P, M]; NaN where nothing was asked.
        running: The candidates that are not done yet.
        stakes: What has to be found out about them; everything where not given.
        rule: How scores make a utility.
        wanted: Which examples to ask which candidate [P, M], bool; all where not given.
        chunk: Examples of a round for each candidate; None for as many as make it worth a round.
    """
    asked: dict[int, list[int]] = {}
    # Rounds of a few rows would take longer than the questions that they save.
    chunk = chunk or math.ceil(2 * LEAST_PAIRS / max(len(running), 1))
    rows = table.tolist()
    expected, bests = (None, None) if stakes is None else (stakes.expected.tolist(), stakes.personal_bests.tolist())
    for candidate in running:
        scores = rows[candidate]
        if BROKEN in scores:
            continue
        if stakes is None or expected is None or bests is None:
            places = [one for one in _wanted(wanted, candidate, len(scores)) if math.isnan(scores[one])]
        else:
            places = next_examples(scores, expected[candidate], bests[candidate], stakes.floor, rule, chunk)
        if places:
            asked[candidate] = places
    return asked


def reaches_of(
    objective: Objective,
    table: Tensor,
    due: Sequence[int],
    stakes: Stakes | None,
    examples: Sequence[Example],
    wanted: Tensor | None,
) -> Tensor:
    """Return the lowest and the highest utility that every candidate can have [P, 2], float64.

    Args:
        objective: What was asked.
        table: The score table [P, M]; NaN where nothing was asked, -inf where the candidate broke.
        due: The candidates that were to be asked; of others it is NaN.
        stakes: What had to be found out about them; everything where not given.
        examples: What they were asked, M of them.
        wanted: Which examples which candidate was to be asked [P, M], bool; all where not given.
    """
    reaches, rows = [(math.nan, math.nan)] * len(table), table.tolist()
    known = [math.nan] * len(table) if stakes is None else stakes.known.tolist()
    rules: dict[tuple[int, ...], UtilityRule] = {}  # candidates may share what they are asked
    for candidate in due:
        places = tuple(_wanted(wanted, candidate, len(examples)))
        if not places:
            continue
        if BROKEN in rows[candidate]:
            reaches[candidate] = (BROKEN, BROKEN)
        elif not math.isnan(known[candidate]):
            reaches[candidate] = (known[candidate], known[candidate])
        else:
            if places not in rules:
                rules[places] = rule_of(objective, [examples[place] for place in places])
            reaches[candidate] = reach([rows[candidate][place] for place in places], rules[places])
    return torch.tensor(reaches, dtype=torch.float64)


def _wanted(wanted: Tensor | None, candidate: int, count: int) -> list[int]:
    """Return the places of the examples that a candidate is to be asked, of so many."""
    return list(range(count)) if wanted is None else wanted[candidate].nonzero().flatten().tolist()
