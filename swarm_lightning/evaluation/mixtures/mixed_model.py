"""A mixture of models from its folder, to be asked like a model: `swarm_lightning.load(folder)`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.mixtures.mixture import AVERAGED, MixtureKind
from swarm_lightning.evaluation.runner import Loaded, Rows, rows_of_one
from swarm_lightning.evaluation.runners.token_swarm import TokenSwarmRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.export.exported_file import MIXTURE_FILE
from swarm_lightning.experts.export.mixture import read_mixture
from swarm_lightning.experts.model_pool import find_again
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives.generation_settings import GenerationSettings
from swarm_lightning.objectives.protocol import Likelihood


class MixedModel:
    """Several models that answer as one.

    Attributes:
        numbers: The mixing number of every expert, by its name.
        mixture: What the numbers multiply: `probabilities` or `log_probabilities`.
        runner: Runs the mixture.
    """

    def __init__(self, runner: TokenSwarmRunner, names: Sequence[str], numbers: Sequence[float]) -> None:
        """Take the models.

        Args:
            runner: Runs mixtures of them.
            names: One for each.
            numbers: By which they are mixed.
        """
        self.runner, self.mixture = runner, runner.mixture
        self.numbers = dict(zip(names, numbers, strict=True))

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 64,
        add_special_tokens: bool = True,
        seed: int = 0,
        **settings: Any,
    ) -> list[str]:
        """Reply to prompts.

        Args:
            prompts: The texts that the models see.
            max_new_tokens: The most tokens of a reply.
            add_special_tokens: Whether the tokenizers add their special tokens; a chat template has put them in.
            seed: Of sampled replies.
            settings: Others of `GenerationSettings`: `stop`, `temperature`, `top_k`, `top_p`.

        Returns:
            One reply per prompt, without the prompt.

        Raises:
            InputError: If a prompt leaves no room for the reply.
        """
        how = GenerationSettings(max_new_tokens, **settings)
        with self._rows(prompts, seed) as rows:
            return rows.generate(prompts, how, add_special_tokens)

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        """Measure how likely continuations of prompts are.

        Args:
            prompts: The texts that the models see.
            continuations: For every prompt, the texts that may follow, with the space in front where there is one.
            add_special_tokens: As for `generate`.

        Returns:
            For every prompt, one likelihood per continuation.
        """
        with self._rows(prompts, 0) as rows:
            return [list(row) for row in rows.loglikelihood(prompts, continuations, add_special_tokens)]

    def _rows(self, prompts: Sequence[str], seed: int) -> AbstractContextManager[Rows]:
        numbers = torch.tensor([list(self.numbers.values())], dtype=torch.float32)
        return rows_of_one(self.runner, numbers, [Example(prompt) for prompt in prompts], seed)


def load_mixture(
    folder: str | Path,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    engine: EngineSettings = EngineSettings(),  # noqa: B008 - frozen
) -> MixedModel:
    """Load a mixture of models that a token swarm has found.

    Args:
        folder: With `swarm.json`, such as `best_expert` in a run folder.
        device: Where the models compute.
        trust_remote_code: Whether code that comes with the models may run.
        engine: How batches are made.

    Raises:
        InputError: If the folder holds no mixture, or a model is gone or can't be loaded.
    """
    place = Path(folder).expanduser()
    file = read_mixture(place)
    if file.mixture not in AVERAGED:
        raise InputError(
            f"Expected mixture to be one of {', '.join(AVERAGED)} in {str(place / MIXTURE_FILE)!r}, but got "
            f"{file.mixture!r}. Export it again."
        )
    pool = find_again(file.experts, file.base, file.mixture, file.fingerprint, place / MIXTURE_FILE)
    model, tokenizer = load_base(file.base, file.dtype, device, trust_remote_code)
    loaded = Loaded(pool.resident(model, file.base), tokenizer, engine, pool, file.base, trust_remote_code, file.dtype)
    return MixedModel(TokenSwarmRunner(loaded, cast("MixtureKind", file.mixture)), pool.names, file.numbers)
