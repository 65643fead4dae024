"""The recipe on a tiny base and data written here: each step leaves what the next one takes, and is done once."""

import json
import sys
from pathlib import Path

import pytest

import real_world
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process, content


def write_data(folder: Path) -> None:
    for name in (*(file for files in real_world.DOMAINS.values() for file in files), *real_world.TASKS):
        path = folder / (f"big_bench_hard/{name}.json" if name in real_world.TASKS else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [
            {"input": f"Which is {place}?\nOptions:\n(A) red {place}\n(B) town", "target": f"({'AB'[place % 2]})"}
            for place in range(16)
        ]
        if path.suffix == ".jsonl":
            path.write_text("".join(f'{{"question": "{n} + 1?", "answer": "So\\n#### {n + 1}"}}\n' for n in range(16)))
        else:
            path.write_text(json.dumps({"examples": records}))


def test_no_expert_learns_from_a_task() -> None:
    learned = {Path(file).stem for files in real_world.DOMAINS.values() for file in files}
    assert not learned & set(real_world.TASKS)


def test_splits_share_no_record() -> None:
    records = [{"input": f"{n}?\nOptions:\n(A) x\n(B) y", "target": "(A)"} for n in range(9)]
    splits = real_world.task_of(records, 4, 10)
    assert sorted(int(row["id"]) for split in splits.values() for row in split) == list(range(9))
    assert (len(splits["dev"]), len(splits["test"])) == (4, 5)


@pytest.mark.slow
def test_the_whole_recipe_runs_on_a_tiny_base_and_a_second_time_makes_nothing_anew(
    tiny_base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data")
    arguments = ["--data", str(tmp_path / "data"), "--folder", str(tmp_path / "made"), "--base", str(tiny_base_folder)]
    arguments += ["--lessons", "4", "--training-steps", "1", "--validation", "6", "--test", "8", "--particles", "6"]
    arguments += ["--iterations", "1", "--methods", "uniform_soup", "model_swarm"]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["real_world.py", *arguments])
        real_world.main()
        first, made = last_line(capsys)["tasks"], content(tmp_path / "made")
        real_world.main()
    assert last_line(capsys)["tasks"] == first
    assert set(first) == set(real_world.TASKS)
    for task in first.values():
        assert set(task["scores"]) == {"base", *real_world.DOMAINS}
        assert [row["name"] for row in task["search"]["test"]] == ["best initial expert", "best found expert"]
    again = content(tmp_path / "made")
    assert {name for name in made if again.get(name) != made[name]} <= {"lessons", "experts"} | {
        name for name in made if "logs" in name
    }
