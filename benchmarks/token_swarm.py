"""Token swarms on the demo world: what they gain on test over seeds, what a search costs, and what memory it takes.

    python benchmarks/token_swarm.py --seeds 5

What limits a search by likelihoods is one pass of every expert over the validation examples: all particles of all
iterations are computed from the table that it fills. So it costs n x M pairs of an expert and an example, where a swarm
of weights asks N x M in every iteration; but what it finds answers with n models in place of one.

- **Gains**: pools of one vocabulary (ten adapters) and of three (the same, a GPT-2 and a GPT-NeoX). All rows of a seed
  are scored on the same test examples, and chosen on the same validation examples. On atlas the searches follow the
  likelihood of the right answers, and are scored by their replies.
- **Time**: of a whole search of 50 iterations, without loading, as a multiple of one evaluation of the experts on the
  same examples by the package's own engine, by turns in one process, in seconds of the processor. Beside the passes
  there are some milliseconds for every iteration, whatever the size of the models. So models of random weights are
  measured too, thirteen times as large as the demo's, and as large as GPT-2.
- **Memory**: of four models that do not share weights, all at once and taking turns, each in a fresh process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import flag, forget_peak, machine, report, resident, table

if TYPE_CHECKING:
    from swarm_lightning.data.module import SwarmData
    from swarm_lightning.objectives import Objective
    from swarm_lightning.search import ModelSwarm
    from swarm_lightning.search.settings import GuideChoice

EXPERTS, ALL = ["demo:experts"], ["demo:experts", "demo:models"]
POOLS = {"ten adapters": EXPERTS, "twelve of three architectures": ALL}
MIXTURES = ("probabilities", "log_probabilities")
BEST, VOTE, UNIFORM, PLAIN = "best single expert", "vote of the experts", "uniform mixture", "plain swarm of weights"
TAIL = 2.776  # of Student's t with 4 degrees of freedom, for 95% of five seeds
STEPS = 50
TIMED = ((512, 4), (768, 12))  # width and layers of timed models of random weights; the latter are GPT-2's own
PARTS = ["time", "memory", "gains"]
MEGA = 1e6


def objective_of(task: str) -> "Objective":
    """Return how a demo task is asked."""
    from swarm_lightning.objectives import ExactMatch, MultipleChoice

    return ExactMatch("exact", max_new_tokens=6) if task == "atlas" else MultipleChoice("likelihood")


def data_of(task: str, validation: int, test: int, seed: int) -> "SwarmData":
    """Return the examples of a demo task, drawn by the seed."""
    from swarm_lightning.data.module import SwarmData

    return SwarmData(f"demo:tasks/{task}.json", validation_size=validation, test_size=test, seed=seed)


def search_of(task: str, sources: list[str], **settings: Any) -> "ModelSwarm":
    """Return a search of a demo task."""
    from swarm_lightning.search import ModelSwarm

    guide: GuideChoice = "smooth" if task == "atlas" else "objective"
    return ModelSwarm("demo:base", experts=sources, objective=objective_of(task), guide=guide, **settings)


def save_models(folder: str, width: int, layers: int) -> int:
    """Save four GPT-2 of random weights with the demo's tokenizer; returns the bytes of the weights of one."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from swarm_lightning.experts.resident.base_model import load_base

    _, tokenizer = load_base("demo:base")
    size = GPT2Config(vocab_size=len(tokenizer), n_embd=width, n_layer=layers, n_head=width // 64, n_positions=256)
    for number in range(4):
        torch.manual_seed(number)
        model = GPT2LMHeadModel(size)
        model.save_pretrained(f"{folder}/model_{number}")
        tokenizer.save_pretrained(f"{folder}/model_{number}")
    return sum(one.numel() * one.element_size() for one in model.parameters())


def gains_of(options: argparse.Namespace, task: str, seed: int, folder: str) -> dict[str, float]:
    """Return the test accuracy in points of every row of a task, for one seed."""
    import torch

    from quiet_search import fitted
    from swarm_lightning.callbacks import StopOnPlateau
    from swarm_lightning.evaluation.ensemble import vote

    rows: dict[str, float] = {}
    for pool, sources in POOLS.items():
        for mixture in MIXTURES if sources is ALL else MIXTURES[:1]:
            search = search_of(task, sources, mixture=mixture)
            data = data_of(task, options.validation, options.test, seed)
            fitted(search, data, STEPS, seed, folder, StopOnPlateau())
            test = search.held_back
            best, found = search.result(test).test
            rows[f"token swarm, {pool}, {mixture}"] = 100 * found.utility
            if mixture == MIXTURES[0]:
                count = len(search.pool.names)
                rows[f"{BEST}, {pool}"] = 100 * best.utility
                numbers = torch.cat([torch.eye(count), torch.full((1, count), 1 / count)])
                asked = search.evaluator.evaluate(numbers, test, whole_replies=True)
                ballots = vote(asked.outcomes[:-1], search.state.before(search.particle_swarm)[:count])
                rows[f"{VOTE}, {pool}"] = 100 * statistics.mean(outcome.score for outcome in ballots)
                rows[f"{UNIFORM}, {pool}"] = 100 * float(asked.utilities[-1])
    plain = search_of(task, EXPERTS)
    fitted(plain, data_of(task, options.validation, options.test, seed), STEPS, seed, folder, StopOnPlateau())
    rows[PLAIN] = 100 * plain.result(plain.held_back).test[1].utility
    return rows | {"pairs of the plain swarm": plain.state.evaluations}


def seconds_of(sources: list[str], options: argparse.Namespace, folder: str) -> dict[str, list[float]]:
    """Return what one evaluation of the experts and a whole search take, by turns."""
    import lightning as L
    import torch

    from quiet_search import fitted
    from swarm_lightning.evaluation.evaluator import Evaluator
    from swarm_lightning.evaluation.runners.resident import ResidentRunner
    from swarm_lightning.experts.model_pool import load_models
    from swarm_lightning.experts.resident.base_model import load_base

    class Clock(L.Callback):
        """Reads the clock behind the loading and at the end."""

        def on_train_start(self, *_: Any) -> None:
            self.started = time.process_time()

        def on_train_end(self, *_: Any) -> None:
            self.seconds = time.process_time() - self.started

    pool = load_models(sources, "demo:base", MIXTURES[0])
    objective, data = objective_of("neighbours"), data_of("neighbours", options.examples, 1, 0)
    data.prepare_data()
    found: dict[str, list[float]] = {"evaluation": [], "search": []}
    for _ in range(options.repeats):
        spent = 0.0
        for standing in (one for one in pool.standings if one.places):
            model, tokenizer = load_base(standing.source)
            adapted, asked = standing.adapters.resident(model, standing.source), data.splits.validation
            evaluator = Evaluator(ResidentRunner(adapted, tokenizer), objective)
            started = time.process_time()
            with torch.inference_mode():
                if standing.plain:
                    evaluator.evaluate_base(asked)
                if standing.adapters.names:
                    evaluator.evaluate(standing.adapters.vectors, asked)
            spent += time.process_time() - started
        found["evaluation"].append(spent)
        clock = Clock()
        search = search_of("neighbours", sources, mixture=MIXTURES[0], log_particles=False)
        fitted(search, data, STEPS, 0, folder, clock)
        found["search"].append(clock.seconds)
    return found


def memory_of(models: int | None, options: argparse.Namespace) -> dict[str, float]:
    """Evaluate mixtures of four random models beside the base; call it in a fresh process.

    Args:
        models: That may be in memory beside the base; None for all.
        options: Of the command.

    Returns:
        Bytes of the `weights` of one, and of the `peak` over what was resident before; and how often one was `read`.
    """
    import torch

    from swarm_lightning.evaluation.evaluator import Evaluator
    from swarm_lightning.evaluation.runner import Loaded
    from swarm_lightning.evaluation.runners.token_swarm import TokenSwarmRunner
    from swarm_lightning.evaluation.settings import EngineSettings
    from swarm_lightning.experts.model_pool import load_models
    from swarm_lightning.experts.resident.base_model import load_base

    base, tokenizer = load_base("demo:base")
    examples = data_of("neighbours", 20, 1, 0)
    examples.prepare_data()
    with tempfile.TemporaryDirectory() as folder:
        weights = save_models(folder, 640, options.layers)
        forget_peak()
        before = resident("VmRSS")
        pool = load_models([folder], "demo:base", "probabilities")
        engine = EngineSettings(rows=16, models=models)
        loaded = Loaded(pool.resident(base, "demo:base"), tokenizer, engine, pool, "demo:base", False)
        runner = TokenSwarmRunner(loaded, "probabilities")
        with torch.inference_mode():
            Evaluator(runner, objective_of("neighbours")).evaluate(torch.eye(4), examples.splits.validation)
        return {"weights": weights, "peak": resident("VmHWM") - before, "read": runner.shelf.loads}


def in_a_process(models: int | None, options: argparse.Namespace) -> dict[str, float]:
    """Return what `memory_of` finds in a fresh process."""
    given = ["--layers", str(options.layers), "--memory-of", "all" if models is None else str(models)]
    done = subprocess.run([sys.executable, __file__, *given], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def gains_table(found: Sequence[dict[str, float]]) -> str:
    """Return the rows of a task: means and standard deviations over the seeds, and gains over the best experts.

    The gain of a row is over the best expert of its own pool, with its 95% interval over the seeds (Student's t), where
    there are five of them.
    """
    lines = []
    _, larger = POOLS
    for name in sorted(found[0], key=lambda name: larger in name):
        if name.startswith("pairs"):
            continue
        values = [rows[name] for rows in found]
        own = f"{BEST}, {list(POOLS)[larger in name]}"
        gains = [rows[name] - rows[own] for rows in found]
        half = f" ± {TAIL * statistics.stdev(gains) / len(gains) ** 0.5:.1f}" if len(gains) == 5 else ""
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        gain = "" if name == own else f"{statistics.mean(gains):+.1f}{half}"
        lines.append([name, f"{statistics.mean(values):.1f}", f"{spread:.1f}", gain])
    return table(["row", "test", "sd", "over the best expert of its pool"], lines)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tasks", nargs="+", default=["neighbours", "kinds", "atlas"])
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--examples", type=int, default=200, help="of the timed search")
    parser.add_argument("--repeats", type=int, default=3, help="turns of what is timed")
    parser.add_argument("--layers", type=int, default=12, help="of the models whose memory is measured")
    parser.add_argument("--memory-of", help="models at a time, or all: measure that alone, in this process")
    parser.add_argument("--output", type=Path, help="Markdown file for the tables")
    options = parser.parse_args()
    if options.memory_of is not None:
        models = None if options.memory_of == "all" else int(options.memory_of)
        print(json.dumps(memory_of(models, options)))
        return
    parts, numbers = [], {"settings": {**vars(options), "output": None}, "gains": {}, "seconds": {}, "memory": {}}
    with tempfile.TemporaryDirectory() as folder:
        if "time" in options.parts:
            pools = dict(POOLS)
            for width, layers in TIMED:
                place = f"{folder}/models_{width}"
                pools[f"four GPT-2 of {save_models(place, width, layers) / 4 / MEGA:.0f} million weights"] = [place]
            for pool, sources in pools.items():
                numbers["seconds"][pool] = seconds_of(sources, options, folder)
            parts.append("## Time\n\n" + seconds_table(numbers["seconds"]))
            print(parts[-1], flush=True)
        if "memory" in options.parts:
            numbers["memory"] = {str(models): in_a_process(models, options) for models in (None, 2, 1)}
            parts.append("## Memory\n\n" + memory_table(numbers["memory"]))
            print(parts[-1], flush=True)
        for task in options.tasks if "gains" in options.parts else ():
            found = []
            for seed in range(options.seeds):
                found.append(gains_of(options, task, seed, folder))
                print(f"{task}, seed {seed}: {found[-1]}", flush=True)
            numbers["gains"][task] = found
            parts.append(f"## {task}\n\n" + gains_table(found))
            print(parts[-1], flush=True)
    text = "\n\n".join(parts)
    if options.output is not None:
        command = f"python benchmarks/token_swarm.py --seeds {options.seeds}{flag('parts', options.parts, PARTS)}"
        last = json.dumps({"benchmark": "token_swarm", **numbers})
        options.output.write_text(
            f"# Token swarms on the demo world\n\n`{command}` on {machine()}\n\n{text}\n\n```json\n{last}\n```\n",
            encoding="utf-8",
        )
    report("token_swarm", text, numbers)


def seconds_table(found: dict[str, dict[str, list[float]]]) -> str:
    """Return medians, and the median of the ratios within the turns."""
    rows = []
    for name, seconds in found.items():
        ratios = [search / one for search, one in zip(seconds["search"], seconds["evaluation"], strict=True)]
        medians = (statistics.median(seconds[part]) for part in ("evaluation", "search"))
        rows.append([name, *(f"{one:.2f}" for one in medians), f"{statistics.median(ratios):.2f}"])
    return table(["pool", "experts asked once, s", "search, s", "ratio"], rows)


def memory_table(found: dict[str, dict[str, float]]) -> str:
    """Return peaks beside the weights of one model."""
    rows = [
        ["all" if models == "None" else models, f"{one['weights'] / MEGA:.0f}", f"{one['peak'] / MEGA:.0f}",
         f"{one['peak'] / one['weights']:.1f}", f"{one['read']:.0f}"]
        for models, one in found.items()
    ]  # fmt: skip
    return table(["models at a time", "weights of one, MB", "peak, MB", "in models", "models read"], rows)


if __name__ == "__main__":
    main()
