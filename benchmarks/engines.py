"""One evaluation of a whole swarm by either backend: ours on torch, and vLLM with one LoRA request per particle.

    python benchmarks/engines.py --shapes demo 135m --new-tokens 10 200

What limits it is the model's arithmetic for prompts, and for long replies the reading of its weights once per token of
a batch; at the demo's size both are small beside what every step costs around the model. Both get the same float32
weights, prompts and limits, take turns, and reply greedily without our early stops. The start of vLLM's engine is timed
on its own: a search pays it once. It needs vLLM; `.ci/vllm FOLDER` makes an environment for a CPU.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import real_regime
from demo_world import demo_swarm
from measuring import count_differences, ratio, report, table, take_turns
from random_world import SIZES

if TYPE_CHECKING:
    from swarm_lightning.evaluation.runner import Loaded

DEMO, REAL = "demo", "135m"
TASK = "neighbours"  # of the demo world
PROMPT_TOKENS = (50, 120)  # of the random model, shortest and longest
RANK = 8


def processor_seconds() -> float:
    """Return what processors have done for this process and for those it has started and not yet ended."""
    process = psutil.Process()
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": processor_seconds}


def demo(particles: int, count: int) -> "tuple[Loaded, Any, list[Any]]":
    """Return what runners are made of on the demo world, positions [N, D], and examples."""
    from swarm_lightning.evaluation.runner import Loaded
    from swarm_lightning.evaluation.settings import EngineSettings
    from swarm_lightning.experts.resident.adapted import AdaptedModel
    from swarm_lightning.experts.resident.base_model import load_base

    swarm = demo_swarm(TASK, particles, count, 1, seed=0)
    model, tokenizer = load_base(str(swarm.base), "float32")
    settings = EngineSettings(exact_stop=False, row_stops=False)
    loaded = Loaded(AdaptedModel(model, swarm.pool), tokenizer, settings, swarm.pool, str(swarm.base), False)
    return loaded, swarm.positions, swarm.examples


def random_real(size: str, particles: int, count: int, folder: Path) -> "tuple[Loaded, Any, list[Any]]":
    """Return the same with random weights of a pretrained model's shape, whose base is written to a folder."""
    import torch

    from swarm_lightning.evaluation.runner import Loaded

    chosen = argparse.Namespace(
        size=size, dtype="float32", rank=RANK, particles=particles, examples=count, seed=0, new_tokens=1,
        prompt_tokens=PROMPT_TOKENS, choice_tokens=(1, 1),
    )  # fmt: skip
    swarm = real_regime.real_swarm(chosen)
    ours = real_regime.Ours(swarm)
    base = swarm.base()
    assert base.dtype == torch.float32
    base.save_pretrained(folder)
    swarm.tokenizer.save_pretrained(folder)
    loaded = Loaded(ours.adapted, swarm.tokenizer, ours.settings, ours.pool, str(folder), False)
    return loaded, ours.positions, ours.examples()


def compare(
    loaded: "Loaded", positions: Any, examples: Sequence[Any], limits: Sequence[int], repeats: int, clock: str
) -> dict[str, Any]:
    """Measure both backends.

    Args:
        loaded: What runners are made of.
        positions: Weights of the particles [N, D].
        examples: What each is asked.
        limits: The most tokens of a reply, one measurement each.
        repeats: Turns of a measurement.
        clock: Name of the clock, of `CLOCKS`.

    Returns:
        The numbers as plain values, by limit; and the seconds that vLLM's engine took to start.
    """
    from swarm_lightning.evaluation.evaluator import Evaluator
    from swarm_lightning.evaluation.runners import RUNNERS
    from swarm_lightning.evaluation.runners.vllm import VllmRunner
    from swarm_lightning.objectives import ExactMatch

    started = CLOCKS[clock]()
    runners = {name: RUNNERS[name](loaded) for name in ("vllm", "torch")}
    numbers: dict[str, Any] = {"start": CLOCKS[clock]() - started}
    for limit in limits:
        objective = ExactMatch(template="{question}", max_new_tokens=limit)
        evaluators = {name: Evaluator(runner, objective) for name, runner in runners.items()}

        def ask(evaluator: Evaluator) -> list[list[str]]:
            outcomes = evaluator.evaluate(positions, examples, whole_replies=True).outcomes
            return [["" if outcome is None else outcome.reply for outcome in row] for row in outcomes]

        ways = {name: (lambda one=one: ask(one)) for name, one in evaluators.items()}
        before = runners["vllm"].generated
        seconds, replies = take_turns(ways, repeats, clock=CLOCKS[clock])
        total = len(positions) * len(examples)
        numbers[str(limit)] = {
            "seconds": seconds,
            "median": {name: statistics.median(row) for name, row in seconds.items()},
            "vllm_times_torch": ratio(seconds, "vllm", "torch"),
            "tokens_per_reply": (runners["vllm"].generated - before) / (repeats + 1) / total,
            "equal_replies": 1 - count_differences(replies["torch"], replies["vllm"]) / total,
        }
    engine = runners["vllm"]
    assert isinstance(engine, VllmRunner)
    engine.close()
    return numbers


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=[DEMO, REAL], choices=[DEMO, *SIZES])
    parser.add_argument("--new-tokens", nargs="+", type=int, default=[10, 200], help="the most tokens of a reply")
    parser.add_argument("--particles", type=int, default=4, help="N; the demo world has twice as many")
    parser.add_argument(
        "--examples", type=int, default=8, help="M of these; the demo world has twice and four times as many"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns, after one that is thrown away")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of either")
    parser.add_argument(
        "--clock", default="wall", choices=sorted(CLOCKS), help="cpu: of all processes, for a machine that is busy"
    )
    chosen = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(chosen.threads)  # for the engine's processes
    import torch

    torch.set_num_threads(chosen.threads)
    rows, numbers = [], {}
    for shape in chosen.shapes:
        with tempfile.TemporaryDirectory() as place:
            if shape == DEMO:
                parts = demo(2 * chosen.particles, 4 * chosen.examples)
            else:
                parts = random_real(shape, chosen.particles, chosen.examples, Path(place))
            numbers[shape] = found = compare(*parts, chosen.new_tokens, chosen.repeats, chosen.clock)
        for limit in map(str, chosen.new_tokens):
            one = found[limit]
            rows.append(
                [shape, f"{len(parts[1])} x {len(parts[2])}", limit, f"{one['tokens_per_reply']:.1f}"]
                + [f"{one['median'][name]:.1f}" for name in ("torch", "vllm")]
                + [f"{one['vllm_times_torch']:.2f}", f"{one['equal_replies']:.3f}"]
            )
    header = ["shape", "particles x prompts", "most tokens", "tokens of a reply", "torch, s", "vllm, s", "vllm / torch"]
    starts = ", ".join(f"{shape} {found['start']:.0f} s" for shape, found in numbers.items())
    text = table([*header, "equal replies"], rows) + f"\n\nStart of vLLM's engine, once a search: {starts}."
    report("engines", text, {**vars(chosen), "found": numbers})


if __name__ == "__main__":
    main()
