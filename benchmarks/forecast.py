"""What `swarm plan` says of a search beside what the search then takes, for several kinds of searches.

    python benchmarks/forecast.py

Time is rows of a small model on the CPU, and a share for the start of Python. Patience makes it hard to foresee:
the same search with another seed may go on for half or twice as long. So the number of evaluations is compared with the
likely one, and with the span in which four of five searches should lie. Each search is planned and then run, by the
real commands, one after the other; on a machine that others use as well, time is as good as that machine is steady.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import flag, report, table

CONFIGS = Path(__file__).parents[1] / "configs"
EXACT = '{"class_path": "swarm_lightning.objectives.ExactMatch", "init_args": {"max_new_tokens": 10}}'
SEARCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "neighbours": ("quickstart", ()),
    "kinds": ("quickstart", ("--data.dataset", "demo:tasks/kinds.json")),
    "atlas": ("quickstart", ("--data.dataset", "demo:tasks/atlas.json", "--model.objective", EXACT)),
    "lists": ("quickstart", ("--data.dataset", "demo:tasks/lists.json", "--model.objective", EXACT)),
    "likelihood": ("likelihood", ()),
    "coefficients": ("quickstart", ("--model.coefficients", "expert")),
    "evolution": ("evolution", ()),
    "full checkpoints": ("full_checkpoints", ()),
}
ALLOWED_TIME, ALLOWED_EVALUATIONS = 1.5, 1.2


def swarm(command: str, config: str, flags: Sequence[str]) -> tuple[str, float]:
    """Run a command of `swarm`; return what it printed and the seconds that it took."""
    words = [sys.executable, "-m", "swarm_lightning", command, "--config", str(CONFIGS / f"{config}.yaml"), *flags]
    started = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Expected `{' '.join(words[1:])}` to run, but it ended with:\n{done.stderr[-2000:]}")
    return done.stdout, time.perf_counter() - started


def compare(name: str, root: Path, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Plan a search, run it, and return both numbers of everything."""
    config, own = SEARCHES[name]
    flags = [*own, "--trainer.default_root_dir", str(root), "--seed_everything", str(seed)]
    flags += ["--trainer.enable_progress_bar", "false", *overrides]
    plan = json.loads(swarm("plan", config, [*flags, "--json"])[0].splitlines()[-1])
    seconds = swarm("fit", config, flags)[1]
    summary = json.loads((root / "version_0" / "summary.json").read_text(encoding="utf-8"))
    return {
        "evaluations": {**plan["evaluations"], "real": summary["evaluations"]},
        "iterations": {**plan["iterations"], "real": summary["iterations"]},
        "search": {**plan["search"], "real": summary["seconds"]},
        "total": {**plan["total"], "real": seconds},
        # How long the search would have been said to take, had its number of evaluations been known.
        "pace": plan["search"]["likely"] / plan["evaluations"]["likely"] * summary["evaluations"] / summary["seconds"],
    }


def within(numbers: dict[str, float], factor: float) -> bool:
    """Tell whether the likely number and the real one differ by no more than a factor.

    >>> within({"likely": 10.0, "real": 12.0}, 1.2), within({"likely": 10.0, "real": 8.0}, 1.2)
    (True, False)
    """
    return 1 / factor <= numbers["likely"] / numbers["real"] <= factor + 1e-9


def row_of(name: str, found: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    evaluations, total = found["evaluations"], found["total"]
    return [
        name,
        f"{evaluations['likely']:,.0f} ({evaluations['low']:,.0f} to {evaluations['high']:,.0f})",
        f"{evaluations['real']:,}",
        f"{evaluations['likely'] / evaluations['real']:.2f}",
        f"{total['likely']:.0f}",
        f"{total['real']:.0f}",
        f"{total['likely'] / total['real']:.2f}",
        f"{found['pace']:.2f}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan and run all, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--searches", nargs="+", choices=list(SEARCHES), default=list(SEARCHES))
    parser.add_argument("--seed", type=int, default=0)
    chosen, overrides = parser.parse_known_args(arguments)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.searches:
            found[name] = compare(name, Path(folder) / name.replace(" ", "_"), chosen.seed, overrides)
            print(" ".join(row_of(name, found[name])), flush=True)
    head = ["search", "evaluations, likely", "real", "ratio", "s, likely", "real", "ratio", "of the pace"]
    inside = [
        sum(within(one["evaluations"], ALLOWED_EVALUATIONS) for one in found.values()),
        sum(within(one["total"], ALLOWED_TIME) for one in found.values()),
        sum(asked["low"] <= asked["real"] <= asked["high"] for asked in (one["evaluations"] for one in found.values())),
    ]
    text = (
        f"`python benchmarks/forecast.py{flag('searches', chosen.searches, SEARCHES)} "
        f"{' '.join(overrides)}`\n\n{table(head, [row_of(name, one) for name, one in found.items()])}\n\n"
        f"Of {len(found)} searches, the evaluations of {inside[0]} are within 20% of the likely number and those of "
        f"{inside[2]} in the span; the time of {inside[1]} is within a factor of 1.5. The pace is the time that was "
        "foreseen for the evaluations that there were."
    )
    report("forecast", text, {"searches": found})


if __name__ == "__main__":
    main()
