"""Fine-tuning of the demo world's experts: one LoRA adapter for each set of lessons.

All start from the same random lora_A, as adapters trained by one script with one seed do. That keeps them in one
region of weight space, where sums of adapters make sense element by element.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from swarm_lightning.demo import BASE_NAME
from swarm_lightning.demo.curricula import Document, Lessons
from swarm_lightning.demo.pretrain import pad_documents, train


@dataclass(frozen=True)
class ExpertSettings:
    """Shape of the adapters and how they are trained.

    Attributes:
        rank: Rank of every adapter matrix.
        alpha: LoRA alpha; the scale is alpha / rank.
        targets: Names of the adapted linear maps.
        batch_size: Documents per step.
        learning_rate: Largest value of the one-cycle schedule.
    """

    rank: int = 6
    alpha: int = 12
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    batch_size: int = 48
    learning_rate: float = 8e-3


def train_expert(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[Document],
    lessons: Lessons,
    settings: ExpertSettings,
    seed: int,
) -> PeftModel:
    """Train one adapter; the loss covers the replies only.

    Args:
        model: The pretrained model; its weights stay as they are, but the adapter is put into it.
            Call `unload()` on the result to have it back.
        tokenizer: The world's tokenizer.
        documents: What to study.
        lessons: Gives the number of steps.
        settings: Shape of the adapter.
        seed: Seed of lora_A and of the order of the documents.

    Returns:
        The model with its trained adapter.
    """
    torch.manual_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.targets),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    generator = random.Random(seed)

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            drawn = generator.sample(documents, min(settings.batch_size, len(documents)))
            yield pad_documents(drawn, tokenizer)

    train(
        adapted,
        batches(),
        steps=lessons.steps,
        learning_rate=settings.learning_rate,
        weight_decay=0.0,
    )
    return adapted


def save_expert(adapted: PeftModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, and nothing else.

    Args:
        adapted: A model with one trained adapter.
        folder: Where to write; made if it is not there.
    """
    config = cast(LoraConfig, adapted.peft_config["default"])
    config.base_model_name_or_path = BASE_NAME
    # A set in the configuration would be written in an order that changes from run to run.
    config.target_modules = sorted(config.target_modules or ())
    adapted.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
