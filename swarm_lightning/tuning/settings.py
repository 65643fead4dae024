"""The settings of an expert's fine-tuning: the adapter's shape, the text, and the training. Plain values only.

The defaults of the training are the paper's (arXiv:2410.11163): 5 epochs, learning rate 2e-4, batch 32, cosine.
"""

import math
from dataclasses import dataclass
from typing import Literal

from swarm_lightning.errors import InputError


@dataclass(frozen=True)
class LoraSettings:
    """Shape of the adapters.

    Attributes:
        rank: Rank of the matrices A and B, >= 1.
        alpha: LoRA alpha; the scale of the product is alpha / rank.
        dropout: Probability that an input of A is dropped while training, in [0, 1).
        target_modules: Names of the adapted linear layers, or `all-linear` for all of them but the output layer; null
            for PEFT's usual choice for the architecture.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        if self.rank < 1:
            raise InputError(f"Expected lora.rank to be at least 1, but got {self.rank}.")
        if self.alpha <= 0:
            raise InputError(f"Expected lora.alpha to be above 0, but got {self.alpha}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"Expected lora.dropout to be in [0, 1), but got {self.dropout}.")
        if self.target_modules is not None and not self.target_modules:
            raise InputError(
                "Expected lora.target_modules to name a layer, but it is empty. Name one, or leave it out."
            )


@dataclass(frozen=True)
class TextSettings:
    r"""How a conversation becomes text, and how much of it is read.

    Attributes:
        template: Text with {prompt} and {response}, and {system} where there is one, such as
            "Question: {prompt}\nAnswer: {response}": what stands before the response (white space directly before it
            apart, which belongs to the response) is not trained on, the rest is, and the end-of-text token behind it.
            Null: the tokenizer's chat template.
        chat_template: A chat template in Jinja, instead of the tokenizer's.
        train_on: Which of the assistant's turns are responses: `all`, or the `last`.
        max_length: Tokens of an example at most; what is longer is cut at its end. Null: what the model can hold.
    """

    template: str | None = None
    chat_template: str | None = None
    train_on: Literal["all", "last"] = "all"
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Refuse a template without places, and two templates."""
        if self.template is not None and self.chat_template is not None:
            raise InputError("Expected text.template or text.chat_template, but both are set. Leave one of them out.")
        if self.template is not None and not all(place in self.template for place in ("{prompt}", "{response}")):
            raise InputError(f"Expected {{prompt}} and {{response}} in text.template, but got {self.template!r}.")
        if self.template is not None and self.template.index("{response}") < self.template.index("{prompt}"):
            raise InputError(f"Expected {{response}} behind {{prompt}} in text.template, but got {self.template!r}.")
        if self.max_length is not None and self.max_length < 2:
            raise InputError(f"Expected text.max_length to be at least 2, but got {self.max_length}.")


@dataclass(frozen=True)
class TrainingSettings:
    """How the adapters are trained.

    Attributes:
        epochs: How often every example is read, >= 1.
        steps: Optimizer steps in all, where that is to be said instead of the epochs.
        learning_rate: Largest value of the schedule, > 0.
        schedule: Name of a schedule of `transformers.get_scheduler`: cosine, linear, constant_with_warmup, ...; or
            `one_cycle`, torch's OneCycleLR, which moves AdamW's first moment along (0.85 to 0.95) and starts at a 25th
            of the learning rate.
        warmup_ratio: Share of the steps in which the learning rate rises from 0, in [0, 1).
        shuffle: Whether every epoch reads the examples in an order of its own; else all read them as they stand.
        batch_size: Examples of one optimizer step, >= 1.
        micro_batch_size: Examples of one forward pass; the gradients of a step are accumulated over them, and the
            result is that of the whole batch. Null: the whole batch at once.
        weight_decay: Decay of AdamW, >= 0.
        betas: The two decay rates of AdamW's moments.
        max_gradient_norm: The gradient is scaled down to this norm, > 0; null: never.
        gradient_checkpointing: Whether activations are computed twice to save memory.
        validation_share: Share of the examples that is held out to measure the loss after every epoch, in [0, 1).
        checkpoint_steps: Optimizer steps between two checkpoints, >= 1.
    """

    epochs: int = 5
    steps: int | None = None
    learning_rate: float = 2e-4
    schedule: str = "cosine"
    warmup_ratio: float = 0.1
    shuffle: bool = True
    batch_size: int = 32
    micro_batch_size: int | None = None
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    max_gradient_norm: float | None = 1.0
    gradient_checkpointing: bool = False
    validation_share: float = 0.0
    checkpoint_steps: int = 100

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        for name in ("epochs", "steps", "batch_size", "micro_batch_size", "checkpoint_steps"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InputError(f"Expected training.{name} to be at least 1, but got {count}.")
        for name in ("warmup_ratio", "validation_share"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise InputError(f"Expected training.{name} to be in [0, 1), but got {share}.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"Expected training.learning_rate to be above 0, but got {self.learning_rate}.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"Expected training.weight_decay to be at least 0, but got {self.weight_decay}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"Expected both training.betas to be in [0, 1), but got {list(self.betas)}.")
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise InputError(f"Expected training.max_gradient_norm to be above 0, but got {self.max_gradient_norm}.")

    def steps_of(self, examples: int) -> tuple[int, int]:
        """Return the optimizer steps of one epoch, and in all.

        Args:
            examples: Number of examples to train on, >= 1.

        >>> TrainingSettings(epochs=5, batch_size=32).steps_of(100)
        (4, 20)
        """
        of_epoch = math.ceil(examples / self.batch_size)
        return of_epoch, self.steps or self.epochs * of_epoch

    def warmup_of(self, steps: int) -> int:
        """Return the optimizer steps in which the learning rate rises.

        >>> TrainingSettings(warmup_ratio=0.1).warmup_of(25)
        3
        """
        return math.ceil(round(self.warmup_ratio * steps, 6))
