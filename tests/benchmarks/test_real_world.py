"""The recipe on a tiny base and data written here: each step leaves what the next one takes, and is done once."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import real_world
import real_world_tables
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process, content


def write_data(folder: Path) -> None:
    groups = [files for pool in real_world.POOLS.values() for part in pool for files in part.values()]
    for name in {file for files in groups for file in files}:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [
            {
                "input": f"Which {path.stem} is {place}?\nOptions:\n(A) red {place}\n(B) town",
                "target": f"({'AB'[place % 2]})",
            }
            for place in range(16)
        ]
        if path.suffix == ".jsonl":
            path.write_text("".join(f'{{"question": "{n} + 1?", "answer": "So\\n#### {n + 1}"}}\n' for n in range(16)))
        else:
            path.write_text(json.dumps({"examples": records}))


@pytest.mark.parametrize(("name", "mixed"), [("domains", "held_out"), ("skills", "five_skills")])
def test_no_expert_learns_from_a_record_of_a_task(name: str, mixed: str, tmp_path: Path) -> None:
    pool = real_world.POOLS[name]
    write_data(tmp_path)
    real_world.make_lessons(pool, tmp_path, tmp_path / "lessons", 4)
    real_world.make_tasks(pool, tmp_path, tmp_path / "tasks", 4, 12, 24, 100)
    lessons = [json.loads(line) for file in (tmp_path / "lessons").iterdir() for line in file.read_text().splitlines()]
    learned = {lesson["prompt"] for lesson in lessons}
    of_mixed = {Path(file).stem for file in pool.tasks[mixed]}
    for stem in of_mixed & {Path(file).stem for files in pool.domains.values() for file in files}:
        assert len([prompt for prompt in learned if stem in prompt]) == 4
    tasks = {task: json.loads((tmp_path / "tasks" / f"{task}.json").read_text()) for task in pool.tasks}
    for splits in tasks.values():
        assert not learned & {row["question"] for rows in splits.values() for row in rows}
    found = tasks[mixed]
    files = len(pool.tasks[mixed])
    assert {split: len(rows) for split, rows in found.items()} == {
        "dev": files * (12 // files),
        "test": files * (36 // files - 12 // files),
    }
    assert {row["id"].split()[0] for row in found["dev"]} == of_mixed


def test_what_comes_without_choices_gets_other_answers_of_its_file() -> None:
    records = [{"input": f"{n} + 0 =", "target": str(n)} for n in range(9)]
    examples = real_world.examples_of(records, 100)
    assert len(examples) == 9
    for example in examples:
        options = list(example["choices"].values())
        assert len(options) == len(set(options)) == real_world.CHOICES
        assert example["choices"][example["answer"]] == example["question"].split()[0]
    assert {example["answer"] for example in examples} == set("ABCD"), "the place tells the answer"
    assert examples == real_world.examples_of(records, 100)


def test_answers_made_of_brackets_keep_them() -> None:
    record = {"input": "Close: ( [", "target": "] )"}
    assert real_world.lesson_of(record) == {"prompt": "Close: ( [", "response": " ] )"}
    assert real_world.parts_of({"input": "Back?\nOptions:\n- Yes\n- No", "target": "No"}) == ("Back?", {}, "No")


def test_splits_share_no_record_and_are_shared_out_among_the_files() -> None:
    files = {name: [{"id": str(n)} for n in range(9)] for name in ("one", "two")}
    splits = real_world.task_of(files, 8, 20)
    found = [row["id"] for split in splits.values() for row in split]
    assert sorted(found) == sorted(f"{name} {n}" for name in files for n in range(9))
    assert {split: [row["id"].split()[0] for row in rows].count("one") for split, rows in splits.items()} == {
        "dev": 4,
        "test": 5,
    }


@pytest.mark.slow
def test_the_whole_recipe_runs_on_a_tiny_base_and_a_second_time_makes_nothing_anew(
    tiny_base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data")
    arguments = ["--data", str(tmp_path / "data"), "--folder", str(tmp_path / "made"), "--base", str(tiny_base_folder)]
    arguments += ["--lessons", "4", "--training-steps", "2", "--validation", "6", "--test", "8", "--particles", "6"]
    arguments += ["--iterations", "1", "--methods", "base_model", "uniform_soup", "model_swarm"]
    arguments += ["--tasks", "hyperbaton", "--checkpoints", "4", "4", "1"]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["real_world.py", *arguments])
        real_world.main()
        first, made = last_line(capsys), content(tmp_path / "made")
        real_world.main()
    assert last_line(capsys) == first
    assert -1 <= first["cosines"]["least"] <= first["cosines"]["mean"] <= first["cosines"]["greatest"] <= 1
    found = first["hyperbaton"]
    assert set(found["scores"]) == {"base", *real_world.DOMAINS}
    assert set(found["methods"]) == {"base_model", "uniform_soup", "model_swarm"}
    assert found["methods"]["base_model"] == found["scores"]["base"]
    assert {name: len(utilities) for name, utilities in found["checkpoints"].items()} == {
        "best initial expert": 2,
        "best found expert": 2,
    }
    again = content(tmp_path / "made")
    assert {name for name in made if again.get(name) != made[name]} == set()


def test_what_a_method_changes_is_counted_by_example(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for name, test in (("base_model", [1, 0, 0, 1, 0]), ("slerp", [1, 1, 1, 0, 0])):
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps({"method": name, "test": test}))
    assert real_world_tables.against_base(tmp_path) == {"base_model": "+0 -0", "slerp": "+2 -1"}


def test_cosines_are_those_of_the_whole_products(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flat = []
    for name in ("one", "other"):
        a, b = torch.randn(2, 5), torch.randn(4, 2)
        (tmp_path / name).mkdir()
        save_file({"layer.lora_A.weight": a, "layer.lora_B.weight": b}, tmp_path / name / "adapter_model.safetensors")
        flat.append((b @ a).flatten())
    assert real_world_tables.similarity(tmp_path)["mean"] == pytest.approx(
        float(torch.cosine_similarity(flat[0], flat[1], dim=0)), abs=1e-6
    )
