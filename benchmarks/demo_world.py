"""What the benchmarks on the demo world share: a swarm's first positions, and what it is asked.

The positions are those a search begins with: the ten experts, and children of two of them up to N particles. The
peers get the same weights as dictionaries of tensors, the same prompts, and the files of the base; they load and run
them by `transformers` and `peft` alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo_gain import CHOICE, TASKS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from swarm_lightning.data.examples import Example
    from swarm_lightning.experts.pool import ExpertPool
    from swarm_lightning.objectives import ExactMatch, MultipleChoice


@dataclass(frozen=True)
class DemoSwarm:
    """A swarm of the demo world before its first iteration.

    Attributes:
        base: Folder of the base model.
        pool: The ten experts.
        positions: Weights of the particles [N, D], float32.
        examples: What every particle is asked, M examples of the validation split.
        objective: How it is asked.
        prompts: The text of every example as the model sees it, M of them.
        new_tokens: The most tokens of a reply.
    """

    base: Path
    pool: "ExpertPool"
    positions: "Tensor"
    examples: "list[Example]"
    objective: "ExactMatch | MultipleChoice"
    prompts: list[str]
    new_tokens: int

    @property
    def weights(self) -> "list[dict[str, Tensor]]":
        """The particles as PEFT saves adapters: name -> tensor, N of them, views into the positions."""
        return [self.pool.layout.unflatten(row) for row in self.positions]

    @property
    def expert(self) -> Path:
        """Folder of an expert; its `adapter_config.json` holds for all particles."""
        return Path(self.pool.sources[0])


def demo_swarm(task: str, particles: int, examples: int, new_tokens: int, seed: int) -> DemoSwarm:
    """Make the swarm that a search on a demo task begins with.

    Args:
        task: Name of a demo task.
        particles: Number of particles N, 2 or more; fewer than ten are the first experts.
        examples: Number of examples M of the validation split, 200 at most.
        new_tokens: The most tokens of a reply.
        seed: Seed of the children.
    """
    import torch

    from swarm_lightning.data.readers import read_splits
    from swarm_lightning.demo import BASE, EXPERTS
    from swarm_lightning.demo import TASKS as TASK_FILES
    from swarm_lightning.experts.pool import load_pool
    from swarm_lightning.objectives import ExactMatch, MultipleChoice
    from swarm_lightning.swarm.population import grow_population

    pool = load_pool(str(EXPERTS))
    generator = torch.Generator().manual_seed(seed)
    positions = grow_population(pool.vectors, max(particles, len(pool.names)), 2.0, generator)[:particles].clone()
    objective: ExactMatch | MultipleChoice
    if TASKS[task] == CHOICE:
        objective = MultipleChoice(max_new_tokens=new_tokens)
    else:
        objective = ExactMatch(rule="exact", max_new_tokens=new_tokens)
    asked = list(read_splits(str(TASK_FILES / f"{task}.json")).validation[:examples])
    _, tokenizer = load_plain(BASE)
    prompts = [objective.prompt(example, tokenizer) for example in asked]
    return DemoSwarm(BASE, pool, positions, asked, objective, prompts, new_tokens)


def load_plain(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a base model and its tokenizer by plain `transformers`, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder, padding_side="left")
