"""What comes out where names are made to be read as markup, as commands to a terminal, or as more than one line."""

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

from swarm_lightning.baselines.table import TableRow, markdown
from swarm_lightning.callbacks.first_look import describe_reply
from swarm_lightning.callbacks.summary import _table
from swarm_lightning.data.examples import Example
from swarm_lightning.experts.export.model_card import CardFacts, render_card
from swarm_lightning.objectives.protocol import Outcome
from swarm_lightning.search.results import ResultRow
from swarm_lightning.shown import cell, for_terminal, in_markdown, say, show_table, written_out

NAMES = (
    "[blue]sky",
    "math[v2]",
    "[r=4] code",
    "a[/x]",
    "[/]",
    "[link=x]y",
    ":smile:",
    "\\[b]",
    "[@click=quit()]",
    "100% {x}",
)
CONTROLS = ("\x1b[31mred", "a\nb", "a\rb", "\x07", "a\u202eb", "a\u2028b", "\x9b2J", "\ud800", "a\tb", "\x00")


@pytest.mark.parametrize("name", NAMES)
def test_printable_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Run folder: {name}")
    assert capsys.readouterr().out == f"Run folder: {name}\n"
    table = Table()
    table.add_column("which")
    table.add_row(cell(name))
    Console().print(table)
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("name", CONTROLS)
def test_what_commands_a_terminal_is_written_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Run folder: {name}")
    assert written_out(name).isprintable()
    assert capsys.readouterr().out == f"Run folder: {written_out(name)}\n"
    assert written_out(written_out(name)) == written_out(name)
    assert str(cell(name)) == written_out(name)


def test_other_scripts_and_emoji_stay() -> None:
    for name in ("Größe", "数学", "👩\u200d🔬", "naïve café"):
        assert written_out(name) == name


def test_what_the_outputs_encoding_lacks_is_written_out() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert for_terminal("Größe", stream=ascii_only) == "Gr\\xf6\\xdfe"
    code = "from swarm_lightning.shown import say; say('Größe 数学')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONIOENCODING": "ascii", "PATH": ""}, capture_output=True, check=True,
        cwd=__file__.rpartition("/tests/")[0],
    )  # fmt: skip
    assert done.stdout == b"Gr\\xf6\\xdfe \\u6570\\u5b66\n"


@pytest.mark.parametrize("name", [*NAMES, *CONTROLS])
def test_the_closing_table_shows_experts_and_tasks_literally(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = ResultRow("best initial expert", name, 0.5, 8, parts={name: 0.25})
    Console(width=120).print(_table({"validation": (row,), "test": (row,)}))
    assert capsys.readouterr().out.count(written_out(name)) == 2


@pytest.mark.parametrize("name", [*NAMES, *CONTROLS])
def test_the_first_look_shows_experts_and_tasks_literally(name: str) -> None:
    text = describe_reply(name, Example("Why?", "B", task=name), Outcome("x", name, 0.0), (0.0, 1.0))
    assert text.count("\n") == 2
    assert text.startswith(f"The best initial expert, {written_out(name)}, replies to task {written_out(name)}:\n")


@pytest.mark.parametrize(
    "name", ["a|b", "<b>x</b>", "`x`", "[x](y)", "*a*", "![i](u)", "a\n| b", "&lt;", "1. a", "# a"]
)
def test_a_markdown_cell_holds_no_mark_of_its_users(name: str) -> None:
    table = markdown([TableRow("m", "method", 1, 0.5, evaluations=1, seconds=1.0, detail=name)], (8, 8))
    line = table.splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", line)) == 10
    last = line.split("| 1 | ")[-1].removesuffix(" |")
    assert re.search(r"(?<!\\)[\[\]`*#<>!.]", last) is None
    card = render_card(CardFacts(name, name, [name], name, best_initial_expert=name, objective={name: name}))
    body = card.split("## How to load it")[0].split("---\n")[-1]
    assert "<b>" not in body
    assert not any(line.startswith("| b") for line in body.splitlines())
    assert in_markdown(name) in body


@pytest.mark.slow
def test_warnings_and_notices_are_shown_literally() -> None:
    code = (
        "import logging, warnings, sys\n"
        "from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn\n"
        "from swarm_lightning.shown import show_notices_literally\n"
        "show_notices_literally(); show_notices_literally()\n"
        "rank_zero_warn('a \\x1b[31m[red]w'); rank_zero_info('b \\x1b[31m[red]%i')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=__file__.rpartition("/tests/")[0]
    )
    assert "\x1b" not in done.stderr
    assert r"a \x1b[31m[red]w" in done.stderr
    assert r"b \x1b[31m[red]%i" in done.stderr


@pytest.mark.parametrize("columns", ["0", "20"])
def test_a_table_in_a_file_has_no_broken_lines_whatever_the_width(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    path = "/runs/" + "a" * 150
    show_table(_table_of(path))
    assert f"│ {path} │\n" in capsys.readouterr().out


def test_a_terminal_that_reports_no_columns_gets_a_table_of_80(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "0")
    show_table(_table_of("a" * 150))
    lines = [line for line in capsys.readouterr().out.splitlines() if "aaa" in line]
    assert [line.count("a") for line in lines] == [76, 74]  # two frames and two blanks beside them


def _table_of(text: str) -> Table:
    table = Table("run")
    table.columns[0].overflow = "fold"
    table.add_row(cell(text))
    return table
