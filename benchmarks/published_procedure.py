"""One iteration of the search on the demo world, against the procedure of the published code.

    python benchmarks/published_procedure.py

What limits the published procedure is not arithmetic but overhead: two fresh processes that import their libraries,
one load of the base and 13 reads and 5 writes of adapter files per particle, and batches of 10 prompts. What limits
ours is the arithmetic of N x M replies; the move is a few passes over N x D numbers, 4.8 MB here. Both sides move the
same swarm by the same coefficients, without randomness, iteration by iteration; `model_swarms_procedure.py` says what
is reproduced and what is left out. All of it is measured, nothing is scaled up. Afterwards our own evaluation is asked
again at the positions that the procedure has left in its files: every reply must be the same.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import model_swarms_procedure as procedure
from demo_gain import TASKS
from demo_world import DemoSwarm, demo_swarm
from measuring import count_differences, ratio, report, table, take_turns

if TYPE_CHECKING:
    from torch import Tensor

    from swarm_lightning.evaluation.evaluation import Evaluation

TERMS = procedure.Terms(inertia=0.2, cognitive=0.3, social=0.4, repel=0.05, step_length=0.75)
TARGET = 10.0


class Ours:
    """This package's iteration: the only place here that calls it."""

    def __init__(self, swarm: DemoSwarm, seed: int, stops: bool = False) -> None:
        """Load the base, score the first positions, and draw the first velocities.

        Args:
            swarm: The demo world's experts and questions.
            seed: Of the first velocities.
            stops: Whether what can't matter is left unasked, as in a search; else everything is asked to its end.
        """
        import torch

        from swarm_lightning.evaluation.evaluator import Evaluator
        from swarm_lightning.evaluation.runners.resident import ResidentRunner
        from swarm_lightning.evaluation.settings import EngineSettings
        from swarm_lightning.experts.resident.adapted import AdaptedModel
        from swarm_lightning.experts.resident.base_model import load_base
        from swarm_lightning.search.state import ScoreMemory
        from swarm_lightning.swarm import ParticleSwarm

        model, tokenizer = load_base(str(swarm.base), "float32")
        self.demo = swarm
        settings = EngineSettings(exact_stop=stops, row_stops=stops)
        runner = ResidentRunner(AdaptedModel(model, swarm.pool), tokenizer, settings)
        self.evaluator = Evaluator(runner, swarm.objective)
        self.optimizer = ParticleSwarm(
            [swarm.positions.clone()],
            lr=TERMS.step_length,
            inertia=TERMS.inertia,
            cognitive=TERMS.cognitive,
            social=TERMS.social,
            repel=TERMS.repel,
            randomness=False,
        )
        self.memory = ScoreMemory()
        first = self.evaluator.evaluate(self.optimizer.positions, swarm.examples)
        self.memory.begin(first)
        self.optimizer.begin(first.utilities, torch.Generator().manual_seed(seed))

    def iterate(self) -> list[list[str]]:
        """Do one iteration: move every particle, score it, remember the bests; return the replies [N][M]."""
        evaluations = []

        def score() -> "Tensor":
            evaluations.append(
                self.evaluator.evaluate(self.optimizer.positions, self.demo.examples, whole_replies=True)
            )
            return evaluations[0].utilities

        self.optimizer.step(score)
        return _replies(evaluations[0])

    def iterate_with_stops(self) -> list[list[str]]:
        """Do one iteration as a search does it; no replies are returned, as some are cut and some never asked."""

        def score() -> "Tensor":
            swarm, due = self.optimizer.swarm, self.optimizer.due
            stakes = self.memory.stakes(swarm, repel=True)
            evaluation = self.evaluator.evaluate(swarm.positions, self.demo.examples, due, stakes)
            self.memory.update(evaluation, swarm, due)
            return evaluation.utilities

        self.optimizer.step(score)
        return []

    def replies_of_files(self, root: Path) -> list[list[str]]:
        """Return our replies [N][M] at the positions in the procedure's files."""
        import torch
        from safetensors.torch import load_file

        files = [
            root / f"particle_{number}" / "now" / procedure.WEIGHTS_FILE for number in range(len(self.demo.positions))
        ]
        positions = torch.stack([self.demo.pool.layout.flatten(load_file(file)) for file in files])
        return _replies(self.evaluator.evaluate(positions, self.demo.examples, whole_replies=True))

    def write(self, root: Path) -> None:
        """Write the swarm as the procedure keeps it."""
        unflatten, memory = self.demo.pool.layout.unflatten, self.optimizer.swarm
        write = partial(procedure.write_adapter, config=self.demo.expert / procedure.CONFIG_FILE)
        for number in range(len(self.demo.positions)):
            folder = root / f"particle_{number}"
            write(folder / "now", unflatten(memory.positions[number]))
            write(folder / "personal_best", unflatten(memory.personal_bests[number]))
            write(folder / "velocity", unflatten(memory.velocities[number]))
        write(root / "global_best", unflatten(memory.global_best))
        write(root / "global_worst", unflatten(memory.global_worst))
        best, worst = float(memory.global_best_utility), float(memory.global_worst_utility)
        bests = memory.personal_best_utilities.tolist()
        procedure.write_utilities(root, memory.utilities.tolist(), bests, best, worst)

    def utility(self, replies: Sequence[str]) -> float:
        """Return the mean score of the replies of one particle [M]."""
        scores = [
            self.demo.objective.score(reply, example).score
            for reply, example in zip(replies, self.demo.examples, strict=True)
        ]
        return statistics.mean(scores)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both and print the table.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.

    Raises:
        SystemExit: If a reply of the procedure differs from ours at the same position.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="neighbours", choices=TASKS)
    parser.add_argument("--particles", type=int, default=20, help="N")
    parser.add_argument("--examples", type=int, default=200, help="M")
    parser.add_argument("--new-tokens", type=int, default=10, help="the most tokens of a reply; 10 as published")
    parser.add_argument("--repeats", type=int, default=5, help="iterations; the medians over them are printed")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0, help="of the first positions and velocities")
    chosen = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(chosen.threads)
    swarm = demo_swarm(chosen.task, chosen.particles, chosen.examples, chosen.new_tokens, chosen.seed)
    ours = Ours(swarm, chosen.seed)
    questions = procedure.Questions(swarm.base, swarm.prompts, chosen.new_tokens, chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours.write(root)
        ways = {
            "published": lambda: procedure.iterate(root, len(swarm.positions), TERMS, questions, ours.utility),
            "ours": ours.iterate,
            "stopping": Ours(swarm, chosen.seed, stops=True).iterate_with_stops,
        }
        seconds, results = take_turns(ways, chosen.repeats, warm_up=False)
        again = ours.replies_of_files(root)
    different = count_differences(results["published"], again)
    medians = {name: statistics.median(row) for name, row in seconds.items()}
    times = {name: ratio(seconds, "published", name) for name in ("ours", "stopping")}
    rows = [
        ["the published procedure", f"{medians['published']:.2f}", "", "", str(different)],
        [
            "ours, everything asked",
            f"{medians['ours']:.2f}",
            f"{times['ours']:.1f} x as fast",
            f">= {TARGET:.0f} x",
            "",
        ],
        ["ours, as in a search", f"{medians['stopping']:.2f}", f"{times['stopping']:.1f} x as fast", "", ""],
    ]
    size = (
        f"one iteration on {chosen.task}: {len(swarm.positions)} particles x {len(swarm.examples)} examples, at most "
        f"{chosen.new_tokens} new tokens, {chosen.repeats} iterations"
    )
    text = f"{size}\n\n" + table(["", "seconds", "ratio", "target", "different replies"], rows)
    numbers = {"seconds": seconds, "median": medians, "times_ours": times, "different_replies": different}
    report("published_procedure", text, {**vars(chosen), **numbers})
    if different:
        raise SystemExit(f"Expected the same replies at the same positions, but {different} differ.")


def _replies(evaluation: "Evaluation") -> list[list[str]]:
    return [["" if outcome is None else outcome.reply for outcome in row] for row in evaluation.outcomes]


if __name__ == "__main__":
    main()
