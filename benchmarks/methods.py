"""Every way to compose experts that `swarm compare` knows, on the demo world, and what pools do to a search.

    python benchmarks/methods.py --seeds 5 --runs runs/methods --output benchmarks/results/methods.md

What limits it is arithmetic: every search asks as many (particle, example) pairs as the swarm, on each task with each
seed. All numbers of the first part come from the files of `swarm compare --config configs/compare.yaml`: test scores
of what each method chose on the validation split, in points (100 x score). A rank is a method's place by test score on
a task, 1 the best, equals sharing the mean of their places. The swarm's gain is over the best other method of that task
*by test score*, which no user could have known: the hardest comparison there is, shown as it comes out; and once more
over the best of those that need what the swarm needs, the experts and one forward pass.

The other parts, weak-to-strong and diversity, are in `expert_pools.py`. With `--runs`, an interrupted one goes on.
"""

import argparse
import csv
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo_gain import TASKS, compare_on
from expert_pools import diversity, diversity_text, weak_text, weak_to_strong
from measuring import flag, machine, report, table
from swarm_lightning.names import SWARM

EXPERTS = Path(__file__).parents[1] / "configs" / "experts.yaml"
TRAINED = "data_merge"
DOMAIN_TEXTS = 500  # of every expert
LESSONS_OF_MERGE: int | None = None  # of every expert; None: all
PARTS = ("methods", "weak", "diversity")


def write_domain_texts(folder: Path) -> Path:
    """Write what the demo's experts have studied, as far as cBTM needs it.

    Args:
        folder: Where `<expert>.txt` go.

    Returns:
        The folder.
    """
    from swarm_lightning.demo import SEED
    from swarm_lightning.demo.curricula import LESSONS, study, training_questions

    folder.mkdir(parents=True, exist_ok=True)
    questions = training_questions(SEED)
    for number, (name, lessons) in enumerate(LESSONS.items()):
        documents = study(lessons, questions, number)[:DOMAIN_TEXTS]
        lines = [" ".join(f"{document.prompt} {document.reply}".split()) for document in documents]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_data_merge(folder: Path) -> Path:
    """Fine-tune one adapter on what all of the demo's experts have studied, by their recipe.

    Args:
        folder: Where it goes; what is there is kept.

    Returns:
        The folder.
    """
    from swarm_lightning.cli import main as swarm
    from swarm_lightning.demo import EXPERT_NAMES

    domains = {name: {"dataset": f"demo:lessons/{name}", "size": LESSONS_OF_MERGE} for name in sorted(EXPERT_NAMES)}
    swarm(
        [
            *("experts", "--config", str(EXPERTS), "--output", "null", "--data_merge", str(folder)),
            # Shuffled, or the lessons of one expert would come after another's.
            *("--domains", json.dumps(domains), "--training.shuffle", "true"),
            *("--trainer.enable_progress_bar", "false"),
        ]
    )
    return folder


