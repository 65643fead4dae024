"""What the picture of a comparison tells beside the numbers."""

from pathlib import Path

from swarm_lightning.baselines.picture import draw, figure_with
from swarm_lightning.baselines.table import TableRow

ROWS = [
    TableRow("best_single", "best single expert", 1, 0.5, 0.45, 0.4, 0.5),
    TableRow("model_swarm", "model swarm", 3, 0.7, 0.6, 0.55, 0.65, None, 0.15, 0.1, 0.2),
    TableRow("evolmerge", "EvolMerge", 3, 0.6, 0.55, 0.5, 0.6, None, 0.1, 0.05, 0.15),
    TableRow("lorahub", "LoraHub", absent="it needs a package"),
]


def test_the_picture_has_a_title_and_a_legend_with_each_mark_once(tmp_path: Path) -> None:
    figure = figure_with(ROWS, "cost in $ or $: 12 test examples, up to 3 seeds")
    assert figure.get_suptitle().replace("\\$", "$") == "cost in $ or $: 12 test examples, up to 3 seeds"
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == [
        "best single expert, the reference: test score with its 95% interval",
        "test score with its 95% interval",
        "validation utility",
    ]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [row.title for row in ROWS[:3]]
    draw(ROWS, "a task", tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
