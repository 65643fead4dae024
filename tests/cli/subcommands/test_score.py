"""`swarm score` from end to end: every number recomputed by plain `transformers` and `peft`."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.baselines.counting import CountingMatch, asked
from tests.cli.conftest import LETTERS, states_below
from tests.cli.refused import message_of
from tests.search.tiny_search import World, read_rows, run_swarm

EXPERTS = ("colours", "numbers", "stories", "towns")


def config_of(world: World, root: Path, **model: Any) -> dict[str, Any]:
    objective = {"init_args": {"rule": "regex", "pattern": f"([{LETTERS}])"}}
    return world.config(root, model={"objective": objective, **model})


def without_experts(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "model": {name: value for name, value in config["model"].items() if name != "experts"}}


def share_right(world: World, model: Any, split: str) -> float:
    right = []
    for record, reply in zip(world.split(split), world.replies(model, split), strict=True):
        letters = [character for character in reply if character in LETTERS]
        right.append(bool(letters) and letters[0] == record["answer"])
    return sum(right) / len(right)


def plain_base(world: World) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(world.base).eval()


def quantile_of_right(share: float, count: int, level: float) -> float:
    """Return a quantile of the share right when examples are drawn with replacement: that of a binomial."""
    total = 0.0
    for right in range(count + 1):
        total += math.comb(count, right) * share**right * (1 - share) ** (count - right)
        if total >= level:
            return right / count
    return 1.0


def test_base_and_experts_are_scored_alone_on_both_splits_the_best_on_validation_first(
    world: World, tmp_path: Path
) -> None:
    printed = run_swarm(config_of(world, tmp_path / "runs"), "score", tmp_path)
    rows = read_rows(tmp_path / "runs" / "version_0" / "scores.csv")
    expected = {}
    for name in ("base", *EXPERTS):
        model = plain_base(world) if name == "base" else world.load(world.experts / name)
        expected[name] = {split: share_right(world, model, split) for split in ("dev", "test")}
    assert {row["name"]: row["kind"] for row in rows} == {"base": "base", **dict.fromkeys(EXPERTS, "expert")}
    for row in rows:
        found = {"dev": float(row["validation"]), "test": float(row["test"])}
        assert found == pytest.approx(expected[row["name"]])
        assert (row["validation_examples"], row["test_examples"]) == ("8", "12")
        for split, count in (("validation", 8), ("test", 12)):
            for end, level in (("low", 0.025), ("high", 0.975)):
                exact = quantile_of_right(float(row[split]), count, level)
                assert float(row[f"{split}_{end}"]) == pytest.approx(exact, abs=1.01 / count)
    order = sorted(("base", *EXPERTS), key=lambda name: -expected[name]["dev"])  # of equals in this order
    assert [row["name"] for row in rows] == order
    assert [line.split()[0] for line in printed.splitlines() if line.split()[:1] in [[name] for name in order]] == order
    assert f"Scores: {tmp_path / 'runs' / 'version_0' / 'scores.csv'}" in printed
    assert {path.name for path in (tmp_path / "runs" / "version_0").iterdir()} == {"scores.csv"}
    assert states_below(tmp_path / "runs") == {"version_0": "scored"}


def test_a_base_alone_needs_no_experts_and_scores_as_beside_them(world: World, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "runs")
    run_swarm(config, "score", tmp_path, "--out", str(tmp_path / "all.csv"))
    run_swarm(without_experts(config), "score", tmp_path, "--out", str(tmp_path / "new" / "base.csv"))
    beside = next(row for row in read_rows(tmp_path / "all.csv") if row["name"] == "base")
    assert read_rows(tmp_path / "new" / "base.csv") == [beside]
    assert not (tmp_path / "runs").exists()


def test_without_an_objective_what_fits_the_data_is_asked(world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs")
    del config["model"]["objective"]
    run_swarm(without_experts(config), "score", tmp_path, "--out", str(tmp_path / "base.csv"))
    assert [row["name"] for row in read_rows(tmp_path / "base.csv")] == ["base"]


@pytest.mark.parametrize("named", [True, False])
def test_scores_that_were_found_before_an_interruption_are_not_asked_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    objective = {"class_path": "tests.baselines.counting.CountingMatch"}
    config = world.config(tmp_path / "runs", model={"objective": objective})
    run_swarm(config, "score", tmp_path, "--out", str(tmp_path / "whole.csv"))
    path = tmp_path / "new" / "again.csv" if named else tmp_path / "runs" / "version_0" / "scores.csv"
    part = path.with_name(f"{path.name}.part")
    # The base is asked 8 examples, the experts 4 x 8; then the base 12 more.
    monkeypatch.setattr(CountingMatch, "interrupted_at", asked() + 40)
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "score", tmp_path, *(["--out", str(path)] if named else []))
    monkeypatch.undo()
    assert ended.value.code == 130
    assert not path.exists()
    assert [entry.name for entry in part.iterdir()] == ["scores_0.jsonl"]
    before = asked()
    run_swarm(config, "score", tmp_path, "--out", str(path))
    assert asked() - before == 12 * 5
    assert path.read_text() == (tmp_path / "whole.csv").read_text()
    assert not part.exists()


def test_scores_of_other_models_or_settings_are_not_taken(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = {"class_path": "tests.baselines.counting.CountingMatch"}
    config = world.config(tmp_path / "runs", model={"objective": objective})
    monkeypatch.setattr(CountingMatch, "interrupted_at", asked() + 8)
    with pytest.raises(SystemExit):
        run_swarm(config, "score", tmp_path, "--out", str(tmp_path / "all.csv"))
    monkeypatch.undo()
    before = asked()
    other = ["--model.objective.rule", "exact", "--out", str(tmp_path / "all.csv")]
    run_swarm(config, "score", tmp_path, *other)
    assert asked() - before == 20 * 5


def test_a_single_expert_is_enough(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.experts / "towns", tmp_path / "experts" / "towns")
    config = config_of(world, tmp_path / "runs", experts=str(tmp_path / "experts"))
    run_swarm(config, "score", tmp_path, "--out", str(tmp_path / "one.csv"))
    assert {row["name"] for row in read_rows(tmp_path / "one.csv")} == {"base", "towns"}


def test_experts_score_what_a_search_begins_with(run: Any, world: World, tmp_path: Path) -> None:
    run_swarm(run.config, "score", tmp_path, "--out", str(tmp_path / "all.csv"))
    alone = {row["name"]: float(row["validation"]) for row in read_rows(tmp_path / "all.csv")}
    first = read_rows(run.folder / "history.csv")[0]
    assert [alone[name] for name in EXPERTS] == [float(first[f"utility/particle_{place:02d}"]) for place in range(4)]


def test_a_file_that_is_there_is_never_written_over(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.csv").write_text("mine")
    arguments = ["--out", str(tmp_path / "all.csv")]
    config = config_of(world, tmp_path / "runs")
    assert "exists" in message_of(config, tmp_path, capsys, *arguments, subcommand="score")
    assert (tmp_path / "all.csv").read_text() == "mine"


def test_scoring_nothing_is_refused(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = without_experts(config_of(world, tmp_path / "runs", base=None))
    assert "neither is set" in message_of(config, tmp_path, capsys, subcommand="score")
