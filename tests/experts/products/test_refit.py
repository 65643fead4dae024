"""Experts fitted anew, held against the regression solved by another way and against what it should bring about."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.products import refit as module
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.products.products import Groups, Products
from swarm_lightning.experts.products.refit import evaluations_of, refit, shares_of
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base

PROMPTS = [[1, 40, 50, 60], [1, 41, 300], [7, 9, 11, 13, 15], [2, 5], [90, 91, 92], [33, 34, 35, 36]]
RIDGE = 0.01


class Listened:
    """A base with products, whose inputs are also kept layer by layer, example by example."""

    def __init__(self, base: Path, pool: ExpertPool) -> None:
        adapted = AdaptedModel(load_base(str(base))[0], pool)
        self.products = Products.of(pool.adapters())
        self.model = ProductModel(adapted, self.products, Groups.of(self.products, "expert"))
        self.model.load(torch.full((1, len(pool.names)), 1 / len(pool.names)))
        self.reads = 0

    @torch.no_grad()
    def read(self, turn: Callable[[int], None]) -> None:
        self.reads += 1
        for place, ids in enumerate(PROMPTS):
            turn(place)
            self.model.model(input_ids=torch.tensor([ids]))

    def inputs(self) -> list[list[Tensor]]:
        kept: list[list[Tensor]] = [[torch.empty(0)] * len(PROMPTS) for _ in self.products.layers]
        example = 0

        def turn(place: int) -> None:
            nonlocal example
            example = place

        def listen(layer: int, inputs: Tensor) -> None:
            kept[layer][example] = inputs[0].double()

        with self.model.heard(listen):
            self.read(turn)
        return kept


@pytest.fixture
def listened(tiny_base_folder: Path, tiny_experts_folder: Path) -> Listened:
    return Listened(tiny_base_folder, load_pool(str(tiny_experts_folder)))


def shares(experts: int, examples: int = len(PROMPTS), seed: int = 0) -> Tensor:
    scores = torch.randn(experts, examples, generator=torch.Generator().manual_seed(seed))
    return shares_of(scores, torch.full((experts,), 1 / experts))


def solved(listened: Listened, layer: int, given: Tensor, weights: Tensor, among: list[int]) -> Tensor:
    """The sum of the fitted products [out, in] by least squares on stacked rows, which knows nothing of the formula."""
    down, up = (part[layer].double() for part in (listened.products.downs, listened.products.ups))
    rank, count = listened.products.ranks[layer], len(weights)
    own = [up[:, i * rank : (i + 1) * rank] @ down[i * rank : (i + 1) * rank] for i in range(count)]
    inputs = listened.inputs()[layer]
    size = down.shape[1]
    squares = sum(float(inputs[example].square().mean(dim=0).sum()) for example in among)
    scale = RIDGE * squares / size
    rows, wanted = [], []
    for i in range(count):
        for example in among:
            factor = (given[i, example] / len(inputs[example])).sqrt()
            rows.append(factor * inputs[example])
            wanted.append(factor * inputs[example] @ own[i].T)
        rows.append((scale * weights[i]).sqrt() * torch.eye(size, dtype=torch.float64))
        wanted.append((scale * weights[i]).sqrt() * own[i].T)
    return torch.linalg.lstsq(torch.cat(rows), torch.cat(wanted)).solution.T


def sum_of(listened: Listened, layer: int, downs: Tensor) -> Tensor:
    return listened.products.ups[layer].double() @ downs.double()


@pytest.mark.parametrize("layer", [0, 3, 6])
def test_the_sum_of_the_fitted_products_solves_the_regression(listened: Listened, layer: int) -> None:
    count = len(listened.products.names)
    given, weights = shares(count), torch.full((count,), 1 / count, dtype=torch.float64)
    (downs,) = refit(listened.model, listened.products, given, weights, listened.read, ridge=RIDGE)
    expected = solved(listened, layer, given, weights, list(range(len(PROMPTS))))
    torch.testing.assert_close(sum_of(listened, layer, downs[layer]), expected, atol=1e-6, rtol=1e-4)


def test_a_fit_without_a_fold_is_one_to_the_other_examples(listened: Listened) -> None:
    count = len(listened.products.names)
    given, weights = shares(count), torch.full((count,), 1 / count, dtype=torch.float64)
    folds = [[0, 2], [1, 3], [4, 5]]
    whole, *others = refit(listened.model, listened.products, given, weights, listened.read, folds, RIDGE)
    (alone,) = refit(listened.model, listened.products, given, weights, listened.read, ridge=RIDGE)
    for layer, down in enumerate(whole):
        torch.testing.assert_close(down, alone[layer], atol=1e-6, rtol=1e-5)
    assert len(others) == len(folds)
    expected = solved(listened, 2, given, weights, [0, 2, 4, 5])
    torch.testing.assert_close(sum_of(listened, 2, others[1][2]), expected, atol=1e-6, rtol=1e-4)
    assert not others[1][2].allclose(whole[2])


def test_a_large_ridge_leaves_the_weighted_sum(listened: Listened) -> None:
    count = len(listened.products.names)
    weights = torch.tensor([0.5, 0.5, *[0.0] * (count - 2)])
    (downs,) = refit(listened.model, listened.products, shares(count), weights, listened.read, ridge=1e9)
    for layer, (down, rank) in enumerate(zip(listened.products.downs, listened.products.ranks, strict=True)):
        torch.testing.assert_close(downs[layer], down * weights.repeat_interleave(rank)[:, None], atol=1e-6, rtol=1e-5)


def test_one_expert_with_all_examples_is_left_alone_on_them(listened: Listened) -> None:
    """The sum acts as the expert does on every input, as far as the ridge lets it."""
    count = len(listened.products.names)
    given = torch.zeros(count, len(PROMPTS))
    given[1] = 1.0
    weights = torch.full((count,), 1 / count)
    (downs,) = refit(listened.model, listened.products, given, weights, listened.read, ridge=1e-9)
    inputs = listened.inputs()
    for layer, rank in enumerate(listened.products.ranks):
        down, up = listened.products.downs[layer].double(), listened.products.ups[layer].double()
        own = up[:, rank : 2 * rank] @ down[rank : 2 * rank]
        for rows in inputs[layer]:
            torch.testing.assert_close(
                sum_of(listened, layer, downs[layer]) @ rows.T, own @ rows.T, atol=1e-4, rtol=0.01
            )


def test_where_memory_holds_few_layers_it_reads_again_and_finds_the_same(
    listened: Listened, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(listened.products.names)
    given, weights = shares(count), torch.full((count,), 1 / count)
    (at_once,) = refit(listened.model, listened.products, given, weights, listened.read)
    assert listened.reads == 1
    largest = max(down.shape[1] for down in listened.products.downs)
    monkeypatch.setattr(module, "MOST_BYTES", 8 * largest**2)
    (piecewise,) = refit(listened.model, listened.products, given, weights, listened.read)
    assert listened.reads > 3
    monkeypatch.setattr(module, "FOLDS", 1)
    assert evaluations_of(listened.products) == 2 * (listened.reads - 1) + 1
    for one, other in zip(at_once, piecewise, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_inputs_that_are_not_finite_and_layers_that_read_nothing_leave_the_weighted_sum(listened: Listened) -> None:
    count = len(listened.products.names)
    weights = torch.full((count,), 1 / count)
    (silent,) = refit(listened.model, listened.products, shares(count), weights, lambda turn: None)
    next(listened.model.model.parameters()).data[40] = torch.nan  # the embedding of a token
    (broken,) = refit(listened.model, listened.products, shares(count), weights, listened.read)
    for found in (silent, broken):
        for down, own in zip(found, listened.products.downs, strict=True):
            torch.testing.assert_close(down, own / count)


def test_nobody_listens_afterwards_and_the_model_answers_as_before(listened: Listened) -> None:
    count = len(listened.products.names)
    tokens = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        before = listened.model.model(input_ids=tokens).logits
    refit(listened.model, listened.products, shares(count), torch.full((count,), 1 / count), listened.read)
    with torch.no_grad():
        assert listened.model.model(input_ids=tokens).logits.equal(before)
    assert not any(part._forward_pre_hooks for part in listened.model.model.modules())


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_shares_do_not_depend_on_the_unit_of_scores_nor_on_what_makes_an_example_hard(factor: float) -> None:
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.3, 0.1, 0.2]])
    weights = torch.tensor([0.5, 0.5])
    expected = shares_of(scores, weights)
    found = shares_of(factor * scores + torch.tensor([5.0, -3.0, 0.0]), weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.sum(dim=0).tolist() == pytest.approx([1.0] * 3)
    assert expected[:, 2].tolist() == pytest.approx([0.5, 0.5])
    assert expected[1, 0] > 0.9
    assert expected[0, 1] > 0.9


def test_a_broken_expert_and_one_without_weight_get_no_share() -> None:
    lost = torch.nan
    scores = torch.tensor([[1.0, 2.0, lost], [-torch.inf, lost, lost], [5.0, 5.0, lost], [1.5, 1.0, lost]])
    found = shares_of(scores, torch.tensor([0.25, 0.25, 0.0, 0.5]))
    assert not found[2].any()
    assert not found[1, :2].any()
    assert found[:, 2].tolist() == pytest.approx([0.25, 0.25, 0.0, 0.5]), "where nobody has a score, weights decide"
    assert found.sum(dim=0).tolist() == pytest.approx([1.0] * 3)
