"""What makes a search better at equal evaluations: one change of the published method at a time.

    python benchmarks/search_options.py --runs runs/options --output benchmarks/results/search_options.md

What limits it is arithmetic: every variant moves whole swarms until it has asked as many (particle, example) pairs as
all others, `--iterations` of 20 particles after the first positions, on every demo task with every seed. There is no
patience and no exact stop, so the pairs are the same to the last whole iteration. `swarm compare` runs the variants as
methods of its own: the test split is asked once, of what a variant chose on the validation split.

Differences are to the published search with the same task and seed, which begins with the same particles where the
change allows it. The interval is a bootstrap over the pairs of task and seed: it knows nothing of other tasks.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from demo_gain import TASKS, compare_on
from measuring import flag, machine, report
from option_tables import offer, read_all, summarise, text_of
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.soups import greedy_soup, soup_of
from swarm_lightning.objectives.guides import guide_of
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.population import Start, grow_population
from swarm_lightning.swarm.rules import Coefficients, stagnant
from swarm_lightning.swarm.settings import Kernel
from swarm_lightning.swarm.space import Material
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.swarm.spaces.dense import DenseSpace
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.vectors import Vectors

PUBLISHED = "published"
PARTICLES, VALIDATION = 20, 200  # of configs/compare.yaml, and of the demo's tasks
RESTART_PATIENCE = 5  # of configs/compare.yaml
Drawn = Literal["particle", "tensor", "coefficient", "weight", "sobol"]


class WeightSpace(DenseSpace):
    """Every weight is moved with random numbers of its own, which no option does."""

    def __init__(self, seed: int = 0) -> None:
        """Seed the numbers that are drawn beside those of a search.

        Args:
            seed: Of the source.
        """
        super().__init__()
        self.source = torch.Generator().manual_seed(seed)

    def move(
        self, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, kernel: Kernel = "plain"
    ) -> None:
        """Move with numbers drawn here."""
        for x, v, p in zip(swarm.positions, swarm.velocities, swarm.personal_bests, strict=True):
            drawn = torch.rand(len(x), 4, dtype=torch.float64, generator=self.source)
            shares = coefficients.weigh(drawn).float().unbind(dim=1)
            pulls = (v.clone(), p - x, swarm.global_best - x, x - swarm.global_worst)
            v.copy_(sum((share * pull for share, pull in zip(shares, pulls, strict=True)), torch.zeros(())))
            x.add_(v, alpha=step_length)


class SobolSpace(DenseSpace):
    """The random numbers of a particle come from a scrambled Sobol sequence, which no option does."""

    def __init__(self, seed: int = 0) -> None:
        """Begin the sequence.

        Args:
            seed: Of its scrambling.
        """
        super().__init__()
        self.sequence = torch.quasirandom.SobolEngine(4, scramble=True, seed=seed)

    def move(
        self, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, kernel: Kernel = "plain"
    ) -> None:
        """Move with numbers of the sequence."""
        super().move(swarm, self.sequence.draw(len(draws)).double(), coefficients, step_length, kernel)


@dataclass
class Variant:
    """The published search with something changed.

    Attributes:
        title: What is changed.
        start: What the population begins with.
        drawn: What gets random numbers of its own: a particle (published), one of the adapter's tensors, a particle's
            coefficient of an expert, or a weight; `sobol`: a particle, from a scrambled Sobol sequence.
        cool_down: Whether a restarted particle waits for its next restart.
        polish: Whether the last iterations go to a greedy soup of the personal bests.
        settings: Changed settings of the particle swarm.
        guided: Whether the search follows the objective's smooth guide. What is found has a utility by the objective
            all the same, for which one evaluation is kept.
        products: Whether a position is one coefficient of the product B A per expert, and not A and B.
    """

    title: str
    start: Start = Start()
    drawn: Drawn = "particle"
    cool_down: bool = False
    polish: bool = False
    settings: Mapping[str, Any] | None = None
    guided: bool = False
    products: bool = False
    kind: Kind = "search"
    least: int = 2

    def compose(self, bench: Bench) -> Composition:
        """Search until the budget holds no whole iteration any more."""
        settings = bench.module.settings
        products = ProductBench(bench, guided=self.guided) if self.products else None
        axes = torch.eye(len(bench.experts)) if self.drawn == "coefficient" or self.products else bench.experts
        points = self.start.points(axes, bench.generator)
        size = max(settings.particles, len(points))
        positions = grow_population(points, size, settings.child_span, bench.generator)
        swarm = self._swarm(bench, positions)
        space = swarm.space

        def utilities_of(held: Tensor) -> Tensor:
            if products is not None:
                return products.utilities(held)
            return self._utilities(bench, space.vectors(held))

        swarm.begin(utilities_of(positions), bench.generator)
        schedule = settings.scheduler(swarm)
        while bench.affordable - self.guided >= size * (2 if self.polish else 1):
            swarm.restart(stagnant(swarm.swarm, RESTART_PATIENCE), self.cool_down)
            swarm.step(lambda: utilities_of(swarm.positions))
            schedule.step()
        state = swarm.swarm
        best, utility = state.global_best, float(state.global_best_utility)
        if self.polish:
            chosen, polished = greedy_soup(
                state.personal_bests,
                state.personal_best_utilities,
                lambda place: bench.utility(space.vector(place)[:]),
            )
            if polished > utility:
                best, utility = soup_of(state.personal_bests, chosen), polished
        detail = f"{int(state.iterations)} iterations"
        if products is not None:
            return products.composition(best.clone(), products.worth(best), detail)
        vector = space.vector(best)[:].clone()
        return Composition(bench.utility(vector) if self.guided else utility, detail, vector)

    def _utilities(self, bench: Bench, vectors: Vectors) -> Tensor:
        if not self.guided:
            return bench.utilities(vectors)
        guide = bench.evaluator.asking(guide_of(bench.module.objective))
        return guide.evaluate(vectors, bench.examples, numbers=[0] * len(vectors)).utilities

    def _swarm(self, bench: Bench, positions: Tensor) -> ParticleSwarm:
        parameter = torch.nn.Parameter(positions, requires_grad=False)
        group = bench.module.settings.optimizer([parameter]).param_groups[0]
        given = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
        swarm = ParticleSwarm([parameter], **{**given, **(self.settings or {})})
        if self.products:
            swarm.enter(DenseSpace())
        elif self.drawn == "weight":
            swarm.enter(WeightSpace(bench.seed))
        elif self.drawn == "sobol":
            swarm.enter(SobolSpace(bench.seed))
        else:
            pool = bench.module.pool
            material = Material(bench.experts, pool.layout.sizes, bench.origin(), pool.are_differences)
            swarm.enter(SPACES[f"memory/{self.drawn}"](material))
        return swarm


VARIANTS = {
    PUBLISHED: Variant("published search"),
    "base": Variant("base in the swarm", start=Start("experts_and_base")),
    "sparsified": Variant("base and sparsified experts in it", start=Start("base_and_sparsified")),
    "cool_down": Variant("cool-down after restarts", cool_down=True),
    "tensor_draws": Variant("random numbers per tensor", drawn="tensor"),
    "weight_draws": Variant("random numbers per weight", drawn="weight"),
    "coefficient_draws": Variant("random numbers per coefficient of an expert", drawn="coefficient"),
    "coefficient_draws_base": Variant(
        "the same, and base in the swarm", Start("experts_and_base"), drawn="coefficient"
    ),
    "sobol": Variant("quasi-random numbers (Sobol)", drawn="sobol"),
    "polish": Variant("greedy soup of personal bests at the end", polish=True),
    "resting": Variant("first velocities of zero", settings={"first_velocity": "zero"}),
    "no_repel": Variant("no repel term", settings={"repel": 0.0}),
    "guided": Variant("guided by the log-likelihood of the answer", guided=True),
    "guided_products": Variant("the same, one coefficient of the product per expert", guided=True, products=True),
}


def run(
    task: str, names: Sequence[str], evaluations: int, seeds: Sequence[int], folder: Path, overrides: Sequence[str]
) -> None:
    """Run variants on a task, or what is missing of them.

    Args:
        task: Name of a demo task.
        names: Of the variants.
        evaluations: Pairs that each may ask.
        seeds: Of the searches.
        folder: Of the comparison.
        overrides: Further flags of `swarm compare`.
    """
    limits = ("--compare.evaluations", str(evaluations), "--compare.seeds", str(list(seeds)))
    compare_on(task, folder, ["--compare.methods", json.dumps(list(names)), *limits, *overrides])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the variants, print the table, and keep it where it is asked for; further arguments go to `swarm compare`.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument("--iterations", type=int, default=10, help="of 20 particles, after the first positions")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--runs", type=Path, help="folder of the runs, to go on in; a temporary one if left out")
    parser.add_argument("--output", type=Path, help="file for the table and the numbers (Markdown)")
    chosen, overrides = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # the comparisons get their own arguments
    names = [PUBLISHED, *(name for name in chosen.variants if name != PUBLISHED)]
    offer({name: VARIANTS[name] for name in names})
    with tempfile.TemporaryDirectory() as temporary:
        root = chosen.runs or Path(temporary)
        for task in chosen.tasks:
            pairs = PARTICLES * (1 + chosen.iterations) * VALIDATION
            run(task, names, pairs, range(chosen.seeds), root / task, overrides)
        found = read_all(root, chosen.tasks, names, chosen.seeds)
    summary = summarise(found, PUBLISHED)
    titles = {name: VARIANTS[name].title for name in names}
    text = (
        f"Test scores in points, means of {chosen.seeds} seeds; {PARTICLES * (1 + chosen.iterations)} positions of "
        f"each search\n\n{text_of(summary, titles, PUBLISHED)}"
    )
    if chosen.output is not None:
        command = f"python benchmarks/search_options.py --seeds {chosen.seeds} --iterations {chosen.iterations}"
        command += flag("tasks", chosen.tasks, TASKS) + flag("variants", chosen.variants, VARIANTS)
        chosen.output.write_text(
            f"# Changes of the search at equal evaluations\n\n`{command}` on {machine()}\n\n{text}\n", encoding="utf-8"
        )
    report("search_options", text, {"seeds": chosen.seeds, "iterations": chosen.iterations, "variants": summary})


if __name__ == "__main__":
    main()
