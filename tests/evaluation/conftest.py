"""The tiny base, loaded by plain `transformers`, and prompts of many lengths."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORDS = ["fox", "bear", "town", "red", "seven", "plus", "story", "river", "capital", "colour"]


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_base_folder: Path) -> "PreTrainedTokenizerBase":
    """The tiny base's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base_folder)


@pytest.fixture(scope="session")
def tiny_model(tiny_base_folder: Path) -> "PreTrainedModel":
    """The tiny base in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base_folder).eval()


@pytest.fixture(scope="session")
def many_prompts() -> list[str]:
    """70 prompts, more than the largest batch of the tests, of 1 to 14 words and in no order of length."""
    return [" ".join(WORDS[(place * step) % 10] for step in range(1 + place * 7 % 14)) for place in range(70)]
