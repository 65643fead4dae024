"""The part on models that answer together, against a system of three nodes written by hand."""

import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.report.analyses import composition, emergence
from swarm_lightning.report.graphs import (
    OF_GRAPHS,
    changed_replies,
    contributions,
    on_the_way,
    who_answers_whom,
)
from swarm_lightning.report.lacking import all_drawn
from swarm_lightning.report.notebook import read_run
from swarm_lightning.report.page import render
from swarm_lightning.report.run import Run
from tests.report.conftest import EVIL

pytest.importorskip("vl_convert")
# Nodes 1 and 2 read nothing, node 0 reads both and answers; two nodes have the same model.
NODES = [
    {"node": 0, "model": "models/00_a", "expert": f"a {EVIL}", "reads": [1, 2], "read_by": []},
    {"node": 1, "model": "models/01_b", "expert": "b", "reads": [], "read_by": [0]},
    {"node": 2, "model": "models/01_b", "expert": "b", "reads": [], "read_by": [0]},
]
# Of each example the replies of nodes 1, 2 and 0, and their scores.
REPLIES: dict[str, tuple[tuple[str, str, str], tuple[float, float, float]]] = {
    "mended": (("x", "y", "g"), (0, 0, 1)),
    "spoiled": (("g", "y", "y"), (1, 0, 0)),
    "differ": (("x", "y", "x"), (0, 0, 0)),
    "same": (("g", "g", "g"), (1, 1, 1)),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_system(tmp_path)


def write_system(folder: Path) -> Run:
    """Write what a search of graphs leaves."""
    (folder / "run.json").write_text(json.dumps({"state": "ended", "experts": [f"a {EVIL}", "b"]}))
    names = "iteration,global_best,evaluations,generated_tokens,evaluation_seconds,system_best"
    names += ",model_utility/model_00,model_utility/model_01"
    rows_of_swarm = "0,0.5,9,9,1.5,0.5,0.25,\n1,0.5,9,9,1.5,0.75,0.5,0.625\n"
    (folder / "history.csv").write_text(f"{names}\n{rows_of_swarm}")
    (folder / "best_expert").mkdir()
    system: dict[str, Any] = {"base": "demo:base", "dtype": "auto", "instructions": {}, "asking": {}, "end": 0}
    described = {"format": 1, "kind": "heterogeneous swarm", **system, "nodes": NODES}
    (folder / "best_expert" / "graph.json").write_text(json.dumps(described))
    (folder / "replies").mkdir()
    rows = [
        {"id": name, "question": f"{name} {EVIL}", "choices": None, "gold": "g", "node": node, "level": level}
        | {"expert": NODES[node]["expert"], "reply": reply, "score": float(score)}
        for name, (replies, scores) in REPLIES.items()
        for (level, node), reply, score in zip(((0, 1), (0, 2), (1, 0)), replies, scores, strict=True)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "replies" / "nodes.parquet")
    return read_run(folder)


def test_the_graph_is_drawn_and_told_in_the_order_in_which_nodes_answer(run: Run) -> None:
    told = who_answers_whom(run)
    assert (told.count("<circle"), told.count("<line")) == (3, 2)
    assert re.findall(r"<tr><td>(\d)</td>", told) == ["1", "2", "0"]
    assert "1 (b), 2 (b)" in told
    assert EVIL not in told


def test_a_model_that_no_assignment_drew_has_no_contribution_yet(run: Run) -> None:
    figure = contributions(run)
    assert figure is not None
    expected = [(0, f"a {EVIL}", 0.25), (1, f"a {EVIL}", 0.5), (1, "b", 0.625)]
    assert [tuple(row) for row in figure.data.to_numpy()] == expected


def test_every_node_has_the_mean_score_of_its_own_replies(run: Run) -> None:
    figure = on_the_way(run)
    assert figure is not None
    # Node 1 is right twice of four, node 2 once, the answer twice.
    assert [(row.node, row.score) for row in figure.data.itertuples()] == [(1, 0.5), (2, 0.25), (0, 0.5)]


def test_replies_are_told_by_what_becomes_of_them_on_the_way(run: Run) -> None:
    told = changed_replies(run, 100_000)
    assert re.findall(r'<tr class="(\w+)"', told) == ["emerged", "lost", "differ", "same"]
    assert re.findall(r"<td>(.*?)</td><td class=\"text\">(\w+)", told) == [
        ("mended on the way", "mended"), ("spoiled on the way", "spoiled"),
        ("other replies, same score", "differ"), ("all reply the same", "same"),
    ]  # fmt: skip
    assert EVIL not in told


def test_graphs_are_not_taken_for_experts(run: Run) -> None:
    assert emergence(run) is None
    assert composition(run)[0].empty


def test_the_page_has_it_all_and_a_search_of_earlier_versions_what_it_has(run: Run) -> None:
    heads = ["Who answers whom", "Each model&#x27;s contribution", "How replies change on the way"]
    assert all(f"<h2>{head}</h2>" in render([run], run.folder) for head in heads)
    (run.folder / "replies" / "nodes.parquet").unlink()
    (run.folder / "best_expert" / "graph.json").unlink()
    page = render([read_run(run.folder)], run.folder)
    assert [head for head in heads if f"<h2>{head}</h2>" in page] == heads[1:2]
    (run.folder / "history.csv").unlink()
    assert all_drawn(OF_GRAPHS, read_run(run.folder)) == ([], [])


@pytest.mark.parametrize("name", ["best_expert/graph.json", "replies/nodes.parquet"])
def test_a_damaged_file_is_refused_by_name(run: Run, name: str) -> None:
    (run.folder / name).write_bytes(b'{"format": 1, "nod')
    with pytest.raises(InputError, match=Path(name).name):
        render([read_run(run.folder)], run.folder)
