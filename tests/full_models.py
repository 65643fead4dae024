"""Tiny whole models of two architectures as experts, and what plain `transformers` makes of them.

Made from fixed seeds by plain `transformers`; nothing of the package takes part. The experts of a world are copies of
one model with other numbers added to every weight, saved in different ways: whole or in shards, in different
dtypes.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests.search.tiny_search import World, write_dataset
from tests.swarm.reference import Vector

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

NAMES = ("anna", "bert", "clara", "dora")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def tied_llama(vocabulary: int) -> "PretrainedConfig":
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def untied_gpt2(vocabulary: int) -> "PretrainedConfig":
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=512,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )


ARCHITECTURES: dict[str, Callable[[int], "PretrainedConfig"]] = {"llama": tied_llama, "gpt2": untied_gpt2}


def make_base(tokenizer_folder: Path, architecture: str) -> "PreTrainedModel":
    """Make a model whose greedy replies differ between prompts and between perturbed copies of it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    vocabulary = len(AutoTokenizer.from_pretrained(tokenizer_folder))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture](vocabulary)).float()
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.6 if "embed" in name or "wte" in name or "lm_head" in name else 0.3)
    return model.eval()


def perturbed(model: "PreTrainedModel", seed: int, noise: float = 0.6) -> Any:
    """Return a copy with other numbers added to every weight."""
    from transformers import AutoModelForCausalLM

    copy: Any = AutoModelForCausalLM.from_config(model.config).float()
    copy.load_state_dict(model.state_dict())
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in copy.parameters():
            parameter.add_(noise * parameter.std(correction=0) * torch.randn(parameter.shape))
    return copy


def save_copies(model: "PreTrainedModel", tokenizer_folder: Path, folder: Path, noise: float = 0.6) -> Path:
    """Save perturbed copies: one as it is, one in shards, one in bfloat16, one with other shards."""
    for seed, name in enumerate(NAMES, start=1):
        copy = perturbed(model, seed, noise)
        if name == "clara":
            copy = copy.bfloat16()
        shards = {"bert": "40KB", "dora": "20KB"}.get(name, "1GB")
        copy.save_pretrained(folder / name, max_shard_size=shards)
        copy_tokenizer(tokenizer_folder, folder / name)
    return folder


def copy_tokenizer(source: Path, folder: Path) -> None:
    for file in TOKENIZER_FILES:
        if (source / file).exists():
            shutil.copy(source / file, folder / file)


class FullWorld(World):
    """Full checkpoints with a dataset, and the same models in the hands of plain `transformers`."""

    def load(self, folder: Path) -> Any:
        """Load a checkpoint as any user of `transformers` does."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder).eval()


def make_full_world(experts: Path, folder: Path) -> FullWorld:
    folder.mkdir(parents=True, exist_ok=True)
    return FullWorld(experts / NAMES[0], experts, write_dataset(folder / "sums.json"))


class PlainTransformers:
    """Scores positions with a model that plain `transformers` has loaded; vectors hold its weights sorted by name."""

    def __init__(self, world: FullWorld, names: Sequence[str] = NAMES) -> None:
        self.world = world
        self.model = world.load(world.experts / names[0]).float()
        self.parameters = dict(sorted(self.model.named_parameters()))
        self.start = [self.flat(world.load(world.experts / name)) for name in names]

    def flat(self, model: Any) -> Vector:
        found = dict(model.named_parameters())
        return np.concatenate([found[name].detach().double().numpy().ravel() for name in self.parameters])

    def utility(self, position: Vector) -> float:
        first = 0
        with torch.no_grad():
            for parameter in self.parameters.values():
                part = position[first : first + parameter.numel()]
                parameter.copy_(torch.from_numpy(part).float().reshape(parameter.shape))
                first += parameter.numel()
        scores = self.world.score(self.world.replies(self.model, "dev"), "dev")
        return sum(scores) / len(scores)
