"""Searches for one expert of several tasks, through the real command, against plain `peft` and full evaluations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant
from swarm_lightning.data.module import SwarmData
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives import ExactMatch, MultiTask
from swarm_lightning.search import ModelSwarm
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.objectives.tiny_classifiers import save_decoder
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import (
    FULL,
    NEW_TOKENS,
    World,
    content,
    load_checkpoint,
    prompt_of,
    read_rows,
    run_swarm,
    same,
    search,
    write_dataset,
)

SHORT_NEW_TOKENS = 3
TASKS = {
    "long": {"class_path": "swarm_lightning.objectives.ExactMatch", "init_args": {"max_new_tokens": NEW_TOKENS}},
    "short": {
        "class_path": "swarm_lightning.objectives.ExactMatch",
        "init_args": {"max_new_tokens": SHORT_NEW_TOKENS, "template": "{question} "},
    },
}
ITERATIONS = 3


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tasks")
    return {
        "long": str(write_dataset(folder / "long.json", validation=8, test=6, first=3)),
        "short": str(write_dataset(folder / "short.json", validation=13, test=5, first=200)),
    }


def config_of(
    world: World, root: Path, datasets: dict[str, str], iterations: int = ITERATIONS, **settings: Any
) -> dict[str, Any]:
    config = world.config(root, data={"dataset": datasets}, trainer={"max_steps": iterations})
    init_args = {"tasks": TASKS, "combine": "harmonic_mean", **settings}
    config["model"]["objective"] = {"class_path": "swarm_lightning.objectives.MultiTask", "init_args": init_args}
    return config


@pytest.fixture(scope="module")
def finished(world: World, datasets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of a search by the harmonic mean, and what it printed."""
    root = tmp_path_factory.mktemp("finished")
    printed = run_swarm(config_of(world, root, datasets), "fit", root)
    return root / "version_0", printed


def by_peft(world: World, adapter: Path, datasets: dict[str, str], split: str) -> dict[str, float]:
    """Return the utility of each task, by plain `peft`."""
    model = world.load(adapter)
    found = {}
    for task, path in datasets.items():
        records = json.loads(Path(path).read_text())[split]
        template, tokens = (prompt_of("{}"), NEW_TOKENS) if task == "long" else ("{} ", SHORT_NEW_TOKENS)
        replies = [world.reply(model, template.format(record["question"]), tokens) for record in records]
        right = [record["answer"] in reply for record, reply in zip(records, replies, strict=True)]
        found[task] = sum(right) / len(right)
    return found


def harmonic(parts: dict[str, float]) -> float:
    return 2 / sum(1 / part for part in parts.values()) if all(parts.values()) else 0.0


def test_the_utility_is_the_harmonic_mean_of_the_tasks_and_each_is_recorded(
    world: World, datasets: dict[str, str], finished: tuple[Path, str]
) -> None:
    folder, printed = finished
    first, *_, last = read_rows(folder / "history.csv")
    experts = [
        by_peft(world, world.experts / name, datasets, "dev") for name in ("colours", "numbers", "stories", "towns")
    ]
    utilities = [float(first[f"utility/particle_{index:02d}"]) for index in range(4)]
    assert utilities == pytest.approx([harmonic(parts) for parts in experts])
    assert len(set(utilities)) > 2
    assert max(utilities) > 0

    found = by_peft(world, folder / "best_expert", datasets, "dev")
    assert float(last["global_best"]) == pytest.approx(harmonic(found))
    assert {task: float(last[f"best/{task}"]) for task in TASKS} == pytest.approx(found)

    summary = json.loads((folder / "summary.json").read_text())
    initial, best = summary["validation"]
    assert initial["parts"] == pytest.approx(experts[utilities.index(max(utilities))])
    assert best["parts"] == pytest.approx(found)
    on_test = by_peft(world, folder / "best_expert", datasets, "test")
    assert summary["test"][1]["parts"] == pytest.approx(on_test)
    assert summary["test"][1]["utility"] == pytest.approx(harmonic(on_test))
    assert [row["examples"] for row in (initial, summary["test"][1])] == [21, 11]
    card = (folder / "best_expert" / "README.md").read_text()
    assert f"task short | | {initial['parts']['short']:.4f} | {found['short']:.4f} |" in card
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines()]
    assert ["short", "", f"{found['short']:.4f}", f"{on_test['short']:.4f}"] in lines


def test_a_search_begins_with_one_example_of_every_task(datasets: dict[str, str], finished: tuple[Path, str]) -> None:
    _, printed = finished
    for task, path in datasets.items():
        question = json.loads(Path(path).read_text())["dev"][0]["question"]
        shown = (
            f"  | Question: {question}\n" if task == "long" else f"  | {question}\n  (it ends with white space: ' ')\n"
        )
        assert f"The first validation example of task {task} as the model sees it:\n{shown}" in printed
        assert printed.count(f"replies to task {task}:\n  | ") == 1
    assert printed.count("as the model sees it") == 2


