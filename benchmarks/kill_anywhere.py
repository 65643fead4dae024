"""Kills searches on the demo world with SIGKILL, again and again, and compares what becomes of them with a calm one.

    python benchmarks/kill_anywhere.py --kills 50 --seed 0

What limits it is the searches themselves. A search is the command `swarm fit`, each life of it a process of its own,
forked from one that has done the imports. A life is killed in one of three ways, by the seed: after a random time
(mostly while questions are asked); at the first sight of a half-written file after a random time; or before the k-th
change to a chosen file (checkpoint, history, log, scores, export, summary), as Python itself reports it. After every
kill it is checked that what lies there is whole, and the search goes on with `--ckpt_path last`, in one life after the
other, until it has come to its end. Then its folder is compared with that of the calm search (`same_run.py`), and the
next search begins. Further flags are those of `swarm fit`.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import machine
from same_run import differences

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
SMALL = ("--data.validation_size", "40", "--data.test_size", "20", "--model.particles", "10")
CALM = ("--trainer.max_steps", "12", "--stop.patience", "null", "--trainer.enable_progress_bar", "false")
# A search writes these in this order; before which change to which of them a life may end.
TARGETS = (
    "config.yaml",
    "scores_",
    "history.csv",
    "score_tables",
    "metrics.csv",
    "last.ckpt",
    "summary",
    "best_expert",
)
CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"})
AGAIN = 3.0  # a random time is at most this share of the calm search's


@dataclass(frozen=True)
class Kill:
    """When a life ends.

    Attributes:
        way: `time`, `half-written` or `change`.
        seconds: After which time, or not before it.
        target: Part of the name of a file.
        change: Before which change to it, counted from 1.
    """

    way: str
    seconds: float = 0.0
    target: str = ""
    change: int = 0


def draw(numbers: random.Random, calm_seconds: float) -> Kill:
    """Draw when the next life ends.

    Args:
        numbers: Source of randomness.
        calm_seconds: How long a search takes that nobody disturbs.
    """
    way = numbers.choice(("time", "half-written", "change"))
    if way == "change":
        return Kill(way, target=numbers.choice(TARGETS), change=numbers.randint(1, 4))
    return Kill(way, seconds=numbers.uniform(0, calm_seconds / AGAIN))


def live(root: Path, arguments: Sequence[str], kill: Kill | None) -> int:
    """Run `swarm` in a process of its own, and kill it if that is wanted.

    Args:
        root: Folder of the runs.
        arguments: Those of `swarm`.
        kill: When; None lets it come to its end.

    Returns:
        Its exit code; minus 9 where it was killed.
    """
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _be_a_life(root, list(arguments), kill)
    born = time.monotonic()
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        due = kill is not None and kill.way != "change" and time.monotonic() - born >= kill.seconds
        if due and (kill is None or kill.way == "time" or half_written(root)):
            os.kill(process, signal.SIGKILL)
        time.sleep(0.0002 if due else 0.002)


def _be_a_life(root: Path, arguments: list[str], kill: Kill | None) -> None:
    code: Any = 0
    try:
        with (root.parent / "output.txt").open("a", encoding="utf-8") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        if kill is not None and kill.way == "change":
            _die_before(root, kill)
        from swarm_lightning.cli import main

        sys.argv = ["swarm"]
        main(arguments)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def _die_before(root: Path, kill: Kill) -> None:
    """Let this process kill itself before a change to a file: Python reports them all, those of libraries too."""
    seen = 0

    def notice(event: str, details: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            if not (isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event not in CHANGES:
            return
        if isinstance(details[0], str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(details[0]))
            if path.startswith(str(root)) and kill.target in path:
                seen += 1
                if seen == kill.change:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(notice)


def half_written(root: Path) -> list[str]:
    """Name the hidden files and folders that are not complete.

    Args:
        root: Folder of the runs.
    """
    found = []
    with suppress(OSError):  # what is being removed
        for path in root.rglob(".*.partial"):
            found.append(path.name.split(".")[1])
    return found


def check_whole(root: Path) -> tuple[bool, int]:
    """Check that everything that stands under its name is complete.

    Args:
        root: Folder of the runs.

    Returns:
        Whether a search has begun there, and the iterations in its checkpoint, -1 where there is none.

    Raises:
        Exception: Whatever a reader of a broken file raises.
    """
    import torch
    import yaml
    from safetensors.torch import load_file

    begun, iterations = False, -1
    for folder in root.glob("version_*"):
        if (folder / "config.yaml").exists():
            begun = True
            yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        if (folder / "checkpoints" / "last.ckpt").exists():
            checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
            iterations = int(checkpoint["optimizer_states"][0]["state"][0]["iterations"])
        for table in folder.glob("score_tables/*.safetensors"):
            load_file(table)
        if (folder / "best_expert").exists():
            load_file(folder / "best_expert" / "adapter_model.safetensors")
            json.loads((folder / "best_expert" / "adapter_config.json").read_text(encoding="utf-8"))
        if (folder / "summary.json").exists():
            json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return begun, iterations


def fit(root: Path, overrides: Sequence[str]) -> list[str]:
    """Return the arguments of a search.

    Args:
        root: Folder of its runs.
        overrides: Further flags.
    """
    return ["fit", "--config", str(CONFIG), *SMALL, *CALM, "--trainer.default_root_dir", str(root), *overrides]


def torment(folder: Path, kills: int, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Kill searches so many times, and compare each with one that nobody disturbs.

    Args:
        folder: An empty folder.
        kills: How many times.
        seed: Of the instants.
        overrides: Further flags of `swarm fit`.

    Returns:
        What was done and found.
    """
    numbers = random.Random(seed)
    calm = folder / "calm" / "runs"
    calm.parent.mkdir()
    started = time.monotonic()
    if live(calm, fit(calm, overrides), None) != 0:
        raise RuntimeError((calm.parent / "output.txt").read_text(encoding="utf-8"))
    seconds = time.monotonic() - started
    done: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    iterations: Counter[int] = Counter()
    differing: list[str] = []
    lost: list[str] = []
    searches = 0
    while sum(done.values()) < kills:
        searches += 1
        root = folder / f"search_{searches}" / "runs"
        root.parent.mkdir()
        again: list[str] = []
        while True:
            kill = draw(numbers, seconds) if sum(done.values()) < kills else None
            code = live(root, [*fit(root, overrides), *again], kill)
            if code != -signal.SIGKILL or kill is None:
                break
            done[kill.way] += 1
            hit.update({f"before a change to {kill.target}": 1} if kill.way == "change" else {})
            hit.update({f"while {name} was half-written" for name in half_written(root)})
            hit.update({"with scores of a running iteration": 1} if list(root.rglob("scores_*.jsonl")) else {})
            begun, iteration = check_whole(root)
            iterations[iteration] += 1
            again = ["--ckpt_path", "last"] if begun else []
        if code != 0:
            told = (root.parent / "output.txt").read_text(encoding="utf-8")[-2000:]
            lost.append(f"search {searches} ended with exit code {code}: {told}")
            continue
        finished = [run for run in root.iterdir() if (run / "summary.json").exists()]
        differing += [f"search {searches}: {text}" for text in differences(finished[0], calm / "version_0")]
    return {
        "kills": sum(done.values()),
        "seed": seed,
        "searches": searches,
        "calm_seconds": seconds,
        "ways": dict(done),
        "hit": dict(sorted(hit.items())),
        "iterations_in_the_checkpoint": {str(key): iterations[key] for key in sorted(iterations)},
        "not_resumable": lost,
        "differences": differing,
    }


