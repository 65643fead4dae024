from typing import TYPE_CHECKING

import pytest

from swarm_lightning.evaluation.generation import greedy_generate
from swarm_lightning.evaluation.likelihood import choice_loglikelihoods
from swarm_lightning.evaluation.resident_model import ResidentModel
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def test_it_answers_as_the_functions_do_again_and_again(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    resident: LanguageModel = ResidentModel(tiny_model, tiny_tokenizer)
    settings, choices = GenerationSettings(4), [[" A", " red fox"]] * len(many_prompts)
    for _ in range(2):
        expected = greedy_generate(tiny_model, tiny_tokenizer, many_prompts, settings)
        assert resident.generate(many_prompts, settings) == expected
        likelihoods = choice_loglikelihoods(tiny_model, tiny_tokenizer, many_prompts, choices, 8)
        assert resident.loglikelihood(many_prompts, choices, 8) == likelihoods


def test_prompts_are_tokenised_once(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = ResidentModel(tiny_model, tiny_tokenizer)
    first = resident.generate(["fox", "bear"], GenerationSettings(3))
    likelihood = resident.loglikelihood(["fox"], [[" a"]], 1)
    monkeypatch.setattr(type(tiny_tokenizer), "__call__", None)
    assert resident.generate(["fox", "bear"], GenerationSettings(3)) == first
    assert resident.loglikelihood(["fox"], [[" a"]], 1) == likelihood
    with pytest.raises(TypeError):
        resident.generate(["fox", "bear"], GenerationSettings(4))
