"""What a search of full checkpoints on the disk takes: memory for any number of particles, and the rate of the move.

    python benchmarks/full_checkpoints.py --size 30m --particles 4 8 16

What limits it: in an iteration the move reads x, v and p and writes x and v, 20 bytes a weight and particle, and taking
a particle up for its evaluation reads 4 bytes a weight; the disk's bandwidth bounds both. Memory should hold the
resident model and windows of fixed size, whatever the number of particles.

- Memory: the command `swarm fit --config ...` with `storage: disk`, and with `draws: coefficient`, where the experts
  stay in their files and the swarm is a few numbers; then `swarm test` with its vote of ten, on random checkpoints. It
  is read from outside, as the largest resident set of the process: all of it, and the part that is not mapped from a
  file.
- Move: of rows that are not in the page cache, up to the moment when the new ones are on the disk. Beside it, turn
  about, the disk's rate: as many bytes read from and written to as many files, in large pieces, both at once, and
  nothing computed. The share is that time over the move's.
- What 7 billion weights would take is computed from these rates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml

from measuring import ratio, report, table
from random_world import SIZES, random_base, random_prompts, random_tokenizer
from swarm_lightning.experts.checkpoint_pool import load_checkpoints
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.swarm.rows import BYTES, RowStore
from swarm_lightning.swarm.rules import Coefficients
from swarm_lightning.swarm.state import Swarm, first_state
from swarm_lightning.swarm.stored_moves import move_rows

GIGA, MEGA = 1e9, 1e6
EXPERTS = 4
HELD = {"storage": "disk", "draws": "coefficient"}  # settings that say where a search's weights are
PIECE = 8 * 2**20  # bytes of one plain read or write
LARGE = 7_000_000_000  # weights
LARGE_PARTICLES = 20
REPOSITORY = Path(__file__).parents[1]


def make_experts(size: str, folder: Path) -> list[Path]:
    """Write random checkpoints of one architecture in float32, and a dataset for them.

    Args:
        size: One of `SIZES`.
        folder: Gets `experts/` and `data.json`.

    Returns:
        The experts' folders.
    """
    measures = SIZES[size]
    tokenizer = random_tokenizer(measures.vocabulary)
    folders = [folder / "experts" / f"expert_{index}" for index in range(EXPERTS)]
    for index, target in enumerate(folders):
        model = random_base(measures, torch.float32, torch.device("cpu"), 128, seed=index)
        model.save_pretrained(target, max_shard_size="50MB")
        tokenizer.save_pretrained(target)
    prompts = random_prompts(16, 8, 24, measures.vocabulary, seed=1)
    records = [{"question": prompt, "answer": f"w{place + 10}"} for place, prompt in enumerate(prompts)]
    (folder / "data.json").write_text(json.dumps({"dev": records[:8], "test": records[8:]}), encoding="utf-8")
    return folders


def measure_memory(folder: Path, particles: int, iterations: int, setting: str) -> dict[str, float]:
    """Run a whole search and a test as commands, and read their memory from outside.

    Args:
        folder: Where experts and data are.
        particles: N.
        iterations: K.
        setting: Which of `HELD` the search gets.

    Returns:
        The largest resident set of `fit` and of `test`, and of each the largest part that is not mapped from a file,
        in bytes; and the bytes of the rows on the disk after the search.
    """
    root = folder / f"runs_{particles}_{setting}"
    config = {
        "model": {
            "experts": str(folder / "experts"),
            "particles": particles,
            "engine": {"rows": 8},
            setting: HELD[setting],
            "objective": {"class_path": "swarm_lightning.objectives.ExactMatch", "init_args": {"max_new_tokens": 2}},
        },
        "data": {"dataset": str(folder / "data.json")},
        "trainer": {
            "max_steps": iterations,
            "accelerator": "cpu",
            "default_root_dir": str(root),
            "enable_progress_bar": False,
        },
    }
    path = folder / f"search_{particles}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    fitted = peak_of("fit", "--config", str(path))
    rows = sum(file.stat().st_size for file in (root / "version_0" / "state").glob("*"))
    tested = peak_of("test", "--config", str(path), "--ckpt_path", "last")
    for file in (root / "version_0" / "state").glob("*"):
        file.unlink()
    return {"fit": fitted[0], "fit_anonymous": fitted[1], "test": tested[0], "test_anonymous": tested[1], "rows": rows}


def peak_of(*arguments: str) -> tuple[int, int]:
    """Run the command `swarm` and return its largest resident set and the largest part of it without files, in bytes.

    Args:
        arguments: Those of the command.

    Raises:
        RuntimeError: If it fails.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "swarm_lightning", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        watched, most, anonymous = psutil.Process(process.pid), 0, 0
        while process.poll() is None:
            try:
                memory = watched.memory_info()
                most, anonymous = max(most, memory.rss), max(anonymous, memory.rss - memory.shared)
            except psutil.Error:
                break
            time.sleep(0.01)
        if process.wait() != 0:
            output.seek(0)
            raise RuntimeError(f"Expected {arguments} to be measured, but it failed:\n{output.read()[-3000:]}")
    return most, anonymous


