"""The arithmetic of the methods' benchmark by hand, and all of its parts at a tiny size."""

from pathlib import Path

import pytest

import expert_pools
import methods
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process


def row(method: str, test: float | None, difference: float | None = None, **changes: str) -> dict[str, str]:
    values = (
        {"difference": difference, "difference_low": -0.3, "difference_high": 0.02} if difference is not None else {}
    )
    numbers = {"test": test, **values}
    texts = {name: "" if number is None else str(number) for name, number in numbers.items()}
    empty = {
        "difference": "",
        "difference_low": "",
        "difference_high": "",
        "within_noise": "",
        "absent": "",
        "adapters": "",
    }
    return {"method": method, "title": method.upper(), **empty, **texts, **changes}


def test_the_swarms_gain_is_over_the_best_other_method_by_test() -> None:
    # Others 0.6 and 0.5, the swarm 0.7: the other is 0.1 lower, between -0.3 and +0.02; so the gain is 10, -2 to 30.
    rows = [
        row("soup", 0.6, -0.1, within_noise="True"),
        row("slerp", 0.5, -0.2, within_noise="False"),
        row("cbtm", None, absent="no texts"),
        row("model_swarm", 0.7),
    ]
    found = methods.summarise({"atlas": rows})
    gain = found["gains"]["atlas"]
    assert gain["best_other"] == "soup"
    assert [gain[name] for name in ("gain", "low", "high")] == [pytest.approx(value) for value in (10, -2, 30)]
    assert gain["within_noise"] is True
    assert found["ranks"]["atlas"] == {"soup": 2, "slerp": 3, "model_swarm": 1}
    text = methods.methods_text(found)
    assert "CBTM is absent: no texts" in text
    assert "+10.0 | -2.0 to +30.0 |          yes |" in text


def test_the_gain_is_also_over_what_makes_one_adapter_without_training() -> None:
    rows = [
        row("data_merge", 0.9, 0.2, within_noise="False", adapters="adapters/data_merge"),
        row("cbtm", 0.8, 0.1, within_noise="False"),
        row("slerp", 0.6, -0.1, within_noise="True", adapters="adapters/slerp"),
        row("model_swarm", 0.7, adapters="adapters/model_swarm/seed_0"),
    ]
    found = methods.summarise({"atlas": rows})
    assert found["gains"]["atlas"]["best_other"] == "data_merge"
    assert found["gains"]["atlas"]["gain"] == pytest.approx(-20)
    assert found["gains_alike"]["atlas"]["best_other"] == "slerp"
    assert found["gains_alike"]["atlas"]["gain"] == pytest.approx(10)
    assert "one adapter of the experts without training" in methods.methods_text(found)


def test_a_loss_is_shown_as_a_loss() -> None:
    rows = [row("soup", 0.75, 0.05, within_noise="False"), row("model_swarm", 0.7)]
    found = methods.summarise({"kinds": rows})
    assert found["gains"]["kinds"]["gain"] == pytest.approx(-5)
    assert found["ranks"]["kinds"]["model_swarm"] == 2


def test_ranks_are_averaged_over_the_tasks_where_a_method_is() -> None:
    # SOUP is first and second, mean rank 1.5, mean test 55; SLERP only second.
    tables = {
        "atlas": [row("soup", 0.6), row("slerp", 0.5)],
        "kinds": [row("soup", 0.5), row("other", 0.6)],
    }
    lines = methods.methods_text(methods.summarise(tables)).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["SOUP", "60.0", "50.0", "55.0", "1.5"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["SLERP", "50.0", "", "50.0", "2.0"]


def test_a_pool_of_fewer_kinds_is_ten_folders_all_the_same(tmp_path: Path) -> None:
    folders = [Path(folder) for folder in expert_pools.pool_of(2, 0, tmp_path)]
    assert len(set(folders)) == 10
    contents = {(folder / "adapter_model.safetensors").read_bytes() for folder in folders}
    assert len(contents) == 2


@pytest.mark.slow
def test_all_parts_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--data.validation_size", "6", "--data.test_size", "4", "--trainer.max_steps", "1"]
    output = tmp_path / "methods.md"
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_pools, "KINDS", (10, 1))
        patch.setattr(methods, "DOMAIN_TEXTS", 3)
        patch.setattr(methods, "LESSONS_OF_MERGE", 3)
        methods.main(
            [
                *("--seeds", "1", "--tasks", "kinds", "--parts", "weak", "diversity", "--output", str(output)),
                *("--runs", str(tmp_path / "runs"), *tiny),
            ]
        )
        pools = last_line(capsys)
        methods.main(
            [
                *("--seeds", "1", "--tasks", "kinds", "--parts", "methods", *tiny),
                *(
                    "--compare.methods",
                    "[base_model, data_merge, uniform_soup, cbtm, model_swarm]",
                    "--model.particles",
                    "10",
                ),
            ]
        )
    compared = last_line(capsys)["methods"]
    assert set(pools["weak"]["kinds"]) == {"best", "best_test", "without_best", "weaker_half"}
    assert set(pools["diversity"]["kinds"]) == {"10", "1"}
    assert "Weak-to-strong" in output.read_text()
    assert "Diversity" in output.read_text()
    assert not compared["absent"]
    assert {"base_model", "data_merge", "uniform_soup", "cbtm", "model_swarm"} == set(compared["tests"]["kinds"])
    assert all(0 <= score <= 100 for score in compared["tests"]["kinds"].values())
