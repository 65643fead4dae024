"""Every method on a real search's bench: what it asks, what it may spend, and what comes out."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent, installed
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.data_merge import DataMerge, read_merge
from swarm_lightning.baselines.method import Composition, Method
from swarm_lightning.baselines.prediction_merge import PredictionMerge
from swarm_lightning.baselines.registry import METHODS
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.names import SWARM
from swarm_lightning.objectives import ExactMatch, LanguageModel, MeanLogLikelihood, Outcome
from swarm_lightning.search import ModelSwarm
from swarm_lightning.vectors import Vectors
from tests.baselines.counting import asked
from tests.baselines.optional import need
from tests.conftest import save_adapter
from tests.search.tiny_search import World

EXPERTS, EXAMPLES = 4, 8
BUDGET = 250
# One evaluation for what is made without looking; n for what looks at every expert; SLERP asks nine places, task
# arithmetic twenty scales, the greedy soups n - 1 soups.
FIXED = {
    "base_model": 1,
    "best_expert": EXPERTS,
    "prediction_merge": EXPERTS,
    "uniform_soup": 1,
    "product_mean": 1,
    "slerp": EXPERTS + 9,
    "task_arithmetic": 20,
    "ties": 1,
    "dare_ties": 1,
    "model_stock": 1,
    "greedy_soup": EXPERTS + EXPERTS - 1,
    "product_soup": EXPERTS + EXPERTS - 1,
}
SEARCHES = ["lorahub", "evolmerge", "random_search", "genome", "genome_plus", "pso_merging"]


def examples_of(module: ModelSwarm) -> tuple[Example, ...]:
    return tuple(module.trainer.datamodule.splits.validation)  # type: ignore[attr-defined]


def method(name: str) -> Method:
    need(name)
    return METHODS[name](CompareSettings())


@pytest.mark.parametrize("name", FIXED)
def test_a_method_asks_as_much_as_its_file_says(opened: ModelSwarm, name: str) -> None:
    before = asked()
    bench = Bench(opened, examples_of(opened))
    composition = method(name).compose(bench)
    assert bench.spent == asked() - before == FIXED[name] * EXAMPLES
    assert 0 <= composition.utility <= 1


@dataclass
class Searched:
    """What a search made, what it asked, and what was counted by its bench and by its objective."""

    composition: Composition
    positions: list[Tensor]
    spent: int
    counted: int


@pytest.fixture(scope="module")
def searched(opened: ModelSwarm) -> Callable[[str], Searched]:
    """Runs a search at its first use; the tests look at the same one."""

    @cache
    def run(name: str) -> Searched:
        before = asked()
        bench = Recording(opened, examples_of(opened), seed=3, budget=BUDGET)
        bench.asked = []
        composition = method(name).compose(bench)
        return Searched(composition, bench.asked, bench.spent, asked() - before)

    return run


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_spends_its_budget_and_no_more(
    opened: ModelSwarm, searched: Callable[[str], Searched], name: str
) -> None:
    done = searched(name)
    assert done.spent == done.counted
    # What is left does not pay for one candidate; LoraHub keeps one for what is recommended in the end, and may have
    # asked that before.
    left = {"lorahub": 2}.get(name, 1) * EXAMPLES
    assert BUDGET - left < done.spent <= BUDGET
    assert done.composition.vector is not None
    assert done.composition.vector.shape == opened.pool.vectors[0].shape


@pytest.mark.parametrize("name", [*FIXED, *SEARCHES])
def test_the_reported_utility_is_that_of_what_is_handed_over(
    opened: ModelSwarm, searched: Callable[[str], Searched], name: str
) -> None:
    examples = examples_of(opened)
    composition = searched(name).composition if name in SEARCHES else method(name).compose(Bench(opened, examples))
    if composition.vector is not None:
        found = float(Bench(opened, examples).utilities(composition.vector.unsqueeze(0))[0])
    else:
        assert composition.scores is not None
        found = float(composition.scores(examples).mean())
    assert found == pytest.approx(composition.utility)


class Recording(Bench):
    """A bench that remembers what was asked."""

    asked: list[Tensor]

    def evaluate(self, vectors: Vectors) -> Evaluation:
        self.asked.extend(vector[:].clone() for vector in vectors)
        return super().evaluate(vectors)

    def above(self, vectors: Vectors, utility: float, expected: Tensor) -> Evaluation:
        self.asked.extend(vector[:].clone() for vector in vectors)
        return super().above(vectors, utility, expected)


@pytest.mark.parametrize("name", SEARCHES)
def test_what_is_handed_over_was_asked_bit_for_bit(searched: Callable[[str], Searched], name: str) -> None:
    done = searched(name)
    assert done.composition.vector is not None
    assert any(one.equal(done.composition.vector) for one in done.positions)


@pytest.mark.parametrize("name", ["dare_ties", *SEARCHES])
def test_the_same_seed_makes_the_same_composition(
    opened: ModelSwarm, searched: Callable[[str], Searched], name: str
) -> None:
    first = searched(name).composition.vector
    second = method(name).compose(Bench(opened, examples_of(opened), seed=3, budget=BUDGET)).vector
    assert first is not None
    assert second is not None
    assert first.equal(second)


@pytest.mark.parametrize("name", ["evolmerge", "genome", "genome_plus", "pso_merging"])
def test_a_budget_without_a_first_generation_is_a_reason_to_be_absent(opened: ModelSwarm, name: str) -> None:
    with pytest.raises(Absent, match=f"budget of 32 evaluations .* with {EXAMPLES} examples each"):
        method(name).compose(Bench(opened, examples_of(opened), budget=32))


def test_a_bench_notes_how_the_best_rises(opened: ModelSwarm) -> None:
    examples = examples_of(opened)
    bench = Bench(opened, examples)
    utilities = [bench.utility(expert) for expert in bench.experts]
    rises = [place for place, utility in enumerate(utilities) if utility > max(utilities[:place], default=-1.0)]
    assert bench.climb == [((place + 1) * len(examples), utilities[place]) for place in rises]


def test_an_early_stop_tells_the_same_best_as_asking_everything(opened: ModelSwarm) -> None:
    examples = examples_of(opened)
    bench = Bench(opened, examples)
    vectors = torch.cat([opened.pool.vectors, opened.pool.vectors.mean(dim=0, keepdim=True)])
    utilities = bench.utilities(vectors)
    threshold = float(utilities.median())
    found = bench.above(vectors, threshold, torch.zeros(len(examples))).utilities
    assert found[utilities > threshold].equal(utilities[utilities > threshold])
    assert not (found[utilities <= threshold] > threshold).any()


def test_data_merge_reads_an_adapter_of_the_experts_kind(opened: ModelSwarm, world: World, tmp_path: Path) -> None:
    shutil.copytree(world.experts / "towns", tmp_path / "everything")
    composition = DataMerge(str(tmp_path / "everything")).compose(Bench(opened, examples_of(opened)))
    assert composition.vector is not None
    assert composition.vector.equal(opened.pool.vectors[opened.pool.names.index("towns")])


def test_data_merge_is_absent_without_an_adapter_or_with_one_that_cannot_be_read(opened: ModelSwarm) -> None:
    with pytest.raises(Absent, match="no adapter of all training data given"):
        DataMerge(None).compose(Bench(opened, examples_of(opened)))
    with pytest.raises(Absent, match="no-such-folder"):
        DataMerge("./no-such-folder").compose(Bench(opened, examples_of(opened)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 8, "target_modules": ["q_proj"]}, r"higher rank than any expert in layers such as '.*q_proj'"),
        ({"r": 4, "target_modules": ["q_proj", "o_proj"]}, r"adapts layers that no expert does, such as '.*o_proj'"),
    ],
)
def test_data_merge_says_what_an_adapter_has_more_than_the_experts(
    opened: ModelSwarm, world: World, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    save_adapter(world.base, tmp_path / "more", 3, lora_alpha=8, **settings)
    with pytest.raises(Absent, match=said):
        DataMerge(str(tmp_path / "more")).compose(Bench(opened, examples_of(opened)))


def test_data_merge_of_another_scaling_is_brought_to_that_of_the_experts(
    opened: ModelSwarm, world: World, tmp_path: Path
) -> None:
    # Experts of two scalings: the first one's counts. With the adapter of all data the second one's would.
    for name in ("stories", "numbers"):
        folder = shutil.copytree(world.experts / name, tmp_path / f"half_{name}")
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": config["lora_alpha"] / 2}))
    whole = adapters(opened)
    with pytest.warns(UserWarning, match="Scalings"):
        pool = load_pool([str(world.experts / "towns"), str(tmp_path / "half_stories")])
    merged = read_merge(str(tmp_path / "half_numbers"), pool)
    expected = whole.layout.unflatten(whole.vectors[whole.names.index("numbers")])
    for name, tensor in whole.layout.unflatten(merged).items():
        torch.testing.assert_close(tensor, expected[name] * (0.5 if "lora_B" in name else 1.0))


def test_a_vote_says_how_often_there_is_anything_to_count(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened.evaluator, "objective", EverySecond(max_new_tokens=2))
    composition = PredictionMerge().compose(Bench(opened, examples_of(opened)))
    # The four give one answer to every second question.
    assert composition.detail == "4 experts vote; two or more give the same answer to 50% of the examples"


def adapters(module: ModelSwarm) -> ExpertPool:
    assert isinstance(module.pool, ExpertPool)
    return module.pool


class EverySecond(ExactMatch):
    """Takes the replies to the questions with odd numbers for one answer, and all others for different ones."""

    _others = 0

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        outcomes = super().evaluate(examples, model)
        self._others += len(examples)
        return [
            replace(one, answer="same" if int(example.identifier) % 2 else f"{self._others} {place}")
            for place, (one, example) in enumerate(zip(outcomes, examples, strict=True))
        ]


def test_there_is_no_vote_on_open_text(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = MeanLogLikelihood(continuation="text")
    examples = tuple(Example(f"Tell me of {what}.", extras={"text": " Once."}) for what in ("a fox", "a bear"))
    monkeypatch.setattr(opened, "_objective", objective)
    monkeypatch.setattr(opened.evaluator, "objective", objective)
    with pytest.raises(Absent, match="MeanLogLikelihood reads no answers"):
        PredictionMerge().compose(Bench(opened, examples))


def test_a_missing_library_is_a_reason_to_be_absent() -> None:
    with pytest.raises(Absent, match=r"needs no_such_library: pip install 'swarm-lightning\[compare\]'"):
        installed("no_such_library")


def test_every_method_has_a_title_of_its_own_and_the_swarm_is_the_last() -> None:
    made = [make(CompareSettings()) for make in METHODS.values()]
    assert len({one.title for one in made}) == len(METHODS)
    assert list(METHODS)[-1] == SWARM