def random_swarm(store: RowStore, particles: int) -> Swarm:
    """Make a swarm of random rows on the disk, with personal bests that are rows of their own."""

    def fill() -> int:
        (number,) = store.create(1)
        for start in range(0, store.size, 1 << 20):
            count = min(1 << 20, store.size - start)
            store.write(number, start, torch.randn(count))
        return number

    def matrix() -> torch.Tensor:
        return torch.tensor([[fill()] for _ in range(particles)])

    swarm = first_state(matrix(), matrix(), torch.arange(particles))
    swarm.personal_bests.copy_(matrix())
    return swarm


def forget(paths: Iterable[Path]) -> None:
    """Have the system drop files from its page cache."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def read_plainly(paths: Iterable[Path]) -> float:
    """Read files from beginning to end, and return the seconds that it took."""
    buffer = bytearray(PIECE)
    started = time.perf_counter()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - started


def write_plainly(folder: Path, files: int, size: int) -> float:
    """Write files until they are on the disk, and return the seconds that it took; they are removed again."""
    piece, paths = os.urandom(PIECE), [folder / f"plain_{index}" for index in range(files)]
    started = time.perf_counter()
    for path in paths:
        with path.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            for start in range(0, size, PIECE):
                file.write(piece[: min(PIECE, size - start)])
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    for path in paths:
        path.unlink()
    return seconds


def measure_move(folder: Path, size: int, particles: int, repeats: int) -> dict[str, Any]:
    """Time moves, and plain reads and writes of as many bytes, turn about.

    Args:
        folder: Where the rows are made.
        size: Weights D.
        particles: N.
        repeats: Turns; one more is thrown away.

    Returns:
        Seconds of every turn by name, and the bytes read and written.
    """
    store = RowStore(folder / "move", size)
    swarm = random_swarm(store, particles)
    store.sync()
    coefficients = Coefficients(0.2, 0.3, 0.4, 0.05)
    seconds: dict[str, list[float]] = {"move": [], "plain": [], "read": [], "write": []}
    for turn in range(repeats + 1):
        old = [*store.folder.iterdir()]
        forget(old)
        moved = [store.path(int(n)) for m in (swarm.positions, swarm.velocities, swarm.personal_bests) for n in m]
        started = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            reading = pool.submit(read_plainly, moved)
            writing = pool.submit(write_plainly, folder, 2 * particles, size * BYTES)
        plain = time.perf_counter() - started
        forget(old)
        started = time.perf_counter()
        move_rows(store, swarm, torch.rand(particles, 4, dtype=torch.float64), coefficients, 0.1)
        store.sync()
        moving = time.perf_counter() - started
        matrices = (swarm.positions, swarm.velocities, swarm.personal_bests, swarm.global_best, swarm.global_worst)
        store.keep(int(number) for matrix in matrices for number in matrix.flatten())
        if turn:
            seconds["move"].append(moving)
            seconds["plain"].append(plain)
            seconds["read"].append(reading.result())
            seconds["write"].append(writing.result())
    read, written = 3 * particles * size * BYTES, 2 * particles * size * BYTES
    return {"seconds": seconds, "read": read, "written": written}


def measure_loading(folders: list[Path], folder: Path, repeats: int) -> dict[str, float]:
    """Time how a particle that is not in the page cache is taken up by the resident model.

    Returns:
        Bytes per second of the row, and the same of a plain read of it.
    """
    pool = load_checkpoints([str(path) for path in folders])
    resident = pool.resident(load_base(pool.base)[0], pool.base)
    store = RowStore(folder / "load", pool.layout.size)
    (number,) = store.create(1)
    store.write(number, 0, pool.vector(1)[:])
    taking, reading = [], []
    for _ in range(repeats):
        forget([store.path(number)])
        reading.append(read_plainly([store.path(number)]))
        forget([store.path(number)])
        started = time.perf_counter()
        resident.load([store.row(number)])
        taking.append(time.perf_counter() - started)
    held = pool.layout.size * BYTES
    store.remove([number])
    return {"load": held / statistics.median(taking), "plain": held / statistics.median(reading)}


def extrapolate(results: dict[str, Any], size: int) -> dict[str, float]:
    """Compute what 20 particles of 7 billion weights take, from the measured rates.

    Args:
        results: What was measured.
        size: Weights D of the measured checkpoints.

    Returns:
        Bytes and seconds by name.
    """
    move, row = results["move"], LARGE * BYTES
    rate = (move["read"] + move["written"]) / statistics.median(move["seconds"]["move"])
    memory = results["memory"]["storage"].values()
    rest = max(numbers["fit"] for numbers in memory) - size * BYTES if memory else 0
    return {
        "bytes_per_particle": 5 * row,
        "disk": (5 * LARGE_PARTICLES + 2) * row,
        "memory": LARGE * 2 + rest,
        "move_seconds": 5 * LARGE_PARTICLES * row / rate,
        "load_seconds": LARGE_PARTICLES * row / results["loading"]["load"],
    }


def tables(results: dict[str, Any], size: int) -> str:
    """Return the results as Markdown."""
    lines = []
    rows = [
        [
            f"{setting}: {HELD[setting]}",
            str(particles),
            f"{numbers['rows'] / MEGA:.0f}",
            *(f"{numbers[key] / MEGA:.0f}" for key in ("fit", "fit_anonymous", "test", "test_anonymous")),
        ]
        for setting, searches in results["memory"].items()
        for particles, numbers in searches.items()
    ]
    if rows:
        header = [
            "search",
            "particles",
            "rows on the disk, MB",
            "fit, MB",
            "without files",
            "test, MB",
            "without files",
        ]
        lines += [table(header, rows), ""]
    move = results["move"]
    middle = {name: statistics.median(values) for name, values in move["seconds"].items()}
    moved = move["read"] + move["written"]
    rows = [
        [name, f"{amount / GIGA:.2f}", f"{middle[key]:.2f}", f"{amount / middle[key] / GIGA:.2f}"]
        for name, key, amount in (
            ("plain reads, while writing", "read", move["read"]),
            ("plain writes, while reading", "write", move["written"]),
            ("both", "plain", moved),
            ("the move", "move", moved),
        )
    ]
    lines += [table(["from and to the disk", "GB", "s", "GB/s"], rows), ""]
    lines += [f"The move runs at {100 * results['share']:.0f}% of the rate of plain reads and writes of as much.", ""]
    loading = results["loading"]
    of_plain = 100 * loading["load"] / loading["plain"]
    lines += [
        f"A particle is taken up at {loading['load'] / GIGA:.2f} GB/s, {of_plain:.0f}% of a plain read of its row.",
        "",
    ]
    large = results["large"]
    rows = [
        ["a particle on the disk at most, GB", f"{large['bytes_per_particle'] / GIGA:.0f}"],
        ["the swarm on the disk at most, GB", f"{large['disk'] / GIGA:.0f}"],
        ["memory with a model in bfloat16, GB", f"{large['memory'] / GIGA:.1f}"],
        ["the move of an iteration, minutes", f"{large['move_seconds'] / 60:.0f}"],
        ["taking up all particles, minutes", f"{large['load_seconds'] / 60:.0f}"],
    ]
    lines += [table([f"{LARGE_PARTICLES} particles of 7 billion weights, computed", ""], rows)]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", choices=list(SIZES), default="30m", help="of a checkpoint (default: 127 MB in float32)"
    )
    parser.add_argument(
        "--particles", type=int, nargs="*", default=[4, 8, 16], help="of the searches; none leaves them out"
    )
    parser.add_argument("--move-particles", type=int, default=8, help="of the move")
    parser.add_argument("--iterations", type=int, default=2, help="of a search")
    parser.add_argument("--repeats", type=int, default=3, help="of the move")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        folders = make_experts(arguments.size, folder)
        size = load_checkpoints([str(path) for path in folders]).layout.size
        memory = {
            setting: {
                count: measure_memory(folder, count, arguments.iterations, setting) for count in arguments.particles
            }
            for setting in HELD
        }
        move = measure_move(folder, size, arguments.move_particles, arguments.repeats)
        loading = measure_loading(folders, folder, arguments.repeats)
    results: dict[str, Any] = {"memory": memory, "move": move, "loading": loading}
    results["share"] = ratio(move["seconds"], "plain", "move")
    results["large"] = extrapolate(results, size)
    heading = f"Checkpoints of {size:,} weights, {size * BYTES / MEGA:.0f} MB in float32; {os.cpu_count()} cores."
    report("full_checkpoints", f"{heading}\n\n{tables(results, size)}", {"weights": size, **results})


if __name__ == "__main__":
    main()
