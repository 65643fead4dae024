"""Adapters made of products: by plain PEFT, and against NumPy on the dense matrices."""

from pathlib import Path

import numpy
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from swarm_lightning.experts.export.adapter import write_adapter
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.products.adapter import ProductAdapter, product_adapter
from swarm_lightning.experts.products.products import Groups, Products

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80], [1, 41, 300, 7, 9, 11]])
WEIGHTS = torch.tensor([0.5, 0.0, -0.25, 0.75])


def adapter_of(pool: ExpertPool, weights: Tensor, rank: int | None = None) -> ProductAdapter:
    products = Products.of(pool.adapters())
    groups = Groups.of(products, "expert")
    return product_adapter(products, groups, weights, rank)


def dense_sum(pool: ExpertPool, weights: Tensor, layer: str) -> Tensor:
    """What is added to a layer's weight; all experts of this pool scale by 8 / 4."""
    names = [f"base_model.model.{layer}.lora_{part}.weight" for part in "AB"]
    parts = [[adapter.tensors[name].double() for name in names] for adapter in pool.adapters()]
    return sum(2 * float(weight) * up @ down for weight, (down, up) in zip(weights, parts, strict=True))  # type: ignore[return-value]


@torch.no_grad()
def logits_with(base_folder: Path, added: dict[str, Tensor]) -> Tensor:
    """The logits of the base with matrices added to the weights of its layers."""
    base = AutoModelForCausalLM.from_pretrained(base_folder).double().eval()
    for layer, matrix in added.items():
        base.get_submodule(layer).weight.add_(matrix)
    return base(input_ids=TOKENS).logits


@torch.no_grad()
def logits_by_peft(base_folder: Path, folder: Path) -> Tensor:
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    return PeftModel.from_pretrained(base, str(folder)).eval()(input_ids=TOKENS).logits


def layers_of(adapter: ProductAdapter) -> list[str]:
    return list(adapter.errors)


@pytest.mark.parametrize("pool_of", ["tiny_experts_folder", "mixed_experts_folder"])
def test_the_exact_adapter_gives_the_logits_of_the_summed_products_in_plain_peft(
    tiny_base_folder: Path, tmp_path: Path, request: pytest.FixtureRequest, pool_of: str
) -> None:
    folder = request.getfixturevalue(pool_of)
    pool = load_pool(str(folder))
    weights = torch.linspace(-0.3, 0.5, len(pool.names))
    adapter = adapter_of(pool, weights)
    write_adapter(tmp_path / "sum", adapter.tensors, adapter.config, "card")
    # What each expert adds, by PEFT's own merging of its folder.
    added: dict[str, Tensor] = {}
    plain = AutoModelForCausalLM.from_pretrained(tiny_base_folder).state_dict()
    for name, weight in zip(pool.names, weights.tolist(), strict=True):
        base = AutoModelForCausalLM.from_pretrained(tiny_base_folder)
        merged = PeftModel.from_pretrained(base, str(folder / name)).merge_and_unload().state_dict()
        for layer in layers_of(adapter):
            change = weight * (merged[f"{layer}.weight"].double() - plain[f"{layer}.weight"].double())
            added[layer] = added.get(layer, torch.zeros(())) + change
    found = logits_by_peft(tiny_base_folder, tmp_path / "sum")
    torch.testing.assert_close(found.double(), logits_with(tiny_base_folder, added), atol=1e-4, rtol=1e-4)


def test_the_exact_adapter_has_the_summed_rank_of_the_experts_with_a_part(pool: ExpertPool) -> None:
    adapter = adapter_of(pool, WEIGHTS)
    assert (adapter.config["r"], adapter.config["lora_alpha"], set(adapter.errors.values())) == (12, 12, {0.0})
    for layer in layers_of(adapter):
        down, up = (adapter.tensors[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
        assert (len(down), up.shape[1]) == (12, 12)
        torch.testing.assert_close(up.double() @ down.double(), dense_sum(pool, WEIGHTS, layer), atol=1e-6, rtol=1e-6)


def test_a_sum_of_nothing_is_an_adapter_that_changes_nothing(
    tiny_base_folder: Path, pool: ExpertPool, tmp_path: Path
) -> None:
    adapter = adapter_of(pool, torch.zeros(4))
    assert adapter.config["r"] == 1
    write_adapter(tmp_path / "none", adapter.tensors, adapter.config, "card")
    plain = logits_with(tiny_base_folder, {})
    torch.testing.assert_close(
        logits_by_peft(tiny_base_folder, tmp_path / "none").double(), plain, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("rank", [1, 3, 12, 40])
def test_a_smaller_rank_is_the_best_there_is_and_says_what_it_lacks(
    tiny_base_folder: Path, pool: ExpertPool, tmp_path: Path, rank: int
) -> None:
    adapter = adapter_of(pool, WEIGHTS, rank)
    write_adapter(tmp_path / "cut", adapter.tensors, adapter.config, "card")
    best: dict[str, Tensor] = {}
    for layer in layers_of(adapter):
        whole = dense_sum(pool, WEIGHTS, layer).numpy()
        left, singular, right = numpy.linalg.svd(whole, full_matrices=False)
        error = float(numpy.sqrt((singular[rank:] ** 2).sum() / (singular**2).sum())) if rank < 12 else 0.0
        assert adapter.errors[layer] == pytest.approx(error, abs=1e-6)
        down, up = (adapter.tensors[f"base_model.model.{layer}.lora_{part}.weight"].double() for part in "AB")
        assert len(down) == min(rank, 12)
        distance = numpy.linalg.norm((up @ down).numpy() - whole) / numpy.linalg.norm(whole)
        assert distance == pytest.approx(error, abs=1e-6)
        best[layer] = torch.from_numpy(left[:, :rank] * singular[:rank] @ right[:rank])
    found = logits_by_peft(tiny_base_folder, tmp_path / "cut")
    torch.testing.assert_close(found.double(), logits_with(tiny_base_folder, best), atol=1e-4, rtol=1e-4)


def test_a_rank_below_one_is_refused(pool: ExpertPool) -> None:
    with pytest.raises(ValueError, match="a rank of 1 or more, but got 0"):
        adapter_of(pool, WEIGHTS, 0)
