"""A system of models from its folder, to be asked like a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Loaded, rows_of_one
from swarm_lightning.evaluation.runners.any_models import AnyModelsRunner
from swarm_lightning.evaluation.runners.graphs import GraphRunner
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.experts.export.exported_file import GRAPH_FILE
from swarm_lightning.experts.export.system import SystemFile, read_system
from swarm_lightning.experts.kinds import Pool, load_experts
from swarm_lightning.experts.model_pool import find_again
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives.generation_settings import GenerationSettings
from swarm_lightning.objectives.prompts import PromptTemplate
from swarm_lightning.swarm.graphs import System


class AnsweringSystem:
    """Models that answer together along a graph.

    Attributes:
        system: Who answers whom, and with which weights.
        runner: Runs it.
        template: How the search put a question; None where its objective has its own way.
        settings: How the search generated replies; None likewise.
    """

    def __init__(
        self, system: System, runner: GraphRunner, template: PromptTemplate | None, settings: GenerationSettings | None
    ) -> None:
        """Take the parts."""
        self.system, self.runner, self.template, self.settings = system, runner, template, settings

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 64,
        add_special_tokens: bool = True,
        seed: int = 0,
        **settings: Any,
    ) -> list[str]:
        """Reply to prompts; every node may use so many tokens.

        Args:
            prompts: The texts that the models see beside instructions and replies.
            max_new_tokens: The most tokens of a reply.
            add_special_tokens: Whether the tokenizer adds its special tokens; a chat template has put them in.
            seed: Of sampled replies.
            settings: Others of `GenerationSettings`: `stop`, `temperature`, `top_k`, `top_p`.

        Returns:
            The end's reply to each prompt.

        Raises:
            InputError: If a prompt leaves no room for the reply.
        """
        how = GenerationSettings(max_new_tokens, **settings)
        return self._generate(prompts, how, add_special_tokens, [Example(prompt) for prompt in prompts], seed)

    def answer(self, examples: Sequence[Example], seed: int = 0) -> list[str]:
        """Reply to questions as the search has put them.

        Args:
            examples: What to ask.
            seed: Of sampled replies.

        Raises:
            InputError: If the objective of the search had its own way of asking.
        """
        if self.template is None or self.settings is None:
            raise InputError(
                "Expected to know how the search put its questions, but its objective has a way of its own that the "
                "export can't hold. Ask by `swarm predict RUN`, or write the prompts yourself and call `generate`."
            )
        prompts = self.template.render_all(examples, self.runner.tokenizer)
        return self._generate(prompts, self.settings, self.template.add_special_tokens, examples, seed)

    def _generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool,
        examples: Sequence[Example],
        seed: int,
    ) -> list[str]:
        with rows_of_one(self.runner, [self.system], examples, seed) as rows:
            return rows.generate(prompts, settings, add_special_tokens)


def load_system(
    folder: str | Path,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    engine: EngineSettings = EngineSettings(),  # noqa: B008 - frozen
) -> AnsweringSystem:
    """Load a system of models that a heterogeneous swarm has found.

    Args:
        folder: With `graph.json`, such as `best_expert` in a run folder.
        device: Where the models compute.
        trust_remote_code: Whether code that comes with the base may run.
        engine: How batches are made.

    Raises:
        InputError: If the folder holds no system, or a model is gone or can't be loaded.
    """
    place = Path(folder).expanduser()
    file = read_system(place)
    pool = _pool_of(place, file)
    model, tokenizer = load_base(file.base, file.dtype, torch.device(device), trust_remote_code)
    loaded = Loaded(pool.resident(model, file.base), tokenizer, engine, pool, file.base, trust_remote_code, file.dtype)
    models = AnyModelsRunner(loaded) if pool.standings else ResidentRunner(loaded.resident, tokenizer, engine)
    weights = [pool.vector(index) for index in range(len(pool.names))]
    template, settings = file.asking.get("template"), file.asking.get("settings")
    try:
        instructions = Instructions(**file.instructions)
        asked = None if template is None else PromptTemplate(**template)
        how = None if settings is None else GenerationSettings(**settings)
    except TypeError as cause:
        raise InputError(
            f"Expected settings of this version in {str(place)!r}, but: {cause}. Export it again."
        ) from cause
    return AnsweringSystem(System(file.graph, file.assignment, weights), GraphRunner(models, instructions), asked, how)


def _pool_of(place: Path, file: SystemFile) -> Pool:
    """Read the models of a system: those in its folder, or where they stayed where they were, those."""
    if file.fingerprint is None:
        return load_experts([str(place / model) for model in file.models], least=1)
    return find_again(file.models, file.base, None, file.fingerprint, place / GRAPH_FILE)
