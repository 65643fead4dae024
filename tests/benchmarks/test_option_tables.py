"""The tables of variants, with the arithmetic by hand."""

from option_tables import summarise, text_of


def test_gains_are_paired_by_task_and_seed() -> None:
    # Differences 1, 3 and -1, -2: mean 0.25, and one task of two is better.
    def runs(*tests: float) -> list[dict[str, float]]:
        return [{"test": test, "validation": 50.0, "evaluations": 10} for test in tests]

    found = {
        "kinds": {"published": runs(40, 50), "polish": runs(41, 53)},
        "lists": {"published": runs(10, 20), "polish": runs(9, 18)},
    }
    summary = summarise(found, "published")
    assert summary["published"]["mean"] == 30
    polish = summary["polish"]
    assert (polish["gain"], polish["tasks_better"], polish["tasks"]) == (0.25, 1, 2)
    assert -2 <= polish["low"] < 0.25 < polish["high"] <= 3


def test_the_reference_is_compared_with_nothing_and_the_others_with_it() -> None:
    found = {
        "kinds": {
            "late": [{"test": 40.0, "validation": 50.0, "evaluations": 10}],
            "early": [{"test": 42.5, "validation": 60.0, "evaluations": 20}],
        }
    }
    lines = text_of(summarise(found, "early"), {"late": "the late one", "early": "the early one"}, "early").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["variant", "kinds", "mean", "gain", "95% interval", "tasks better", "validation"]
    assert cells[2] == ["the late one", "40.0", "40.00", "-2.50", "-2.50 to -2.50", "0 of 1", "50.0"]
    assert cells[3] == ["the early one", "42.5", "42.50", "", "", "", "60.0"]
