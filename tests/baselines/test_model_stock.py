"""Model Stock and its products, against dense matrices that the code never makes."""

import math

import pytest
import torch
from torch import Tensor

from swarm_lightning.baselines.low_rank import inner_products, refactor
from swarm_lightning.baselines.model_stock import interpolation_ratio, model_stock, whole_model_stock
from swarm_lightning.experts.layout import Layout


@pytest.fixture
def factors() -> tuple[Tensor, Tensor]:
    """Four experts of rank 2 on a layer from 7 to 5."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 2, 7, generator=generator), torch.randn(4, 5, 2, generator=generator)


def dense(downs: Tensor, ups: Tensor) -> Tensor:
    return torch.stack([up.double() @ down.double() for down, up in zip(downs, ups, strict=True)])


def test_inner_products_are_those_of_the_dense_products(factors: tuple[Tensor, Tensor]) -> None:
    flat = dense(*factors).flatten(1)
    torch.testing.assert_close(inner_products(*factors), flat @ flat.T)


def test_refactoring_gives_the_best_product_of_the_rank_and_says_what_was_cut(factors: tuple[Tensor, Tensor]) -> None:
    weights = torch.tensor([0.5, 0.25, 0.25, -0.5])
    whole = (dense(*factors) * weights[:, None, None]).sum(dim=0)
    left, singular, right = torch.linalg.svd(whole)
    best = left[:, :2] * singular[:2] @ right[:2]
    down, up, squares, cut = refactor(*factors, weights)
    torch.testing.assert_close(up @ down, best.float(), atol=1e-5, rtol=1e-5)
    assert squares == pytest.approx(float(whole.square().sum()))
    assert cut == pytest.approx(float(singular[2:].square().sum()))


def test_a_layer_narrower_than_the_rank_loses_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    downs, ups = torch.randn(3, 4, 6, generator=generator), torch.randn(3, 2, 4, generator=generator)
    down, up, _, cut = refactor(downs, ups, torch.full((3,), 1 / 3))
    assert (down.shape, up.shape, cut) == ((4, 6), (2, 4), pytest.approx(0, abs=1e-9))
    torch.testing.assert_close(up @ down, dense(downs, ups).mean(dim=0).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("degrees", "ratio"),
    # Two experts: t = 2 c / (1 + c). c = 1: 1; c = 1/2: 2/3; at right angles and beyond: 0.
    [(0, 1.0), (60, 2 / 3), (90, 0.0), (120, 0.0)],
)
def test_the_ratio_follows_the_angle_of_two(degrees: float, ratio: float) -> None:
    cosine = math.cos(math.radians(degrees))
    products = torch.tensor([[4.0, 2 * cosine], [2 * cosine, 1.0]], dtype=torch.float64)
    assert interpolation_ratio(products) == pytest.approx(ratio)


def test_the_ratio_of_three_takes_the_mean_cosine() -> None:
    # Cosines 0.5, 0.25, 0: mean 0.25; t = 3 * 0.25 / (1 + 2 * 0.25) = 0.5.
    products = torch.tensor([[1.0, 0.5, 0.25], [0.5, 1.0, 0.0], [0.25, 0.0, 1.0]])
    assert interpolation_ratio(products) == pytest.approx(0.5)


def test_an_expert_that_leaves_a_layer_alone_has_no_angle() -> None:
    assert interpolation_ratio(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]])) == pytest.approx(0.75)


def test_the_merged_layer_lies_on_the_way_from_the_base_to_the_mean() -> None:
    # Rank 1, equal B: the products of (1, 0) and (1, 1) with B = 2. Their cosine is 1 / sqrt 2; the mean is 2 (1, 0.5).
    layout = Layout(("x.lora_A.weight", "x.lora_B.weight"), ((1, 2), (1, 1)))
    experts = torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 2.0]])
    merged, ratio, lost = model_stock(experts, layout)
    cosine = 1 / math.sqrt(2)
    expected = 2 * cosine / (1 + cosine)
    assert ratio == pytest.approx(expected)
    assert lost == pytest.approx(0, abs=1e-12)
    assert (merged[2] * merged[:2]).tolist() == pytest.approx([expected * 2, expected * 1], rel=1e-5)


def test_whole_models_are_merged_tensor_by_tensor_on_the_way_from_their_base(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tensor a, base (1, 1, 1): differences (2, 0, 0) and (1, sqrt 3, 0), 60 degrees: t = 2/3 of the mean
    # (1.5, sqrt 3 / 2, 0). Tensor b, base 5: differences 1 and -1 point apart, and the base stays.
    monkeypatch.setattr("swarm_lightning.baselines.model_stock.PIECE", 2)
    root = math.sqrt(3)
    experts = torch.tensor([[3.0, 1.0, 1.0, 6.0], [2.0, 1 + root, 1.0, 4.0]])
    layout = Layout(("a", "b"), ((3,), (1, 1)))
    merged, ratio = whole_model_stock(experts, layout, torch.tensor([1.0, 1.0, 1.0, 5.0]))
    assert merged.tolist() == pytest.approx([2.0, 1 + root / 3, 1.0, 5.0])
    assert ratio == pytest.approx(1 / 3)


def test_other_tensors_than_a_and_b_are_refused() -> None:
    layout = Layout(("x.lora_A.weight", "x.lora_B.weight", "x.magnitude"), ((1, 2), (1, 1), (1,)))
    with pytest.raises(ValueError, match="'x.magnitude'"):
        model_stock(torch.ones(2, 4), layout)
