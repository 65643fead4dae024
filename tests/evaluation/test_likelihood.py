"""The reference is one full forward pass per continuation, without batch, padding or kept columns."""

from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.likelihood import choice_loglikelihoods
from swarm_lightning.objectives.protocol import Likelihood

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONTINUATIONS = [" A", " red fox", " the capital of a town, seven", "\nB"]


def alone(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, continuation: str) -> Likelihood:
    before = len(tokenizer(prompt.rstrip())["input_ids"])
    ids = tokenizer(prompt + continuation)["input_ids"]
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
    total = sum(float(table[place - 1, ids[place]]) for place in range(before, len(ids)))
    return Likelihood(total, len(ids) - before, len(continuation.strip()))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_likelihoods_are_those_of_single_passes_at_every_batch_size(
    batch_size: int, tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    prompts = [*many_prompts[:30], "fox ", "town\n"]
    rows = [CONTINUATIONS[: 1 + place % 4] for place in range(len(prompts))]
    found = choice_loglikelihoods(tiny_model, tiny_tokenizer, prompts, rows, batch_size)
    for prompt, row, likelihoods in zip(prompts, rows, found, strict=True):
        expected = [alone(tiny_model, tiny_tokenizer, prompt, text) for text in row]
        assert [(one.tokens, one.characters) for one in likelihoods] == [
            (one.tokens, one.characters) for one in expected
        ]
        assert [one.logarithm for one in likelihoods] == pytest.approx([one.logarithm for one in expected], rel=1e-5)


def test_equal_continuations_are_exactly_equally_likely(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    (row,) = choice_loglikelihoods(tiny_model, tiny_tokenizer, ["fox"], [[" red bear", " a", " red bear"]], 2)
    assert row[0] == row[2]


def test_choices_of_one_token_share_one_row(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    rows: list[int] = []
    hook = tiny_model.register_forward_hook(lambda _, __, output: rows.append(output.logits.shape[0]))
    choice_loglikelihoods(tiny_model, tiny_tokenizer, ["fox", "a town"], [["\nA"[1:], "B", "C"]] * 2, 64)
    hook.remove()
    assert rows == [2]


def test_logits_are_made_for_the_continuations_only(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    columns: list[int] = []
    hook = tiny_model.register_forward_hook(lambda _, __, output: columns.append(output.logits.shape[1]))
    (row,) = choice_loglikelihoods(tiny_model, tiny_tokenizer, ["fox " * 50], [["bear"]], 64)
    hook.remove()
    assert columns == [row[0].tokens]


def test_a_chat_prompt_gets_no_second_beginning_of_text(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    (with_begin,) = choice_loglikelihoods(tiny_model, tiny_tokenizer, ["fox"], [[" a"]], 1)
    (written,) = choice_loglikelihoods(tiny_model, tiny_tokenizer, ["<s>fox"], [[" a"]], 1, add_special_tokens=False)
    assert written == with_begin


def test_a_continuation_that_does_not_fit_is_refused(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    with pytest.raises(InputError, match="at most 512 tokens"):
        choice_loglikelihoods(tiny_model, tiny_tokenizer, ["fox " * 600], [[" a"]], 1)


def test_no_prompts_give_no_likelihoods(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    assert choice_loglikelihoods(tiny_model, tiny_tokenizer, [], [], 4) == []
    assert choice_loglikelihoods(tiny_model, tiny_tokenizer, ["fox"], [[]], 4) == [[]]
