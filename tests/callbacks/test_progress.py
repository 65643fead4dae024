"""What is shown while a run goes on: a bar on a terminal, plain lines in a log."""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from tqdm import tqdm

from swarm_lightning.callbacks import SwarmProgress, progress
from swarm_lightning.callbacks.progress import EvaluationProgress, MethodProgress, width_of_a_bar
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.progress import Headway
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.scripted_search import scripted_search
from tests.search.tiny_search import World, run_swarm

SCRIPT = [(0.5, 0.25), (0.25, 0.75), (0.0, 1.0)]
AT_ONCE = "0.000001"  # seconds between two lines: one for every pass
LEFT = r", \d+:\d\d left likely, \d+:\d\d at most"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
COURSE = re.compile(rf"^{TIME} (?P<what>[\w ]+): (?P<done>\d+) of (?P<due>\d+) examples", re.MULTILINE)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def measured(iteration: int) -> str:
    left = LEFT if iteration < 2 else ""
    best, mean, step_length = ((0.5, 0.375, "0.80"), (0.75, 0.625, "0.76"), (1.0, 0.75, "0.72"))[iteration]
    return rf"best {best:.3f}, mean of personal bests {mean:.3f}, step length {step_length}, \d+ examples/s{left}"


def test_a_log_gets_a_line_with_the_time_for_every_iteration(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted_search(world, tmp_path, SCRIPT, SwarmProgress(), lr=0.8)
    shown = capsys.readouterr().out
    assert re.search(rf"^{TIME} evaluating the first positions$", shown, re.MULTILINE)
    for iteration in range(3):
        assert re.search(rf"^{TIME} iteration {iteration}/2: {measured(iteration)}$", shown, re.MULTILINE), shown
    assert "\r" not in shown


def test_a_terminal_gets_a_bar_with_the_same_numbers(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    scripted_search(world, tmp_path, SCRIPT, SwarmProgress(), lr=0.8)
    shown = terminal.getvalue()
    assert "evaluating the first positions" in shown
    for iteration in range(3):
        assert re.search(rf"\b{iteration}/2 .*{measured(iteration)}", shown), (iteration, shown)
    assert not re.search(TIME, shown)


def courses_in(printed: str) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for line in COURSE.finditer(printed):
        found.setdefault(line["what"], []).append((int(line["done"]), int(line["due"])))
    return found


@pytest.mark.slow
def test_every_command_that_evaluates_tells_a_log_how_far_it_is(world: World, tmp_path: Path) -> None:
    engine = {"engine": {"rows": 2, "exact_stop": False}}
    config = world.config(tmp_path / "runs", model=engine, trainer={"max_steps": 1, "enable_progress_bar": True})
    often = ["--progress.every_seconds", AT_ONCE]
    again = [*often, "--ckpt_path", "last"]
    (tmp_path / "prompts.txt").write_text("What is 1 plus 2?\nWhat is 3 plus 4?\n")
    printed = {
        "fit": run_swarm(config, "fit", tmp_path, *often),
        "test": run_swarm(config, "test", tmp_path, *again),
        "validate": run_swarm(config, "validate", tmp_path, *again),
        "predict": run_swarm(config, "predict", tmp_path, *again, "--data.prompts", str(tmp_path / "prompts.txt")),
        "score": run_swarm(config, "score", tmp_path, *often),
    }
    # 5 particles and 8 examples; the best initial and the best found expert on 8 examples of the test split.
    expected = {
        "fit": {"first positions": 40, "iteration 1": 40, "results": 16},
        "validate": {"validation": 16},
        "predict": {"prompts": 2},
    }
    for command, output in printed.items():
        assert "\r" not in output
        found = courses_in(output)
        for what, due in expected.get(command, {}).items():
            assert {total for _, total in found[what]} >= {due}, (command, found)
            assert found[what][-1] == (due, due)
    first = [done for done, _ in courses_in(printed["fit"])["first positions"]]
    assert first == sorted(first)
    assert len(set(first)) > 10, "it moves while a lot is asked"
    assert courses_in(printed["test"])["test"]
    # The base, then four experts, on both splits.
    assert [due for due, _ in groupby(due for _, due in courses_in(printed["score"])["scores"])] == [8, 32, 8, 32]


def test_a_log_that_was_told_little_ago_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = EvaluationProgress("test", every_seconds=1000)
    shown.begin()
    shown.go_on(Headway(1, 4, 0, 10))
    shown.end(whole=True)
    assert capsys.readouterr().out == ""


def test_a_log_is_told_the_end_only_of_what_it_was_told_and_only_where_there_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = EvaluationProgress("iteration 2", every_seconds=1e-6)
    for whole in (True, False):
        shown.begin()
        shown.go_on(Headway(3, 8, 0, 0))
        shown.end(whole)
    lines = capsys.readouterr().out.splitlines()
    shown.begin()
    shown.go_on(Headway(8, 8, 0, 0))
    assert capsys.readouterr().out == ""
    shown.end(whole=True)
    assert "8 of 8 examples, done in" in capsys.readouterr().out, "one long pass is told when it is over"
    assert ["3 of 8" in line for line in lines] == [True, False, True]
    assert lines[1].endswith("3 of 3 examples, done in 0:00"), "the exact stop left the others out"


def test_a_long_evaluation_has_a_bar_of_its_own_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm_lightning.callbacks.progress.BAR_AFTER", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    shown = EvaluationProgress("first positions", every_seconds=1000)
    shown.begin()
    shown.go_on(Headway(2, 8, 2, 0))
    shown.go_on(Headway(8, 8, 2, 600))
    shown.end(whole=True)
    drawn = terminal.getvalue()
    assert "first positions" in drawn
    assert "2/8" in drawn
    assert drawn.rstrip(" ").endswith("\r"), "it is wiped away"


def evaluate_in_parts(shown: MethodProgress) -> None:
    """Two evaluations, of which the second had 3 of its 20 examples from before."""
    for known, due in ((0, 10), (3, 20)):
        shown.begin()
        for done in range(known + 1, due + 1):
            shown.go_on(Headway(done, due, known, 0))
        shown.end(True)


def test_a_log_is_told_what_a_method_has_asked_over_all_its_evaluations(capsys: pytest.CaptureFixture[str]) -> None:
    shown = MethodProgress(every_seconds=1e-9)
    shown.start("genome, seed 0", 60)
    evaluate_in_parts(shown)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 27
    assert re.fullmatch(rf"{TIME} genome, seed 0: 27 of at most 60 evaluations, \d+ examples/s, 0:00 left", lines[-1])
    shown.start("greedy soup", None)
    evaluate_in_parts(shown)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(rf"{TIME} greedy soup: 27 evaluations, \d+ examples/s", last)


def test_a_method_has_one_bar_for_all_its_evaluations_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress, "BAR_AFTER", 0.0)
    shown = MethodProgress(every_seconds=30)
    shown.start("genome, seed 0", 60)
    evaluate_in_parts(shown)
    bar = shown._bar
    assert bar is not None
    assert (bar.n, bar.total) == (27, 60)
    shown.stop()
    assert shown._bar is None


@pytest.mark.slow
def test_methods_of_a_comparison_tell_a_log_how_far_they_are(world: World, tmp_path: Path) -> None:
    compare = {"methods": ["greedy_soup", "random_search"], "evaluations": 24, "seeds": [0], "resamples": 10}
    config = {**world.config(tmp_path / "runs", trainer={"enable_progress_bar": True}), "compare": compare}
    printed = run_swarm(config, "compare", tmp_path, "--progress.every_seconds", AT_ONCE)
    assert re.search(rf"^{TIME} greedy soup: \d+ evaluations, \d+ examples/s$", printed, re.MULTILINE)
    assert re.search(rf"^{TIME} random search, seed 0: \d+ of at most 24 evaluations", printed, re.MULTILINE)


def test_a_time_between_lines_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="progress.every_seconds"):
        SwarmProgress(0)


