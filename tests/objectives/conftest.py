"""The tiny model of all tests, loaded: what objectives talk to, and the same by plain `transformers`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.text_rows import TextRows
from swarm_lightning.evaluation.runners.resident import Particles
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel, Likelihood, RowDecided
from tests.objectives.judge_server import KEY, KEY_VARIABLE, JudgeServer, running_judge

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class BaseAlone:
    """The base without experts as a language model for any number of rows."""

    def __init__(self, engine: Engine) -> None:
        self.tokenizer = engine.tokenizer
        self.device = engine.adapted.model.device
        self._engine = engine
        self._crowd = Crowd(engine.adapted, None)

    def _rows(self, prompts: Sequence[str]) -> TextRows:
        return TextRows(self._engine, Particles(self._engine, self._crowd), [0] * len(prompts))

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        return self._rows(prompts).generate(prompts, settings, add_special_tokens, decided)

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> Sequence[Sequence[Likelihood]]:
        return self._rows(prompts).loglikelihood(prompts, continuations, add_special_tokens)

    def select(self, places: Sequence[int]) -> "BaseAlone":
        return self


@pytest.fixture(scope="session")
def tokenizer(tiny_base_folder: Path) -> "PreTrainedTokenizerBase":
    """The tiny base's tokenizer, freshly loaded."""
    from transformers import AutoTokenizer

    return cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(tiny_base_folder))


@pytest.fixture(scope="session")
def plain_base(tiny_base_folder: Path) -> "PreTrainedModel":
    """The tiny base by plain transformers."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base_folder).eval()


@pytest.fixture(scope="session")
def language_model(
    tiny_base_folder: Path, tiny_experts_folder: Path, tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[LanguageModel]:
    """The tiny base as objectives see it."""
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], load_pool(str(tiny_experts_folder)))
    with adapted.base_only():
        yield BaseAlone(Engine(adapted, tokenizer))


@pytest.fixture
def judge_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    """A judge's endpoint on this machine, with its key in the environment."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with running_judge() as server:
        yield server
