"""Searches that are killed at a chosen instant: before the n-th change that their process makes to their folder.

The instants come from the interpreter itself, which reports every file that is opened, renamed, removed or made: those
of Lightning as well as ours. What a SIGKILL leaves is what the files hold then. `Counted` is for the instants between,
while questions are asked.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import ExactMatch, LanguageModel, Outcome
from tests.forked_ranks import Ended, ForkedRanks


def some_of(instants: Sequence[Path], count: int) -> list[Path]:
    """Return some of the instants at which a search was looked at: others every day, all of them where INSTANTS is all.

    A run covers no more than `count` of them; what it prints draws the same ones on another day.
    """
    seed = os.environ.get("INSTANTS", date.today().isoformat())
    print(f"INSTANTS={seed} draws these {count} of {len(instants)} instants again, INSTANTS=all takes all of them.")
    return list(instants) if seed == "all" else random.Random(seed).sample(instants, min(count, len(instants)))


class Counted(ExactMatch):
    """Like ExactMatch; notes in the file ASKED what it was asked, and sends itself a signal as AT_CALL says.

    AT_CALL: `<call, counted from 1> <signal> <rank>`; the signal comes before the call asks anything.
    """

    def __init__(self, max_new_tokens: int = 6) -> None:
        super().__init__(max_new_tokens=max_new_tokens)
        self._calls = 0

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        self._calls += 1
        call, name, rank = os.environ.get("AT_CALL", "0 SIGKILL 0").split()
        if self._calls == int(call) and os.environ.get("RANK", "0") == rank:
            os.kill(os.getpid(), getattr(signal, name))
        outcomes = super().evaluate(examples, model)
        with Path(os.environ["ASKED"]).open("a", encoding="utf-8") as file:
            for example, outcome in zip(examples, outcomes, strict=True):
                file.write(f"{example.identifier} {outcome.reply!r}\n")
        return outcomes


def questions_in(path: Path) -> "Counter[str]":
    """What was asked how often, by what came of it."""
    return Counter(path.read_text(encoding="utf-8").splitlines())


# Runs in a forked process; ARGUMENTS: the folder that is watched, a part of the names that count there, what to do, and
# those of `swarm`.
WATCHED = """
import os, shutil, signal, sys
from pathlib import Path

watched, part, action, *rest = ARGUMENTS
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
count, busy = 0, False

def notice(event, arguments):
    global count, busy
    if busy or (event != "open" and event not in CHANGES):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    path = arguments[0]
    path = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
    if not path.startswith(watched) or part not in path[len(watched):]:
        return
    count += 1
    if action.isdigit():
        if count == int(action):
            os.kill(os.getpid(), signal.SIGKILL)
        return
    busy = True
    try:
        if os.path.isdir(watched):
            shutil.copytree(watched, f"{action}/{count:04d}")
    finally:
        busy = False

sys.addaudithook(notice)
from swarm_lightning.cli.main import main
main(rest)
"""


def kill_before_change(ranks: ForkedRanks, watched: Path, number: int, *arguments: str, part: str = "") -> Ended:
    """Run `swarm` and kill it before the n-th change below a folder to names with such a part, counted from 1."""
    (ended,) = ranks.run([{}], WATCHED, [str(watched), part, str(number), *arguments])
    return ended


def copy_before_changes(ranks: ForkedRanks, watched: Path, copies: Path, *arguments: str) -> Ended:
    """Run `swarm` to its end, and copy the folder before every change: each copy is what a kill would have left."""
    copies.mkdir()
    (ended,) = ranks.run([{}], WATCHED, [str(watched), "", str(copies), *arguments])
    return ended
