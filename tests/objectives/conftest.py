"""The tiny model of all tests, loaded: what objectives talk to."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from swarm_lightning.evaluation.resident_model import ResidentModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def tokenizer(tiny_base_folder: Path) -> "PreTrainedTokenizerBase":
    """The tiny base's tokenizer, freshly loaded."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base_folder)


@pytest.fixture(scope="session")
def language_model(tiny_base_folder: Path, tokenizer: "PreTrainedTokenizerBase") -> ResidentModel:
    """The tiny base as objectives see it."""
    from transformers import AutoModelForCausalLM

    return ResidentModel(AutoModelForCausalLM.from_pretrained(tiny_base_folder).eval(), tokenizer)