def table(found: dict[str, Any]) -> str:
    """Return what was found as a Markdown table.

    Args:
        found: What `torment` returned.
    """
    rows = [
        ("kills", str(found["kills"])),
        *((f"... by {way}", str(count)) for way, count in found["ways"].items()),
        *((f"... {what}", str(count)) for what, count in found["hit"].items()),
        ("searches that came to their end and were compared", str(found["searches"])),
        ("folders that could not be resumed", str(len(found["not_resumable"]))),
        ("files that differ from those of the calm search", str(len(found["differences"]))),
    ]
    return "\n".join(["| what | how many |", "| --- | ---: |", *(f"| {name} | {count} |" for name, count in rows)])


def main() -> None:
    """Torment searches, print the table, and keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="how many times a search is killed")
    parser.add_argument("--seed", type=int, default=0, help="seed of the instants")
    parser.add_argument("--output", type=Path, help="file for the table and the numbers (Markdown)")
    arguments, overrides = parser.parse_known_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forked processes must not share its threads
    # The imports of every life, done once.
    import peft  # noqa: F401

    import swarm_lightning.cli.main
    import swarm_lightning.evaluation.evaluator  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        found = torment(Path(folder).resolve(), arguments.kills, arguments.seed, overrides)
    text = table(found)
    last = json.dumps({"benchmark": "kill_anywhere", "machine": machine(), **found})
    print(f"\n{text}\n\n{machine()}")
    for wrong in [*found["not_resumable"], *found["differences"]]:
        print(wrong)
    if arguments.output is not None:
        command = f"python benchmarks/kill_anywhere.py --kills {arguments.kills} --seed {arguments.seed}"
        arguments.output.write_text(
            f"# Searches that are killed at any instant\n\n`{' '.join([command, *overrides])}` on {machine()}\n\n"
            f"{text}\n\n```json\n{last}\n```\n",
            encoding="utf-8",
        )
    print(last)
    sys.exit(1 if found["differences"] or found["not_resumable"] else 0)


if __name__ == "__main__":
    main()
