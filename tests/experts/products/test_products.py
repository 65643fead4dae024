"""Products and their groups, against dense matrices that the code never makes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.products.products import GRANULARITIES, Granularity, Groups, Products


def dense(pool: ExpertPool, expert: int, layer: str) -> Tensor:
    """What an expert adds to a layer's weight, [out, in]; all experts of this pool scale by alpha / rank = 8 / 4."""
    tensors = pool.adapters()[expert].tensors
    down, up = (tensors[f"base_model.model.{layer}.lora_{part}.weight"].double() for part in "AB")
    return 2 * up @ down


def total(products: Products, groups: Groups, coefficients: Tensor, layer: str) -> Tensor:
    place = products.layers.index(layer)
    scale = groups.scales(coefficients[None])[place][0]
    return products.ups[place].double() * scale.double() @ products.downs[place].double()


@pytest.mark.parametrize(
    ("granularity", "count"),
    # Two blocks; q and v in attention, gate, up and down in the MLP; rank 4 each.
    [("expert", 1), ("layer", 2), ("half_block", 4), ("module", 10), ("component", 40)],
)
def test_every_granularity_has_as_many_coefficients_as_it_says(
    pool: ExpertPool, granularity: Granularity, count: int
) -> None:
    products = Products.of(pool.adapters())
    groups = Groups.of(products, granularity)
    assert (len(groups.names), groups.size) == (count, 4 * count)
    assert groups.index.unique().tolist() == list(range(4 * count))


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_equal_coefficients_in_all_groups_are_one_per_expert(pool: ExpertPool, granularity: Granularity) -> None:
    products = Products.of(pool.adapters())
    groups = Groups.of(products, granularity)
    weights = torch.tensor([0.5, -1.0, 0.0, 0.25])
    for layer in products.layers:
        expected = sum(float(weight) * dense(pool, expert, layer) for expert, weight in enumerate(weights))
        torch.testing.assert_close(total(products, groups, groups.spread(weights), layer), expected)


def test_a_half_block_s_coefficient_scales_its_modules_and_no_others(pool: ExpertPool) -> None:
    products = Products.of(pool.adapters())
    groups = Groups.of(products, "half_block")
    coefficients = torch.zeros(4, len(groups.names))
    coefficients[2, groups.names.index("model.layers.1.mlp")] = 3
    for layer in products.layers:
        factor = 3 if layer.startswith("model.layers.1.mlp.") else 0
        torch.testing.assert_close(
            total(products, groups, coefficients.flatten(), layer), factor * dense(pool, 2, layer)
        )


def test_a_component_s_coefficient_scales_one_row_of_a_and_column_of_b(pool: ExpertPool) -> None:
    products = Products.of(pool.adapters())
    groups = Groups.of(products, "component")
    coefficients = torch.zeros(4, len(groups.names))
    layer = "model.layers.0.self_attn.v_proj"
    coefficients[1, groups.names.index(f"{layer}.3")] = 0.5
    tensors = pool.adapters()[1].tensors
    down, up = (tensors[f"base_model.model.{layer}.lora_{part}.weight"].double() for part in "AB")
    expected = torch.outer(up[:, 3], down[3])  # 0.5 * 8 / 4 = 1
    torch.testing.assert_close(total(products, groups, coefficients.flatten(), layer), expected)


def test_experts_of_other_ranks_scalings_and_targets_stack_in_their_common_form(mixed_experts_folder: Path) -> None:
    pool = load_pool(str(mixed_experts_folder))
    products = Products.of(pool.adapters())
    groups = Groups.of(products, "expert")
    few = groups.spread(torch.eye(6)[pool.names.index("few")])  # adapts one layer alone: rank 4, alpha 8
    assert not total(products, groups, few, "model.layers.0.self_attn.q_proj").any()
    layer = "model.layers.1.self_attn.v_proj"
    from safetensors.torch import load_file

    file = load_file(mixed_experts_folder / "few" / "adapter_model.safetensors")
    down, up = (file[f"base_model.model.{layer}.lora_{part}.weight"].double() for part in "AB")
    torch.testing.assert_close(total(products, groups, few, layer), 2 * up @ down, rtol=1e-6, atol=1e-7)


def test_what_is_no_granularity_or_no_coefficient_vector_is_refused(pool: ExpertPool) -> None:
    products = Products.of(pool.adapters())
    with pytest.raises(InputError, match=r"expert, layer, half_block, module, component, but got 'head'"):
        Groups.of(products, "head")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[P, 4\], but got shape \[4\]"):
        Groups.of(products, "expert").scales(torch.ones(4))
    with pytest.raises(ValueError, match="a weight for each of 4 experts"):
        Groups.of(products, "layer").spread(torch.ones(8))


@pytest.mark.parametrize("granularity", ["expert", "module", "component"])
def test_second_versions_have_coefficients_of_their_own_behind_all_others(
    pool: ExpertPool, granularity: Granularity
) -> None:
    products = Products.of(pool.adapters())
    doubled = products.doubled()
    groups, plain = Groups.of(doubled, granularity), Groups.of(products, granularity)
    assert groups.size == 2 * plain.size
    assert groups.names == plain.names
    assert doubled.ranks == products.ranks
    weights = torch.tensor([0.5, 0.0, 0.25, 0.125])
    layer = products.layers[3]
    assert total(doubled, groups, groups.spread(weights), layer).equal(
        total(products, plain, plain.spread(weights), layer)
    )
    assert not total(doubled, groups, groups.refitted, layer).any(), "0 until they are written"
    doubled.put_second([3 * down for down in products.downs])
    expected = 3 * total(products, plain, plain.spread(torch.ones(4)), layer)
    torch.testing.assert_close(total(doubled, groups, groups.refitted, layer), expected)
    assert all(own.equal(down) for own, down in zip(doubled.trained.downs, products.downs, strict=True))
    assert all(own.equal(up) for own, up in zip(doubled.trained.ups, products.ups, strict=True))