def compare(
    task: str, seeds: int, folder: Path, texts: Path, data_merge: Path, overrides: Sequence[str]
) -> list[dict[str, str]]:
    """Run one comparison, or what is missing of it, and return its table.

    Args:
        task: Name of a demo task.
        seeds: Number of seeds, counted from 0.
        folder: Of the comparison.
        texts: Of the experts' domains.
        data_merge: Adapter that was fine-tuned on all of them.
        overrides: Further flags of `swarm compare`.

    Returns:
        The rows of compare.csv.
    """
    given = ("--compare.domain_texts", str(texts), "--compare.data_merge", str(data_merge))
    compare_on(task, folder, ["--compare.seeds", str(list(range(seeds))), *given, *overrides])
    with (folder / "compare.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ranks_of(scores: Mapping[str, float]) -> dict[str, float]:
    """Return everybody's place by score, 1 the highest; equals share the mean of their places.

    >>> ranks_of({"a": 0.5, "b": 0.7, "c": 0.5})
    {'a': 2.5, 'b': 1.0, 'c': 2.5}
    """
    return {
        name: sum(other > score for other in scores.values())
        + (sum(other == score for other in scores.values()) + 1) / 2
        for name, score in scores.items()
    }


def summarise(tables: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, Any]:
    """Return scores, ranks and the swarm's gain from the tables of all tasks.

    Args:
        tables: Task -> rows of compare.csv.

    Returns:
        `titles`, `tests` (task -> method -> points), `ranks` (task -> method -> rank), `absent` (method -> reason), and
        `gains` (task -> the best other method, the swarm's gain over it in points with its interval, and whether that
        is within noise), and `gains_alike`, the same over the best other method that makes one adapter of the experts
        as they are: no further training, one forward pass.
    """
    titles = {row["method"]: row["title"] for rows in tables.values() for row in rows}
    absent = {row["method"]: row["absent"] for rows in tables.values() for row in rows if row["absent"]}
    tests, ranks = {}, {}
    gains: dict[str, dict[str, Any]] = {}
    alike: dict[str, dict[str, Any]] = {}
    for task, rows in tables.items():
        present = {row["method"]: row for row in rows if row["test"]}
        tests[task] = {name: 100 * float(row["test"]) for name, row in present.items()}
        ranks[task] = ranks_of(tests[task])
        others = [row for name, row in present.items() if name != SWARM]
        if SWARM not in present:
            continue
        if others:
            gains[task] = gain_over(others)
        if merged := [row for row in others if row["adapters"] and row["method"] != TRAINED]:
            alike[task] = gain_over(merged)
    return {
        "titles": titles, "tests": tests, "ranks": ranks, "absent": absent, "gains": gains, "gains_alike": alike,
    }  # fmt: skip


def gain_over(others: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the swarm's gain over the best of other methods by test score, in points.

    Args:
        others: Their rows of compare.csv, whose differences are to the swarm.
    """
    best = max(others, key=lambda row: float(row["test"]))
    return {
        "best_other": best["method"],
        "gain": -100 * float(best["difference"]),
        "low": -100 * float(best["difference_high"]),
        "high": -100 * float(best["difference_low"]),
        "within_noise": best["within_noise"] == "True",
    }


def methods_text(found: Mapping[str, Any]) -> str:
    """Return the tables of the first part.

    Args:
        found: What `summarise` returned.
    """
    tasks, rows = list(found["tests"]), []
    for name, title in found["titles"].items():
        scores = [found["tests"][task].get(name) for task in tasks]
        places = [found["ranks"][task][name] for task in tasks if name in found["ranks"][task]]
        known = [score for score in scores if score is not None]
        cells = ["" if score is None else f"{score:.1f}" for score in scores]
        means = [f"{statistics.mean(known):.1f}", f"{statistics.mean(places):.1f}"] if known else ["", ""]
        rows.append([title, *cells, *means])
    text = table(["method", *tasks, "mean", "mean rank"], rows)
    for name, reason in found["absent"].items():
        text += f"\n\n{found['titles'][name]} is absent: {reason}"
    whom = {
        "gains": "best other method, by test",
        "gains_alike": "best other that makes one adapter of the experts without training",
    }
    for scope, title in whom.items():
        gains = [
            [
                task,
                found["titles"][gain["best_other"]],
                f"{gain['gain']:+.1f}",
                f"{gain['low']:+.1f} to {gain['high']:+.1f}",
                "yes" if gain["within_noise"] else "no",
            ]
            for task, gain in found[scope].items()
        ]
        if gains:
            header = ["task", title, "swarm's gain", "95% interval", "within noise"]
            text += f"\n\n{table(header, gains)}"
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything, print the tables, and keep them where it is asked for; further arguments go to `swarm`.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--runs", type=Path, help="folder of the runs, to go on in; a temporary one if left out")
    parser.add_argument("--output", type=Path, help="file for the tables and the numbers (Markdown)")
    chosen, overrides = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # the searches get their own arguments
    texts: list[str] = []
    numbers: dict[str, Any] = {"seeds": chosen.seeds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.runs or Path(temporary)
        if "methods" in chosen.parts:
            domain = write_domain_texts(folder / "domain_texts")
            merge = make_data_merge(folder / "data_merge")
            tables = {
                task: compare(task, chosen.seeds, folder / task, domain, merge, overrides) for task in chosen.tasks
            }
            numbers["methods"] = summarise(tables)
            texts.append(f"Test scores in points, means of {chosen.seeds} seeds\n\n{methods_text(numbers['methods'])}")
        if "weak" in chosen.parts:
            numbers["weak"] = weak_to_strong(chosen.tasks, chosen.seeds, folder / "weak", overrides)
            texts.append(weak_text(numbers["weak"]))
        if "diversity" in chosen.parts:
            numbers["diversity"] = diversity(chosen.tasks, chosen.seeds, folder / "diversity", overrides)
            texts.append(diversity_text(numbers["diversity"]))
    text = "\n\n".join(texts)
    if chosen.output is not None:
        command = f"python benchmarks/methods.py --seeds {chosen.seeds}{flag('tasks', chosen.tasks, TASKS)}"
        command += f"{flag('parts', chosen.parts, PARTS)}{''.join(f' {override}' for override in overrides)}"
        chosen.output.write_text(
            f"# Ways to compose experts on the demo world\n\n`{command}` on {machine()}\n\n{text}\n", encoding="utf-8"
        )
    report("methods", text, numbers)


if __name__ == "__main__":
    main()
