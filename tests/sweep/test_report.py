"""The report of a sweep: what a terminal shows, and what Markdown has to be kept from reading."""

from swarm_lightning.sweep.report import TrialRow, outcome, render
from swarm_lightning.sweep.space import Choice, DrawnSpace

KINDS = ("experts_and_base", "base_and_sparsified")
SPACE: DrawnSpace = {"model.start.kind": Choice(KINDS)}


def row(number: int, kind: str, state: str = "ended", validation: float = 0.5) -> TrialRow:
    initial = ("math_expert-v2", 0.25, 0.125 if number == 1 else None)
    test = 0.375 if number == 1 else None
    settings = {"model.start.kind": kind}
    return TrialRow(number, state, settings, validation, test, initial, {}, "", f"trial_{number:04d}", "", True)


def test_names_are_as_they_are_on_a_terminal_and_literal_in_markdown() -> None:
    rows = [row(0, KINDS[0], validation=0.25), row(1, KINDS[0]), row(2, KINDS[1]), row(3, KINDS[1], state="pruned")]
    shown = outcome(rows, SPACE, 1, 0, spell=str)
    assert "trial 1 (kind experts_and_base), 0.5000 on validation, **0.3750 on test**." in shown
    assert "Its best initial expert, math_expert-v2: 0.2500 on validation, 0.1250 on test." in shown
    assert "Equal on validation: trials 1, 2; the first of them is taken." in shown
    written = render(rows, SPACE, 1, 0)
    assert r"trial 1 (kind experts\_and\_base), 0.5000" in written
    assert r"Its best initial expert, math\_expert\-v2: 0.2500" in written
