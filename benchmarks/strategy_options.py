"""Which choices of the recommended search matter at equal evaluations: the evolution strategy with one of them changed.

    python benchmarks/strategy_options.py --runs runs/strategy --output benchmarks/results/strategy_options.md
    python benchmarks/strategy_options.py --runs runs/without_fit --start greedy_soup

The first is the search as it is recommended, with experts fitted anew, the second the same with experts as they were
trained. Runs of the two do not go into the same folder.

What limits it is arithmetic: every variant asks `--evaluations` (model, example) pairs, on every demo task with every
seed; starts that cost less leave more of them to the steps, and other batches make other numbers of pairs of
candidates. The published swarm, which has all choices at once, stops where what is left holds no iteration of the whole
swarm: the table says what was asked. Settings were chosen on neighbours and atlas; a second table keeps these apart
from lists and kinds, which confirm them or do not.

`--runs` keeps every finished search; what is there is not run again. Seeds come first, then tasks, so that what an
interrupted study has is whole seeds: `--seeds` with their number makes its tables. Differences are to the recommended
search with the same task and seed, which hands over what its steps found; that of `swarm compare` is `chosen`. The
interval is a bootstrap over the pairs of task and seed: it knows nothing of other tasks.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import search_options
from demo_gain import TASKS
from measuring import flag, machine, report, table
from option_tables import offer, read_all, summarise, text_of
from search_options import PUBLISHED, run
from swarm_lightning.baselines.evolution_strategy import EvolutionStrategyRow, Start
from swarm_lightning.baselines.method import Method
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.evolution import Centre, EvolutionSettings, Pairs

RECOMMENDED = "evolution_strategy"
SETTINGS = EvolutionSettings()
ROLES = {"chosen on": ("neighbours", "atlas"), "confirmed on": ("lists", "kinds")}


class ApartRow(EvolutionStrategyRow):
    """The two of a pair are asked different examples, which no option does."""

    def ask(self, centre: Centre, pairs: int, generator: torch.Generator) -> tuple[Centre, Pairs]:
        """Give every candidate the next examples of the queue, as if it were a pair of its own."""
        centre, drawn = evolution.ask(centre, self.settings, 2 * pairs, generator)
        return centre, Pairs(drawn.directions[:pairs], drawn.candidates[: 2 * pairs], drawn.wanted[::2])


def variants_from(start: Start) -> dict[str, Method]:
    """Return the variants of a search.

    What the steps found is handed over whatever its validation score, so that searches are compared and not choices.

    Args:
        start: Where the search and its variants begin, but for those that say otherwise: `refitted` or `greedy_soup`.

    >>> sorted(set(variants_from("refitted")) ^ set(variants_from("greedy_soup")))
    ['from_soup', 'refitted']
    """
    base = EvolutionStrategyRow("evolution strategy", start=start, chooses=False)

    def changed(title: str, **settings: Any) -> EvolutionStrategyRow:
        return replace(base, title=title, settings=replace(SETTINGS, **settings))

    other = {
        "refitted": ("from_soup", replace(base, title="from the greedy soup", start="greedy_soup")),
        "greedy_soup": ("refitted", replace(base, title="with experts fitted anew", start="refitted")),
    }
    return {
        RECOMMENDED: base,
        "per_expert": replace(base, title="one coefficient per expert", granularity="expert"),
        "per_layer": replace(base, title="one per expert and layer", granularity="layer"),
        "per_half_block": replace(base, title="one per expert and half block", granularity="half_block"),
        "per_component": replace(base, title="one per rank component", granularity="component"),
        **dict([other[start]]),
        "from_mean": replace(base, title="from the mean of the products", start="product_mean"),
        "from_expert": replace(base, title="from the best single expert", start="best_expert"),
        "by_objective": replace(base, title="guided by the objective itself", guided=False),
        "chosen": replace(base, title="chosen by validation in the end", chooses=True),
        "last_centre": changed("last centre handed over", averaged=1 / SETTINGS.steps),
        "no_momentum": changed("no momentum", momentum=0.0),
        "batch_4": changed("4 examples a pair", batch=4),
        "batch_16": changed("16 examples a pair", batch=16),
        "apart": ApartRow("other examples for the two of a pair", start=start, chooses=False),
        "narrow": changed("half the deviation", deviation=SETTINGS.deviation / 2),
        "wide": changed("twice the deviation", deviation=2 * SETTINGS.deviation),
        "short": changed("half the length of a step", step_length=SETTINGS.step_length / 2),
        "long": changed("twice the length of a step", step_length=2 * SETTINGS.step_length),
        PUBLISHED: search_options.VARIANTS[PUBLISHED],
    }


STARTS: dict[Start, dict[str, Method]] = {
    "refitted": variants_from("refitted"),
    "greedy_soup": variants_from("greedy_soup"),
}
TITLES = {name: variant.title for variants in STARTS.values() for name, variant in variants.items()}


def roles_text(roles: Mapping[str, Mapping[str, Any]], whole: Mapping[str, Any]) -> str:
    """Return means and gains by what the tasks were for, and what was asked.

    Args:
        roles: What the tasks were for -> what `summarise` returned of them.
        whole: The same of all tasks.
    """
    rows = []
    for name, row in whole.items():
        cells = []
        for summary in roles.values():
            one = summary[name]
            gain = "" if name == RECOMMENDED else f"{one['gain']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"
            cells += [f"{one['mean']:.2f}", gain, f"{one['validation']:.1f}"]
        rows.append([TITLES[name], *cells, f"{row['evaluations']:.0f}"])
    columns = [
        (f"{role} {', '.join(summary[RECOMMENDED]['test'])}", "gain", "validation") for role, summary in roles.items()
    ]
    return table(["variant", *(cell for column in columns for cell in column), "evaluations"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the variants, print the tables, and keep them where it is asked for; further arguments go to `swarm compare`.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument("--evaluations", type=int, default=11_750, help="pairs that a search may ask")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--start", choices=list(STARTS), default="refitted", help="where the search begins")
    parser.add_argument("--variants", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--runs", type=Path, help="folder of the runs, to go on in; a temporary one if left out")
    parser.add_argument("--output", type=Path, help="file for the tables (Markdown)")
    chosen, overrides = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # the comparisons get their own arguments
    variants = STARTS[chosen.start]
    names = [name for name in variants if name in {RECOMMENDED, *chosen.variants}]
    offer({name: variants[name] for name in names})
    # Intervals of single comparisons, which come after every search, are not read here.
    limits = ["--compare.export", "false", "--compare.resamples", "100", *overrides]
    with tempfile.TemporaryDirectory() as temporary:
        root = chosen.runs or Path(temporary)
        for seed in range(chosen.seeds):
            for task in chosen.tasks:
                run(task, names, chosen.evaluations, [seed], root / task, limits)
        found = read_all(root, chosen.tasks, names, chosen.seeds)
    summary = summarise(found, RECOMMENDED)
    parts = {role: {task: found[task] for task in tasks if task in found} for role, tasks in ROLES.items()}
    roles = {role: summarise(part, RECOMMENDED) for role, part in parts.items() if part}
    text = (
        f"Test scores in points, means of {chosen.seeds} seeds at {chosen.evaluations} evaluations\n\n"
        f"{text_of(summary, TITLES, RECOMMENDED)}\n\n{roles_text(roles, summary)}"
    )
    if chosen.output is not None:
        command = f"python benchmarks/strategy_options.py --seeds {chosen.seeds} --evaluations {chosen.evaluations}"
        command += flag("start", [chosen.start], ["refitted"]) + flag("tasks", chosen.tasks, TASKS)
        command += flag("variants", chosen.variants, TITLES)
        head = f"# One choice of the recommended search changed\n\n`{command}` on {machine()}"
        chosen.output.write_text(f"{head}\n\n{text}\n", encoding="utf-8")
    numbers = {"seeds": chosen.seeds, "evaluations": chosen.evaluations, "variants": summary, "roles": roles}
    report("strategy_options", text, numbers)


if __name__ == "__main__":
    main()
