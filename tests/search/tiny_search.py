"""Small real searches for the tests of search, callbacks and command line, and what plain `peft` says to compare with.

The world is that of `tests/conftest.py`; the dataset is made here: its gold answers are short pieces of text that the
tiny model happens to say for some prompts and with some experts, so utilities differ between particles.
"""

import contextlib
import csv
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from torch import Tensor

from swarm_lightning.cli.main import main
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.objectives import ExactMatch, Objective
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.parts import Alone, Sharing
from swarm_lightning.search.settings import DrawsChoice, GuideChoice, Storage
from swarm_lightning.swarm import ParticleSwarm, StepLengthDecay
from swarm_lightning.swarm.population import Start

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

# Everything is asked, and every reply goes on to its end.
FULL = EngineSettings(exact_stop=False, row_stops=False)
GOLD = ("e", "it", "al", "b", "Qu", "s", "c", "a", "F", "er", "i", "t")
NEW_TOKENS = 6
TIMINGS = {"evaluation_seconds", "examples_per_second"}


def records(count: int, first: int) -> list[dict[str, str]]:
    """Make questions, each another one, with short gold answers."""
    return [
        {"question": f"What is {first + place} plus {7 * place % 10}?", "answer": GOLD[place % len(GOLD)]}
        for place in range(count)
    ]


@dataclass
class World:
    """The tiny base and experts with a dataset, and the same models in the hands of plain `peft`."""

    base: Path
    experts: Path
    dataset: Path

    def config(self, root: Path, **sections: dict[str, Any]) -> dict[str, Any]:
        """Return a config of a search of 5 particles and 3 iterations; the sections given are merged into it."""
        config: dict[str, Any] = {
            "model": {
                "base": str(self.base),
                "experts": str(self.experts),
                "particles": 5,
                "objective": {
                    "class_path": "swarm_lightning.objectives.ExactMatch",
                    "init_args": {"max_new_tokens": NEW_TOKENS},
                },
            },
            "data": {"dataset": str(self.dataset)},
            "page": {"every_seconds": None},
            "trainer": {
                "max_steps": 3,
                "accelerator": "cpu",
                "default_root_dir": str(root),
                "enable_progress_bar": False,
            },
        }
        return _merged(config, sections)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.base)

    def load(self, adapter: Path) -> "PeftModel":
        """Load an adapter as any user of `peft` does."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(self.base), str(adapter)).eval()

    def reply(self, model: "PeftModel", prompt: str, new_tokens: int = NEW_TOKENS) -> str:
        """Let a model answer one prompt, alone in its batch."""
        encoded = self.tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            output = model.generate(**encoded, do_sample=False, max_new_tokens=new_tokens)
        return str(self.tokenizer.decode(output[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))

    def split(self, name: str) -> list[dict[str, str]]:
        return list(json.loads(self.dataset.read_text())[name])

    def replies(self, model: "PeftModel", split: str) -> list[str]:
        """Let a model answer every question of a split, one at a time."""
        return [self.reply(model, prompt_of(record["question"])) for record in self.split(split)]

    def score(self, replies: Sequence[str], split: str) -> list[float]:
        """Score 1 where the gold answer occurs in the reply."""
        return [
            1.0 if record["answer"] in reply else 0.0 for record, reply in zip(self.split(split), replies, strict=True)
        ]


def prompt_of(question: str) -> str:
    """The documented default prompt of exact match."""
    return f"Question: {question}\nAnswer:"


def write_dataset(path: Path, validation: int = 8, test: int = 8, first: int = 3) -> Path:
    path.write_text(json.dumps({"dev": records(validation, first), "test": records(test, first + 50)}))
    return path


def make_world(base: Path, experts: Path, folder: Path) -> World:
    return World(base, experts, write_dataset(folder / "sums.json"))


def run_swarm(config: dict[str, Any], subcommand: str, folder: Path, *arguments: str) -> str:
    """Run the command `swarm` in this process with a config file, and return what it printed on stdout."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    printed = io.StringIO()
    with calm_process(), contextlib.redirect_stdout(printed):
        main([subcommand, "--config", str(path), *arguments])
    return printed.getvalue()


