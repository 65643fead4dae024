"""The command `swarm` from end to end, in this process; what it refuses stands in `test_refusals.py`."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from swarm_lightning import __version__
from swarm_lightning.cli.main import main
from tests.cli.conftest import LETTERS, Run
from tests.search.tiny_search import (
    TIMINGS,
    World,
    calm_process,
    content,
    load_checkpoint,
    prompt_of,
    read_rows,
    run_swarm,
)

QUICKSTART = str(Path(__file__).parents[2] / "configs" / "quickstart.yaml")
# Runs the command in a new process and prints in the end which of the heavy libraries it has loaded.
WATCHED = (
    "import sys\nfrom swarm_lightning.cli import main\n"
    "try:\n    main()\nfinally:\n    print('loaded:', *{'torch', 'lightning', 'transformers'} & set(sys.modules))"
)


def letter(reply: str) -> str | None:
    found = [character for character in reply if character in LETTERS]
    return found[0] if found else None


def plain_answers(world: World, adapter: Path, split: str) -> list[str | None]:
    return [letter(reply) for reply in world.replies(world.load(adapter), split)]


def share_right(world: World, answers: list[str | None], split: str) -> float:
    gold = [record["answer"] for record in world.split(split)]
    return sum(answer == right for answer, right in zip(answers, gold, strict=True)) / len(gold)


def without_timings(path: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in read_rows(path)]


def test_a_fit_leaves_everything_that_a_run_has(finished: Run) -> None:
    assert {path.name for path in finished.folder.iterdir()} == {
        "config.yaml", "run.json", "history.csv", "history.parquet", "score_tables", "sketches", "checkpoints", "logs",
        "summary.json", "replies", "best_expert",
        *(f"particle_{particle}" for particle in range(5)),
    }  # fmt: skip
    assert f"Run folder: {finished.folder}" in finished.printed
    assert "best found expert" in finished.printed


@pytest.mark.smoke
def test_the_test_table_holds_the_best_initial_expert_the_best_found_one_and_a_majority_vote(
    world: World, run: Run
) -> None:
    printed = run.swarm("test", "--ckpt_path", "last")
    rows = read_rows(run.folder / "test.csv")
    assert [row["name"] for row in rows] == ["best initial expert", "best found expert", "top-4 ensemble"]
    assert [row["examples"] for row in rows] == ["12"] * 3

    state = load_checkpoint(run.folder)["optimizer_states"][0]["state"][0]
    first: list[float] = state["initial_utilities"].tolist()[:4]
    initial = ("colours", "numbers", "stories", "towns")[first.index(max(first))]
    assert rows[0]["detail"] == initial
    answers = plain_answers(world, world.experts / initial, "test")
    assert float(rows[0]["test_utility"]) == share_right(world, answers, "test")

    found = plain_answers(world, run.folder / "best_expert", "test")
    assert float(rows[1]["test_utility"]) == share_right(world, found, "test")

    utilities: list[float] = state["personal_best_utilities"].tolist()
    order = sorted(range(5), key=lambda particle: -utilities[particle])[:4]
    ballots = [plain_answers(world, run.folder / f"particle_{particle}", "test") for particle in order]
    elected: list[str | None] = []
    for votes in zip(*ballots, strict=True):  # from the best particle down
        given = [vote for vote in votes if vote is not None]
        most = max((given.count(vote) for vote in given), default=0)
        elected.append(next((vote for vote in given if given.count(vote) == most), None))
    assert elected != ballots[0], "a vote that is always the best particle's proves nothing"
    assert rows[2]["detail"] == f"particles {order}"
    assert float(rows[2]["test_utility"]) == pytest.approx(share_right(world, elected, "test"), abs=1e-12)

    for row in rows:
        assert f"{float(row['test_utility']):.4f}" in printed


def test_two_tests_write_two_tables(run: Run) -> None:
    run.swarm("test", "--ckpt_path", "last")
    first = (run.folder / "test.csv").read_bytes()
    run.swarm("test", "--ckpt_path", "last")
    assert (run.folder / "test.csv").read_bytes() == (run.folder / "test_1.csv").read_bytes() == first


@pytest.mark.parametrize(
    "source", ["last", *(pytest.param(one, marks=pytest.mark.slow) for one in ("run folder", "checkpoint"))]
)
def test_every_subcommand_finds_the_run_and_leaves_what_lies_there(run: Run, tmp_path: Path, source: str) -> None:
    before = content(run.folder)
    named = {
        "last": "last",
        "run folder": str(run.folder),
        "checkpoint": str(run.folder / "checkpoints" / "last.ckpt"),
    }[source]
    if source != "last":
        run.config["trainer"]["default_root_dir"] = str(tmp_path / "elsewhere")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What is 1 plus 1?\n")
    run.swarm("validate", "--ckpt_path", named)
    run.swarm("test", "--ckpt_path", named)
    run.swarm("predict", "--ckpt_path", named, "--data.prompts", str(prompts))
    run.swarm("export", "--ckpt_path", named, "--output", str(tmp_path / "exported"))
    after = content(run.folder)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"validation.csv", "test.csv", "predictions.jsonl"}
    summary = json.loads(after["summary.json"])
    validated = read_rows(run.folder / "validation.csv")
    assert [float(row["validation_utility"]) for row in validated] == [row["utility"] for row in summary["validation"]]
    tested = read_rows(run.folder / "test.csv")[:2]
    assert [float(row["test_utility"]) for row in tested] == [row["utility"] for row in summary["test"]]
    assert (tmp_path / "exported" / "adapter_model.safetensors").read_bytes() == after[
        "best_expert/adapter_model.safetensors"
    ]
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_fit_leaves_the_first_byte_for_byte(run: Run) -> None:
    before = content(run.folder)
    run.swarm("fit", "--trainer.max_steps", "1")
    assert content(run.folder) == before
    assert sorted(path.name for path in run.root.iterdir()) == ["version_0", "version_1"]
    assert len(read_rows(run.root / "version_1" / "history.csv")) == 2


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_prompts_are_answered_as_plain_peft_answers_them(world: World, run: Run, tmp_path: Path, kind: str) -> None:
    questions = ["What is 5 plus 4?", "Where is Paris, the town?", "Tell me of a fox."]
    path = tmp_path / f"prompts.{kind}"
    lines = questions if kind == "txt" else [json.dumps({"question": question}) for question in questions]
    path.write_text("\n".join(lines) + "\n")
    printed = run.swarm("predict", "--ckpt_path", "last", "--data.prompts", str(path))
    answers = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    model = world.load(run.folder / "best_expert")
    for answer, question in zip(answers, questions, strict=True):
        assert set(answer) == {"id", "question", "prompt", "reply"}
        assert (answer["question"], answer["prompt"]) == (question, prompt_of(question))
        assert answer["reply"] == world.reply(model, prompt_of(question))
        assert question in printed
    assert "3 answers:" in printed


def test_a_printed_config_is_a_config_and_starts_the_same_search(run: Run, tmp_path: Path) -> None:
    printed = io.StringIO()
    source = run.root.parent / "search.yaml"
    source.write_text(yaml.safe_dump(run.config))
    with calm_process(), contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", str(source), "--print_config"])
    assert exit_.value.code in (0, None)
    config = yaml.safe_load(printed.getvalue())
    assert config["model"]["particles"] == 5
    run_swarm(config, "fit", tmp_path)
    again = run.root / "version_1"
    assert without_timings(again / "history.csv") == without_timings(run.folder / "history.csv")


@pytest.mark.smoke
def test_options_on_the_command_line_reach_their_parts_and_the_saved_config(run: Run) -> None:
    run.swarm(
        "fit", "--model.optimizer.inertia", "0.1", "--model.objective.rule", "exact", "--model.objective.pattern",
        "null", "--restart.patience", "null", "--trainer.max_steps", "1", "--seed_everything", "7",
    )  # fmt: skip
    folder = run.root / "version_1"
    record = load_checkpoint(folder)["swarm_lightning"]
    assert record["identity"]["optimizer"]["inertia"] == 0.1
    assert record["identity"]["optimizer"]["cognitive"] == 0.3
    assert record["identity"]["objective"]["rule"] == "exact"
    assert record["seed"] == 7
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["model"]["optimizer"]["init_args"]["inertia"] == 0.1
    assert saved["model"]["objective"]["init_args"]["rule"] == "exact"
    assert saved["restart"]["patience"] is None


def test_any_scheduler_and_monitor_come_in_by_their_class_path(run: Run) -> None:
    run.config["model"]["scheduler"] = {
        "class_path": "torch.optim.lr_scheduler.ExponentialLR",
        "init_args": {"gamma": 0.5},
    }
    run.config["trainer"]["callbacks"] = [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}]
    run.swarm("fit", "--trainer.max_steps", "2")
    folder = run.root / "version_1"
    lengths = [float(row["step_length"]) for row in read_rows(folder / "history.csv")]
    assert lengths == pytest.approx([0.75, 0.375, 0.1875])
    logged = read_rows(next((folder / "logs").rglob("metrics.csv")))
    assert [float(row["lr-ParticleSwarm"]) for row in logged if row["lr-ParticleSwarm"]] == pytest.approx([0.75, 0.375])
    with pytest.raises(SystemExit):  # gamma is part of the search
        run.swarm("fit", "--ckpt_path", "last", "--model.scheduler.init_args.gamma", "0.25")


OWN_OBJECTIVE = '''
from swarm_lightning.objectives import GenerationSettings, Outcome


class Longest:
    """How many characters the reply has, 30 at most."""

    bounds = (0.0, 1.0)

    def __init__(self, new_tokens: int = 3) -> None:
        self.new_tokens = new_tokens

    def check(self, examples, tokenizer):
        pass

    def prompt(self, example, tokenizer):
        return example.question

    def evaluate(self, examples, model):
        replies = model.generate([example.question for example in examples], GenerationSettings(self.new_tokens))
        return [Outcome(reply, None, min(len(reply), 30) / 30) for reply in replies]
'''


@pytest.mark.smoke
def test_a_users_own_objective_comes_in_by_its_class_path(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_objective.py").write_text(OWN_OBJECTIVE)
    monkeypatch.syspath_prepend(tmp_path)
    run.config["model"]["objective"] = {"class_path": "own_objective.Longest", "init_args": {"new_tokens": 4}}
    run.swarm("fit", "--trainer.max_steps", "1")
    first = load_file(run.root / "version_1" / "score_tables" / "iteration_0000.safetensors")["scores"]
    model = world.load(world.experts / "numbers")
    replies = [world.reply(model, record["question"], new_tokens=4) for record in world.split("dev")]
    expected = torch.tensor([min(len(reply), 30) / 30 for reply in replies], dtype=torch.float64)
    assert first[1].allclose(expected, rtol=0, atol=1e-12)
    with pytest.raises(SystemExit) as exit_:
        run.swarm("fit", "--ckpt_path", "last", "--model.objective.init_args.new_tokens", "5")
    assert "objective.new_tokens is 5, in the checkpoint 4" in str(exit_.value.__cause__)


HELP = """
import sys
HEAVY = ("transformers", "peft", "datasets")
import lightning.pytorch.cli, lightning.pytorch.loggers
before = {name for name in HEAVY if name in sys.modules}
from swarm_lightning.cli import main
try:
    main(["fit", "--help"])
