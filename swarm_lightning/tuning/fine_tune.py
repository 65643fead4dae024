"""Makes experts: one base, and for each domain an adapter that is fine-tuned on the domain's responses.

What is to be made is planned and checked first, for all domains; then one expert is trained after the other. A training
that was interrupted goes on from its last checkpoint, and an expert that is there is not made again.
"""

import copy
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch

from swarm_lightning.data.notices import Notice
from swarm_lightning.doors.lightning import runs_several_processes
from swarm_lightning.doors.transformers_config import most_positions
from swarm_lightning.errors import InputError
from swarm_lightning.experts.resident.base_model import base_fingerprint
from swarm_lightning.locks import lock_if_free
from swarm_lightning.tuning.adapter import fresh_adapter
from swarm_lightning.tuning.batches import hold_out
from swarm_lightning.tuning.callbacks import KeepState, TrainingProgress
from swarm_lightning.tuning.conversations import Conversation, fingerprint_of
from swarm_lightning.tuning.folder import is_finished, work_folder, write_expert
from swarm_lightning.tuning.module import KEY, AdapterTraining
from swarm_lightning.tuning.rendering import TokenExample, tokenize
from swarm_lightning.tuning.settings import LoraSettings, TextSettings, TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FORMAT = 1
STATE = "last.ckpt"
PRECISIONS = ("32", "32-true", "bf16", "bf16-mixed")
# How fast an expert is made and how often its state is kept, not what comes out.
FREE = ("micro_batch_size", "gradient_checkpointing", "checkpoint_steps")


