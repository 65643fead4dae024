"""One layer with weighted products, against its sums written out in float64."""

import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from swarm_lightning.errors import InputError
from swarm_lightning.experts.products.linear import ProductLinear
from swarm_lightning.experts.resident.stacked_linear import BatchShape

PARTICLES, ROWS, TOKENS, WIDTH, OUT, COMPONENTS = 3, 2, 4, 5, 7, 6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(base: torch.nn.Module, flat_rows: bool = True) -> ProductLinear:
    batch = BatchShape(PARTICLES * ROWS, TOKENS, flat_rows)
    return ProductLinear(base, "layers.0.q_proj", draw(COMPONENTS, WIDTH, seed=1), draw(OUT, COMPONENTS, seed=2), batch)


def by_hand(layer: ProductLinear, x: Tensor, scale: Tensor) -> Tensor:
    """Add to the layer's own outputs the dense matrix of every particle."""
    added = [
        rows.double() @ (layer.up.double() * weights.double() @ layer.down.double()).T
        for rows, weights in zip(x.chunk(PARTICLES), scale, strict=True)
    ]
    return layer.base_layer(x).double() + torch.cat(added)


@torch.no_grad()
@pytest.mark.parametrize("transposed", [False, True])
def test_every_particle_gets_its_own_sum_of_the_products(transposed: bool) -> None:
    layer = make(Conv1D(OUT, WIDTH) if transposed else torch.nn.Linear(WIDTH, OUT))
    x, scale = draw(PARTICLES * ROWS, TOKENS, WIDTH), draw(PARTICLES, COMPONENTS, seed=3)
    layer.weigh(scale)
    expected = by_hand(layer, x, scale)
    torch.testing.assert_close(layer(x).double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(x.flatten(0, 1)).double(), expected.flatten(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_base_of_less_precision_rounds_once_at_the_end() -> None:
    layer = make(torch.nn.Linear(WIDTH, OUT).bfloat16())
    x, scale = draw(PARTICLES * ROWS, TOKENS, WIDTH).bfloat16(), draw(PARTICLES, COMPONENTS, seed=3)
    layer.weigh(scale)
    found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, by_hand(layer, x, scale).bfloat16(), atol=0.01, rtol=0.01)


@torch.no_grad()
def test_without_weights_it_is_the_plain_layer() -> None:
    base = torch.nn.Linear(WIDTH, OUT)
    layer = make(base)
    x = draw(1, 2, WIDTH)  # of any rows
    layer.weigh(draw(PARTICLES, COMPONENTS))
    layer.weigh(None)
    assert torch.equal(layer(x), base(x))
    assert layer.weight is base.weight
    assert layer.bias is base.bias


@torch.no_grad()
def test_rows_that_are_not_the_batch_s_are_refused_where_particles_share_a_pass() -> None:
    layer = make(torch.nn.Linear(WIDTH, OUT), flat_rows=False)
    layer.weigh(draw(PARTICLES, COMPONENTS))
    for x in (draw(PARTICLES, TOKENS, WIDTH), draw(PARTICLES * ROWS * TOKENS, WIDTH)):
        with pytest.raises(InputError, match=r"'layers.0.q_proj' to see all 6 x 4 tokens"):
            layer(x)
    layer.weigh(draw(1, COMPONENTS))
    assert layer(draw(5, WIDTH)).shape == (5, OUT)
