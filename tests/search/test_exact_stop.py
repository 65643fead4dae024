"""Searches that leave unasked what can't matter, against the same searches that ask everything."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import ExactMatch, Objective
from swarm_lightning.search import ModelSwarm
from tests.search.tiny_search import FULL, World, content, read_rows, same, search, write_dataset

ITERATIONS = 4
OBJECTIVES: dict[str, Objective] = {
    "contained": ExactMatch(max_new_tokens=4),
    "exact": ExactMatch("regex", pattern="^(.)", ignore_case=True, max_new_tokens=2),
}


def run(world: World, folder: Path, engine: EngineSettings, **settings: Any) -> ModelSwarm:
    dataset = write_dataset(folder.parent / "questions.json", validation=16, test=2)
    return search(
        world,
        folder,
        callbacks=[RestartStagnant(2), History(), ExportBest()],
        engine=engine,
        dataset=dataset,
        iterations=ITERATIONS,
        particles=6,
        **settings,
    )


def tables(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted((folder / "score_tables").iterdir())]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("contained", {"seed": 0}),
        ("exact", {"seed": 1, "repel": 0.0}),
        ("contained", {"seed": 2, "repel": 0.3}),
        ("exact", {"seed": 3, "drop_iteration": 0.2, "drop_particle": 0.2}),
    ],
    ids=str,
)
def test_a_search_that_stops_early_goes_where_a_full_one_goes(
    world: World, tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    full = run(world, tmp_path / "full", FULL, objective=OBJECTIVES[kind], **settings)
    early = run(world, tmp_path / "early", EngineSettings(chunk=1), objective=OBJECTIVES[kind], **settings)
    first, second = full.swarm.memory(), early.swarm.memory()
    assert [name for name in first if name != "utilities" and not same(first[name], second[name])] == []
    assert torch.equal(full.positions, early.positions)
    assert content(tmp_path / "full" / "best_expert") == content(tmp_path / "early" / "best_expert") != {}
    assert early.state.evaluations < full.state.evaluations
    for whole, part in zip(tables(tmp_path / "full"), tables(tmp_path / "early"), strict=True):
        asked = ~part["scores"].isnan()
        assert torch.equal(part["scores"][asked], whole["scores"][asked])
        known = ~part["utilities"].isnan()
        assert torch.equal(part["utilities"][known], whole["utilities"][known])
        assert (part["reach"][:, 0] <= whole["utilities"]).all()
        assert (whole["utilities"] <= part["reach"][:, 1]).all()


def test_a_utility_that_was_left_open_is_shown_by_its_bounds_and_never_as_a_value(world: World, tmp_path: Path) -> None:
    module = run(world, tmp_path / "early", EngineSettings(chunk=1))
    rows = read_rows(tmp_path / "early" / "history.csv")
    left_open = 0
    for row, table in zip(rows, tables(tmp_path / "early"), strict=True):
        assert float(row["evaluations"]) == int((~table["scores"].isnan()).sum())
        for index, scores in enumerate(table["scores"]):
            value = row[f"utility/particle_{index:02d}"]
            lowest, highest = (float(row[f"{name}/particle_{index:02d}"]) for name in ("at_least", "at_most"))
            if value:
                assert float(value) == lowest == highest
            else:
                left_open += 1
                assert lowest < highest
                asked = scores[~scores.isnan()]
                assert 0 < len(asked) < len(scores)
                assert lowest == float(asked.sum()) / len(scores)
                assert highest == (float(asked.sum()) + len(scores) - len(asked)) / len(scores)
    assert left_open > 5
    assert all(row["global_worst"] for row in rows)
    assert module.state.evaluations == sum(float(row["evaluations"]) for row in rows)


def test_without_repel_the_global_worst_is_not_asked_for_and_not_reported(world: World, tmp_path: Path) -> None:
    run(world, tmp_path / "early", EngineSettings(), repel=0.0)
    assert {row["global_worst"] for row in read_rows(tmp_path / "early" / "history.csv")} == {""}


def test_a_particle_that_stands_on_its_personal_best_is_not_asked_again(world: World, tmp_path: Path) -> None:
    # Without repel, inertia and randomness the best particle goes nowhere: all that pulls it is where it stands.
    settings = {"repel": 0.0, "inertia": 0.0, "first_velocity": "zero"}
    module = run(world, tmp_path / "early", EngineSettings(), **settings)
    last = tables(tmp_path / "early")[-1]
    best = int(module.swarm.best_particle)
    assert last["scores"][best].isnan().all()
    assert float(last["utilities"][best]) == float(module.swarm.global_best_utility)
