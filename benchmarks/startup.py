"""How long a user waits before anything happens: `swarm --help` and `import swarm_lightning`, in fresh processes.

    python benchmarks/startup.py --repeats 9

What limits it is reading and running Python files: `import lightning` alone brings torch and some thousand modules.
The command line is built on Lightning's, so it can't be faster than that import; the package itself must import
nothing heavy. The first turn, which warms the disk cache, is thrown away.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence

from measuring import ratio, report, table, take_turns

COMMANDS = {
    "python": ("-c", "pass"),
    "import swarm_lightning": ("-c", "import swarm_lightning"),
    "import lightning": ("-c", "import lightning"),
    "swarm --help": ("-m", "swarm_lightning", "--help"),
}
REFERENCE = "import lightning"
# At most this many times as long as the reference.
TARGETS = {"import swarm_lightning": 0.1, "swarm --help": 1.3}


def start(name: str) -> int:
    """Run one command in a fresh process to its end and return the bytes it printed.

    Args:
        name: One of `COMMANDS`.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    return len(subprocess.run([sys.executable, *COMMANDS[name]], check=True, stdout=subprocess.PIPE).stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all commands, turn about, and print the table.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="turns; the medians over them are printed")
    parser.add_argument("--no-warm-up", action="store_true", help="count the first turn too")
    chosen = parser.parse_args(arguments)
    ways = {name: (lambda name=name: start(name)) for name in COMMANDS}
    seconds, printed = take_turns(ways, chosen.repeats, warm_up=not chosen.no_warm_up)
    ratios = {name: ratio(seconds, name, REFERENCE) for name in COMMANDS}
    medians = {name: statistics.median(row) for name, row in seconds.items()}
    rows = [
        [name, f"{medians[name]:.3f}", f"{ratios[name]:.3f} x", f"<= {TARGETS[name]} x" if name in TARGETS else ""]
        for name in COMMANDS
    ]
    text = f"{chosen.repeats} turns\n\n" + table(["", "seconds", f"to {REFERENCE}", "target"], rows)
    numbers = {"seconds": seconds, "median": medians, "times_import_lightning": ratios, "printed_bytes": printed}
    report("startup", text, {"repeats": chosen.repeats, **numbers})


if __name__ == "__main__":
    main()
