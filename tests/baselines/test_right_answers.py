"""Right answers as tokens: what is trained of them, and that the guide itself says the same of them."""

import pytest
import torch

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.right_answers import guide_losses, right_answers
from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import ExactMatch, MultipleChoice, MultiTask, Objective, Safety
from swarm_lightning.search import ModelSwarm
from swarm_lightning.tuning.rendering import IGNORED

TREES = [
    Example("Which?", "B", choices={"A": "oak tree", "B": "elm"}, task="trees"),
    Example("Which of three is a very tall one?", "A", choices={"A": "ash", "B": "a yew", "C": "fir"}, task="trees"),
]
SUMS = [Example("What is 12 plus 7?", "19", task="sums"), Example("1 + 1?", "two", task="sums")]
OBJECTIVES = [
    (ExactMatch(), SUMS),
    (MultipleChoice(), TREES),
    (MultipleChoice(method="likelihood", scored="text", normalize="characters"), TREES),
    (MultipleChoice(method="likelihood", scored="text", normalize="tokens"), TREES),
    (MultiTask({"sums": ExactMatch(), "trees": MultipleChoice()}, combine="mean"), [*SUMS, *TREES]),
]


@pytest.mark.parametrize(("objective", "examples"), OBJECTIVES)
def test_the_losses_are_what_the_guide_says(
    opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch, objective: Objective, examples: list[Example]
) -> None:
    monkeypatch.setattr(opened.evaluator, "objective", objective)
    bench = Bench(opened, examples)
    products = ProductBench(bench, granularity="module", guided=True)
    coefficients = torch.linspace(-0.5, 1.0, products.groups.size)
    by_guide = float(products.utilities(coefficients[None])[0])
    resident = products.resident
    resident.load(coefficients)
    try:
        losses = guide_losses(resident.model, right_answers(objective, examples, bench.resident.engine))
    finally:
        resident.unload()
    assert -float(losses.mean()) == pytest.approx(by_guide, rel=1e-5)


def test_only_the_right_answer_and_the_end_are_trained(opened: ModelSwarm) -> None:
    engine = Bench(opened, TREES).resident.engine
    tokenizer = engine.tokenizer
    asked: list[tuple[Objective, Example, str]] = [
        (ExactMatch(), SUMS[0], "19"), (MultipleChoice(), TREES[0], "B"),
        (MultipleChoice(method="likelihood", scored="text"), TREES[0], "elm"),
    ]  # fmt: skip
    for objective, example, wanted in asked:
        answer = right_answers(objective, [example], engine)[0]
        said = [token for token in answer.closed.labels if token != IGNORED]
        assert len(said) == answer.tokens
        assert tokenizer.eos_token_id is None or said[-1] == tokenizer.eos_token_id
        assert str(tokenizer.decode(said, skip_special_tokens=True)).strip() == wanted
        prompt = list(answer.closed.input_ids[: -len(said)])
        assert tokenizer.decode(prompt, skip_special_tokens=True) == objective.prompt(example, tokenizer).rstrip()


def test_objectives_and_examples_without_right_answers_are_a_reason_to_be_absent(opened: ModelSwarm) -> None:
    engine = Bench(opened, SUMS).resident.engine
    with pytest.raises(Absent, match="Safety has none"):
        right_answers(Safety.__new__(Safety), SUMS, engine)
    with pytest.raises(Absent, match="not every validation example"):
        right_answers(ExactMatch(), [Example("Why?", "")], engine)
