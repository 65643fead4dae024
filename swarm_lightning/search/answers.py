"""Answers prompts with the best found expert, for `swarm predict`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


def answer_prompts(module: "ModelSwarm", prompts: Sequence[Example]) -> list[dict[str, str]]:
    """Let the best found expert reply.

    Args:
        module: The search, with its swarm.
        prompts: Examples made from a file of prompts.

    Returns:
        One mapping per prompt: `id`, `task` where there are several, `question`, `prompt` as the model saw it, `reply`.
    """
    best = [module.particle_swarm.vector(module.swarm.global_best)]
    numbers = [int(module.swarm.best_particle)]
    outcomes = module.evaluator.evaluate(best, prompts, whole_replies=True, numbers=numbers).outcomes[0]
    return [
        {
            "id": example.identifier,
            **({"task": example.task} if example.task else {}),
            "question": example.question,
            "prompt": module.objective.prompt(example, module.tokenizer),
            "reply": outcome.reply if outcome is not None else "",
        }
        for example, outcome in zip(prompts, outcomes, strict=True)
    ]
