"""The closing summary as plain values; who is compared, and who votes (the vote itself: `tests/cli/test_main.py`)."""

import json
from pathlib import Path
from typing import Any

from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.results import ResultRow, SearchResult
from tests.search.tiny_search import World, search


def test_a_result_is_plain_values_that_json_keeps() -> None:
    row = ResultRow("best found expert", "particle 1", 0.5, 8)
    result = SearchResult(
        (row,), (), particle=1, iterations=2, restarts=3, seconds=4.0, evaluations=5, generated_tokens=6
    )
    values = json.loads(json.dumps(result.to_dict()))
    assert values["validation"] == [
        {"name": "best found expert", "detail": "particle 1", "utility": 0.5, "examples": 8}
    ]
    assert values["test"] == []
    assert ResultRow("best found expert", "particle 1", 0.5, 8, win_rate=0.75).to_dict()["win_rate"] == 0.75
    assert (values["particle"], values["iterations"], values["restarts"], values["evaluations"]) == (1, 2, 3, 5)


def test_the_voters_are_chosen_by_the_split_that_guided_the_search(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, particles=6)
    test = module.trainer.datamodule.splits.test  # type: ignore[attr-defined]
    utilities = module.swarm.personal_best_utilities.tolist()
    voters = sorted(range(6), key=lambda particle: -utilities[particle])[:3]  # of equals the first
    rows = module.bests.score(test, ensemble_size=3)
    assert [row.name for row in rows] == ["best initial expert", "best found expert", "top-3 ensemble"]
    assert rows[2].detail == f"particles {voters}"
    assert module.bests.score(test) == rows[:2]
    for row, vector in ((rows[0], module.pool.vector(module.best_initial)), (rows[1], module.swarm.global_best)):
        assert row.utility == float(module.evaluator.evaluate([vector], test).utilities[0])


def test_more_voters_than_particles_are_all_of_them(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, iterations=1)
    test = module.trainer.datamodule.splits.test  # type: ignore[attr-defined]
    assert module.settings.ensemble_size == 10
    assert module.bests.score(test, module.settings.ensemble_size)[2].name == "top-4 ensemble"


def shapes_of_passes(module: ModelSwarm, *arguments: Any) -> list[tuple[int, ...]]:
    """Return rows and columns of every forward pass in which the best experts are scored."""
    shapes: list[tuple[int, ...]] = []

    def note(_: object, __: object, arguments: dict[str, Any]) -> None:
        shapes.append(tuple(arguments["input_ids"].shape))

    hook = module.resident().model.register_forward_pre_hook(note, with_kwargs=True)
    module.bests.score(*arguments)
    hook.remove()
    return shapes


def test_the_best_experts_share_no_batch_with_voters(world: World, tmp_path: Path) -> None:
    # With weights of 576 columns in bfloat16, other batches changed a mean log-likelihood by up to 0.01.
    module = search(world, tmp_path, particles=6)
    test = module.trainer.datamodule.splits.test  # type: ignore[attr-defined]
    alone, beside = shapes_of_passes(module, test), shapes_of_passes(module, test, 3)
    assert len(beside) > len(alone)
    assert beside[: len(alone)] == alone
