"""The reference is `model.generate(do_sample=False)` on one prompt at a time, without padding."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.generation import generate_tokens, greedy_generate, prompt_batches
from swarm_lightning.objectives.protocol import GenerationSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def alone(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, new_tokens: int) -> list[int]:
    """Tokens that `generate` gives for one prompt, without the end of text."""
    encoded = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        output = cast("Any", model).generate(
            **encoded, do_sample=False, max_new_tokens=new_tokens, pad_token_id=tokenizer.eos_token_id
        )
    new = output[0, encoded["input_ids"].shape[1] :].tolist()
    return new[:-1] if new[-1] == tokenizer.eos_token_id else new


def in_batches(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[str], settings: GenerationSettings
) -> list[list[int]]:
    return generate_tokens(model, tokenizer, prompt_batches(model, tokenizer, prompts, settings, True), settings)


def test_a_reply_is_the_same_at_every_batch_size_and_as_generate_gives_it(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    expected = [alone(tiny_model, tiny_tokenizer, prompt, 12) for prompt in many_prompts]
    assert len({len(tokens) for tokens in expected}) > 2, "the tiny model should end some replies early"
    texts = tiny_tokenizer.batch_decode(expected, skip_special_tokens=True)
    for batch_size in (1, 7, 64):
        settings = GenerationSettings(12, batch_size=batch_size)
        assert in_batches(tiny_model, tiny_tokenizer, many_prompts, settings) == expected
        assert greedy_generate(tiny_model, tiny_tokenizer, many_prompts, settings) == texts


@pytest.mark.shared
def test_a_trained_model_replies_the_same_at_every_batch_size(shared_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = shared_folder / "models" / "stories260k"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    starts = ["Once upon a time", "Tom and Lily", "The end.", "One day, a big", "A", "Mom said"]
    prompts = [f"{start}{' the dog ran and ran' * (place % 5)}" for place, start in enumerate(starts * 11)]
    expected = [alone(model, tokenizer, prompt, 8) for prompt in prompts]
    for batch_size in (1, 7, 64):
        assert in_batches(model, tokenizer, prompts, GenerationSettings(8, batch_size=batch_size)) == expected


FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},  # learned positions
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},  # ALiBi; takes no position ids
    "mistral": {"num_key_value_heads": 2, "sliding_window": 4},  # a window shorter than the prompts
    "gpt_neox": {},  # rotary positions on a part of each head
}
WIDTHS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def family(name: str) -> "PreTrainedModel":
    """A tiny random model of another architecture."""
    from transformers import AutoConfig, AutoModelForCausalLM

    widths = WIDTHS if name in ("mistral", "gpt_neox") else {}
    tokens = {"vocab_size": 320, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(name, **widths, **tokens, **FAMILIES[name])
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 2:
                    parameter.normal_(std=0.4)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_reply_as_generate_does(
    name: str, tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    model, prompts = family(name), many_prompts[:12]
    expected = [alone(model, tiny_tokenizer, prompt, 8) for prompt in prompts]
    assert len({tuple(tokens) for tokens in expected}) > 3
    assert in_batches(model, tiny_tokenizer, prompts, GenerationSettings(8, batch_size=5)) == expected


def test_a_reply_is_cut_before_the_first_stop_string(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    whole = greedy_generate(tiny_model, tiny_tokenizer, many_prompts, GenerationSettings(12))
    longest = max(whole, key=len)
    stop = (longest[2:4], longest[5:6], "never said by anyone")
    expected = [min((text.split(string)[0] for string in stop), key=len) for text in whole]
    assert expected != whole
    for batch_size in (1, 7, 64):
        settings = GenerationSettings(12, stop, batch_size)
        assert greedy_generate(tiny_model, tiny_tokenizer, many_prompts, settings) == expected


def test_a_batch_ends_when_all_of_its_rows_have_ended(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = tiny_model.register_forward_hook(count)
    text = greedy_generate(tiny_model, tiny_tokenizer, ["fox"], GenerationSettings(3))[0]
    assert passes == 3
    passes = 0
    greedy_generate(tiny_model, tiny_tokenizer, ["fox"], GenerationSettings(300, stop=(text,)))
    hook.remove()
    assert passes == 3


def test_every_end_of_text_of_the_model_ends_a_reply_and_is_no_part_of_it(
    tiny_model: "PreTrainedModel",
    tiny_tokenizer: "PreTrainedTokenizerBase",
    many_prompts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = GenerationSettings(6)
    before = in_batches(tiny_model, tiny_tokenizer, many_prompts, settings)
    end = next(tokens[3] for tokens in before if len(tokens) == 6 and tokens[3] not in tokens[:3])
    expected = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in before]
    monkeypatch.setattr(tiny_model.generation_config, "eos_token_id", [tiny_tokenizer.eos_token_id, end])
    assert in_batches(tiny_model, tiny_tokenizer, many_prompts, settings) == expected


def test_an_empty_prompt_is_replied_to_from_the_beginning_of_a_text(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    settings = GenerationSettings(5)
    replies = greedy_generate(tiny_model, tiny_tokenizer, ["", "fox"], settings, add_special_tokens=False)
    assert replies[0] == greedy_generate(tiny_model, tiny_tokenizer, ["<s>"], settings, add_special_tokens=False)[0]


def test_no_prompts_give_no_replies(tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    assert greedy_generate(tiny_model, tiny_tokenizer, [], GenerationSettings()) == []


def test_a_prompt_longer_than_the_model_is_refused_before_any_reply(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    with pytest.raises(InputError, match="prompt 1 has"):
        greedy_generate(tiny_model, tiny_tokenizer, ["fox", "fox " * 600], GenerationSettings(10))


def test_a_prompt_and_reply_that_just_fit_are_served(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    settings = GenerationSettings(510)  # and <s>, and one byte
    assert len(greedy_generate(tiny_model, tiny_tokenizer, ["f"], settings)) == 1
    with pytest.raises(InputError, match="at most 1 tokens"):
        greedy_generate(tiny_model, tiny_tokenizer, ["f"], GenerationSettings(511))
