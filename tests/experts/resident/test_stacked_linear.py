"""The reference is each particle's own product, written out; that whole models equal plain peft is in test_adapted."""

import pytest
import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.resident import stacked_linear
from swarm_lightning.experts.resident.stacked_linear import BatchShape, StackedLinear

P, R, IN, OUT, TOKENS = 3, 2, 5, 4, 6


def layer_of(
    base: torch.nn.Module, dtype: torch.dtype = torch.float32, batch: BatchShape | None = None, scaling: float = 2.0
) -> StackedLinear:
    return StackedLinear(base.requires_grad_(False), "mlp.up", scaling, dtype, batch or BatchShape(6, TOKENS))


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape))).to(dtype)


def alone(base: torch.nn.Module, x: Tensor, down: Tensor, up: Tensor, scaling: float = 2.0) -> Tensor:
    """What the layer gives for one particle: the product in the adapter's type, added before rounding."""
    result: Tensor = base(x)
    return (result.to(down.dtype) + scaling * (x.to(down.dtype) @ down.T) @ up.T).to(result.dtype)


def test_numbers_by_hand() -> None:
    base = torch.nn.Linear(2, 1, bias=True)
    with torch.no_grad():
        base.weight.copy_(torch.tensor([[1.0, 10.0]]))
        base.bias.copy_(torch.tensor([100.0]))
    layer = layer_of(base, batch=BatchShape(2, 1), scaling=0.5)
    x = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    assert layer(x).flatten().tolist() == [121.0, 143.0]
    # Particle 0: 0.5 * 4 * (1 + 2) = 6 more; particle 1: 0.5 * 2 * (3 - 4) = 1 less.
    layer.carry(torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]]), torch.tensor([[[4.0]], [[2.0]]]))
    assert layer(x).flatten().tolist() == [127.0, 142.0]
    layer.carry(None, None)
    assert layer(x).flatten().tolist() == [121.0, 143.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("particles", [1, P])
@torch.no_grad()
def test_particles_at_once_equal_each_alone(particles: int, flat: bool, dtype: torch.dtype) -> None:
    base = torch.nn.Linear(IN, OUT).to(dtype)
    kind = torch.promote_types(dtype, torch.float32)
    down, up = drawn(particles, R, IN, dtype=kind), drawn(particles, OUT, R, dtype=kind)
    x = drawn(6, TOKENS, IN, dtype=dtype)
    layer = layer_of(base, kind)
    layer.carry(down, up)
    found = layer(x.view(-1, IN)).view(6, TOKENS, OUT) if flat else layer(x)
    assert found.dtype == dtype
    for particle, rows in enumerate(x.chunk(particles)):
        expected = alone(base, rows, down[particle], up[particle])
        torch.testing.assert_close(found.chunk(particles)[particle], expected)


@torch.no_grad()
def test_wide_layers_give_the_same_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    base = torch.nn.Linear(IN, OUT).double()
    down, up, x = (drawn(*shape, dtype=torch.float64) for shape in ((P, R, IN), (P, OUT, R), (6, TOKENS, IN)))
    monkeypatch.setattr(stacked_linear, "WIDE", IN)
    layer = layer_of(base, torch.float64)
    layer.carry(down, up)
    for particle, (found, rows) in enumerate(zip(layer(x).chunk(P), x.chunk(P), strict=True)):
        torch.testing.assert_close(found, alone(base, rows, down[particle], up[particle]))


@torch.no_grad()
def test_transposed_weights_serve_as_well() -> None:
    from transformers.pytorch_utils import Conv1D

    base = Conv1D(OUT, IN)
    layer = layer_of(base)
    down, up = drawn(P, R, IN), drawn(P, OUT, R)
    layer.carry(down, up)
    x = drawn(6, TOKENS, IN)
    expected = torch.cat([alone(base, rows, *pair) for rows, *pair in zip(x.chunk(P), down, up, strict=True)])
    torch.testing.assert_close(layer(x), expected)


class Transposed(torch.nn.Linear):
    """Gives its outputs in an order of its own in memory, and takes a further argument."""

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return (super().forward(x) * factor).transpose(0, 1).contiguous().transpose(0, 1)


@torch.no_grad()
def test_outputs_that_are_not_contiguous_and_further_arguments() -> None:
    base = Transposed(IN, OUT)
    layer = layer_of(base)
    down, up = drawn(P, R, IN), drawn(P, OUT, R)
    layer.carry(down, up)
    x = drawn(6, TOKENS, IN)
    assert not base(x).is_contiguous()
    expected = torch.cat([alone(base, rows, *pair) for rows, *pair in zip(x.chunk(P), down, up, strict=True)])
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x, factor=3.0), expected + 2 * base(x))


