"""How much memory the move and the whole search need beside the swarm's state.

    python benchmarks/memory.py --particles 20 --dimensions 5000000
    python benchmarks/memory.py --regime real

What no search can do without is its state: x, v and p [N, D], g and w [D], 4 bytes a number. Everything above it is
counted here, as the peak of the memory that is resident in a fresh process (VmHWM of Linux; ru_maxrss would hold the
peak of the process that started it as well):

- an iteration: restart, move, remember, diversity, with each kernel, over what is resident before it. The fused kernel
  has been compiled then, for a small swarm: what the compiler leaves in the process does not grow with the swarm and is
  stated by itself;
- a whole search on the demo world, `swarm fit --config configs/quickstart.yaml`, beside its state, its base model and
  what the imported libraries hold. The world is small: almost all of it is libraries and the batch being generated.

What evaluations take at a pretrained model's size, the regime `real`, is in `real_memory.py`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import real_memory
from measuring import report, resident

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
MEGA = 1e6
MEASURES = ("plain", "compiled", "search", "pass", "fit", *real_memory.KINDS)


def measure_iterations(kernel: str, particles: int, dimensions: int) -> dict[str, float]:
    """Do three iterations of a swarm of random numbers; call it in a fresh process.

    Args:
        kernel: `plain` or `compiled`.
        particles: N.
        dimensions: D.

    Returns:
        Bytes: the `state`, what came on top of it (`extra`), and what compiling left behind (`compiler`).
    """
    import torch

    from swarm_lightning.swarm.fused_move import BLOCK, move_fused
    from swarm_lightning.swarm.rules import Coefficients, diversity, move, remember, restart
    from swarm_lightning.swarm.state import Swarm, first_state

    def swarm_of(count: int, size: int) -> Swarm:
        positions = torch.empty(count, size).normal_()
        return first_state(positions, torch.empty_like(positions).normal_(), torch.arange(count))

    def iterate(swarm: Swarm, offset: int) -> None:
        count = swarm.positions.shape[0]
        everyone = torch.ones(count, dtype=torch.bool)
        restart(swarm, torch.arange(count) % 2 == 0)
        step = move_fused if kernel == "compiled" else move
        step(swarm, torch.rand(count, 4), Coefficients(0.2, 0.3, 0.4, 0.05), 0.1)
        remember(swarm, torch.arange(count) + float(offset), everyone)
        diversity(swarm.positions)

    before = resident("VmRSS")
    iterate(swarm_of(3, 5 * BLOCK + 1), 0)
    compiler = resident("VmRSS") - before
    swarm = swarm_of(particles, dimensions)
    tensors = (swarm.positions, swarm.velocities, swarm.personal_bests, swarm.global_best, swarm.global_worst)
    start = resident("VmRSS")
    for offset in range(1, 4):
        iterate(swarm, offset)
    state = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return {"state": state, "extra": max(0, resident("VmHWM") - start), "compiler": compiler}


def measure_search(iterations: int) -> dict[str, float]:
    """Run a search on the demo world; call it in a fresh process.

    Args:
        iterations: Iterations at most, K.

    Returns:
        Bytes: `peak`, and of it what the imported `libraries` hold, the swarm's `state` and the `base` model.
    """
    import datasets  # noqa: F401
    import lightning  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401

    from swarm_lightning.cli import main as swarm

    libraries = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["--trainer.max_steps", str(iterations), "--trainer.enable_progress_bar", "false"]
        swarm(["fit", "--config", str(CONFIG), "--trainer.default_root_dir", folder, *overrides])
    peak = resident("VmHWM")

    import torch

    from swarm_lightning.experts.pool import load_pool
    from swarm_lightning.experts.resident.base_model import load_base

    particles, dimensions = 20, load_pool("demo:experts").vectors.shape[1]
    model, _ = load_base("demo:base", "auto", torch.device("cpu"), False)
    base = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    return {"peak": peak, "libraries": libraries, "state": 4 * dimensions * (3 * particles + 2), "base": base}


def in_fresh_process(*arguments: str) -> dict[str, float]:
    """Run this file in a process of its own and return the numbers of its last line.

    Args:
        arguments: Flags that name one measurement.

    Raises:
        RuntimeError: If the process fails.
    """
    ended = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if ended.returncode != 0:
        raise RuntimeError(f"Expected {arguments} to be measured, but the process failed:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown.

    Args:
        results: `iteration`: kernel -> numbers; `search`: numbers, or None.
    """
    lines = ["| an iteration | state, MB | on top, MB | of the state |", "| --- | ---: | ---: | ---: |"]
    for kernel, row in results["iteration"].items():
        share = 100 * row["extra"] / row["state"]
        lines.append(f"| {kernel} | {row['state'] / MEGA:.1f} | {row['extra'] / MEGA:.1f} | {share:.1f}% |")
    if "compiled" in results["iteration"]:
        left = results["iteration"]["compiled"]["compiler"] / MEGA
        lines += ["", f"Compiling leaves {left:.0f} MB in the process, whatever the size of the swarm."]
    if results["search"]:
        row = {name: value / MEGA for name, value in results["search"].items()}
        lines += [
            *("", "| a search on the demo world | MB |", "| --- | ---: |"),
            *(f"| {name} | {row[key]:.1f} |" for name, key in (("peak", "peak"), ("libraries", "libraries"))),
            *(f"| {name} | {row[key]:.1f} |" for name, key in (("state", "state"), ("base model", "base"))),
            f"| everything else | {row['peak'] - row['libraries'] - row['state'] - row['base']:.1f} |",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regime", default="demo", choices=["demo", "real"], help="move and demo, or SmolLM2's size")
    parser.add_argument("--particles", type=int, help="default: 20, or 8 in the regime `real`")
    parser.add_argument("--dimensions", type=int, default=5_000_000)
    parser.add_argument("--kernels", nargs="*", choices=["plain", "compiled"], default=["plain", "compiled"])
    parser.add_argument("--iterations", type=int, default=3, help="of the search on the demo world; 0 leaves it out")
    parser.add_argument("--examples", type=int, default=16, help="M, in the regime `real`")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, in the regime `real`")
    parser.add_argument("--measure", choices=MEASURES, help="this measurement, in this process")
    parser.add_argument("--pass", dest="one_pass", nargs=6, help="kind, dtype, vocabulary, layers, rows, tokens")
    arguments, flags = parser.parse_known_args()
    if flags and arguments.measure != "fit":
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    particles = arguments.particles or (20 if arguments.regime == "demo" else 8)
    if arguments.measure:
        print(json.dumps(measured(arguments, particles, flags)))
        return
    if arguments.regime == "real":
        found = real_memory.measure(in_fresh_process, particles, arguments.examples, arguments.threads)
        numbers = {"regime": "real", "particles": particles, "examples": arguments.examples}
        title = f"SmolLM2's size: {particles} particles x {arguments.examples} prompts"
        report("memory", f"{title}\n\n{real_memory.text_of(found)}", {**numbers, **found})
        return
    size = ["--particles", str(particles), "--dimensions", str(arguments.dimensions)]
    results = {
        "iteration": {kernel: in_fresh_process("--measure", kernel, *size) for kernel in arguments.kernels},
        "search": in_fresh_process("--measure", "search", "--iterations", str(arguments.iterations))
        if arguments.iterations
        else None,
    }
    text = f"{particles} particles of {arguments.dimensions} float32\n\n{table(results)}"
    report("memory", text, {"particles": particles, "dimensions": arguments.dimensions, **results})


def measured(arguments: argparse.Namespace, particles: int, flags: list[str]) -> dict[str, float]:
    """Do one measurement in this process, and return its numbers."""
    if arguments.measure == "search":
        return measure_search(arguments.iterations)
    if arguments.measure == "fit":
        return real_memory.fit(flags, arguments.threads)
    if arguments.measure == "pass":
        kind, dtype, *sizes = arguments.one_pass
        return real_memory.single_pass(kind, dtype, *map(int, sizes))
    if arguments.measure in real_memory.KINDS:
        return real_memory.evaluation(arguments.measure, particles, arguments.examples, arguments.threads)
    return measure_iterations(arguments.measure, particles, arguments.dimensions)


if __name__ == "__main__":
    main()
