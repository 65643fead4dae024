"""Pretraining of the demo world's language model on generated text, from random weights or those of another model."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from swarm_lightning.demo.curricula import Document, corpus
from swarm_lightning.demo.grammar import DEMO, Grammar

IGNORED = -100


@dataclass(frozen=True)
class PretrainSettings:
    """Size of the model and length of its pretraining.

    Attributes:
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward parts.
        layers: Number of blocks.
        heads: Attention heads per block.
        initial_spread: Standard deviation of the random weights; the usual 0.02 learns far later at this width.
        steps: Optimizer steps.
        schedule_steps: Steps of the whole schedule, >= `steps`. Training ends before the rate has fallen to nothing,
            with a model that knows a little about everything and leaves its experts something to learn.
        batch_size: Documents per step.
        learning_rate: Largest value of the one-cycle schedule.
        mixture: Shares of the sources of text, see `corpus`.
        start: Folder of a model of this size with its tokenizer, whose weights it begins with; None for random ones.
            See `take_over`.
    """

    hidden_size: int = 128
    intermediate_size: int = 352
    layers: int = 4
    heads: int = 4
    initial_spread: float = 0.06
    steps: int = 1500
    schedule_steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 3e-3
    mixture: dict[str, float] = field(
        default_factory=lambda: {
            "told_home": 0.05,
            "told_facts": 0.02,
            "told_kinds": 0.03,
            "told_regions": 0.02,
            "words": 0.10,
            "home_atlas": 0.05,
            "home_lists": 0.29,
            "home_kinds": 0.36,
            "atlas": 0.005,
            "neighbours": 0.02,
            "lists": 0.01,
            "kinds": 0.02,
        }
    )
    start: Path | None = None


def pad_documents(documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast) -> dict[str, Tensor]:
    """Turn documents into one batch, padded on the right; the loss covers the replies and plain texts, not prompts.

    Args:
        documents: B texts; each gets the begin token in front and the end token behind.
        tokenizer: The world's tokenizer.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each [B, T] int64.
    """
    rows, labels = [], []
    for document in documents:
        prompt = tokenizer.encode(document.prompt)
        reply = [*tokenizer.encode(document.reply, add_special_tokens=False), tokenizer.eos_token_id]
        rows.append(torch.tensor(prompt + reply))
        labels.append(torch.tensor([IGNORED] * len(prompt) + reply))
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
    return {
        "input_ids": pad(rows, batch_first=True, padding_value=tokenizer.pad_token_id),
        "attention_mask": mask,
        "labels": pad(labels, batch_first=True, padding_value=IGNORED),
    }


def train(
    model: torch.nn.Module,
    batches: Iterable[dict[str, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    schedule_steps: int | None = None,
) -> float:
    """Train what of a model requires gradients, with AdamW and a one-cycle schedule.

    Args:
        model: A causal language model that returns its loss.
        batches: At least `steps` batches.
        steps: Optimizer steps, >= 1.
        learning_rate: Largest value of the schedule.
        weight_decay: Decay of AdamW.
        schedule_steps: Steps of the whole schedule where training ends before it does; `steps` if None.

    Returns:
        The loss of the last step.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.98), weight_decay=weight_decay)
    total = (schedule_steps or steps) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=total, pct_start=0.1)
    model.train()
    loss = torch.zeros(())
    for batch in islice(batches, steps):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    return loss.item()


@torch.no_grad()
def take_over(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, start: Path, seed: int) -> None:
    """Give a model the weights of another one, whose words may be others.

    Tokens that both know keep their embedding. Every other one gets that of some token that only the old model knows,
    drawn without regard to meaning: how to read a question is taken over, and what the words mean is not.

    Args:
        model: The model, changed in place.
        tokenizer: Its tokenizer.
        start: Folder of the other model with its tokenizer; of the same shape but for the vocabulary.
        seed: Seed of the draw.
    """
    old = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
    old_words = PreTrainedTokenizerFast.from_pretrained(start).get_vocab()
    words = tokenizer.get_vocab()
    left = sorted(set(old_words) - set(words))
    generator = random.Random(f"take over {seed}")
    generator.shuffle(left)
    drawn = itertools.cycle(left)
    places = [old_words[word if word in old_words else next(drawn)] for word in sorted(words, key=words.__getitem__)]
    weights = old.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):  # one and the same, under both names
        weights[name] = weights[name][places]
    model.load_state_dict(weights)


def pretrain(
    settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast, seed: int, grammar: Grammar = DEMO
) -> LlamaForCausalLM:
    """Train the language model, from random weights where nothing else is set.

    Args:
        settings: Size and length.
        tokenizer: The world's tokenizer.
        seed: Seed of the weights and of the order of the text.
        grammar: The world's words.

    Returns:
        The trained model, float32, in evaluation mode.
    """
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            max_position_embeddings=256,
            initializer_range=settings.initial_spread,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    if settings.start is not None:
        take_over(model, tokenizer, settings.start, seed)
    documents = corpus(settings.mixture, seed, grammar)

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            yield pad_documents(list(islice(documents, settings.batch_size)), tokenizer)

    train(
        model,
        batches(),
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=0.05,
        schedule_steps=settings.schedule_steps,
    )
    return model
