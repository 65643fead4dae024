"""A guide that a search follows: whether it ranks as the objective does, and what the objective makes of its bests.

Whether it ranks candidates so is measured on the first of a search, before it is followed. In the end the objective
chooses among the few best by the guide.

The measure is Kendall's tau of the candidates' utilities by the one and by the other. Its noise has two sources: other
examples would give other utilities (bootstrap over the examples, paired), and other candidates other ranks (what tau
varies by among unrelated ranks). A guide is followed where tau is clearly above 0, or where nothing speaks against it:
the objective's utilities differ by no more than noise, so that they rank nothing either. It is dropped where tau is
clearly below 0, and where it is not above 0 although the objective does tell the candidates apart. Of few candidates
hardly any order is clear, of two or three none: there a guide is followed that ranks them rather as the objective does
than the other way round. A search of a centre chooses by the objective among its start and the best expert too, so that
a guide that misleads costs no more than the steps: there it is dropped only where tau is more than a standard error
below 0. Ten experts tell little else: on a second world their order dropped a guide that is worth up to 14 points.

Unless that is asked for (`guide: mixed`), a guide is not mixed with its objective. A sum of both needs a rate of
exchange between nats and points that nobody knows, for which the spreads among the first candidates stand, and asks
every candidate twice, replies included, which is what a guide saves. Where it ranks well, it says the same with less
noise; where it ranks the other way round, no share of it helps. So it is mixed, half and half, only where its order is
unclear and it were dropped else. Source: Kendall, Rank correlation methods, 1948, chapters 3 (ties) and 5 (variance).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.bootstrap import Resampling
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.names import OF_BEST, OF_CENTRE
from swarm_lightning.objectives.means import mean_score
from swarm_lightning.objectives.mixed_guide import MixedGuide, Scale, mixes
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.swarm.centre_search import LAST_CENTRE, CentreSearch
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.rules import best_of
from swarm_lightning.swarm.search_optimizer import SearchOptimizer

SAMPLES = 400
SURE = 1.645  # standard errors: 95% on one side
MATTERS = 1.5  # the spread of utilities over their noise; among equal ones 20 reach 1.26 with a probability of 5%
# Personal bests that the objective chooses among. Of more, the one that the examples happen to flatter would win.
FEW = 5
HARDLY = 2 / 3  # Kendall's tau: where it takes more to be clear, as among 5 candidates or fewer, little ever is
HALF = 0.5  # the guide's share where it is mixed
# Of what an evolution strategy's steps may ask, the most that goes to asking the objective between them.
SHARE_SHOWN = 0.05


@dataclass(frozen=True)
class GuideCheck:
    """How a guide ranks the first candidates of a search, and what follows.

    Attributes:
        guide: Its class.
        objective: That of what it stands for.
        candidates: How many were ranked: those that are not broken.
        kendall: Kendall's tau-b of the guide's and the objective's utilities, in [-1, 1].
        error: Its standard error.
        spearman: Spearman's rank correlation of the same.
        spread: Standard deviation of the objective's utilities.
        noise: What that would be if all were equally good: the standard deviation by the choice of examples.
        followed: Whether the search follows the guide, alone or mixed.
        share: How much of what is followed is the guide; the rest is the objective.
        mean: Of the objective's utilities.
        guide_mean: Of the guide's utilities.
        guide_spread: Standard deviation of these.
    """

    guide: str
    objective: str
    candidates: int
    kendall: float
    error: float
    spearman: float
    spread: float
    noise: float
    followed: bool
    share: float = 1.0
    mean: float = 0.0
    guide_mean: float = 0.0
    guide_spread: float = 0.0

    @property
    def mixed(self) -> bool:
        """Whether the search follows guide and objective."""
        return self.followed and self.share < 1

    def mixture(self, guide: Objective, objective: Objective) -> MixedGuide:
        """Return what is followed where both are.

        Args:
            guide: That was checked.
            objective: What it stands for.
        """
        scales = Scale(self.guide_mean, self.guide_spread), Scale(self.mean, self.spread)
        return MixedGuide(guide, objective, *scales, self.share)

    def __str__(self) -> str:
        measured = (
            f"Kendall's tau {self.kendall:+.2f} +- {self.error:.2f}, Spearman's rho {self.spearman:+.2f}, over "
            f"{self.candidates} first candidates"
        )
        if self.kendall > SURE * self.error:
            return f"The guide {self.guide} ranks as {self.objective} does ({measured}): the search follows it."
        if self.mixed:
            return (
                f"Whether the guide {self.guide} ranks as {self.objective} does is unclear ({measured}): the search "
                f"follows both, {self.share:.0%} and {1 - self.share:.0%}, each in standard deviations among these."
            )
        if self.followed and self.spread > MATTERS * self.noise:
            if self.kendall > 0 and SURE * self.error > HARDLY:
                return (
                    f"The guide {self.guide} ranks rather as {self.objective} does ({measured}): so few can't show it "
                    "clearly, and the search follows the guide."
                )
            return (
                f"Whether the guide {self.guide} ranks as {self.objective} does is unclear ({measured}): the search "
                f"follows the guide, and {self.objective} chooses in the end."
            )
        if self.followed:
            return (
                f"Whether the guide {self.guide} ranks as {self.objective} does can't be told ({measured}), because "
                f"their utilities by {self.objective} differ by no more than noise: the search follows the guide."
            )
        return (
            f"The guide {self.guide} does not rank as {self.objective} does ({measured}): it is dropped, and the "
            f"search follows {self.objective} itself."
        )


def check_guide(
    guide: Objective,
    by_guide: Evaluation,
    objective: Objective,
    by_objective: Evaluation,
    examples: Sequence[Example],
    mixing: bool = False,
    protected: bool = False,
) -> GuideCheck:
    """Compare how a guide and its objective rank candidates that both were asked in full.

    Args:
        guide: What the search would follow.
        by_guide: What it says of P candidates.
        objective: What is reported.
        by_objective: What it says of the same.
        examples: What they were asked, M of them.
        mixing: Whether a guide whose order is unclear is mixed with the objective, where both are means over examples.
        protected: Whether the objective chooses in the end among what takes no step too, so that a guide that misleads
            costs no more than the steps; then a guide is followed that ranks them not rather the other way round.
    """
    whole = by_guide.utilities.isfinite() & by_objective.utilities.isfinite()
    first, second = by_guide.utilities[whole], by_objective.utilities[whole]
    drawn = Resampling.of(guide, examples, SAMPLES).utilities(by_guide.scores[whole])
    drawn_too = Resampling.of(objective, examples, SAMPLES).utilities(by_objective.scores[whole])
    count = len(first)
    tau, of_examples = float(kendall(first, second)), float(kendall(drawn.T, drawn_too.T).std(correction=0))
    error = math.hypot(of_examples, error_of_unrelated(count))
    # What makes examples hard for all moves no candidate against another.
    noise = float((drawn_too - drawn_too.mean(dim=0)).var(dim=1).mean().sqrt())
    guide_spread, spread = (float(of.std()) if count > 1 else 0.0 for of in (first, second))
    unclear = abs(tau) <= SURE * error
    followed = tau > SURE * error or (unclear and spread <= MATTERS * noise)
    mixed = mixing and unclear and not followed and min(guide_spread, spread) > 0 and mixes(guide, objective)
    followed |= 0 < tau <= SURE * error and SURE * error > HARDLY and not mixed
    followed |= protected and -error < tau <= SURE * error and not mixed
    return GuideCheck(
        type(guide).__name__, type(objective).__name__, count, tau, error, spearman(first, second), spread, noise,
        followed or mixed, HALF if mixed else 1.0, float(second.mean()), float(first.mean()), guide_spread,
    )  # fmt: skip


def mixture_of(mixed: MixedGuide, by_guide: Evaluation, by_objective: Evaluation) -> Evaluation:
    """Return what a mixture says of candidates that both of its parts were asked about in full.

    Args:
        mixed: Guide and objective.
        by_guide: What the guide says of P candidates.
        by_objective: What the objective says of the same.
    """
    scores = mixed.share * (by_guide.scores - mixed.of_guide.mean) / mixed.of_guide.spread
    scores = scores + (1 - mixed.share) * (by_objective.scores - mixed.of_objective.mean) / mixed.of_objective.spread
    utilities = torch.tensor([mean_score(row) for row in scores.tolist()], dtype=torch.float64)
    reach, passes = utilities[:, None].expand(-1, 2).clone(), by_guide.forward_passes
    return Evaluation(scores, by_objective.outcomes, utilities, reach, forward_passes=passes)


@dataclass
class Shown:
    """What the objective is asked while a guide is followed, so that its rise is seen too.

    Attributes:
        every: Iterations from one asking to the next; 0 for none before the end.
        by_guide: The guide's utility of the particles' global best that the objective was asked about last.
        by_objective: The objective's.
    """

    every: int = 0
    by_guide: float = math.nan
    by_objective: float = math.nan


def name_shown(optimizer: SearchOptimizer) -> str:
    """Return the name of what is measured of the best so far by the objective, while a guide is followed."""
    return OF_BEST if optimizer.moves_particles else OF_CENTRE


def shown_between(every: int, steps: int, examples: int, evaluations: int) -> int:
    """Return what an evolution strategy may ask the objective about its centre between its steps.

    Args:
        every: Iterations from one asking to the next; 0 for none.
        steps: Number of steps.
        examples: Number of examples M.
        evaluations: (model, example) pairs that the steps may ask.

    Returns:
        (model, example) pairs; 0 where that were more than a twentieth of them, so that little budgets go to the steps.

    >>> shown_between(4, 24, 200, 40_000), shown_between(4, 24, 200, 10_000), shown_between(0, 24, 200, 40_000)
    (1000, 0, 0)
    """
    asked = (steps - 1) // every * examples if every else 0
    return asked if asked <= SHARE_SHOWN * evaluations else 0


def show(
    shown: Shown,
    optimizer: SearchOptimizer,
    first: Tensor,
    choices: Mapping[str, float],
    ask: Callable[[Tensor, Sequence[int]], Evaluation],
) -> float:
    """Return what the objective says of what the guide finds best so far: NaN where that is neither known nor due.

    It costs nothing where it is known already: of the first positions, of what was chosen among in the end, and of a
    global best that is still the one that was asked about.

    Args:
        shown: What is known; brought up to date.
        optimizer: After an iteration, or before the first.
        first: The utilities of the first positions by the objective [N].
        choices: The utility of everything that was chosen among in the end, by name.
        ask: Asks positions [P, D] of particles all examples, by the objective.
    """
    iteration = int(optimizer.swarm.iterations)
    due = shown.every > 0 and iteration > 0 and iteration % shown.every == 0
    if isinstance(optimizer, CentreSearch):
        if optimizer.chosen:
            return choices.get(LAST_CENTRE, math.nan)
        return float(ask(optimizer.last_centre[None], [0]).utilities[0]) if due else math.nan
    swarm = optimizer.swarm
    best, by_guide = int(swarm.best_particle), float(swarm.global_best_utility)
    if iteration == 0:
        found = float(first[best])
    elif optimizer.chosen:
        found = choices[f"particle {best}"]
    elif by_guide == shown.by_guide:
        found = shown.by_objective
    elif due:
        found = float(ask(swarm.global_best[None], [best]).utilities[0])
    else:
        return math.nan
    shown.by_guide, shown.by_objective = by_guide, found
    return found


def kendall(first: Tensor, second: Tensor) -> Tensor:
    """Return Kendall's tau-b: agreeing pairs less disagreeing ones, in which ties count as neither.

    Args:
        first: Numbers [..., P].
        second: Numbers of the same P [..., P].

    Returns:
        Numbers in [-1, 1], [...]; 0 where all of one side are equal.

    >>> kendall(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.3, 0.2])).item()  # 2 pairs agree, 1 does not
    0.3333333333333333
    """
    one, other = _orders(first), _orders(second)
    size = (one.square().sum(dim=(-2, -1)) * other.square().sum(dim=(-2, -1))).sqrt()
    return torch.where(size > 0, (one * other).sum(dim=(-2, -1)) / size, 0.0)


def spearman(first: Tensor, second: Tensor) -> float:
    """Return Spearman's rank correlation; equal numbers share their mean rank.

    Args:
        first: Numbers [P].
        second: Numbers of the same P [P].

    Returns:
        A number in [-1, 1]; 0 where all of one side are equal.

    >>> round(spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.3, 0.2])), 6)
    0.5
    """
    one, other = (_orders(numbers).sum(dim=-1) for numbers in (first, second))  # twice the distance from the mean rank
    size = float((one.square().sum() * other.square().sum()).sqrt())
    return float((one * other).sum()) / size if size > 0 else 0.0


def error_of_unrelated(count: int) -> float:
    """Return the standard deviation of Kendall's tau of so many unrelated candidates; 1 for fewer than two.

    >>> round(error_of_unrelated(20), 3)
    0.162
    """
    if count < 2:
        return 1.0
    return math.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))


def _orders(numbers: Tensor) -> Tensor:
    return (numbers.double().unsqueeze(-1) - numbers.double().unsqueeze(-2)).sign()


def choose_by_objective(
    optimizer: ParticleSwarm, ask: Callable[[Tensor, Sequence[int]], Evaluation]
) -> tuple[dict[str, float], Tensor]:
    """Choose among the global best and the next personal bests by the guide; of equal ones the guide's order decides.

    Args:
        optimizer: The swarm, after its last iteration.
        ask: Asks positions [P, D] of particles all examples, by the objective.

    Returns:
        The utility by the objective of everything that was chosen among, by name, and the scores of what was chosen
        [M].
    """
    swarm = optimizer.swarm
    first, utilities = int(swarm.best_particle), swarm.personal_best_utilities
    ordered = [place for place in utilities.argsort(descending=True, stable=True).tolist() if place != first]
    chosen_among = [first, *(place for place in ordered[: FEW - 1] if utilities[place].isfinite())]
    evaluation = ask(swarm.personal_bests[chosen_among], chosen_among)
    choice = best_of(evaluation.utilities)
    optimizer.choose(chosen_among[choice], float(evaluation.utilities[choice]))
    choices = {
        f"particle {place}": utility for place, utility in zip(chosen_among, evaluation.utilities.tolist(), strict=True)
    }
    shown = ", ".join(f"{name} {utility:.4f}" for name, utility in choices.items())
    rank_zero_info(f"The objective chooses particle {chosen_among[choice]} of the guide's best ({shown}).")
    return choices, evaluation.scores[choice]