@contextlib.contextmanager
def calm_process() -> Iterator[None]:
    """Give back what a run changes in a process: the seed, the environment, and where arguments come from."""
    environment = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(sys, "argv", ["swarm"])
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(environment)


def fitted(
    module: ModelSwarm,
    world: World,
    folder: Path,
    max_steps: int,
    seed: int,
    *callbacks: L.Callback,
    data: SwarmData | None = None,
    logger: Any = False,
    ckpt_path: str | None = None,
) -> None:
    """Fit a search on the world, or on other data, by a trainer that writes nothing but what the callbacks do."""
    with calm_process():
        L.seed_everything(seed, verbose=False)
        trainer = SwarmTrainer(
            accelerator="cpu",
            devices=1,
            max_steps=max_steps,
            default_root_dir=folder,
            logger=logger,
            callbacks=list(callbacks),
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data or SwarmData(str(world.dataset)), ckpt_path=ckpt_path)


def search(
    world: World,
    root: Path,
    *,
    callbacks: Sequence[L.Callback] = (),
    objective: Objective | None = None,
    experts: str | list[str] | None = None,
    particles: int = 4,
    iterations: int = 3,
    seed: int = 0,
    scheduler: Callable[..., Any] = StepLengthDecay,
    dataset: Path | None = None,
    data: SwarmData | None = None,
    ckpt_path: str | None = None,
    logger: Any = False,
    engine: EngineSettings = EngineSettings(),  # noqa: B008 - frozen
    dtype: str = "auto",
    storage: Storage = "memory",
    state_folder: str | None = None,
    start: Start = Start(),  # noqa: B008 - frozen
    draws: DrawsChoice = "particle",
    coefficients: Granularity | None = None,
    guide: GuideChoice = "objective",
    sharing: Sharing = Alone(),  # noqa: B008 - holds nothing
    **swarm: Any,
) -> ModelSwarm:
    """Search through Python, as a user without the command line does; further settings go to the particle swarm."""
    module = ModelSwarm(
        str(world.base),
        experts=str(world.experts) if experts is None else experts,
        objective=objective if objective is not None else ExactMatch(max_new_tokens=NEW_TOKENS),
        particles=particles,
        optimizer=partial(ParticleSwarm, **swarm),
        scheduler=scheduler,
        engine=engine,
        dtype=dtype,
        storage=storage,
        state_folder=state_folder,
        start=start,
        draws=draws,
        coefficients=coefficients,
        guide=guide,
    )
    module.share(sharing)
    data = data or SwarmData(str(dataset or world.dataset))
    fitted(module, world, root, iterations, seed, *callbacks, data=data, logger=logger, ckpt_path=ckpt_path)
    return module


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Load the last checkpoint of a run folder, refusing anything but tensors and plain values."""
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested mappings and lists: what stands where."""
    if isinstance(value, dict):
        entries = [(str(name), entry) for name, entry in value.items()]
    elif isinstance(value, list | tuple):
        entries = [(str(place), entry) for place, entry in enumerate(value)]
    else:
        return {path: value}
    return {name: leaf for key, entry in entries for name, leaf in leaves(entry, f"{path}/{key}").items()}


def same(first: Any, second: Any) -> bool:
    """Tell whether two leaves are equal bit for bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if first.dtype != second.dtype or first.shape != second.shape:
            return False
        if first.is_floating_point():  # what is unknown is NaN
            return first.isnan().equal(second.isnan()) and first.nan_to_num().equal(second.nan_to_num())
        return first.equal(second)
    if type(first) is float and math.isnan(first):
        return type(second) is float and math.isnan(second)
    return type(first) is type(second) and bool(first == second)


def content(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(config.get(name), dict)
        merged[name] = _merged(config[name], value) if both else value
    return merged
