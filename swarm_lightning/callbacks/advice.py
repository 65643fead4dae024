"""What would likely give more than the adapter that a search found: training on its examples, or routing.

Routing is measured at no cost: the experts' scores on the validation examples tell how well a router would do that
sends each question to the expert that did best on the most similar other questions. Training is not measured but
judged by a rule of thumb, and the text says so.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.exact_match import ExactMatch
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.protocol import HasTasks, Objective
from swarm_lightning.objectives.utility import each_of

NEIGHBOURS = 5  # or a quarter of the other questions where that is fewer
ROOM = 5.0  # standard errors that the best on each example must lie above what was found, to be spoken of
GRAM = 3  # characters of the pieces by which questions are compared
WITH_RIGHT_ANSWERS = (MultipleChoice, ExactMatch)


def routed(scores: Tensor, examples: Sequence[Example]) -> Tensor:
    """Return the scores of a router that is asked every example without having seen it.

    It goes by the mean score on the most similar other questions; of equal experts the one that is better overall.

    Args:
        scores: Of n experts [n, M].
        examples: M of them, 2 or more.

    Returns:
        Scores [M].

    >>> questions = ["the red fox", "the red dog", "add 1 and 2", "add 3 and 4"]
    >>> routed(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]), [Example(one) for one in questions]).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    pieces = [_pieces(example.question) for example in examples]
    overall = scores.mean(dim=1)
    taken = []
    for place, own in enumerate(pieces):
        others = [other for other in range(len(pieces)) if other != place]
        others.sort(key=lambda other: -len(own & pieces[other]) / max(len(own | pieces[other]), 1))
        near = scores[:, others[: _neighbours(len(examples))]].mean(dim=1)
        best = max(range(len(scores)), key=lambda expert: (float(near[expert]), float(overall[expert])))
        taken.append(scores[best, place])
    return torch.stack(taken)


def advice_on(objective: Objective, scores: Tensor, found: float, examples: Sequence[Example]) -> list[str]:
    """Say what would likely give more than what was found, and why.

    Args:
        objective: What was asked.
        scores: Of the experts alone on the validation examples [n, M], by the objective.
        found: Utility of what was found on these examples.
        examples: M of them.

    Returns:
        One sentence or two each.
    """
    said = []
    if not isinstance(objective, HasTasks) and len(scores) > 1 and len(examples) > 1 and scores.isfinite().all():
        values = routed(scores, examples)
        error = float(values.std()) / len(values) ** 0.5
        mean = float(values.mean())
        near = f"{_neighbours(len(examples))} most similar other questions"
        numbers = f"{mean:.4f} on the {len(values)} validation examples, against {found:.4f} for what was found by them"
        room = float(scores.amax(dim=0).mean()) - max(found, luck_of(len(scores), examples))
        if mean - found > error:
            said.append(
                f"Routing would likely give more: sending each question to the expert that is best on the "
                f"{near} scores {numbers}. {complement(scores, examples)} This keeps all experts in use."
            )
        elif room > ROOM * error:
            said.append(
                f"{complement(scores, examples)} Routing between them could gain, unless that is luck, but needs a "
                f"router that knows which expert to ask: one based on the {near} scores {numbers}."
            )
        else:
            said.append(f"Routing would not give clearly more: a router based on the {near} scores {numbers}.")
    if all(isinstance(part, WITH_RIGHT_ANSWERS) for part in each_of(objective)):
        said.append(
            f"Training on the same {len(examples)} examples may give more, if you can compute gradients: they have "
            "right answers to train on, and training can change any weight (a rule of thumb, not measured here: `swarm "
            "compare` with compare.methods [fine_tuning_mean] does that)."
        )
    else:
        name = type(objective).__name__
        said.append(f"There is nothing to train on directly: {name} scores replies but has no right answers.")
    return said


def complement(scores: Tensor, examples: Sequence[Example]) -> str:
    """Say how much more the experts know together than the best of them alone.

    Args:
        scores: Of n experts [n, M].
        examples: M of them.

    >>> complement(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]), [Example("?")] * 4)
    'Some expert answers 75% of the examples, the best alone 50%.'
    """
    some, alone = float(scores.amax(dim=0).mean()), float(scores.mean(dim=1).max())
    if bool(((scores == 0) | (scores == 1)).all()):
        luck = luck_of(len(scores), examples)
        guessing = f"; as many that guess would answer {luck:.0%}" if luck else ""
        return f"Some expert answers {some:.0%} of the examples, the best alone {alone:.0%}{guessing}."
    return f"Whoever is best on each example scores {some:.4f} on average, the best expert alone {alone:.4f}."


def luck_of(experts: int, examples: Sequence[Example]) -> float:
    """Return the share of examples that at least one of so many experts answers by guessing among its choices.

    Args:
        experts: Number of experts n.
        examples: M of them; one without choices can't be guessed.

    >>> luck_of(2, [Example("?", choices={"A": "x", "B": "y"}), Example("?")])  # 3/4 and 0
    0.375
    """
    shares = [1 - (1 - 1 / len(example.choices)) ** experts if example.choices else 0.0 for example in examples]
    return sum(shares) / len(shares)


def _neighbours(examples: int) -> int:
    return min(NEIGHBOURS, max(1, (examples - 1) // 4))


def _pieces(question: str) -> set[str]:
    text = " ".join(question.lower().split())
    return {text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1))}