@pytest.mark.slow
def test_a_stopped_and_resumed_search_is_bit_for_bit_one_that_was_never_stopped(
    world: World, datasets: dict[str, str], finished: tuple[Path, str], tmp_path: Path
) -> None:
    run_swarm(config_of(world, tmp_path / "runs", datasets, iterations=1), "fit", tmp_path)
    run_swarm(config_of(world, tmp_path / "runs", datasets), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "runs" / "version_0", finished[0])
    summaries = [
        json.loads((folder / "summary.json").read_text()) for folder in (tmp_path / "runs" / "version_0", finished[0])
    ]
    assert summaries[0]["validation"] == summaries[1]["validation"]
    assert len(summaries[0]["validation"][0]["parts"]) == 2


def test_the_saved_config_starts_the_same_search(finished: tuple[Path, str], tmp_path: Path) -> None:
    config = yaml.safe_load((finished[0] / "config.yaml").read_text())
    config["trainer"]["default_root_dir"] = str(tmp_path / "runs")
    run_swarm(config, "fit", tmp_path)
    assert_same_run(tmp_path / "runs" / "version_0", finished[0])


@pytest.mark.parametrize(
    ("task", "setting", "value", "named"),
    [
        ("short", "max_new_tokens", 4, "objective.tasks.short.settings.max_new_tokens is 4, in the checkpoint 3"),
        ("long", "template", "{question}?", "objective.tasks.long.template.template is '{question}?', in the"),
        ("long", "stop", ["x"], r"objective.tasks.long.settings.stop is ['x'], in the checkpoint []"),
        (None, "combine", "mean", "objective.combine is 'mean', in the checkpoint 'harmonic_mean'"),
    ],
)
def test_every_setting_of_every_task_belongs_to_the_checkpoint(
    world: World, datasets: dict[str, str], finished: tuple[Path, str], tmp_path: Path,
    task: str | None, setting: str, value: Any, named: str,
) -> None:  # fmt: skip
    tasks = json.loads(json.dumps(TASKS))
    changes = {} if task is not None else {setting: value}
    if task is not None:
        tasks[task]["init_args"][setting] = value
    before = content(finished[0])
    config = config_of(world, tmp_path, datasets, iterations=9, tasks=tasks, **changes)
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "fit", tmp_path, "--ckpt_path", str(finished[0]))
    assert named in str(ended.value.__cause__)
    assert content(finished[0]) == before


def test_the_test_table_has_a_column_for_every_task(
    world: World, datasets: dict[str, str], finished: tuple[Path, str], tmp_path: Path
) -> None:
    config = config_of(world, tmp_path, datasets)
    run_swarm(config, "test", tmp_path, "--ckpt_path", str(finished[0]))
    rows = read_rows(finished[0] / "test.csv")
    assert [row["name"] for row in rows] == ["best initial expert", "best found expert", "top-5 ensemble"]
    on_test = by_peft(world, finished[0] / "best_expert", datasets, "test")
    assert {task: float(rows[1][f"test_utility/{task}"]) for task in TASKS} == pytest.approx(on_test)
    for row in rows:
        parts = {task: float(row[f"test_utility/{task}"]) for task in TASKS}
        assert float(row["test_utility"]) == pytest.approx(harmonic(parts))


def test_a_prompt_is_answered_as_its_task_asks(
    world: World, datasets: dict[str, str], finished: tuple[Path, str], tmp_path: Path
) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"question": "Who?", "task": "short"}\n{"question": "Where?"}\n')
    config = config_of(world, tmp_path, datasets)
    config["data"] |= {"prompts": str(tmp_path / "prompts.jsonl"), "prompts_task": "long"}
    run_swarm(config, "predict", tmp_path, "--ckpt_path", str(finished[0]))
    answers = [json.loads(line) for line in (finished[0] / "predictions.jsonl").read_text().splitlines()]
    model = world.load(finished[0] / "best_expert")
    assert [(answer["task"], answer["prompt"]) for answer in answers] == [
        ("short", "Who? "), ("long", prompt_of("Where?"))
    ]  # fmt: skip
    assert [answer["reply"] for answer in answers] == [
        world.reply(model, "Who? ", SHORT_NEW_TOKENS), world.reply(model, prompt_of("Where?"), NEW_TOKENS)
    ]  # fmt: skip


@pytest.mark.slow
def test_two_ranks_make_the_run_of_one(
    world: World, datasets: dict[str, str], finished: tuple[Path, str], forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config_of(world, tmp_path / "runs", datasets)))
    ended = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", str(path))
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_same_run(tmp_path / "runs" / "version_0", finished[0])


