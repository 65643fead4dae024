"""Adapters of `lm_head`, beside which PEFT saves the base's own weights, against plain PEFT."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.adapter import export_adapter
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.base_model import load_base
from tests.conftest import save_adapter

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80]])
COPY = "base_model.model.lm_head.base_layer.weight"


@pytest.fixture(scope="module", params=["untied", "tied"])
def world(request: pytest.FixtureRequest, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, with its head tied to its embedding or not, and two adapters of its head as PEFT saves them."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(tiny_base_folder, folder / "base")
    if request.param == "tied":
        from transformers import LlamaForCausalLM

        base = LlamaForCausalLM.from_pretrained(tiny_base_folder)
        base.config.tie_word_embeddings = True
        base.tie_weights()
        base.save_pretrained(folder / "base")
    for seed, name in enumerate(("anna", "bert"), start=1):
        save_adapter(folder / "base", folder / "experts" / name, seed, r=4, target_modules=["q_proj", "lm_head"])
        assert COPY in load_file(folder / "experts" / name / "adapter_model.safetensors")
    return folder


@pytest.fixture
def heads(world: Path, tmp_path: Path) -> Path:
    """A copy of the world that a test may break."""
    return Path(shutil.copytree(world, tmp_path / "world"))


@torch.no_grad()
def logits(model: torch.nn.Module) -> Tensor:
    return model(input_ids=TOKENS).logits


def plain(base: Path, adapter: Path) -> Tensor:
    return logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval())


def test_adapters_of_the_head_and_what_is_exported_of_them_give_the_logits_of_plain_peft(
    world: Path, tmp_path: Path
) -> None:
    pool = load_pool(str(world / "experts"))
    resident = pool.resident(load_base(str(world / "base"))[0], str(world / "base"))
    for index, name in enumerate(pool.names):
        resident.load(pool.vectors[index : index + 1])
        torch.testing.assert_close(logits(resident.model), plain(world / "base", world / "experts" / name))
    middle = pool.vectors.mean(0, keepdim=True)
    resident.load(middle)
    exported = export_adapter(tmp_path / "best", middle[0], pool, "card")
    torch.testing.assert_close(logits(resident.model), plain(world / "base", exported))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_copies_that_are_rounded_or_finer_than_the_base_are_the_bases(
    heads: Path, change_tensors: Callable[..., None], dtype: str
) -> None:
    change_tensors(heads / "experts" / "anna", lambda old: old | {COPY: old[COPY].to(getattr(torch, dtype))})
    for loaded in ("float32", dtype):
        load_pool(str(heads / "experts")).resident(load_base(str(heads / "base"), loaded)[0], str(heads / "base"))


@pytest.mark.parametrize("change", [lambda copy: copy + 0.01, lambda copy: torch.cat([copy, copy[:8]])])
def test_a_layer_that_was_trained_or_resized_is_refused_with_what_to_do(
    heads: Path, change_tensors: Callable[..., None], change: Callable[[Tensor], Tensor]
) -> None:
    change_tensors(heads / "experts" / "bert", lambda old: old | {COPY: change(old[COPY])})
    pool = load_pool(str(heads / "experts"))
    base = load_base(str(heads / "base"))[0]
    with pytest.raises(InputError, match=f"'bert' carries '{COPY}'.*'lm_head.weight'.*save_embedding_layers=False"):
        pool.resident(base, str(heads / "base"))


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"])
def test_any_whole_layer_that_is_the_bases_is_taken_and_an_unknown_one_refused(
    heads: Path, change_tensors: Callable[..., None], name: str
) -> None:
    base = load_base(str(heads / "base"))[0]
    copy = base.state_dict()[name].clone()
    change_tensors(heads / "experts" / "anna", lambda old: old | {f"base_model.model.{name}": copy})
    change_tensors(heads / "experts" / "bert", lambda old: old | {"base_model.model.other.weight": copy})
    pool = load_pool(str(heads / "experts"))
    with pytest.raises(InputError, match="'bert' carries 'base_model.model.other.weight'.*none"):
        pool.resident(base, str(heads / "base"))
