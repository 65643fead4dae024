"""A search of graphs of models, through the command, on the tiny base: resumed, exported, loaded and answered from."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

import swarm_lightning
from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.settings import EngineSettings, GraphSettings
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm import HeterogeneousSwarm
from swarm_lightning.swarm.graphs import Decoding
from tests.search.test_resume import assert_same_run, rows_without_timings
from tests.search.tiny_search import World, load_checkpoint, read_rows, run_swarm

TELL = {"first": "Reply.", "inner": "Reply again.", "last": "End.", "response": "{number}: {reply}"}


def config(world: World, root: Path, iterations: int = 3, **model: Any) -> dict[str, Any]:
    optimizer = {"class_path": "swarm_lightning.HeterogeneousSwarm", "init_args": {"assignments": 3}}
    settings = {"graphs": {"instructions": TELL}, "optimizer": optimizer, **model}
    return world.config(root, model=settings, trainer={"max_steps": iterations}, restart={"patience": 1})


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three iterations."""
    root = tmp_path_factory.mktemp("whole")
    run_swarm(config(world, root / "runs"), "fit", root)
    return root / "runs" / "version_0"


@pytest.mark.slow
def test_a_stopped_and_resumed_search_of_graphs_is_bit_for_bit_one_that_was_never_stopped(
    world: World, whole: Path, tmp_path: Path
) -> None:
    run_swarm(config(world, tmp_path / "runs", 1), "fit", tmp_path)
    run_swarm(config(world, tmp_path / "runs", 3), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "runs" / "version_0", whole)
    memory = load_checkpoint(whole)["optimizer_states"][0]["state"][0]
    assert memory["models.restarts"].sum() > 0
    assert memory["models.positions"].shape == memory["best.weights"].shape


def test_the_exact_stop_changes_nothing_but_what_is_left_unasked(world: World, whole: Path, tmp_path: Path) -> None:
    # Of eight examples, the whole run asks all in its first round.
    run_swarm(config(world, tmp_path / "runs", engine={"chunk": 1}), "fit", tmp_path)
    others, rows = (rows_without_timings(folder) for folder in (whole, tmp_path / "runs" / "version_0"))
    same = ["global_best", "system_best", "assignments_mean", "restarts", "model_utility/model_00", "diversity"]
    assert [[row[name] for name in same] for row in rows] == [[row[name] for name in same] for row in others]
    asked, everything = (sum(float(row["evaluations"]) for row in of) for of in (rows, others))
    assert asked < everything


def test_the_summary_names_the_best_expert_and_the_best_system_that_was_ever_asked(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text(encoding="utf-8"))
    initial, found = summary["validation"]
    assert initial["detail"] in ("colours", "numbers", "stories", "towns")
    assert found["detail"].startswith("graph ")
    rows = read_rows(whole / "history.csv")
    assert found["utility"] == max(float(row["system_best"]) for row in rows)
    replies = pandas.read_parquet(whole / "replies" / "validation.parquet")
    score = replies[replies.expert == "best found expert"].score.mean()
    assert score == pytest.approx(found["utility"])  # the weights of that moment are kept, not the last ones


def test_what_nodes_reply_on_the_way_ends_in_the_answer_and_is_scored_as_it(whole: Path) -> None:
    nodes = pandas.read_parquet(whole / "replies" / "nodes.parquet")
    replies = pandas.read_parquet(whole / "replies" / "test.parquet")
    found = replies[replies.expert == "best found expert"]
    system = json.loads((whole / "best_expert" / "graph.json").read_text(encoding="utf-8"))
    ends = nodes[nodes.node == system["end"]]
    assert ends.id.tolist() == found.id.tolist()
    assert ends.reply.tolist() == found.reply.tolist()
    assert ends.score.tolist() == found.score.tolist()
    assert len(nodes) == 4 * len(found)
    named = {node["node"]: node["expert"] for node in system["nodes"]}
    assert {row.node: row.expert for row in nodes.itertuples()} == named
    # Exact match: a node's reply scores as any reply of the same text to the same question.
    scores = {(row.question, row.reply.strip()): row.score for row in replies.itertuples()}
    known = [row for row in nodes.itertuples() if (row.question, row.reply.strip()) in scores]
    assert [row.score for row in known] == [scores[row.question, row.reply.strip()] for row in known]


def test_an_export_answers_as_the_search_did(world: World, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole / "best_expert", tmp_path / "found"))
    replies = pandas.read_parquet(whole / "replies" / "test.parquet")
    found = replies[replies.expert == "best found expert"]
    system = swarm_lightning.load(folder)
    examples = [Example(question) for question in found.question]
    assert system.answer(examples) == found.reply.tolist()
    assert (folder / "graph.svg").read_text(encoding="utf-8").count("<circle") == 4
    assert "Who answers whom" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_command_predicts_from_an_export(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from swarm_lightning.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("What is 3 plus 4?\n", encoding="utf-8")
    main(["predict", str(whole / "best_expert"), "--data.prompts", "prompts.txt"])
    (line,) = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(line)) == {"id", "question", "reply"}
    assert "1 answers: predictions.jsonl" in capsys.readouterr().out


