"""The study's arithmetic by hand, its file, and one tiny study for real that goes on where it was stopped."""

from dataclasses import replace
from pathlib import Path

import lightning
import pytest

import search_study
from study_tables import Search, cells_of, curve_text, paired, read_kept, summarise
from swarm_lightning import MultipleChoice, SwarmData, adapt
from swarm_lightning.baselines import registry
from swarm_lightning.names import SWARM
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process


def search(task: str, method: str, seed: int | None, test: float, budget: int | None = 10) -> Search:
    return Search("w", task, method, method.upper(), seed, budget, 50.0, test, 8, 1.0)


def test_a_method_without_random_numbers_stands_in_the_cells_of_all_seeds() -> None:
    cells = cells_of([search("a", "soup", None, 40), search("a", "es", 1, 50), search("a", "es", 7, 60)], seeds=2)
    assert set(cells["soup"]) == {("a", 0), ("a", 1)}
    assert set(cells["es"]) == {("a", 1)}


def test_differences_are_paired_by_cell_and_only_where_both_have_run() -> None:
    one = {("a", 0): search("a", "es", 0, 50), ("a", 1): search("a", "es", 1, 54), ("b", 0): search("b", "es", 0, 99)}
    other = {("a", 0): search("a", "soup", 0, 48), ("a", 1): search("a", "soup", 1, 50)}
    found = paired(one, other)  # 2 and 4
    assert (found["cells"], found["gain"]) == (2, 3)
    assert (found["low"], found["high"]) == (2, 4)
    assert paired(one, {}) == {"cells": 0}


def test_means_spread_and_first_places_by_hand() -> None:
    searches = [
        *(search("a", SWARM, seed, test) for seed, test in enumerate((40, 44))),
        *(search("b", SWARM, seed, test) for seed, test in enumerate((60, 60))),
        *(search("a", "es", seed, test) for seed, test in enumerate((42, 44))),
        *(search("b", "es", seed, test) for seed, test in enumerate((70, 59))),
        search("a", "soup", None, 39),
        search("b", "soup", None, 60),
    ]
    summary = summarise(cells_of(searches, 2), ["a", "b"])
    assert summary["es"]["tests"] == {"a": 43, "b": 64.5}
    assert summary["es"]["mean"] == 53.75
    # Standard deviations of (42, 44) and (70, 59): sqrt(2) and 11 / sqrt(2); their mean.
    assert summary["es"]["spread"] == pytest.approx((2**0.5 + 11 / 2**0.5) / 2)
    # Cells a0: es. a1: es and swarm share. b0: es. b1: swarm and soup share.
    assert {name: row["first"] for name, row in summary.items()} == {"es": 2.5, SWARM: 1.0, "soup": 0.5}
    assert summary["es"]["compared"] == 4
    assert summary["es"]["to_swarm"]["gain"] == (2 + 0 + 10 - 1) / 4
    assert (summary[SWARM]["best_other"], summary["soup"]["best_other"]) == ("es", "es")
    assert summary["es"]["best_other"] == SWARM
    assert "to_swarm" not in summary[SWARM]


def test_the_curve_shows_methods_with_several_budgets_only() -> None:
    found = [search("a", "es", 0, 40, 10), search("a", "es", 0, 45, 30), search("a", "x", 0, 9, 10)]
    text = curve_text(found, 1, ["a"], "evaluations")
    assert "| ES " in text
    assert "40.0 (1)" in text
    assert "| X" not in text
    assert curve_text([search("a", "x", 0, 9, 10)], 1, ["a"], "evaluations") == ""


def test_a_curve_has_means_over_tasks_where_all_of_them_are_there() -> None:
    found = [
        *(replace(search("a", "es", seed, test), examples=50) for seed, test in enumerate((40, 44))),
        replace(search("b", "es", 0, 60), examples=50),
        replace(search("a", "es", 0, 47), examples=100),
    ]
    # Of 50 examples (42 + 60) / 2; of 100 one task is missing.
    lines = [line.split("|")[1:-1] for line in curve_text(found, 2, ["a", "b"], "examples").splitlines()]
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:]] for cells in lines if len(cells) == 4}
    assert rows["task"] == ["50 examples", "100 examples"]
    assert rows["mean"] == ["51.0", ""]
    assert rows["a"] == ["42.0 (2)", "47.0 (1)"]
    assert rows["b"] == ["60.0 (1)", ""]