@pytest.mark.slow
def test_a_task_measures_the_base_on_its_own_examples_and_resumes_with_what_it_found(
    world: World, datasets: dict[str, str], tmp_path: Path
) -> None:
    rewarding = {
        "model": str(save_decoder(tmp_path / "reward", world.base)),
        "template": "Question: {question}\nAnswer:",
    }
    reward = {"class_path": "swarm_lightning.objectives.RewardModel", "init_args": {**rewarding, "max_new_tokens": 4}}
    alone = world.config(tmp_path / "alone", data={"dataset": datasets["long"]}, trainer={"max_steps": 1})
    alone["model"]["objective"] = reward
    run_swarm(alone, "fit", tmp_path)
    expected = load_checkpoint(tmp_path / "alone" / "version_0")["swarm_lightning"]["objective"]

    tasks = {"short": TASKS["short"], "long": reward}
    both = config_of(world, tmp_path / "both", datasets, iterations=1, tasks=tasks)
    run_swarm(both, "fit", tmp_path)
    kept = load_checkpoint(tmp_path / "both" / "version_0")["swarm_lightning"]["objective"]
    assert kept == {"long": expected}
    both["trainer"]["max_steps"] = 2
    run_swarm(both, "fit", tmp_path, "--ckpt_path", "last")
    assert load_checkpoint(tmp_path / "both" / "version_0")["swarm_lightning"]["objective"] == kept


class Tens(ExactMatch):
    """The same between 2 and 12."""

    bounds = (2.0, 12.0)

    def score(self, reply: str, example: Any) -> Any:
        outcome = super().score(reply, example)
        return type(outcome)(outcome.reply, outcome.answer, 2 + 10 * outcome.score)

    def is_settled(self, text: str, example: Any) -> bool:
        return False


def run(
    world: World, folder: Path, data: SwarmData, objective: MultiTask, engine: EngineSettings, **swarm: Any
) -> ModelSwarm:
    return search(
        world, folder, callbacks=[RestartStagnant(2), History(), ExportBest()], engine=engine, data=data,
        iterations=6, particles=6, objective=objective, **swarm,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["harmonic_mean", "mean", "minimum", "weighted"])
@pytest.mark.parametrize("swarm", [{"seed": 0}, {"seed": 1, "repel": 0.0}], ids=str)
def test_a_search_that_stops_early_goes_where_a_full_one_goes(
    world: World, tmp_path: Path, combine: Any, swarm: dict[str, Any]
) -> None:
    datasets = {
        "one": str(write_dataset(tmp_path / "one.json", validation=24, test=2)),
        "other": str(write_dataset(tmp_path / "other.json", validation=15, test=2, first=90)),
    }
    weights = {"one": 1.0, "other": 0.1} if combine == "weighted" else None
    parts: dict[str, Any] = {"one": ExactMatch(max_new_tokens=6), "other": Tens("contained", max_new_tokens=4)}
    full, early = (
        run(world, tmp_path / name, SwarmData(datasets), MultiTask(parts, combine, weights), engine, **swarm)
        for name, engine in (("full", FULL), ("early", EngineSettings(chunk=1)))
    )
    first, second = full.swarm.memory(), early.swarm.memory()
    assert [name for name in first if name != "utilities" and not same(first[name], second[name])] == []
    assert torch.equal(full.positions, early.positions)
    assert content(tmp_path / "full" / "best_expert") == content(tmp_path / "early" / "best_expert") != {}
    assert early.state.evaluations < full.state.evaluations
    assert len({row["personal_best_mean"] for row in read_rows(tmp_path / "full" / "history.csv")}) > 2
    names = [sorted((tmp_path / name / "score_tables").iterdir()) for name in ("full", "early")]
    for whole, part in zip(map(load_file, names[0]), map(load_file, names[1]), strict=True):
        known = ~part["utilities"].isnan()
        assert torch.equal(part["utilities"][known], whole["utilities"][known])
        assert (part["reach"][:, 0] <= whole["utilities"]).all()
        assert (whole["utilities"] <= part["reach"][:, 1]).all()


@pytest.mark.parametrize(
    ("tasks", "named", "message"),
    [
        (["long", "short"], None, "data.dataset to be a mapping with a dataset for each of the tasks long, short"),
        (["long"], ["long", "short"], "but the objective lacks short. Give every task"),
        (["long", "short", "third"], ["long", "short"], "but data.dataset lacks third"),
        (None, ["long", "short"], "one dataset for ExactMatch, but data.dataset has one for each of long, short"),
    ],
)
def test_tasks_without_data_and_data_without_tasks_end_a_run_before_anything_is_written(
    world: World,
    datasets: dict[str, str],
    tmp_path: Path,
    tasks: list[str] | None,
    named: list[str] | None,
    message: str,
) -> None:
    config = world.config(tmp_path / "runs") if tasks is None else config_of(world, tmp_path / "runs", datasets)
    config["data"]["dataset"] = datasets["long"] if named is None else {name: datasets[name] for name in named}
    if tasks is not None:
        config["model"]["objective"]["init_args"]["tasks"] = {name: TASKS["long"] for name in tasks}
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "fit", tmp_path)
    assert ended.value.code == 2
    assert message in str(ended.value.__cause__)
    assert not (tmp_path / "runs").exists()
