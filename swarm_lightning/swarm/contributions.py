"""What every model contributes to a graph: assignments of models to nodes are drawn, and their utilities shared out.

Source: arXiv:2502.04510, section 2 and Algorithm 2 (JFK-score, after "ask what you can do for your country");
BunsenFeng/heterogeneous_swarm, search.py, `node_evaluate`.

Departure from the release, which divides by how often a model was drawn, also where that is 0: here a model that no
assignment drew has no new utility, and keeps its last one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def draw_assignments(count: int, nodes: int, usable: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw a model for every node, again and again; a model may stand in several nodes, or in none.

    Args:
        count: Number of assignments T.
        nodes: Number of nodes n.
        usable: The models that may be drawn.
        generator: Source of the random numbers.

    Returns:
        The model of every node [T, n] int64.
    """
    drawn = torch.randint(len(usable), (count, nodes), generator=generator)
    return torch.tensor(usable)[drawn]


def contributions(assignments: Tensor, utilities: Tensor, models: int) -> Tensor:
    """Return the utility of every model: the mean of those of the assignments, weighted by how often it stood in each.

    Args:
        assignments: The model of every node [T, n].
        utilities: Of every assignment [T]; one that broke, -inf, tells nothing of a model that others drew too.
        models: Number of models.

    Returns:
        [models] float64; NaN for a model that no assignment drew, -inf for one that only broken ones did.

    >>> contributions(torch.tensor([[0, 0], [0, 1]]), torch.tensor([0.9, 0.3]), 3)  # (2 0.9 + 0.3) / 3
    tensor([0.7000, 0.3000,    nan], dtype=torch.float64)
    """
    counts = torch.stack([(assignments == model).sum(dim=1) for model in range(models)]).double()
    whole = utilities.double().isfinite()
    totals = counts[:, whole] @ utilities.double()[whole]
    drawn = counts[:, whole].sum(dim=1)
    found = totals / drawn.masked_fill(drawn == 0, math.nan)
    return found.masked_fill((drawn == 0) & (counts.sum(dim=1) > 0), -math.inf)
