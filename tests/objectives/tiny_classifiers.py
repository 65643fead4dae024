"""Sequence classifiers of one layer with random weights, made, saved and read by plain `transformers`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_decoder(folder: Path, tokenizer_folder: Path, labels: tuple[str, ...] = ("reward",), **changes: Any) -> Path:
    """Save a Llama with a classification head, with the tiny base's tokenizer; `changes` go to its config."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    settings = {"pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 256, "hidden_size": 32, **changes}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **settings,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
    )
    return save(LlamaForSequenceClassification, config, tokenizer, folder)


def save_encoder(folder: Path, tokenizer_folder: Path, labels: tuple[str, ...], **changes: Any) -> Path:
    """Save a RoBERTa with a classification head, which reads 62 tokens."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=1,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        **changes,
    )
    return save(RobertaForSequenceClassification, config, tokenizer, folder)


def save(kind: type["PreTrainedModel"], config: Any, tokenizer: "PreTrainedTokenizerBase", folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).float()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name.casefold() and "bias" not in name:
                    parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain_outputs(folder: Path, ids: list[int]) -> torch.Tensor:
    """What plain `transformers` says of one text, alone and without padding [labels]."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return cast("torch.Tensor", model(input_ids=torch.tensor([ids])).logits[0])
