"""The report of a sweep: what a terminal shows, and what Markdown has to be kept from reading."""

from swarm_lightning.sweep.report import TrialRow, by_setting, outcome, render
from swarm_lightning.sweep.space import Choice, DrawnSpace, Range

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


def test_means_are_over_the_seeds_of_a_setting_and_a_score_of_zero_counts() -> None:
    space: DrawnSpace = {"model.start.kind": Choice(KINDS), "seed_everything": Choice((0, 1))}
    rows = [
        TrialRow(
            place, "ended", {"model.start.kind": kind, "seed_everything": place % 2}, 0.5, test,
            ("math", 0.25, initial), {"evaluations": 100 + 50 * place, "seconds": 2},
            "", f"trial_{place:04d}", "", True,
        )
        for place, (kind, test, initial) in enumerate(
            [(KINDS[0], 0.5, 0.0), (KINDS[0], 0.75, 0.25), (KINDS[1], 0.25, 0.25), (KINDS[1], 0.25, 0.5)]
        )
    ]  # fmt: skip
    written = render(rows, space, 0, 0)
    # By hand: the deviation of 0.5 and 0.75 is 0.25 / sqrt(2); gains of 0.5 and 0.5, and of 0 and -0.25.
    assert r"| experts\_and\_base | 2 | 0.5000 | 0.6250 | 0.1768 | +0.5000 | 125 | 2 |" in written
    assert r"| base\_and\_sparsified | 2 | 0.5000 | 0.2500 | 0.0000 | -0.1250 | 225 | 2 |" in written
    # One search of each setting has no mean.
    assert "means over the seeds" not in render(rows[::2], space, 0, 0)


def test_settings_stand_in_the_order_of_the_config_whatever_was_searched_first() -> None:
    names = ("published", "10 experts", "2 experts")
    space: DrawnSpace = {"variant": Choice(names), "model.particles": Range(4, 20), "seed_everything": Choice((0, 1))}
    drawn = [(name, particles, seed) for name in names for particles in (4, 20) for seed in (0, 1)]
    rows = [
        TrialRow(
            number,
            "ended",
            {"variant": name, "model.particles": particles, "seed_everything": seed},
            0.5,
            None,
            None,
            {},
            "",
            f"trial_{number:04d}",
            "",
            True,
        )
        for number, (name, particles, seed) in enumerate(drawn[::-1])
    ]
    lines = [line for line in "\n".join(by_setting(rows, space)).splitlines() if "| 2 |" in line]
    assert [tuple(line.split(" | ")[:2]) for line in lines] == [
        (f"| {name}", str(particles)) for name in names for particles in (4, 20)
    ]