def test_nothing_is_shown_where_no_bar_is_wanted(world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs", trainer={"max_steps": 1})
    assert "examples/s" not in run_swarm(config, "fit", tmp_path)
    config["trainer"]["enable_progress_bar"] = True
    assert "examples/s" in run_swarm(config, "fit", tmp_path)


@pytest.mark.slow
def test_of_two_ranks_the_first_speaks_for_both(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    engine = {"engine": {"rows": 2, "exact_stop": False}}
    config = world.config(tmp_path / "runs", model=engine, trainer={"max_steps": 1, "enable_progress_bar": True})
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = ["fit", "--config", str(path), "--progress.every_seconds", AT_ONCE]
    first, second = forked_ranks.swarm(torchrun_environments(2), *arguments)
    assert (first.code, second.code) == (0, 0), (first, second)
    found = courses_in(first.out)["first positions"]
    assert found[0][0] == 0
    assert found[-1] == (40, 40)
    assert courses_in(second.out) == {}


@pytest.mark.parametrize(
    ("columns", "shown"),
    [(0, "3/50, best 0.710, mean 0.640"), (24, "3/50, best 0.710, mean"), (9, "3/50, be")],
)
def test_a_narrow_terminal_and_one_without_a_width_get_numbers_that_read(
    monkeypatch: pytest.MonkeyPatch, columns: int, shown: str
) -> None:
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(writer, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", terminal)
        bar = tqdm(total=50, initial=3, file=terminal, **width_of_a_bar())
        bar.set_postfix_str("best 0.710, mean 0.640")
        printed = ""
        while "be" not in printed.split("\r")[-1]:
            printed += os.read(reader, 4096).decode()
        bar.close()
    os.close(reader)
    assert printed.split("\r")[-1].rstrip() == shown
