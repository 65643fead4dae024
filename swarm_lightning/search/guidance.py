"""What a swarm that has followed a guide stands for: of the few best by the guide, the best by the objective."""

from collections.abc import Callable, Sequence

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.final_choice import simplest_of_the_best
from swarm_lightning.swarm.optimizer import ParticleSwarm

# Personal bests that the objective chooses among. Of more, the one that the examples happen to flatter would win.
FEW = 5


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
    choice = simplest_of_the_best(evaluation.utilities, evaluation.scores)
    optimizer.choose(chosen_among[choice], float(evaluation.utilities[choice]))
    choices = {
        f"particle {place}": utility for place, utility in zip(chosen_among, evaluation.utilities.tolist(), strict=True)
    }
    shown = ", ".join(f"{name} {utility:.4f}" for name, utility in choices.items())
    rank_zero_info(f"The objective chooses particle {chosen_among[choice]} of the guide's best ({shown}).")
    return choices, evaluation.scores[choice]