@dataclass(frozen=True)
class ExpertPlan:
    """What one expert is to be made of.

    Attributes:
        name: The expert's name.
        data: What its data is called.
        examples: What it is trained on.
        held_out: What only the loss is measured on.
        identity: What tells it from every other expert, as nested plain values.
        notices: What a user should know about its data.
    """

    name: str
    data: str
    examples: Sequence[TokenExample]
    held_out: Sequence[TokenExample]
    identity: Mapping[str, Any]
    notices: Sequence[Notice] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex over the identity."""
        return sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


class ExpertMaker:
    """Holds the base and the settings that all experts share."""

    def __init__(
        self,
        base: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        base_name: str,
        lora: LoraSettings,
        text: TextSettings,
        training: TrainingSettings,
        seed: int = 0,
    ) -> None:
        """Keep the parts, and see that the base takes the adapter.

        Args:
            base: The base model; its weights are never changed.
            tokenizer: Its tokenizer.
            base_name: What the user calls the base; goes into the adapters' config.
            lora: Shape of the adapters.
            text: How conversations become text.
            training: How the adapters are trained.
            seed: Seed of the first weights, of the order of the examples, and of the dropout.

        Raises:
            InputError: If the base has no such layers.
        """
        self.base = base
        self.tokenizer = tokenizer
        self.base_name = base_name
        self.lora = lora
        self.text = text
        self.training = training
        self.seed = seed
        with fresh_adapter(base, lora, seed):
            pass
        self._base_fingerprint = base_fingerprint(base)

    def for_domains(self, count: int) -> "ExpertMaker":
        """Return a maker of one adapter on the data of several domains, trained as long as an expert for each.

        Args:
            count: Number of domains. With `training.epochs` more data is more steps; `training.steps` are taken for
                each of them.
        """
        steps = self.training.steps
        maker = copy.copy(self)  # the base has been looked through once
        maker.training = replace(self.training, steps=None if steps is None else count * steps)
        return maker

    def plan(
        self, name: str, conversations: Sequence[Conversation], data: str, notices: Sequence[Notice] = ()
    ) -> ExpertPlan:
        """Write the conversations of a domain as tokens, and say what the expert will be.

        Args:
            name: The expert's name.
            conversations: What it learns.
            data: What the data is called.
            notices: What was noticed when it was read.

        Raises:
            InputError: If the text form can't serve them, or no response is left to train on.
        """
        limit = most_positions(self.base.config.get_text_config())
        examples, noticed = tokenize(conversations, self.tokenizer, self.text, limit, data)
        kept, held = hold_out(len(examples), self.training.validation_share, self.seed)
        if not kept:
            raise InputError(
                f"Expected examples to train on in {data}, but all {len(examples)} are held out. Lower "
                "training.validation_share."
            )
        training = {name: value for name, value in asdict(self.training).items() if name not in FREE}
        identity = {
            "format": FORMAT,
            "base": self._base_fingerprint,
            "data": fingerprint_of(conversations),
            "lora": asdict(self.lora),
            "text": asdict(self.text),
            "training": training,
            "seed": self.seed,
        }
        return ExpertPlan(
            name,
            data,
            [examples[place] for place in kept],
            [examples[place] for place in held],
            identity,
            [*notices, *noticed],
        )

    def is_made(self, plan: ExpertPlan, folder: Path) -> bool:
        """Tell whether an expert is there already.

        Args:
            plan: What it is made of.
            folder: Where it goes.

        Raises:
            InputError: If something else stands there, or a training with other settings was begun there.
        """
        if is_finished(folder, plan.identity):
            return True
        state = work_folder(folder) / STATE
        if state.is_file():
            saved = torch.load(state, map_location="cpu", weights_only=True).get(KEY, {})
            if saved.get("identity") != plan.fingerprint:
                raise InputError(
                    f"Expected the unfinished training of {plan.name!r} in {str(state.parent)!r} to be one with this "
                    "base, data and settings, but it was started with others. Restore them, or remove that "
                    "folder."
                )
        return False

    def make(self, plan: ExpertPlan, folder: Path, trainer_settings: Mapping[str, Any] | None = None) -> bool:
        """Train an expert and write its folder, unless it is there or another process is making it.

        Args:
            plan: What it is made of.
            folder: Where it goes.
            trainer_settings: Arguments of Lightning's Trainer: accelerator, devices, precision, logger, callbacks, ...

        Returns:
            Whether the expert is there.

        Raises:
            InputError: If something else stands there, or it can't be trained so.
        """
        if is_finished(folder, plan.identity):
            return True
        work = work_folder(folder)
        with lock_if_free(work / "lock") as mine:
            if not mine:
                return False
            if not is_finished(folder, plan.identity):  # another process may have just made it
                self._train(plan, folder, work, dict(trainer_settings or {}))
            shutil.rmtree(work)
        return True

    def _train(self, plan: ExpertPlan, folder: Path, work: Path, settings: dict[str, Any]) -> None:
        started = time.perf_counter()
        with fresh_adapter(self.base, self.lora, self.seed) as adapted:
            if self.training.gradient_checkpointing:
                adapted.enable_input_require_grads()
                self.base.gradient_checkpointing_enable()
            module = AdapterTraining(
                adapted,
                plan.examples,
                plan.held_out,
                self.training,
                int(self.tokenizer.pad_token_id or 0),
                self.seed,
                plan.fingerprint,
            )
            trainer = self._trainer(plan, module, work, settings)
            state = work / STATE
            adapted.train()
            try:
                trainer.fit(module, ckpt_path=str(state) if state.is_file() else None, weights_only=True)
                if plan.held_out:
                    adapted.eval()
                    trainer.validate(module, verbose=False)
            finally:
                if self.training.gradient_checkpointing:
                    self.base.gradient_checkpointing_disable()
                    adapted.disable_input_require_grads()
            record = {
                "identity": dict(plan.identity),
                "base": self.base_name,
                "data": plan.data,
                "examples": len(plan.examples),
                "held_out": len(plan.held_out),
                "trained_tokens_per_epoch": sum(example.trained for example in plan.examples),
                "steps": module.steps,
                "precision": str(trainer.precision),
                "loss": module.loss,
                "validation_loss": module.held_out_loss,
                "seconds_of_the_last_part": round(time.perf_counter() - started, 1),
            }
            write_expert(folder, adapted, self.base_name, record)

    def _trainer(self, plan: ExpertPlan, module: AdapterTraining, work: Path, settings: dict[str, Any]) -> L.Trainer:
        callbacks = settings.pop("callbacks", None) or []
        callbacks = [*(callbacks if isinstance(callbacks, list) else [callbacks])]
        callbacks.append(KeepState(work / STATE, self.training.checkpoint_steps))
        if settings.get("enable_progress_bar") is not False:
            callbacks.append(TrainingProgress(plan.name))
        return L.Trainer(
            **{"devices": 1, "log_every_n_steps": 1, "logger": False, **checked(settings)},
            callbacks=callbacks,
            max_steps=module.steps,
            max_epochs=-1,
            check_val_every_n_epoch=module.steps_of_epoch,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=work,
        )


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trainer's settings with a precision, if an adapter can be trained with them.

    Args:
        settings: Arguments of Lightning's Trainer; `precision` may be absent or None.

    Raises:
        InputError: If there are several devices, or the precision is too low for what is trained.
    """
    precision = settings.get("precision") or default_precision(settings.get("accelerator", "auto"))
    if str(precision) not in PRECISIONS:
        raise InputError(
            f"Expected trainer.precision to be one of {', '.join(PRECISIONS)}, but got {precision!r}: the adapter is "
            "trained in float32."
        )
    devices = settings.get("devices", 1)
    if runs_several_processes(settings.get("accelerator") or "auto", devices):
        raise InputError(
            f"Expected one device, but got trainer.devices {devices}. Experts are made side by side by several "
            "processes of the same command: each takes one that nobody else is making."
        )
    return {**settings, "precision": precision}


def default_precision(accelerator: object) -> str:
    """Return what is computed in where nothing is said: bfloat16 beside float32 on a GPU that has it, else float32."""
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"