except SystemExit as end:
    assert not end.code
print("loaded by us:", [name for name in HEAVY if name in sys.modules and name not in before])
"""


@pytest.mark.slow
def test_the_help_says_how_to_resume_and_loads_nothing_heavy_that_lightning_has_not_loaded() -> None:
    # Where torchmetrics finds transformers it may load it: what Lightning itself brings in is not ours to choose.
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--model.particles" in done.stdout
    said = " ".join(done.stdout.split())
    assert "null starts a new run. `--resume RUN` also takes the settings from the run." in said
    assert "Maximum number of iterations of the search" in said
    assert "loaded by us: []" in done.stdout


def watched(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WATCHED, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_version_is_told_without_torch(tmp_path: Path) -> None:
    assert watched(tmp_path, "--version").stdout == f"swarm-lightning {__version__}\nloaded:\n"


def test_data_that_the_objective_can_not_ask_are_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "qa.csv").write_text("question,answer\nWhat is 1 + 1?,2\nWhat is 1 + 2?,3\n", encoding="utf-8")
    done = watched(tmp_path, "fit", "--config", QUICKSTART, "--data.dataset", "qa.csv")
    assert done.returncode == 2
    assert done.stdout == "loaded:\n"
    assert done.stderr == (
        "swarm: Expected choices in the examples of 'qa.csv' for MultipleChoice, but none has it. What they have fits "
        "ExactMatch: set --model.objective ExactMatch, or name no objective and it is taken.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["qa.csv"]


@pytest.mark.parametrize("flag", [["--model.particle", "10"], ["--data.datase", "x"], ["--conf", "x"]])
def test_flags_are_not_abbreviated(flag: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with calm_process(), pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", QUICKSTART, *flag])
    assert exit_.value.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_adapter_scores_the_same_to_the_last_digit_after_a_fit_and_in_a_test_of_its_own(
    world: World, tmp_path: Path, dtype: str
) -> None:
    # A mean log-likelihood shows every digit; in bfloat16 it depends on what shares a batch.
    model = {"dtype": dtype, "objective": {"class_path": "MeanLogLikelihood", "init_args": {}}}
    config = world.config(tmp_path / "runs")
    config["model"] |= model
    run_swarm(config, "fit", tmp_path)
    run_swarm(config, "test", tmp_path, "--ckpt_path", "last")
    folder = tmp_path / "runs" / "version_0"
    after_fit = json.loads((folder / "summary.json").read_text())["test"]
    alone = read_rows(folder / "test.csv")
    assert len(alone) == len(after_fit) + 1, "a vote is scored as well"
    for before, row in zip(after_fit, alone, strict=False):
        assert (before["name"], before["utility"]) == (row["name"], float(row["test_utility"]))
