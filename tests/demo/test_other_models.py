"""The packaged models of other kinds: their vocabularies differ, and they know what they have studied."""

import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm_lightning.demo import BASE, MODELS, TASKS
from swarm_lightning.demo.other_models import MODELS as RECIPES
from swarm_lightning.experts.tokenizers.vocabularies import one_vocabulary, token_bytes

TEXT = "Question: Which colour does Tevania have?\nAnswer: grey, (caf\u00e9) 12"


@pytest.fixture(scope="module")
def tokenizers() -> list[Any]:
    return [AutoTokenizer.from_pretrained(place) for place in (BASE, *(MODELS / name for name in RECIPES))]


def test_no_two_have_one_vocabulary(tokenizers: list[Any]) -> None:
    for place, tokenizer in enumerate(tokenizers):
        sizes = [len(tokenizer), len(tokenizer)]
        assert one_vocabulary([tokenizer, tokenizer], sizes) == len(tokenizer)
        for other in tokenizers[place + 1 :]:
            assert one_vocabulary([tokenizer, other], [len(tokenizer), len(other)]) is None


def test_tokens_as_bytes_make_up_the_text_that_they_came_from(tokenizers: list[Any]) -> None:
    for tokenizer in tokenizers:
        pieces = token_bytes(tokenizer, "a model")
        ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
        assert b"".join(pieces[index] or b"?" for index in ids).decode() == TEXT
        assert tokenizer.decode(ids) == TEXT
        assert pieces[tokenizer.eos_token_id] is None


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_model_answers_about_half_of_the_atlas_and_is_small(name: str) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(MODELS / name), AutoTokenizer.from_pretrained(MODELS / name)
    assert model.config.model_type == RECIPES[name].family
    assert model.num_parameters() < 500_000
    asked = json.loads((TASKS / "atlas.json").read_text(encoding="utf-8"))["dev"][:60]
    right = 0
    for record in asked:
        ids = tokenizer(f"Question: {record['question']}\nAnswer:", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
        reply = tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
        assert isinstance(reply, str)
        right += reply.strip() == record["answer"]
    assert 0.35 < right / len(asked) < 0.65  # three of six regions