def test_a_smaller_number_of_examples_is_part_of_a_larger_one_and_the_test_split_is_the_same() -> None:
    task = {"dataset": "t", "dev": [f"d{place}" for place in range(200)], "test": [f"t{place}" for place in range(300)]}
    small, large, other = (search_study.redrawn(task, *drawn) for drawn in ((50, 1), (400, 1), (50, 2)))
    assert small["dev"] == large["dev"][:50] != other["dev"]
    assert small["test"] == large["test"] == other["test"] == [f"t{place}" for place in range(200, 300)]
    assert sorted(large["dev"]) == sorted([*task["dev"], *task["test"][:200]])
    with pytest.raises(ValueError, match="from 1 to 400 validation examples, but got 401"):
        search_study.redrawn(task, 401, 0)


def test_a_line_that_is_no_search_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.jsonl").write_text('{"world": "demo"}\n')
    with pytest.raises(ValueError, match="finished search"):
        read_kept(tmp_path / "kept.jsonl")


@pytest.mark.slow
def test_the_row_of_swarm_adapt_is_what_a_user_gets(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    tiny = ["--data.validation_size", "6", "--data.test_size", "4", "--seeds", "1", "--evaluations", "900"]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("swarm_lightning.baselines.registry.METHODS", registry.METHODS)  # put back later
        search_study.main(["--kept", str(tmp_path / "kept.jsonl"), "--tasks", "kinds", "--methods", "adapt", *tiny])
        (row,) = last_line(capsys)["methods"].values()
        lightning.seed_everything(0)
        objective = MultipleChoice(max_new_tokens=3)
        data = SwarmData("demo:tasks/kinds.json", validation_size=6, test_size=4)
        found = adapt("demo:base", "demo:experts", data, 900, objective=objective, folder=tmp_path / "runs").summary
    assert found["iterations"] > 0
    assert row["evaluations"] == found["evaluations"] <= 900
    assert row["validation"] == pytest.approx(100 * found["validation"][1]["utility"])
    assert row["tests"]["kinds"] == pytest.approx(100 * found["test"][-1]["utility"])


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    tiny = ["--data.validation_size", "6", "--data.test_size", "4", "--seeds", "1", "--evaluations", "72"]
    where = ["--kept", str(tmp_path / "kept.jsonl"), "--tasks", "kinds"]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("swarm_lightning.baselines.registry.METHODS", registry.METHODS)  # put back later
        search_study.main([*where, "--methods", "product_mean", *tiny])
        first = last_line(capsys)["methods"]
        kept = (tmp_path / "kept.jsonl").read_text()
        chosen = ["product_mean", "cma_products", "evolmerge_mean"]
        search_study.main([*where, "--methods", *chosen, "--output", str(tmp_path / "study.md"), *tiny])
        second = last_line(capsys)["methods"]
    assert set(first) == {"product_mean"}
    assert set(second) == set(chosen)
    assert first["product_mean"]["tests"] == second["product_mean"]["tests"]
    assert (tmp_path / "kept.jsonl").read_text().startswith(kept)
    assert len(read_kept(tmp_path / "kept.jsonl")) == 3
    # 11 candidates with one evaluation kept for what is handed over.
    assert second["cma_products"]["evaluations"] == second["evolmerge_mean"]["evaluations"] == 12 * 6
    assert "| CMA-ES on products, by the guide " in (tmp_path / "study.md").read_text()


@pytest.mark.slow
def test_a_curve_over_examples_goes_on_and_leaves_the_other_tables_alone(
    tmp_path: Path, capsys: "pytest.CaptureFixture[str]"
) -> None:
    tiny = ["--data.test_size", "3", "--seeds", "1", "--evaluations", "40", "--tasks", "kinds"]
    where = ["--kept", str(tmp_path / "kept.jsonl"), "--runs", str(tmp_path / "runs")]
    study = [*where, "--methods", "product_mean", "random_search", *tiny]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("swarm_lightning.baselines.registry.METHODS", registry.METHODS)  # put back later
        search_study.main([*study, "--examples", "4"])
        once = (tmp_path / "kept.jsonl").read_text()
        search_study.main([*study, "--examples", "4", "5"])
        assert last_line(capsys)["methods"] == {}
    assert (tmp_path / "kept.jsonl").read_text().startswith(once)
    kept = read_kept(tmp_path / "kept.jsonl")
    assert [(one.method, one.seed, one.budget, one.examples, one.evaluations) for one in kept] == [
        ("product_mean", 0, None, 4, 4),
        ("random_search", 0, 40, 4, 40),
        ("product_mean", 0, None, 5, 5),
        ("random_search", 0, 40, 5, 40),
    ]
