"""What is shown before a search, through the real command, against plain `peft`."""

import io
import math
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from swarm_lightning.callbacks.first_look import FirstLook, _print, all_alike, describe_reply, frame
from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import Outcome
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.scripted_search import scripted_search
from tests.search.tiny_search import NEW_TOKENS, World, prompt_of, read_rows, run_swarm

EXPERTS = ("colours", "numbers", "stories", "towns")


def expected(world: World, folder: Path) -> str:
    """What must be shown, by plain `peft` and the record of the run."""
    record = world.split("dev")[0]
    first = read_rows(folder / "history.csv")[0]
    utilities = [float(first[f"utility/particle_{index:02d}"]) for index in range(4)]
    best = EXPERTS[utilities.index(max(utilities))]
    reply = world.reply(world.load(world.experts / best), prompt_of(record["question"]), NEW_TOKENS)
    question = f"  | Question: {record['question']}\n  | Answer:\n"
    score = int(record["answer"] in reply)
    assert "\n" not in reply
    assert reply.strip()
    assert reply == reply.rstrip()
    # The tiny model says control characters, which are written out.
    visible = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", reply)
    return (
        f"The first validation example as the model sees it:\n{question}"
        f"The best initial expert, {best}, replies:\n  | {visible}\n"
        f"Score {score} (0 to 1), read as {' '.join(reply.split()).removesuffix('.').rstrip()!r}, "
        f"gold answer {record['answer']!r}.\n"
    )


def test_a_search_begins_with_one_example_the_best_experts_reply_and_its_score(world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs")
    printed = run_swarm(config, "fit", tmp_path)
    shown = expected(world, tmp_path / "runs" / "version_0")
    assert printed.startswith(shown)
    assert printed.count("as the model sees it") == printed.count("The best initial expert, ") == 1


def test_with_a_progress_bar_every_line_stands_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_lightning.callbacks.progress.on_a_terminal", lambda: True)
    config = world.config(tmp_path / "runs", trainer={"enable_progress_bar": True})
    printed = run_swarm(config, "fit", tmp_path)
    lines = printed.replace("\r", "\n").splitlines()
    for line in expected(world, tmp_path / "runs" / "version_0").splitlines():
        assert lines.count(line) == 1
    assert any("search: 100%" in line for line in lines)


def test_a_search_that_begins_at_chance_says_so_and_what_to_try(tmp_path: Path) -> None:
    objective = {
        "class_path": "swarm_lightning.objectives.MultipleChoice",
        "init_args": {"max_new_tokens": 3, "template": "{question}"},  # without the choices, which it knows nothing of
    }
    config = {
        "model": {"base": "demo:base", "experts": "demo:experts", "particles": 10, "objective": objective},
        "data": {"dataset": "demo:tasks/neighbours.json", "validation_size": 24, "test_size": 4},
        "trainer": {"max_steps": 1, "default_root_dir": str(tmp_path / "runs"), "enable_progress_bar": False},
    }
    printed = run_swarm(config, "fit", tmp_path)
    (first,) = [line for line in printed.splitlines() if "chance" in line]
    assert re.match(r"Hint: The best initial expert, \w+, is (at|below) chance: ", first)
    assert "likelihood of the texts" in first
    config["model"]["objective"]["init_args"].pop("template")  # type: ignore[index]
    config["data"]["validation_size"] = 100
    assert "Hint:" not in run_swarm(config, "fit", tmp_path)


@pytest.mark.slow
def test_a_resumed_search_and_the_other_commands_show_nothing(world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs", trainer={"max_steps": 1})
    assert "as the model sees it" in run_swarm(config, "fit", tmp_path)
    config["trainer"]["max_steps"] = 2
    for command in ("fit", "validate", "test"):
        printed = run_swarm(config, command, tmp_path, "--ckpt_path", "last")
        assert "as the model sees it" not in printed
        assert "replies:" not in printed


@pytest.mark.slow
def test_of_two_ranks_the_first_one_shows_it(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs")
    alone = run_swarm(world.config(tmp_path / "alone"), "fit", tmp_path)
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    first, second = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", str(path))
    assert (first.code, second.code) == (0, 0), (first, second)
    shown = expected(world, tmp_path / "runs" / "version_0")
    assert shown in first.out
    assert shown in alone
    assert second.out == ""


def test_first_scores_that_are_all_the_same_are_told_before_the_search(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [0.5] * 6  # of six particles on four examples
    for first, told in ((same, True), ([*same[:5], 0.25], False)):
        folder = tmp_path / str(told)
        folder.mkdir()
        scripted_search(world, folder, [first, same, same], FirstLook())
        printed = capsys.readouterr().out
        assert ("All 24 scores of the first positions are 0.5: nothing tells one from another" in printed) == told
    assert all_alike(torch.full((4, 4), 7.0)) is None, "too few to tell"
    scores = torch.full((4, 8), 7.0)
    scores[0] = torch.nan
    assert str(all_alike(scores)).startswith("All 24 scores of the first positions are 7:")


def test_scores_without_bounds_are_described_too() -> None:
    text = describe_reply(
        "towns", Example("?", "Dear Ms Ito"), Outcome("Dear Ms Ito", None, -2.34567), (-math.inf, 0.0)
    )
    assert text == (
        "The best initial expert, towns, replies:\n  | Dear Ms Ito\n"
        "Score -2.346 (0 at most), gold answer 'Dear Ms Ito'."
    )
    text = describe_reply("towns", Example("?"), Outcome("x", "x", 3.0), (-math.inf, math.inf))
    assert text.endswith("Score 3, read as 'x'.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n\ntwo", "  | one\n  |\n  | two"),
        ("end \n", "  | end\n  |\n  (it ends with white space: ' \\n')"),
        ("", "  |\n  (it is empty)"),
        ("a\x1b[31mb\rc\x00", "  | a\\x1b[31mb\\rc\\x00"),  # no colours, nothing overwritten
        ("\u7b54\u6848", "  | \u7b54\u6848"),
    ],
)
def test_a_text_is_shown_so_that_white_space_and_control_characters_can_be_seen(text: str, shown: str) -> None:
    assert frame(text) == shown


def test_the_middle_of_a_long_text_is_left_out_and_said_to_be() -> None:
    shown = frame("a" * 10 + "b" * 100 + "c" * 11, longest=21)
    assert shown == f"  | {'a' * 10}\n  | [... 100 characters ...]\n  | {'c' * 11}"


def test_a_terminal_that_lacks_a_character_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    narrow = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    _print("\u7b54")
    narrow.flush()
    assert written.getvalue() == b"\\u7b54\n"
