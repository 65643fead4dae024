"""Particles of coefficients on the resident base: the same numbers as with adapters of their own, in one pass."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.products.adapter import product_adapter
from swarm_lightning.experts.products.linear import ProductLinear
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.products.products import Granularity, Groups, Products
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import ExactMatch, MeanLogLikelihood
from tests.conftest import save_adapter

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80], [1, 41, 300, 7, 9, 11]])
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}  # of logits up to 5


@torch.no_grad()
def logits(model: torch.nn.Module, repeats: int = 1) -> Tensor:
    return model(input_ids=TOKENS.repeat(repeats, 1)).logits


def product_model(
    base_folder: Path, pool: ExpertPool, granularity: Granularity = "expert", dtype: str = "float32"
) -> ProductModel:
    adapted = AdaptedModel(load_base(str(base_folder), dtype)[0], pool)
    products = Products.of(pool.adapters())
    return ProductModel(adapted, products, Groups.of(products, granularity))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("experts", ["tiny_experts_folder", "mixed_experts_folder"])
def test_one_hot_coefficients_give_the_logits_of_the_plain_adapters(
    tiny_base_folder: Path, request: pytest.FixtureRequest, experts: str, dtype: str
) -> None:
    pool = load_pool(str(request.getfixturevalue(experts)))
    count = len(pool.names)
    adapted = AdaptedModel(load_base(str(tiny_base_folder), dtype)[0], pool)
    expected = []
    for vector in pool.vectors:
        adapted.load(vector)
        expected.append(logits(adapted.model))
    products = Products.of(pool.adapters())
    model = ProductModel(adapted, products, Groups.of(products, "expert"))
    model.load(torch.eye(count))
    model.batch.rows, model.batch.tokens = 2 * count, TOKENS.shape[1]
    for found, logits_of_expert in zip(logits(model.model, count).chunk(count), expected, strict=True):
        torch.testing.assert_close(found, logits_of_expert, atol=TOLERANCE[dtype], rtol=1e-4)


@pytest.mark.parametrize("granularity", ["expert", "half_block", "component"])
def test_particles_give_the_logits_of_the_adapters_that_they_are_exported_as(
    tiny_base_folder: Path, pool: ExpertPool, granularity: Granularity
) -> None:
    model = product_model(tiny_base_folder, pool, granularity)
    products = Products.of(pool.adapters())
    coefficients = torch.randn(3, model.groups.size, generator=torch.Generator().manual_seed(1)) / 4
    model.load(coefficients)
    model.batch.rows, model.batch.tokens = 6, TOKENS.shape[1]
    found = logits(model.model, 3).chunk(3)
    for row, particle in zip(found, coefficients, strict=True):
        adapter = product_adapter(products, model.groups, particle)
        base = load_base(str(tiny_base_folder))[0]
        with torch.no_grad():
            for layer in products.layers:
                down, up = (adapter.tensors[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
                base.get_parameter(f"{layer}.weight").add_(up @ down)
        torch.testing.assert_close(row, logits(base), atol=1e-4, rtol=1e-4)


def test_an_unloaded_model_is_the_base_to_the_last_bit_and_adapters_work_as_before(
    tiny_base_folder: Path, pool: ExpertPool
) -> None:
    plain = logits(load_base(str(tiny_base_folder))[0])
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    before = logits(adapted.model)
    products = Products.of(pool.adapters())
    model = ProductModel(adapted, products, Groups.of(products, "expert"))
    model.load(torch.ones(4) / 4)
    with model.base_only() as base:
        assert torch.equal(logits(base), plain)
    assert not torch.equal(logits(model.model), plain)
    model.unload()
    assert torch.equal(logits(model.model), plain)
    assert not any(isinstance(module, ProductLinear) for module in model.model.modules())
    adapted.load(pool.vectors[:1])
    assert torch.equal(logits(adapted.model), before)


def test_other_groups_share_the_matrices(tiny_base_folder: Path, pool: ExpertPool) -> None:
    model = product_model(tiny_base_folder, pool)
    model.load(torch.tensor([0.5, 0.0, 0.25, 0.0]))
    expected = logits(model.model)
    model.unload()
    finer = model.grouped(Groups.of(Products.of(pool.adapters()), "module"))
    finer.load(finer.groups.spread(torch.tensor([0.5, 0.0, 0.25, 0.0])))
    assert torch.equal(logits(finer.model), expected)


def test_an_adapted_output_layer_is_served(tiny_base_folder: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two"), start=1):
        save_adapter(tiny_base_folder, tmp_path / name, seed, r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"])
    check_same_answers(tiny_base_folder, load_pool(str(tmp_path)))


def test_the_evaluator_gives_the_replies_and_likelihoods_of_the_adapters(
    tiny_base_folder: Path, pool: ExpertPool
) -> None:
    check_same_answers(tiny_base_folder, pool)


def check_same_answers(base_folder: Path, pool: ExpertPool) -> None:
    """Ask all experts by their weights, and by one-hot coefficients in one pass."""
    base, tokenizer = load_base(str(base_folder))
    adapted = AdaptedModel(base, pool)
    products = Products.of(pool.adapters())
    model = ProductModel(adapted, products, Groups.of(products, "expert"))
    examples = [Example(f"What is {one} plus 7?", "19") for one in range(5)]
    replies, scores = [], []
    for resident, positions in ((adapted, pool.vectors), (model, torch.eye(len(pool.names)))):
        runner = ResidentRunner(resident, tokenizer)
        evaluation = Evaluator(runner, ExactMatch(max_new_tokens=6)).evaluate(positions, examples, whole_replies=True)
        replies.append([tuple(outcome.reply for outcome in row if outcome is not None) for row in evaluation.outcomes])
        scores.append(Evaluator(runner, MeanLogLikelihood()).evaluate(positions, examples).scores)
    assert replies[0] == replies[1]
    assert len(set(replies[0])) == len(pool.names)  # the experts say different things
    torch.testing.assert_close(scores[1], scores[0], atol=1e-4, rtol=1e-4)


def test_products_of_other_layers_and_coefficients_of_another_shape_are_refused(
    tiny_base_folder: Path, pool: ExpertPool, mixed_experts_folder: Path
) -> None:
    model = product_model(tiny_base_folder, pool)
    with pytest.raises(ValueError, match=r"\[P, 4\], but got shape \[2, 3\]"):
        model.load(torch.ones(2, 3))
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    others = Products.of(load_pool(str(mixed_experts_folder)).adapters())
    with pytest.raises(ValueError, match="Expected products of the layers"):
        ProductModel(adapted, others, Groups.of(others, "expert"))


@torch.no_grad()
def test_second_versions_answer_as_they_are_alone_beside_the_first_and_in_the_same_pass(
    tiny_base_folder: Path, pool: ExpertPool
) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    products = Products.of(pool.adapters()).doubled()
    groups = Groups.of(products, "expert")
    model = ProductModel(adapted, products, groups)
    first, second = groups.spread(torch.full((4,), 0.25)), groups.refitted / 4
    model.load(first)
    expected = logits(model.model)
    model.load(second)
    assert not logits(model.model).allclose(expected), "nothing but the base, until they are written"
    products.put_second(products.trained.downs)
    model.follow(products)
    for alone in (first, second):
        model.load(alone)
        torch.testing.assert_close(logits(model.model), expected, atol=1e-5, rtol=1e-5)
    model.load((first + second) / 2)
    torch.testing.assert_close(logits(model.model), expected, atol=1e-5, rtol=1e-5)
    model.load(torch.stack([first, second]))
    model.batch.rows, model.batch.tokens = 4, TOKENS.shape[1]
    for half in logits(model.model, 2).chunk(2):
        torch.testing.assert_close(half, expected, atol=1e-5, rtol=1e-5)
    model.load(torch.zeros(groups.size))
    found = logits(model.model)
    with model.base_only() as base:
        torch.testing.assert_close(found, logits(base))


@torch.no_grad()
def test_where_the_layers_compute_in_another_dtype_second_versions_are_written_there_too(
    tiny_base_folder: Path, pool: ExpertPool
) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0].double(), pool)
    products = Products.of(pool.adapters()).doubled()
    groups = Groups.of(products, "expert")
    model = ProductModel(adapted, products, groups)
    model.load(groups.spread(torch.full((4,), 0.25)))
    expected = logits(model.model)
    products.put_second(products.trained.downs)
    model.follow(products)
    model.load(groups.refitted / 4)
    torch.testing.assert_close(logits(model.model), expected)