def test_models_of_any_architecture_stay_where_they_are_and_answer_as_the_search_did(
    world: World, tmp_path: Path
) -> None:
    experts = [str(world.experts / "towns"), "demo:models/chronicle", str(world.base)]
    optimizer = {"class_path": "swarm_lightning.HeterogeneousSwarm", "init_args": {"moves": "roles"}}
    settings = {"experts": experts, "graphs": {"any_models": True}, "optimizer": optimizer, "particles": 2}
    run_swarm(config(world, tmp_path / "runs", 1, **settings), "fit", tmp_path)
    run = tmp_path / "runs" / "version_0"
    replies = pandas.read_parquet(run / "replies" / "test.parquet")
    found = replies[replies.expert == "best found expert"]
    folder = Path(shutil.copytree(run / "best_expert", tmp_path / "found"))
    assert not (folder / "models").exists()
    graph = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    assert [node["model"] for node in graph["nodes"]] == experts
    assert swarm_lightning.load(folder).answer([Example(text) for text in found.question]) == found.reply.tolist()
    graph["nodes"][0]["model"] = str(world.experts / "stories")
    (folder / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    with pytest.warns(UserWarning, match="not those that .* was made of"):
        swarm_lightning.load(folder)


@pytest.mark.parametrize("accelerator", ["warp", "tpu"])
def test_an_accelerator_that_is_not_there_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], accelerator: str
) -> None:
    from swarm_lightning.cli import main

    given = ["--data.prompts", str(tmp_path / "none.txt"), "--trainer.accelerator", accelerator]
    with pytest.raises(SystemExit):
        main(["predict", str(whole / "best_expert"), *given])
    assert (
        f"Expected trainer.accelerator to name one of this machine, but got '{accelerator}'" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda graph: end_of(graph).update(read_by=[0]), "do not flow into one end"),
        (lambda graph: graph["nodes"][end_of(graph)["reads"][0]]["read_by"].append(7), "read by others than these"),
        (lambda graph: end_of(graph)["reads"].clear(), "whose reads and read_by differ"),
        (lambda graph: graph.update(end=(graph["end"] + 1) % 4), "but nobody reads node"),
    ],
)
def test_a_graph_that_does_not_flow_into_one_end_is_refused(
    whole: Path, tmp_path: Path, change: Any, told: str
) -> None:
    folder = Path(shutil.copytree(whole / "best_expert", tmp_path / "found"))
    graph = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    change(graph)
    (folder / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    with pytest.raises(InputError, match="Export it again") as raised:
        swarm_lightning.load(folder)
    assert told in str(raised.value)


def end_of(graph: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = graph["nodes"][graph["end"]]
    return node


def test_the_test_table_has_graphs_that_nobody_searched_and_a_vote(world: World, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    run_swarm(config(world, tmp_path / "runs"), "test", tmp_path, "--ckpt_path", str(run))
    names = [row["name"] for row in read_rows(run / "test.csv")]
    assert names[2:] == ["chain of the experts", "star of the experts", "vote of the experts"]


@pytest.mark.slow
@pytest.mark.parametrize("moves", ["roles", "weights"])
def test_either_step_can_be_left_out(world: World, tmp_path: Path, moves: str) -> None:
    decoding = {"fixed": "chain"} if moves == "weights" else {"top_p": 0.8, "edges": 2}
    optimizer = {"class_path": "swarm_lightning.HeterogeneousSwarm", "init_args": {"assignments": 2, "moves": moves}}
    settings = {"graphs": {"decoding": decoding}, "optimizer": optimizer}
    run_swarm(config(world, tmp_path / "runs", 1, **settings), "fit", tmp_path)
    run_swarm(config(world, tmp_path / "runs", 2, **settings), "fit", tmp_path, "--ckpt_path", "last")
    rows = read_rows(tmp_path / "runs" / "version_0" / "history.csv")
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    assert all((row["assignments_mean"] == "") == (moves == "roles") for row in rows)
    if moves == "weights":
        graph = json.loads((tmp_path / "runs" / "version_0" / "best_expert" / "graph.json").read_text())
        assert [node["read_by"] for node in graph["nodes"]] == [[1], [2], [3], []]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"graphs": None}, "model.graphs is not set"),
        ({"graphs": GraphSettings(Decoding(fixed="star"))}, "moves to be weights"),
        ({"graphs": GraphSettings(any_models=True)}, "moves to be roles with model.graphs.any_models"),
        ({"graphs": GraphSettings(any_models=True), "engine": EngineSettings(backend="vllm")}, "vLLM serves adapters"),
        ({"graphs": GraphSettings(), "storage": "disk"}, "got disk"),
        ({"graphs": GraphSettings(), "coefficients": "expert"}, "expert"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ModelSwarm("base", experts="experts", optimizer=HeterogeneousSwarm, **settings)


def test_graphs_need_what_moves_them() -> None:
    with pytest.raises(InputError, match="optimizer is ParticleSwarm"):
        ModelSwarm("base", experts="experts", graphs=GraphSettings(), engine=EngineSettings())


def test_a_particle_has_no_system_of_its_own_to_write(world: World, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run_swarm(config(world, tmp_path / "runs"), "export", tmp_path, "--ckpt_path", str(whole), "--particle", "1")
    assert torch.isfinite(load_checkpoint(whole)["optimizer_states"][0]["state"][0]["best.utility"])
