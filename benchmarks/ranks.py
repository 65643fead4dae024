"""How much faster the evaluation of a whole swarm is on two ranks than on one, each with one thread.

    python benchmarks/ranks.py
    python benchmarks/ranks.py --regime real --turns 1 --iterations 2

What limits it is arithmetic: N x M replies of a model of about one million weights on the demo world, shared out among
processes that have a core each; per iteration they exchange the N x M scores, a few kilobytes. What is lost is the wait
for the slowest rank. Every number is the median over the iterations of a real `swarm fit`, from its history.csv; the
runs take turns, because a machine that is shared gets faster and slower, and a ratio is taken within each turn. That
all runs find the same is checked.

The regime `real` searches adapters of a base with SmolLM2-135M's measures and random weights, 8 particles that reply to
64 prompts of 50 to 120 tokens with up to 8. There a rank's products take longer than what ranks wait for each other.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from random_world import SIZES, lora_settings, random_adapters, random_base, random_prompts, random_tokenizer

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
TIMINGS = ("evaluation_seconds", "examples_per_second")


RANK = 8  # of the adapters of the regime `real`
# Nothing is left out: the scores of random replies are alike.
REAL = ("--model.particles", "8", "--model.engine.exact_stop", "false", "--model.engine.row_stops", "false")
EXAMPLES, TESTS = 64, 10


def write_real(folder: Path, size: str) -> list[str]:
    """Write a base, adapters and a task at a real model's size, all random.

    Args:
        folder: New folder.
        size: Name of the base's size.

    Returns:
        Flags of `swarm fit` that name them.
    """
    import torch
    from safetensors.torch import save_file

    base = random_base(SIZES[size], torch.float32, torch.device("cpu"), 512, seed=0)
    base.save_pretrained(folder / "base")
    random_tokenizer(SIZES[size].vocabulary).save_pretrained(folder / "base")
    for place, tensors in enumerate(random_adapters(base, 8, RANK, seed=0)):
        adapter = folder / "experts" / f"expert_{place}"
        lora_settings(RANK).save_pretrained(str(adapter))
        save_file(tensors, adapter / "adapter_model.safetensors")
    prompts = random_prompts(EXAMPLES + TESTS, 50, 120, SIZES[size].vocabulary, seed=0)
    records = [{"question": prompt, "answer": prompt.split()[0]} for prompt in prompts]
    task = folder / "task.json"
    task.write_text(json.dumps({"dev": records[:EXAMPLES], "test": records[EXAMPLES:]}), encoding="utf-8")
    objective = {"template": "{question}", "max_new_tokens": 8}
    return [
        *("--model.base", str(folder / "base"), "--model.experts", str(folder / "experts")),
        *("--data.dataset", str(task), "--model.objective", "swarm_lightning.objectives.ExactMatch"),
        *(word for name, value in objective.items() for word in (f"--model.objective.{name}", str(value))),
    ]


def search(ranks: int, iterations: int, root: Path, overrides: Sequence[str]) -> list[dict[str, str]]:
    """Run one search and return the rows of its history but the first, which warms up.

    Args:
        ranks: Number of processes, each with one thread.
        iterations: Iterations of the search.
        root: Folder for the run.
        overrides: Further flags of `swarm fit`.

    Returns:
        One row per iteration.
    """
    command = [
        *(sys.executable, "-m", "swarm_lightning", "fit", "--config", str(CONFIG)),
        *("--trainer.devices", str(ranks), "--trainer.accelerator", "cpu", "--trainer.max_steps", str(iterations)),
        *("--trainer.default_root_dir", str(root), "--trainer.enable_progress_bar", "false"),
        *("--stop.patience", "null", "--data.test_size", str(TESTS), *overrides),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Expected `{' '.join(command[1:])}` to run, but it ended with:\n{done.stderr[-2000:]}")
    with (root / "version_0" / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[1:]


def seconds_of(rows: Sequence[dict[str, str]]) -> float:
    """Return the median evaluation time of a run's iterations, in seconds."""
    return statistics.median(float(row["evaluation_seconds"]) for row in rows)


def same_search(one: Sequence[dict[str, str]], other: Sequence[dict[str, str]]) -> bool:
    """Tell whether two runs have found the same, timings aside.

    >>> same_search([{"mean": "0.5", "evaluation_seconds": "1"}], [{"mean": "0.5", "evaluation_seconds": "2"}])
    True
    """
    kept = [[{name: row[name] for name in row if name not in TIMINGS} for row in rows] for rows in (one, other)]
    return kept[0] == kept[1]


def table(seconds: dict[int, list[float]]) -> str:
    """Return the results as a Markdown table.

    Args:
        seconds: Number of ranks -> evaluation time of an iteration in every turn, in seconds; 1 is among the keys.
    """
    lines = ["| ranks | seconds an iteration | times as fast as 1 rank |", "| ---: | ---: | ---: |"]
    for ranks in seconds:
        lines.append(f"| {ranks} | {statistics.median(seconds[ranks]):.3f} | {speed_up(seconds, ranks):.2f} |")
    return "\n".join(lines)


def speed_up(seconds: dict[int, list[float]], ranks: int) -> float:
    """Return how many times as fast as on one rank: the median over the turns.

    >>> speed_up({1: [2.0, 4.0, 9.0], 2: [1.0, 2.0, 3.0]}, 2)
    2.0
    """
    return statistics.median(one / several for one, several in zip(seconds[1], seconds[ranks], strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all searches, print the table, and keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2], help="numbers of ranks beside 1")
    parser.add_argument("--turns", type=int, default=3, help="how often each number of ranks is run")
    parser.add_argument("--iterations", type=int, default=5, help="iterations of a run, without the first positions")
    parser.add_argument("--output", type=Path, help="file for the table and the numbers (Markdown)")
    parser.add_argument("--regime", default="demo", choices=["demo", "real"], help="the demo world, or SmolLM2's size")
    parser.add_argument("--size", default="135m", choices=sorted(SIZES), help="of the base, in the regime `real`")
    options, overrides = parser.parse_known_args(arguments)
    seconds: dict[int, list[float]] = {ranks: [] for ranks in [1, *options.ranks]}
    reference: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.regime == "real":
            overrides = [*write_real(Path(folder) / "world", options.size), *REAL, *overrides]
        for turn in range(options.turns):
            for ranks in seconds:
                rows = search(ranks, options.iterations, Path(folder) / f"{turn}_{ranks}", overrides)
                reference = reference or rows
                if not same_search(reference, rows):
                    raise RuntimeError(f"Expected the same search on {ranks} ranks as on 1, but it is another one.")
                seconds[ranks].append(seconds_of(rows))
    import torch

    text = table(seconds)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"\n{text}\n\n{machine}, torch {torch.__version__}, one thread a rank; all runs found the same.")
    speed_ups = {ranks: speed_up(seconds, ranks) for ranks in options.ranks}
    last = json.dumps({"benchmark": "ranks", "seconds": seconds, "speed_up": speed_ups})
    if options.output is not None:
        words = " ".join(["python benchmarks/ranks.py", *(sys.argv[1:] if arguments is None else arguments)])
        options.output.write_text(
            f"# Several ranks, regime `{options.regime}`\n\n"
            f"`{words}` on {machine}, torch {torch.__version__}\n\n{text}\n\n"
            f"```json\n{last}\n```\n",
            encoding="utf-8",
        )
    print(last)


if __name__ == "__main__":
    main()
