"""How fast the particles move, against what the memory's bandwidth allows.

    python benchmarks/move.py --particles 20 --dimensions 5000000 --repeats 9

What limits it is bytes, not arithmetic: a move has to read x, v and p and to write x and v, 5 N D numbers of 4 bytes
(g and w of a block stay in the cache). The yardstick is what the same machine does in the same run with memory and
nothing else: on a CPU the addition of a matrix [N, D] to another in place (3 N D numbers), on a GPU a copy (2 N D).
A peer is at 100% if it moves 5 N D numbers at the yardstick's bytes per second.

The peers do the same arithmetic: chained operations out of place on whole matrices; loops over dictionaries of tensors,
as research scripts hold a state dict; whole rows in place; ours in blocks (`rules.move`) and ours as one fused kernel
(`move_fused`). They take turns, so that a disturbance meets all of them, and the median of each counts.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from swarm_lightning.swarm.fused_move import KernelError, move_fused
from swarm_lightning.swarm.rules import Coefficients, move
from swarm_lightning.swarm.state import Swarm, first_state

COEFFICIENTS = Coefficients(0.2, 0.3, 0.4, 0.05)
STEP_LENGTH = 0.1  # a contraction: positions keep their size however often they move
TENSORS = 448  # of one state dict: a LoRA of 32 layers, 7 targets in each, A and B


def random_swarm(particles: int, dimensions: int, device: str) -> Swarm:
    """Return a swarm with normal numbers in all matrices.

    Args:
        particles: N.
        dimensions: D.
        device: Where the matrices live.
    """
    generator = torch.Generator(device).manual_seed(0)
    positions = torch.empty(particles, dimensions, device=device).normal_(generator=generator)
    velocities = torch.empty_like(positions).normal_(generator=generator)
    swarm = first_state(positions, velocities, torch.arange(particles))
    swarm.personal_bests.normal_(generator=generator)
    return swarm


def chained(swarm: Swarm, shares: Tensor) -> None:
    """Move by operations out of place on whole matrices; the result is not kept.

    Args:
        swarm: The swarm, left as it is.
        shares: Shares of the terms [4, N, 1].
    """
    inertia, cognitive, social, repel = shares
    x, best, worst = swarm.positions, swarm.global_best, swarm.global_worst
    velocities = (
        inertia * swarm.velocities + cognitive * (swarm.personal_bests - x) + social * (best - x) + repel * (x - worst)
    )
    _ = x + STEP_LENGTH * velocities


def split(swarm: Swarm) -> list[list[dict[str, Tensor]]]:
    """Return x, v, p, g and w of every particle as dictionaries of tensors, as views.

    Args:
        swarm: The swarm.
    """
    size = -(-swarm.positions.shape[1] // TENSORS)

    def named(vector: Tensor) -> dict[str, Tensor]:
        return {f"tensor {index}": part for index, part in enumerate(vector.split(size))}

    rows = zip(swarm.positions, swarm.velocities, swarm.personal_bests, strict=True)
    ends = [named(swarm.global_best), named(swarm.global_worst)]
    return [[*map(named, row), *ends] for row in rows]


def dictionaries(states: list[list[dict[str, Tensor]]], shares: list[list[float]]) -> None:
    """Move by loops over dictionaries; the result is kept until all particles have moved, as a research script does.

    Args:
        states: What `split` returned; left as it is.
        shares: Shares of the four terms of every particle.
    """
    moved = []
    for (x, v, p, g, w), (inertia, cognitive, social, repel) in zip(states, shares, strict=True):
        velocity = {
            name: inertia * v[name]
            + cognitive * (p[name] - x[name])
            + social * (g[name] - x[name])
            + repel * (x[name] - w[name])
            for name in x
        }
        moved.append((velocity, {name: x[name] + STEP_LENGTH * velocity[name] for name in x}))


def whole_rows(swarm: Swarm, shares: list[list[float]]) -> None:
    """Move in place, one whole row after the other.

    Args:
        swarm: Positions and velocities are updated in place.
        shares: Shares of the four terms of every particle.
    """
    difference = torch.empty_like(swarm.global_best)
    rows = zip(swarm.positions, swarm.velocities, swarm.personal_bests, shares, strict=True)
    for x, v, p, (inertia, cognitive, social, repel) in rows:
        v.mul_(inertia)
        v.add_(torch.sub(p, x, out=difference), alpha=cognitive)
        v.add_(torch.sub(swarm.global_best, x, out=difference), alpha=social)
        v.add_(torch.sub(x, swarm.global_worst, out=difference), alpha=repel)
        x.add_(v, alpha=STEP_LENGTH)


def seconds(run: Callable[[], object], device: str) -> float:
    """Return how long a call takes, on a GPU until the device is done.

    Args:
        run: What is called.
        device: Where it works.
    """
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    particles: int, dimensions: int, repeats: int, device: str, slow_peers: bool
) -> dict[str, dict[str, float]]:
    """Let all peers take turns and return the medians.

    Args:
        particles: N.
        dimensions: D.
        repeats: Turns of every peer after one that is not counted.
        device: `cpu` or `cuda`.
        slow_peers: Whether chained operations and dictionaries take part.

    Returns:
        Peer -> median and smallest `milliseconds`, `gigabytes` of necessary traffic per second, and `ratio` to the
        yardstick's. The first peer is the yardstick.
    """
    swarm = random_swarm(particles, dimensions, device)
    draws = torch.rand(particles, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shares = COEFFICIENTS.weigh(draws)
    columns, states = shares.T.unsqueeze(2).to(swarm.positions), split(swarm)
    # Adding almost nothing keeps the numbers finite.
    yardstick, passes = ("in-place addition", 3) if device == "cpu" else ("copy", 2)
    peers: dict[str, Callable[[], object]] = {
        yardstick: (lambda: swarm.positions.add_(swarm.velocities, alpha=1e-9))
        if device == "cpu"
        else (lambda: swarm.velocities.copy_(swarm.personal_bests)),
        "chained out of place": lambda: chained(swarm, columns),
        "loops over dictionaries": lambda: dictionaries(states, shares.tolist()),
        "whole rows in place": lambda: whole_rows(swarm, shares.tolist()),
        "ours, plain": lambda: move(swarm, draws, COEFFICIENTS, STEP_LENGTH),
        "ours, compiled": lambda: move_fused(swarm, draws, COEFFICIENTS, STEP_LENGTH),
    }
    if not slow_peers:
        del peers["chained out of place"], peers["loops over dictionaries"]
    try:
        print(f"The first compiled move, with compiling: {seconds(peers['ours, compiled'], device):.1f} s")
    except KernelError as error:
        print(f"Without the compiled move. {error}")
        del peers["ours, compiled"]
    times: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(repeats + 1):
        for name, run in peers.items():
            elapsed = seconds(run, device)
            if turn:
                times[name].append(elapsed)
    results: dict[str, dict[str, float]] = {}
    for name, measured in times.items():
        median = statistics.median(measured)
        gigabytes = (passes if name == yardstick else 5) * particles * dimensions * 4 / median / 1e9
        results[name] = {"milliseconds": 1e3 * median, "smallest": 1e3 * min(measured), "gigabytes": gigabytes}
    for row in results.values():
        row["ratio"] = row["gigabytes"] / results[yardstick]["gigabytes"]
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    """Return the results as a Markdown table.

    Args:
        results: What `measure` returned.
    """
    lines = ["| peer | ms, median | ms, smallest | GB/s | of the yardstick |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, row in results.items():
        lines.append(
            f"| {name} | {row['milliseconds']:.1f} | {row['smallest']:.1f} "
            f"| {row['gigabytes']:.1f} | {100 * row['ratio']:.0f}% |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=20)
    parser.add_argument("--dimensions", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=9, help="turns of every peer; medians are shown")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--fast-peers", action="store_true", help="leave out the two peers that take seconds")
    arguments = parser.parse_args()
    results = measure(
        arguments.particles, arguments.dimensions, arguments.repeats, arguments.device, not arguments.fast_peers
    )
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} threads"
    machine = f"{platform.machine()}, {device}, Python {platform.python_version()}, torch {torch.__version__}"
    print(f"\n{arguments.particles} particles of {arguments.dimensions} float32\n\n{table(results)}\n\n{machine}")
    print(
        json.dumps(
            {
                "benchmark": "move",
                "particles": arguments.particles,
                "dimensions": arguments.dimensions,
                "device": arguments.device,
                "machine": machine,
                "peers": results,
            }
        )
    )


if __name__ == "__main__":
    main()
