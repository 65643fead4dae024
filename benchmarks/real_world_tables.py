"""What the recipe of a pretrained model has left in its folder, as tables and numbers."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import table

if TYPE_CHECKING:
    from torch import Tensor


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none where it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def within(row: Mapping[str, str], name: str, sign: str = "") -> str:
    """Return a number of a row with its interval.

    >>> within({"test": "0.5", "test_low": "0.4", "test_high": "0.6"}, "test")
    '0.500 [0.400, 0.600]'
    """
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{float(row[name]):{sign}.3f} [{float(low):{sign}.3f}, {float(high):{sign}.3f}]" if row[name] else ""


def against_base(folder: Path) -> dict[str, str]:
    """Return how many test examples each method of a comparison answers rightly where the base errs, and conversely.

    Args:
        folder: Of the comparison.
    """
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "results").glob("*.json"))]
    tests = {result["method"]: result["test"] for result in results}
    base = tests.get("base_model", [])
    return {
        name: f"+{sum(one > other for one, other in zip(test, base, strict=True))} "
        f"-{sum(one < other for one, other in zip(test, base, strict=True))}"
        for name, test in tests.items()
        if base
    }


def similarity(folder: Path) -> dict[str, float]:
    """Return the least, the mean and the greatest cosine between what two experts add to the base's weights.

    Args:
        folder: Of the experts.
    """
    from itertools import combinations

    from safetensors.torch import load_file

    experts = [load_file(path) for path in sorted(folder.glob("*/adapter_model.safetensors"))]
    layers = [name.replace("lora_A", "{}") for name in experts[0] if "lora_A" in name]

    def inner(one: Mapping[str, "Tensor"], other: Mapping[str, "Tensor"]) -> float:
        # <B A, B' A'> = sum((B^T B') * (A A'^T)), which never makes the product.
        parts = ((layer.format("lora_A"), layer.format("lora_B")) for layer in layers)
        return sum(float(((one[b].T @ other[b]) * (one[a] @ other[a].T)).sum()) for a, b in parts)

    cosines = [
        inner(one, other) / (inner(one, one) * inner(other, other)) ** 0.5 for one, other in combinations(experts, 2)
    ]
    return {"least": min(cosines), "mean": sum(cosines) / len(cosines), "greatest": max(cosines)}


def summed_up(folder: Path, tasks: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """Return what has been measured so far, as a text and as numbers.

    Args:
        folder: Of the recipe.
        tasks: Their names.
    """
    texts, numbers = [], dict[str, Any]()
    if any((folder / "experts").glob("*/adapter_model.safetensors")):
        numbers["cosines"] = found = similarity(folder / "experts")
        texts.append("Cosines between experts: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    for task in tasks:
        scores = rows_of(folder / "scores" / f"{task}.csv")
        compared = [row for row in rows_of(folder / "comparisons" / task / "compare.csv") if row["runs"] != "0"]
        changed = against_base(folder / "comparisons" / task)
        numbers[task] = {
            "scores": {row["name"]: [float(row["validation"]), float(row["test"])] for row in scores},
            "methods": {row["method"]: [float(row["validation"]), float(row["test"])] for row in compared},
        }
        if scores:
            rows = [[row["name"], within(row, "validation"), within(row, "test")] for row in scores]
            texts.append(f"{task}, alone\n\n" + table(["", "validation", "test"], rows))
        if compared:
            rows = [
                [row["title"], f"{float(row['validation']):.3f}", within(row, "test"), within(row, "difference", "+")]
                + [changed.get(row["method"], ""), row["evaluations"], f"{float(row['seconds']):.0f}"]
                for row in compared
            ]
            header = ["", "validation", "test", "less the swarm", "gained, lost", "evaluations", "seconds"]
            texts.append(f"{task}, compared\n\n" + table(header, rows))
        for path in sorted((folder / "runs" / f"{task}_checkpoints").glob("*/summary.json")):
            summary = json.loads(path.read_text(encoding="utf-8"))
            both = {row["name"]: [row["utility"]] for row in summary["validation"]}
            for row in summary["test"]:
                both[row["name"]].append(row["utility"])
            numbers[task]["checkpoints"] = both
            rows = [[name, *(f"{utility:.3f}" for utility in utilities)] for name, utilities in both.items()]
            took = f"{summary['evaluations']} evaluations, {summary['seconds']:.0f} s"
            texts.append(f"{task}, full checkpoints ({took})\n\n" + table(["", "validation", "test"], rows))
    return "\n\n".join(texts), numbers