@torch.no_grad()
def test_inputs_and_weights_are_left_alone() -> None:
    base = torch.nn.Linear(IN, OUT)
    layer = layer_of(base)
    down, up, x = drawn(P, R, IN), drawn(P, OUT, R), drawn(6, TOKENS, IN)
    tensors = [down, up, x, base.weight, base.bias]
    before = [tensor.clone() for tensor in tensors]
    layer.carry(down, up)
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, before, strict=True))
    assert layer.down is down
    assert layer.up is up


class Routed(torch.nn.Module):
    """A real mixture of linear experts: each token goes to the expert that its first number points at."""

    def __init__(self, experts: list[torch.nn.Module]) -> None:
        super().__init__()
        self.experts = torch.nn.ModuleList(experts)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.view(-1, x.shape[-1])
        chosen = (tokens[:, 0] > 0).long()
        result = x.new_zeros(len(tokens), OUT)
        for number, expert in enumerate(self.experts):
            result[chosen == number] = expert(tokens[chosen == number])
        return result.view(*x.shape[:-1], OUT)


@torch.no_grad()
def test_experts_of_a_mixture_carry_one_particle_and_refuse_more() -> None:
    batch = BatchShape(6, TOKENS, flat_rows=False)
    bases = [torch.nn.Linear(IN, OUT), torch.nn.Linear(IN, OUT)]
    layers = [layer_of(base, batch=batch) for base in bases]
    mixture = Routed(list(layers))
    down, up, x = drawn(P, R, IN), drawn(P, OUT, R), drawn(6, TOKENS, IN)
    for layer in layers:
        layer.carry(down[:1], up[:1])
    choices = (x[..., :1] > 0).expand(6, TOKENS, OUT)
    one, two = (alone(base, x, down[0], up[0]) for base in bases)
    torch.testing.assert_close(mixture(x), torch.where(choices, two, one))
    for layer in layers:
        layer.carry(down, up)
    with pytest.raises(InputError, match=r"'mlp.up' to see all 6 x 6 tokens.*Set model.engine.particles to 1"):
        mixture(x)


@pytest.mark.parametrize(
    ("shape", "flat_rows", "allowed"),
    [
        ((6, TOKENS), True, True),
        ((6, 1), True, True),  # an output layer that is given the last column only
        ((3, TOKENS), True, False),
        ((36,), True, True),
        ((36,), False, False),  # as many as all, and yet any selection of them
        ((30,), True, False),
    ],
)
@torch.no_grad()
def test_many_particles_need_all_rows_of_the_batch(shape: tuple[int, ...], flat_rows: bool, allowed: bool) -> None:
    layer = layer_of(torch.nn.Linear(IN, OUT), batch=BatchShape(6, TOKENS, flat_rows))
    x = torch.zeros(*shape, IN)
    layer.carry(drawn(1, R, IN), drawn(1, OUT, R))
    assert layer(x).shape == (*shape, OUT)
    layer.carry(drawn(P, R, IN), drawn(P, OUT, R))
    if allowed:
        assert layer(x).shape == (*shape, OUT)
    else:
        with pytest.raises(InputError, match=rf"inputs of shape \[{shape[0]}, "):
            layer(x)


def test_weight_and_bias_are_those_of_the_layer_for_models_that_scale_them() -> None:
    base = torch.nn.Linear(2, 2)
    layer = layer_of(base)
    assert layer.weight is base.weight
    assert layer.bias is base.bias
    layer.weight.div_(2)  # as RWKV does it
    assert torch.equal(layer(torch.ones(1, 2)), base(torch.ones(1, 2)))
    assert layer_of(torch.nn.Linear(2, 2, bias=False)).bias is None
