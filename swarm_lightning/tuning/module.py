"""The LightningModule that trains one adapter: a training step is one optimizer step on one whole batch.

The batch comes as micro-batches whose gradients are summed up, each weighted by its tokens, so that the step does not
depend on how the batch was cut. Only what is trained stands in checkpoints; the base never does.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from swarm_lightning.doors.transformers_output import OutputLayer, Places, tolerance_of, trial_tokens
from swarm_lightning.errors import InputError
from swarm_lightning.tuning.batches import MicroBatch, batch_of, pad
from swarm_lightning.tuning.rendering import IGNORED, TokenExample
from swarm_lightning.tuning.settings import TrainingSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

KEY = "swarm_lightning_tuning"
ONE_CYCLE = "one_cycle"
TRIAL_TOKENS = 4


class AdapterTraining(L.LightningModule):
    """Trains the adapter of a model on examples; the base's own weights stay as they are."""

    def __init__(
        self,
        adapted: "PeftModel",
        examples: Sequence[TokenExample],
        held_out: Sequence[TokenExample],
        settings: TrainingSettings,
        pad_token: int,
        seed: int,
        identity: str = "",
    ) -> None:
        """Keep the parts.

        Args:
            adapted: The base with one fresh adapter, the only part of it that requires gradients.
            examples: What it is trained on.
            held_out: What only the loss is measured on.
            settings: How it is trained.
            pad_token: What fills short rows.
            seed: Seed of the order of the examples, and of the dropout.
            identity: What tells this training from every other one; a checkpoint of another is refused.
        """
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # a checkpoint holds the adapter only
        self.adapted = adapted
        self.examples = examples
        self.held_out = held_out
        self.settings = settings
        self.pad_token = pad_token
        self.seed = seed
        self.identity = identity
        self.steps_of_epoch, self.steps = settings.steps_of(len(examples))
        # Loss of the latest step, and on what is held out; nats per trained token.
        self.loss = float("nan")
        self.held_out_loss: float | None = None
        self._sums: list[tuple[float, int]] = []
        self._output = _output_of(adapted)

    def configure_optimizers(self) -> Any:
        """Make AdamW over the adapter's weights, and the schedule of its learning rate."""
        from transformers import get_scheduler

        settings = self.settings
        schedule: LRScheduler
        optimizer = torch.optim.AdamW(
            self.trained(), settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )
        if settings.schedule == ONE_CYCLE:
            # One step more than are done: the last one still learns a little.
            total, rise = self.steps + 1, settings.warmup_ratio
            if rise * total == 1:  # a rise of no steps, which torch divides by; with less it begins at the full rate
                rise -= 1e-9
            schedule = OneCycleLR(optimizer, settings.learning_rate, total_steps=total, pct_start=rise)
            return [optimizer], [schedule]
        try:
            schedule = get_scheduler(settings.schedule, optimizer, settings.warmup_of(self.steps), self.steps)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"Expected training.schedule to be a schedule of transformers that needs no settings of its own, such "
                f"as cosine or linear, or {ONE_CYCLE}, but {settings.schedule!r} is refused: {error}."
            ) from error
        return [optimizer], [schedule]

    def trained(self) -> list[torch.nn.Parameter]:
        """Return the weights of the adapter."""
        return [weight for weight in self.adapted.parameters() if weight.requires_grad]

    def train_dataloader(self) -> "Loader":
        """Give one batch a pass: that of the step that training is at."""
        return Loader(self._batch)

    def val_dataloader(self) -> "Loader | list[Loader]":
        """Give what is held out in parts; nothing where nothing is."""
        if not self.held_out:
            return []
        rows = self.settings.micro_batch_size or self.settings.batch_size
        parts = pad(self.held_out, rows, self.pad_token)
        return Loader(lambda: parts, len(parts))

    def _batch(self) -> list[list[MicroBatch]]:
        settings = self.settings
        places = batch_of(self.global_step, len(self.examples), settings.batch_size, self.seed, settings.shuffle)
        return [pad([self.examples[place] for place in places], settings.micro_batch_size, self.pad_token)]

    def training_step(self, batch: list[MicroBatch], batch_idx: int) -> None:
        """Do one optimizer step.

        Args:
            batch: The micro-batches of one batch.
            batch_idx: Always 0: one batch is one pass of the loader.
        """
        # Dropout depends on the seed and the step alone, so that an interrupted training goes on as if it were not.
        torch.manual_seed((self.seed << 32) + self.global_step)
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        rate = schedule.get_last_lr()[0]
        tokens = sum(int((part["labels"][:, 1:] != IGNORED).sum()) for part in batch)
        total = torch.zeros((), device=self.device)
        optimizer.zero_grad()
        for part in batch:
            loss = self.token_losses(part) / tokens
            self.manual_backward(loss)
            total += loss.detach()
        norm = self.settings.max_gradient_norm
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained(), norm)
        self.loss = float(total)
        if not torch.isfinite(total):
            raise InputError(
                f"Expected a finite loss, but step {self.global_step} gave {self.loss}. Lower training.learning_rate, "
                "or load the base in float32 or bfloat16."
            )
        optimizer.step()
        schedule.step()
        self.log_dict({"loss": self.loss, "learning_rate": rate, "tokens": float(tokens)}, batch_size=1)

    def token_losses(self, part: MicroBatch) -> Tensor:
        """Return the sum of the losses of all trained tokens of a micro-batch, in nats."""
        labels = part["labels"]
        # The logits at a place say what comes next; of other places none are made.
        rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        wanted = labels[rows, columns + 1]

        def call(_: int | None) -> Any:
            return self.adapted(input_ids=part["input_ids"], attention_mask=part["attention_mask"])

        def loss(which: Tensor, logits: Tensor) -> Tensor:
            return cross_entropy(logits.float(), wanted[which], reduction="sum")

        places = Places(rows.tolist(), columns.tolist())
        return self._output.summed(call, (labels.shape[0], labels.shape[1]), places, loss, labels.device)

    def validation_step(self, batch: MicroBatch, batch_idx: int) -> None:
        """Measure the loss on a part of what is held out."""
        self._sums.append((float(self.token_losses(batch)), int((batch["labels"][:, 1:] != IGNORED).sum())))

    def on_validation_epoch_end(self) -> None:
        """Sum the loss on what is held out up."""
        losses, tokens = (sum(values) for values in zip(*self._sums, strict=True))
        self._sums.clear()
        self.held_out_loss = losses / tokens
        self.log("validation_loss", self.held_out_loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the base out of the checkpoint, and say what it belongs to."""
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        checkpoint["state_dict"] = {
            name: tensor for name, tensor in checkpoint["state_dict"].items() if name in trained
        }
        checkpoint[KEY] = {"identity": self.identity, "loss": self.loss, "held_out_loss": self.held_out_loss}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another training.

        Raises:
            InputError: If base, data or settings differ.
        """
        record = checkpoint.get(KEY, {})
        if record.get("identity") != self.identity:
            raise InputError(
                "Expected the checkpoint of an interrupted training with this base, data and settings, but it was "
                "started with others. Restore them, or remove the checkpoint."
            )
        self.loss, self.held_out_loss = record["loss"], record["held_out_loss"]


@torch.no_grad()
def _output_of(adapted: "PeftModel") -> OutputLayer:
    """Find out how logits of single places of a model are made."""
    base = cast("PreTrainedModel", adapted.get_base_model())
    output = OutputLayer(base)
    tokens = trial_tokens(base, TRIAL_TOKENS)

    def call(_: int | None) -> Any:
        return adapted(input_ids=tokens, attention_mask=torch.ones_like(tokens))

    training = adapted.training
    adapted.eval()
    try:
        output.try_out(call, (2, TRIAL_TOKENS), tolerance_of(base.dtype))
    finally:
        adapted.train(training)
    return output


class Loader:
    """An iterable of what a function returns at the beginning of each pass."""

    def __init__(self, make: Callable[[], list[Any]], length: int = 1) -> None:
        """Keep the function.

        Args:
            make: Returns the batches of a pass.
            length: How many they are.
        """
        self._make = make
        self._length = length

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """Give the batches of a pass."""
        return iter(self._make())
