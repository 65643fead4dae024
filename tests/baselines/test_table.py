"""The table of results that were written by hand."""

import csv
import json
import math
from pathlib import Path

import pytest

from swarm_lightning.baselines.method import Method
from swarm_lightning.baselines.registry import chosen_methods
from swarm_lightning.baselines.results import Result, agree, read_results, write_result
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.baselines.table import TableRow, legend_of, make_rows, markdown, write_csv
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.bootstrap import Resampling

NAMES = ["base_model", "uniform_soup", "random_search", "model_swarm"]


def methods() -> dict[str, Method]:
    return chosen_methods(CompareSettings(methods=NAMES))


def run(method: str, test: list[float], seed: int | None = None, **changes: float) -> Result:
    values = {"validation": 0.5, "evaluations": 100, "seconds": 2.0, **changes}
    return Result(method=method, seed=seed, test=test, detail=f"d{seed}", **values)  # type: ignore[arg-type]


@pytest.fixture
def rows() -> list[TableRow]:
    halves = [1.0] * 20 + [0.0] * 20
    results = {
        "base_model": [run("base_model", [0.0] * 10 + [1.0] * 30)],
        "uniform_soup": [run("uniform_soup", [1.0] * 10 + [0.0] * 30)],
        "model_swarm": [
            run("model_swarm", [1.0] * 40, 0, validation=0.75, evaluations=90, seconds=1.0, forward_passes=11),
            run("model_swarm", halves, 1, validation=0.25, evaluations=110, seconds=4.0, forward_passes=21),
        ],
    }
    return make_rows(
        methods(), results, {"random_search": "it needs | luck"}, Resampling(2000, [""] * 40), "model_swarm"
    )


def test_runs_of_several_seeds_are_means(rows: list[TableRow]) -> None:
    swarm = rows[-1]
    assert (swarm.runs, swarm.validation, swarm.test, swarm.evaluations, swarm.seconds) == (2, 0.5, 0.75, 100, 2.5)
    # Test scores 1 and 0.5 of the two seeds: standard deviation 0.5 / sqrt 2. The better one on validation is seed 0.
    assert (swarm.spread, swarm.detail) == (pytest.approx(math.sqrt(0.125)), "seed 0: d0")
    assert swarm.difference is None


def test_forward_passes_are_means_too_and_blank_where_a_run_does_not_know(rows: list[TableRow], tmp_path: Path) -> None:
    assert [row.forward_passes for row in rows] == [None, None, None, 16]
    lines = markdown(rows, (8, 40)).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")][5:8] == ["evaluations", "forward passes", "seconds"]
    assert [lines[line].split("|")[6].strip() for line in (2, 5)] == ["", "16"]
    unknown = run("model_swarm", [1.0] * 40, 2)
    some = make_rows(methods(), {"model_swarm": [run("model_swarm", [1.0] * 40, 1, forward_passes=9), unknown]}, {},
                     Resampling(100, [""] * 40), "model_swarm")  # fmt: skip
    assert some[0].forward_passes is None
    write_result(tmp_path, unknown)
    path = tmp_path / "results" / "model_swarm_seed_2.json"
    kept = json.loads(path.read_text())
    del kept["forward_passes"]  # as earlier versions have written it
    path.write_text(json.dumps(kept))
    assert read_results(tmp_path) == {"model_swarm": [unknown]}


def test_differences_are_of_the_same_examples_and_say_what_is_noise(rows: list[TableRow]) -> None:
    base, soup = rows[0], rows[1]
    assert (base.difference, soup.difference) == (0.0, -0.5)
    assert base.within_noise is True
    assert soup.within_noise is False
    assert soup.difference_high is not None
    assert soup.difference_high < 0
    # On 10 of 40 examples the soup and the swarm are equal, on 10 it is 1 lower and on 20 0.5: the deviation of an
    # example's difference is sqrt((10 + 5) / 40 - 0.25) = 0.35355; of the mean of 40, 0.0559.
    assert soup.difference_low == pytest.approx(-0.5 - 1.96 * 0.0559, abs=0.02)


def test_an_absent_method_has_its_reason_and_no_numbers(rows: list[TableRow]) -> None:
    random = rows[2]
    assert (random.runs, random.test, random.absent) == (0, None, "it needs | luck")
    assert "| random search | | | | | | | | absent: it needs \\| luck |" in markdown(rows, (8, 40))


def test_markdown_has_a_line_for_every_method(rows: list[TableRow]) -> None:
    text = markdown(rows, (8, 40))
    header, _, *lines = text.split("\n\n")[0].splitlines()
    assert header.startswith("| method | validation (8) | test (40) | less model swarm |")
    assert [line.split(" | ")[0] for line in lines] == [
        "| base model",
        "| uniform soup",
        "| random search",
        "| model swarm",
    ]
    assert all(line.replace("\\|", "").count("|") == 10 for line in lines)
    assert "within noise" in lines[0]
    assert "within noise" not in lines[1]


