"""The tiny base, its four experts as particles on it, what plain `peft` makes of them, and prompts of many lengths."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from tests.evaluation.plain_peft import PlainPeft

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORDS = ["fox", "bear", "town", "red", "seven", "plus", "story", "river", "capital", "colour"]


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_base_folder: Path) -> "PreTrainedTokenizerBase":
    """The tiny base's tokenizer."""
    from transformers import AutoTokenizer

    return cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(tiny_base_folder))


@pytest.fixture(scope="session")
def tiny_model(tiny_base_folder: Path) -> "PreTrainedModel":
    """The tiny base in float32, without adapters."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base_folder).eval()


@pytest.fixture(scope="session")
def pool(tiny_experts_folder: Path) -> ExpertPool:
    """The four experts: particles 0 to 3 of most tests."""
    return load_pool(str(tiny_experts_folder))


@pytest.fixture(scope="session")
def adapted(tiny_base_folder: Path, pool: ExpertPool) -> AdaptedModel:
    """The tiny base that carries particles."""
    return AdaptedModel(load_base(str(tiny_base_folder))[0], pool)


@pytest.fixture
def engine(adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase") -> Engine:
    """A fresh engine with default settings."""
    return Engine(adapted, tiny_tokenizer)


@pytest.fixture(scope="session")
def plain(tiny_model: "PreTrainedModel", pool: ExpertPool, tiny_tokenizer: "PreTrainedTokenizerBase") -> PlainPeft:
    """What plain peft says."""
    return PlainPeft(tiny_model, pool.sources, tiny_tokenizer)


@pytest.fixture(scope="session")
def many_prompts() -> list[str]:
    """70 different prompts, more than the largest batch of the tests, of 1 to 14 words and in no order of length."""
    draw = random.Random(0)
    prompts = [" ".join(draw.choices(WORDS, k=1 + place * 5 % 14)) + f" {place}" for place in range(70)]
    assert len(set(prompts)) == 70
    return prompts
