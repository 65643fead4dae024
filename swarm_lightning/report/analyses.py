"""The numbers behind the page: who answers what, where particles are, and what the best one is made of.

Sources: arXiv:2410.11163, "correctness emergence" and "diamond in the rough".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.experts.export.exported_file import MIXTURE_FILE
from swarm_lightning.experts.export.mixture import read_mixture
from swarm_lightning.report.run import Run

if TYPE_CHECKING:
    import pandas

WHOLE = 1e-9


@dataclass(frozen=True)
class Emergence:
    """Which validation examples are answered right, before and after a search.

    Attributes:
        experts: Whether each expert answers right before the search [n, M] bool.
        winner: Whether the best found expert does after it [M] bool.
        particles: Whether the personal best of each particle does after it [N, M] bool; None where that is not known,
            because the search followed a guide.
    """

    experts: Tensor
    winner: Tensor
    particles: Tensor | None

    @property
    def counts(self) -> dict[str, int]:
        """How many examples emerged, were lost, and stayed, each by a name that says it."""
        before = self.experts.any(dim=0)
        known = {
            "examples": before.numel(),
            "right by no expert before": int((~before).sum()),
            "of these right by the winner now": int((~before & self.winner).sum()),
        }
        if self.particles is None:
            return {**known, "right by some expert before, not by the winner now": int((before & ~self.winner).sum())}
        after = self.particles.any(dim=0)
        return {
            **known,
            "of these right by any particle now": int((~before & after).sum()),
            "right by some expert before, by no particle now": int((before & ~after).sum()),
        }


def best_scores(run: Run) -> Tensor:
    """Return the scores of every particle's personal best [N, M]; they are complete, as only whole scores make one.

    Args:
        run: A search whose particles move.
    """
    history, tables = run.history, run.scores
    if history.empty or not tables:
        return torch.empty(0, 0)
    known = history[history.iteration.isin(list(tables))]
    rows = []
    for particle, own in known.groupby("particle"):
        reached = own[own.utility == own.personal_best]
        best = reached.loc[reached.utility.idxmax(), "iteration"] if len(reached) else min(tables)
        rows.append(tables[int(best)][int(particle)])
    return torch.stack(rows)


def emergence(run: Run) -> Emergence | None:
    """Say which examples are answered right before and after; None where scores are not simply right or wrong."""
    if {"experts", "found"} <= run.by_objective.keys():  # a guide's scores say nothing of right and wrong
        experts, found = run.by_objective["experts"], run.by_objective["found"]
        return Emergence(experts == 1, found == 1, None) if _right_or_wrong(experts, found) else None
    tables, count, best = run.scores, len(run.starts), best_scores(run)
    if not count or not best.numel() or 0 not in tables:
        return None
    first, winner = tables[0][:count], winner_of(run)
    if winner is None or not _right_or_wrong(first, best):
        return None
    return Emergence(first == 1, best[winner] == 1, best == 1)


def _right_or_wrong(*tables: Tensor) -> bool:
    return all(set(scores[scores.isfinite()].tolist()) <= {0.0, 1.0} for scores in tables)


def winner_of(run: Run) -> int | None:
    """Return the particle that has found the best expert; None where there are no particles."""
    history = run.history
    if history.empty or not history.personal_best.notna().any():
        return None
    told = run.summary.get("particle")  # the highest is not always chosen, and of equal ones the first that was so high
    return told if told in set(history.particle) else int(history.loc[history.personal_best.idxmax(), "particle"])


def rank_at_start(run: Run) -> int | None:
    """Return the rank of the winner among all particles before the search, 1 for the best; equals share the best."""
    winner, history = winner_of(run), run.history
    if winner is None:
        return None
    first = history[history.iteration == history.iteration.min()]
    own = first.loc[first.particle == winner, "personal_best"].iloc[0]
    return 1 + int((first.personal_best > own).sum())


def composition(run: Run) -> tuple["pandas.DataFrame", float | None]:
    """Return how much of each expert stands in the best found one.

    It is exact where positions are coefficients: then the share that lies outside is 0. Else it is the least squares
    solution for the sketches, and exact as far as the best lies in the experts' span, because a sketch is linear.

    Args:
        run: A search.

    Returns:
        `expert`, `coefficient` (the mean over its groups), `lowest` and `highest`; and the share of the best's squared
        length that lies outside the experts' span, None where nothing is known.
    """
    import pandas

    names, exact = run.starts, run.coefficients
    if names and exact is not None and len(exact) == len(names):
        numbers = {"coefficient": exact.mean(1), "lowest": exact.amin(1), "highest": exact.amax(1)}
        return pandas.DataFrame({"expert": names, **{key: value.tolist() for key, value in numbers.items()}}), 0.0
    if not names or 0 not in run.sketches or not run.found:
        return pandas.DataFrame(), None
    experts = run.sketches[0][: len(names)].double()
    found = next(reversed(run.found.values())).double()
    # Whole models are nearly the same: what tells them apart is their difference from their mean.
    origin = torch.zeros_like(found) if run.record.get("differences", True) else experts.mean(dim=0)
    spans, target = experts - origin, found - origin
    shares = torch.linalg.lstsq(spans.T, target[:, None], driver="gelsd").solution[:, 0]
    rest = float((target - shares @ spans).square().sum() / target.square().sum().clamp_min(WHOLE))
    if not run.record.get("differences", True):
        shares = shares + 1 / len(names)
    values = shares.tolist()
    frame = pandas.DataFrame({"expert": names, "coefficient": values, "lowest": values, "highest": values})
    return frame, 0.0 if rest < 1e-6 else rest


def mixture_of(run: Run) -> str | None:
    """Return what the coefficients of a token swarm weigh; None for other searches, and before it has ended.

    Raises:
        InputError: If the file of the mixture is damaged.
    """
    folder = run.best
    return read_mixture(folder).mixture if folder is not None and (folder / MIXTURE_FILE).is_file() else None


def places(run: Run) -> "pandas.DataFrame":
    """Return where every particle is in each iteration, on the two main axes of all of their sketches.

    Args:
        run: A search.

    Returns:
        `iteration`, `particle`, `x`, `y`, `utility`, and `share`: of the spread that the two axes show.
    """
    import pandas

    if not run.sketches or run.history.empty:
        return pandas.DataFrame()
    sketches = torch.cat([sketch.double() for sketch in run.sketches.values()])
    centred = sketches - sketches.mean(dim=0)
    if not centred.isfinite().all() or not centred.any():
        return pandas.DataFrame()
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[:2].T
    count = len(next(iter(run.sketches.values())))
    iterations = [iteration for iteration in run.sketches for _ in range(count)]
    frame = pandas.DataFrame(
        {
            "iteration": iterations,
            "particle": list(range(count)) * len(run.sketches),
            "x": flat[:, 0].tolist(),
            "y": flat[:, 1].tolist(),
            "share": float(sizes[:2].square().sum() / sizes.square().sum()),
        }
    )
    return frame.merge(run.history[["iteration", "particle", "utility", "restarted"]], on=["iteration", "particle"])


def heat(run: Run, cells: int = 6000) -> "pandas.DataFrame":
    """Return the scores of all personal bests, examples from easy to hard, in as many cells as a page can hold.

    Args:
        run: A search whose particles move.
        cells: Cells at most; beyond that, neighbouring examples share one, with their mean score.

    Returns:
        `particle`, `from`, `to` (places of the examples by difficulty, counted from 1), `score`.
    """
    import pandas

    scores = best_scores(run)
    if not scores.numel():
        return pandas.DataFrame()
    ordered = scores[:, scores.nan_to_num(neginf=0.0).mean(dim=0).argsort(descending=True, stable=True)]
    particles, examples = ordered.shape
    wide = -(-examples * particles // cells)
    rows = []
    for start in range(0, examples, wide):
        piece = ordered[:, start : start + wide]
        for particle, score in enumerate(piece.mean(dim=1).tolist()):
            rows.append((particle, start + 1, start + piece.shape[1], score))
    return pandas.DataFrame(rows, columns=["particle", "from", "to", "score"])
