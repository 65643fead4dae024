"""What a search leaves to others: that it asks them when it should, and does without them what they hand back."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.parts import Alone, Asked, Resident
from swarm_lightning.vectors import Vectors
from tests.search.tiny_search import NEW_TOKENS, World, fitted, search


class Noting(Alone):
    """Shares nothing, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        self.asked.append("resident")
        return load()

    def measure(self, asked: Asked, measure: Callable[[], None]) -> None:
        self.asked.append(f"measure by {asked.identity['objective']['class']}")
        measure()

    def first_scores(self, asked: Asked, positions: Vectors, ask: Callable[[Tensor], Evaluation]) -> Evaluation:
        self.asked.append(f"score {len(positions)} with seed {asked.seed}")
        return super().first_scores(asked, positions, ask)

    def held_back(self, test: Sequence[Example]) -> Sequence[Example]:
        return test[:3]


def test_others_are_asked_once_each_and_the_search_is_the_same(world: World, tmp_path: Path) -> None:
    objective = ExactMatch(max_new_tokens=NEW_TOKENS)
    module = ModelSwarm(str(world.base), experts=str(world.experts), objective=objective, particles=4)
    noting = Noting()
    module.share(noting)
    fitted(module, world, tmp_path / "shared", 2, 5)
    assert noting.asked == ["resident", "measure by ExactMatch", "score 4 with seed 5"]
    assert len(module.held_back) == 3
    alone = search(world, tmp_path / "alone", iterations=2, seed=5)
    assert module.positions.equal(alone.positions)
    assert module.swarm.utilities.equal(alone.swarm.utilities)
    assert len(alone.held_back) == len(world.split("test"))