def test_what_is_trained_or_no_single_model_has_a_sign_and_the_table_says_what_it_means() -> None:
    names = ["data_merge", "prediction_merge", "cbtm", "pack_of_llms", "greedy_soup", "model_swarm"]
    results = {name: [run(name, [1.0] * 4)] for name in names if name != "cbtm"}
    made = chosen_methods(CompareSettings(methods=names))
    rows = make_rows(made, results, {"cbtm": "no texts"}, Resampling(100, [""] * 4), "model_swarm")
    text = markdown(rows, (8, 4))
    titles = {line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")}
    assert {"data merge †", "prediction merge ‡", "cBTM ‡", "Pack of LLMs ‡", "greedy soup", "model swarm"} <= titles
    assert text.count("† trained with gradients.") == text.count("‡ no single model") == 1
    assert [line[0] for line in legend_of(rows)] == ["†", "‡"]
    assert legend_of([row for row in rows if row.method in ("greedy_soup", "data_merge")]) == legend_of(rows)[:1]
    assert legend_of([row for row in rows if row.method == "greedy_soup"]) == []
    assert {row.sign_means for row in rows if row.sign == "†"} == {"trained with gradients"}


def test_csv_has_every_attribute(rows: list[TableRow], tmp_path: Path) -> None:
    write_csv(rows, tmp_path / "compare.csv")
    with (tmp_path / "compare.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["method"] for row in read] == NAMES
    assert (float(read[1]["test"]), read[2]["test"], read[2]["absent"]) == (0.25, "", "it needs | luck")


def test_without_a_test_split_there_are_no_test_scores() -> None:
    results = {"base_model": [run("base_model", [])], "model_swarm": [run("model_swarm", [], 0)]}
    base, swarm = make_rows(methods(), results, {}, Resampling(100, [""] * 2), "model_swarm")
    assert (base.test, base.difference, swarm.validation) == (None, None, 0.5)
    assert "| base model | 0.5000 |  |" in markdown([base, swarm], (8, 0))


def test_without_the_swarm_the_best_on_validation_is_the_reference() -> None:
    results = {
        "base_model": [run("base_model", [0.0, 1.0], validation=0.6)],
        "uniform_soup": [run("uniform_soup", [0.0, 0.0])],
    }
    base, soup = make_rows(methods(), results, {}, Resampling(100, [""] * 2), "model_swarm")
    assert (base.difference, soup.difference) == (None, -0.5)


def test_results_are_read_as_they_were_written_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    assert read_results(tmp_path) == {}
    written = [run("model_swarm", [0.1, 1.0], 12), run("model_swarm", [0.1, 0.3], 3), run("base_model", [0.2, 0.0])]
    for result in written:
        write_result(tmp_path, result)
    assert read_results(tmp_path) == {"model_swarm": [written[1], written[0]], "base_model": [written[2]]}


def test_a_setting_that_no_result_depends_on_yet_may_change(tmp_path: Path) -> None:
    agree(tmp_path, {"compare": {"density": 0.5, "data_merge": "a"}}, ["data_merge"])
    agree(tmp_path, {"compare": {"density": 0.5, "data_merge": "b"}}, ["data_merge"])
    with pytest.raises(InputError, match=r"compare.data_merge is 'a', in the comparison 'b'"):
        agree(tmp_path, {"compare": {"density": 0.5, "data_merge": "a"}})
    with pytest.raises(InputError, match=r"compare.density is 0.3"):
        agree(tmp_path, {"compare": {"density": 0.3, "data_merge": "c"}}, ["data_merge"])


def test_a_comparison_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    agree(tmp_path, {"data": "x", "compare": {"density": 0.5}})
    agree(tmp_path, {"data": "x", "compare": {"density": 0.5}})
    with pytest.raises(InputError, match=r"compare.density is 0.3, in the comparison 0.5"):
        agree(tmp_path, {"data": "x", "compare": {"density": 0.3}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["soup"]}, "uniform_soup"),
        ({"methods": []}, "uniform_soup"),
        ({"methods": ["random_search"]}, "compare.evaluations is null"),
        ({"seeds": []}, "compare.seeds"),
        ({"seeds": [1, 1]}, "compare.seeds"),
        ({"evaluations": 0}, "compare.evaluations"),
        ({"density": 1.0}, "compare.density"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen_methods(CompareSettings(**changes))  # type: ignore[arg-type]
