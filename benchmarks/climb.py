"""Draws the climb of a search: every particle's utility over the iterations, and the global best.

Nothing is measured here; the numbers are those of `history.csv` and `summary.json` in a run folder. A utility that was
left open, because it could change nothing, has no dot. The README's picture is made by:

    swarm fit --config configs/quickstart.yaml
    python benchmarks/climb.py runs/quickstart/version_0 benchmarks/results/quickstart.png
"""

import argparse
import csv
import json
from pathlib import Path


def draw(run: Path, picture: Path) -> dict[str, float]:
    """Draw the history of a run.

    Args:
        run: Its folder.
        picture: The new image; its suffix says which kind.

    Returns:
        Iterations, particles, and the utility of the best expert and of what was found.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    particles = [name for name in rows[0] if name.startswith("utility/")]
    steps = [float(row["iteration"]) for row in rows]
    bests = [float(row["global_best"]) for row in rows]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    expert = float(summary["validation"][0]["utility"])
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in particles:
        known = [(step, float(row[name])) for step, row in zip(steps, rows, strict=True) if row[name]]
        axes.plot(*zip(*known, strict=True), ".", color="tab:blue", alpha=0.35, markersize=7)
    axes.plot([], [], ".", color="tab:blue", alpha=0.35, markersize=7, label="a particle, where its utility is known")
    axes.step(steps, bests, where="post", color="tab:orange", linewidth=2, label="best position found so far")
    axes.axhline(expert, color="tab:red", linewidth=1, linestyle=":", label="best of the experts")
    axes.set_xlabel("iteration")
    axes.set_ylabel("utility on validation")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(picture, dpi=110)
    return {"iterations": steps[-1], "particles": len(particles), "expert": expert, "found": bests[-1]}


def main() -> None:
    """Read the arguments, draw, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder of swarm fit")
    parser.add_argument("picture", type=Path, help="the new image, .png or .svg")
    settings = parser.parse_args()
    print(json.dumps({"benchmark": "climb", **draw(settings.run, settings.picture)}))


if __name__ == "__main__":
    main()
