"""Runs that were cut off, damaged, or written by other versions: a page of what is there, or one clear sentence."""

import json
import os
import random
import shutil
import warnings
from collections.abc import Iterator
from datetime import date
from html import unescape
from pathlib import Path

import pandas
import pytest
import yaml

from swarm_lightning.errors import InputError
from swarm_lightning.report.page import render
from swarm_lightning.report.run import open_run
from tests.forked_ranks import ForkedRanks
from tests.report.test_graphs import write_system
from tests.report.test_sweep_figures import ROWS
from tests.report.test_sweep_figures import run_of as write_sweep
from tests.search.killed import copy_before_changes
from tests.search.test_heterogeneous import config as config_of_graphs
from tests.search.test_multi_task import config_of as config_of_tasks
from tests.search.tiny_search import World, write_dataset

pytest.importorskip("vl_convert")
FIRSTS = {"long": 3, "short": 200}  # numbers that the questions of two tasks begin at
COMPARED = (
    "method,title,runs,validation,test,test_low,test_high,difference,evaluations,seconds,detail,sign,sign_means\n"
    "ours,Ours,1,0.5,0.5,0.4,0.6,,9,1.5,plain,,\n"
    "mean,The mean,1,0.5,0.25,0.2,0.3,-0.25,9,1.5,plain,*,costs more\n"
)


@pytest.fixture(params=["search", "graphs", "comparison", "sweep"])
def folder(request: pytest.FixtureRequest, finished: Path, tmp_path: Path) -> Path:
    """A run of every kind, with all that a page can show of it."""
    folder = tmp_path / "version_0"
    if request.param == "search":
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("checkpoints", "report.html"))
        history = pandas.read_csv(folder / "history.csv")
        history.assign(**{"best/one": 0.5, "best/two": 0.25}).to_csv(folder / "history.csv", index=False)
        replies = pandas.read_parquet(folder / "replies" / "test.parquet")  # graded, of two tasks
        places = range(len(replies))
        replies = replies.assign(score=[place / 16 for place in places], task=[f"t{place % 2}" for place in places])
        replies.to_parquet(folder / "replies" / "test.parquet")
        (folder / "test.csv").write_text("name,win_rate\nbest initial expert,\nbest found expert,0.75\n")
        experts = [{"name": name, "source": name, "kind": "adapter", "number": 0.5} for name in "abc"]
        mixed = {"format": 1, "kind": "token swarm", "mixture": "probabilities", "base": "x", "dtype": "auto"}
        described = json.dumps({**mixed, "experts": experts, "fingerprint": ""})
        (folder / "best_expert" / "swarm.json").write_text(described)
        return folder
    folder.mkdir()
    if request.param == "graphs":
        write_system(folder)
    elif request.param == "sweep":
        write_sweep(folder, ROWS)
    else:
        (folder / "compare.csv").write_text(COMPARED)
    return folder


def drawn() -> random.Random:
    """Draw other cuts every day; what is printed draws the same ones again."""
    seed = os.environ.get("INSTANTS", date.today().isoformat())
    print(f"INSTANTS={seed} draws these again.")
    return random.Random(seed)


def page_of(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The part ")
        return render([open_run(folder)], folder)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_file_that_ends_anywhere_is_shown_as_far_as_it_goes_or_named(folder: Path) -> None:
    draws, parts = drawn(), {path.parent if path.suffix == ".safetensors" else path for path in files_in(folder)}
    for part in sorted(parts):
        path = part if part.is_file() else draws.choice(files_in(part))
        whole = path.read_bytes()
        path.write_bytes(whole[: draws.randrange(len(whole))])
        try:
            assert "<h1>" in page_of(folder)
        except InputError as error:
            assert path.name in str(error)  # noqa: PT017 - a page is as good
        path.write_bytes(whole)


def copies(folder: Path, count: int) -> Iterator[Path]:
    """Lend copies of a folder, one after the other, to be changed."""
    for _ in range(count):
        part = folder.parent / "part"
        shutil.copytree(folder, part)
        yield part
        shutil.rmtree(part)


def test_whichever_files_are_there_are_shown(folder: Path) -> None:
    draws = drawn()
    for part in copies(folder, 6):
        for path in files_in(part):
            if draws.random() < 0.4:
                path.unlink()
        try:
            assert "<h1>" in page_of(part)
        except InputError as error:
            assert "contains no files of a run" in str(error)  # noqa: PT017 - where none of these is left
            assert not {"history.csv", "run.json", "summary.json", "sweep.csv", "compare.csv"} & set(os.listdir(part))


def test_what_files_of_other_versions_lack_is_left_out_and_said(folder: Path) -> None:
    draws = drawn()
    for part in copies(folder, 4):
        for path in files_in(part):
            take_away(path, draws)
        assert "<h1>" in page_of(part)


def take_away(path: Path, draws: random.Random) -> None:
    """Take some of the columns or entries of a file away, or all rows; a table needs what numbers its rows."""
    if path.suffix == ".csv":
        table = pandas.read_csv(path)
        kept = [name for name in table.columns if name in ("iteration", "trial") or draws.random() > 0.2]
        table[kept or table.columns].iloc[: draws.choice([0, None, None])].to_csv(path, index=False)
    elif path.name in ("run.json", "summary.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in content.items() if draws.random() > 0.2}))


def test_the_page_says_what_is_left_out(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "version_0"))
    summary = json.loads((folder / "summary.json").read_text())
    del summary["seconds"]
    (folder / "summary.json").write_text(json.dumps(summary))
    history = pandas.read_csv(folder / "history.csv")
    history.drop(columns="evaluations").to_csv(folder / "history.csv", index=False)
    with pytest.warns(UserWarning, match=r"The part 'climb' is left out: .* have no 'evaluations'"):
        page = render([open_run(folder)], folder)
    assert "The part &#x27;found&#x27; is left out" in page
    assert "The part &#x27;climb&#x27; is left out: the files of" in page, "a figure as well as a text"
    assert 'id="scores_0"' in page


def test_the_page_names_every_column_that_a_figure_of_a_sweep_lacks(tmp_path: Path) -> None:
    (tmp_path / "sweep.csv").write_text("trial,state,validation_utility,folder\n0,ended,0.5,a\n1,ended,0.75,b\n")
    with pytest.warns(UserWarning, match="is left out"):
        page = render([open_run(tmp_path)], tmp_path)
    assert f"The part 'trials' is left out: the files of {open_run(tmp_path).name} have no 'test_utility'." in unescape(
        page
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tasks", "graphs"])
def test_a_search_has_a_page_at_every_instant(
    world: World, forked_ranks: ForkedRanks, tmp_path: Path, kind: str
) -> None:
    root, copies = tmp_path / "runs", tmp_path / "copies"
    if kind == "graphs":
        config = config_of_graphs(world, root, 2)
    else:
        datasets = {name: str(write_dataset(tmp_path / f"{name}.json", 4, 3, first)) for name, first in FIRSTS.items()}
        config = config_of_tasks(world, root, datasets, 2)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))
    ended = copy_before_changes(forked_ranks, root, copies, "fit", "--config", str(tmp_path / "search.yaml"))
    assert ended.code == 0, ended.err
    pages = []
    for folder in sorted(copies.glob("*/version_0")):
        try:
            pages.append(page_of(folder))
        except InputError as error:
            assert "contains no files of a run" in str(error)  # noqa: PT017 - the config is written first
            assert not pages
    assert "not scored yet" in pages[0]
    assert "So far" in pages[len(pages) // 2]
    assert "on test" in page_of(root / "version_0")
