"""How the benchmarks measure and report: turn about, in medians and ratios, as a table and one line of JSON.

A machine that is shared gets faster and slower while a benchmark runs. So the ways that are compared take turns, and
a ratio is taken within each turn before the median over all turns. Nothing here knows what is measured.
"""

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def take_turns(
    ways: Mapping[str, Callable[[], T]],
    repeats: int,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, list[float]], dict[str, T]]:
    """Run every way once per turn and time it.

    Args:
        ways: Name -> what to run; its result must be on the CPU, so that the time holds all of the work.
        repeats: Number of turns, >= 1.
        warm_up: Whether a first turn is thrown away.
        clock: What is read before and behind a run, in seconds: `time.process_time` counts what the processor does for
            this process alone, which serves with one thread on a machine that is busy with other work.

    Returns:
        Name -> seconds of every turn, and name -> what came out of the last turn.

    >>> seconds, results = take_turns({"one": lambda: 1, "two": lambda: 2}, repeats=3)
    >>> len(seconds["one"]), results
    (3, {'one': 1, 'two': 2})
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, T] = {}
    for turn in range(repeats + warm_up):
        for name, way in ways.items():
            started = clock()
            results[name] = way()
            elapsed = clock() - started
            if turn or not warm_up:
                seconds[name].append(elapsed)
    return seconds, results


def ratio(seconds: Mapping[str, Sequence[float]], name: str, reference: str) -> float:
    """Return how many times as long one way takes as another: the median over the turns.

    >>> ratio({"slow": [2.0, 8.0, 9.0], "fast": [1.0, 2.0, 3.0]}, "slow", "fast")
    3.0
    """
    pairs = zip(seconds[name], seconds[reference], strict=True)
    return statistics.median(one / other for one, other in pairs)


def count_differences(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> int:
    """Count the replies [N][M] that two ways do not share.

    >>> count_differences([["a", "b"], ["c", "d"]], [["a", "b"], ["c", "e"]])
    1
    """
    return sum(a != b for row, others in zip(one, other, strict=True) for a, b in zip(row, others, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that is readable as it stands; the first column is flush left, the others right.

    >>> print(table(["way", "s"], [["ours", "1.0"], ["theirs", "12.0"]]))
    | way    |    s |
    | ------ | ---: |
    | ours   |  1.0 |
    | theirs | 12.0 |
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if place == 0 else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join(map(line, [header, rule, *rows]))


def resident(name: str) -> int:
    """Return a number of this process's memory in bytes, from the system.

    Args:
        name: `VmRSS`, what is resident now, or `VmHWM`, the most that ever was.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"Expected {name} in /proc/self/status, but it is not there. Run this on Linux.")


def forget_peak() -> None:
    """Let `VmHWM` begin anew at what is resident now (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def flag(name: str, chosen: Iterable[str], everything: Iterable[str]) -> str:
    """Return what a command needs to choose these again; nothing where all are.

    >>> flag("tasks", ["kinds"], ["kinds", "lists"]), flag("tasks", ["kinds"], ["kinds"])
    (' --tasks kinds', '')
    """
    return "" if list(chosen) == list(everything) else f" --{name} {' '.join(chosen)}"


def machine() -> str:
    """Say on what was measured: processor, threads and versions."""
    import peft
    import torch
    import transformers

    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{platform.machine()}{device}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    )


def report(benchmark: str, text: str, numbers: Mapping[str, Any]) -> None:
    """Print the text, the machine, and the numbers as one JSON object on the last line.

    Args:
        benchmark: Name of the benchmark.
        text: Tables and sentences for a reader.
        numbers: Plain values.
    """
    where = machine()
    print(f"\n{text}\n\n{where}")
    print(json.dumps({"benchmark": benchmark, "machine": where, **numbers}), flush=True)
