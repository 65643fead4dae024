"""Models of three architectures that share a tokenizer, and two with other ones, made by plain `transformers`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests.full_models import copy_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8},
    "gpt2": {"n_positions": 256},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "hidden_size": 16},
}


def save_families(
    tokenizer_folder: Path, folder: Path, families: tuple[str, ...] = tuple(FAMILIES), **further: int
) -> Path:
    """Save a random model of each family, loud enough that replies differ; further sizes are those of all."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokens = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    for seed, family in enumerate(families):
        sizes = WIDTHS | tokens | {"vocab_size": len(tokenizer)} | FAMILIES.get(family, {}) | further
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() >= 2:
                        parameter.normal_(std=0.25)
        model.save_pretrained(folder / family)
        copy_tokenizer(tokenizer_folder, folder / family)
    return folder


def plain_model(folder: Path) -> Any:
    """Load a model as any user of `transformers` does."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def mixed_by_hand(models: list[Any], ids: list[int], numbers: list[float], mixture: str) -> Tensor:
    """Return the log-probabilities of the next token of a mixture [V] float64."""
    with torch.no_grad():
        found = [model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for model in models]
    if mixture == "log_probabilities":
        total = sum(number * one for number, one in zip(numbers, found, strict=True))
        return torch.as_tensor(total).log_softmax(-1)
    kept = [max(number, 0.0) for number in numbers]
    mean = sum(number / sum(kept) * one.exp() for number, one in zip(kept, found, strict=True))
    return torch.as_tensor(mean).log()


def reply_by_hand(
    models: list[Any], tokenizer: "PreTrainedTokenizerBase", prompt: str, numbers: list[float], mixture: str, limit: int
) -> str:
    """Choose the likeliest tokens of a mixture in a plain loop."""
    ids: list[int] = tokenizer(prompt)["input_ids"]
    reply: list[int] = []
    while len(reply) < limit:
        token = int(mixed_by_hand(models, ids + reply, numbers, mixture).argmax())
        if token == tokenizer.eos_token_id:
            break
        reply.append(token)
    return str(tokenizer.decode(reply, skip_special_tokens=True))
