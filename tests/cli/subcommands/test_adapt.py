"""`swarm adapt` from end to end on small data: a CSV with nothing else given, its words, its files, and going on."""

import csv
import json
import signal
from functools import partial
from html import escape
from pathlib import Path

import pytest
import yaml

import swarm_lightning
from swarm_lightning.cli.main import main
from swarm_lightning.cli.subcommands.adapt import fit_arguments
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from tests.cli.conftest import states_below
from tests.forked_ranks import ForkedRanks
from tests.search.killed import kill_before_change
from tests.search.test_guide import Contrary, use, use_unchecked
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import NEW_TOKENS, World, calm_process, content

STEPS = ("--model.optimizer.steps", "2", "--model.optimizer.batch", "2", "--trainer.accelerator", "cpu")
# Four experts, their mean, three rounds of the soup, a fit of each of these two, three scaled sums and the choice among
# five, 8 examples each; then 2 steps of 4 pairs of candidates with 2 examples each.
BUDGET = (4 + 1 + 3 + 2 * 3 + 3 + 5) * 8 + 2 * 4 * 2 * 2


def write_csv(world: World, path: Path, *columns: str) -> Path:
    records = world.split("dev") + world.split("test")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(records)
    return path


def arguments_of(world: World, data: Path, *more: str) -> list[str]:
    own = ("--model.base", str(world.base), "--model.experts", str(world.experts), "--data.dataset", str(data))
    sizes = ("--data.validation_size", "8", "--data.test_size", "8")
    return ["adapt", *own, "--budget", str(BUDGET), *sizes, *STEPS, "--trainer.enable_progress_bar", "false", *more]


@pytest.fixture(scope="module")
def adapted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an adaptation to a CSV of questions and answers."""
    folder = tmp_path_factory.mktemp("adapted")
    data = write_csv(world, folder / "qa.csv", "question", "answer")
    with pytest.MonkeyPatch.context() as patch, calm_process():
        patch.chdir(folder)
        main(arguments_of(world, data))
    return folder / "runs" / "adapt" / "version_0"


def test_a_csv_of_questions_and_answers_is_enough(adapted: Path, world: World) -> None:
    summary = json.loads((adapted / "summary.json").read_text())
    assert summary["evaluations"] == BUDGET
    assert summary["iterations"] == 2
    assert states_below(adapted.parents[1]) == {"adapt/version_0": "ended"}
    config = yaml.safe_load((adapted / "config.yaml").read_text())
    chosen = config["model"]["objective"]  # with all settings, as where it is named
    assert chosen["class_path"] == "swarm_lightning.objectives.ExactMatch"
    assert (chosen["init_args"]["max_new_tokens"], chosen["init_args"]["chat"]) == (10, False)
    assert world.load(adapted / "best_expert").peft_config["default"].to_dict()["r"] == 16, (
        "the summed rank of four experts"
    )


def test_no_replies_are_asked_for_beside_the_budget(adapted: Path) -> None:
    assert [path.name for path in (adapted / "replies").iterdir()] == ["test.parquet"]


def test_the_verdict_says_what_the_intervals_say(adapted: Path) -> None:
    kept = json.loads((adapted / "verdict.json").read_text())
    summary = json.loads((adapted / "summary.json").read_text())
    assert kept["gains"]
    over_expert = kept["gains"][f"the best expert, {summary['test'][0]['detail']}"]
    assert {key: over_expert[key] for key in ("difference", "low", "high")} == {
        key: summary["test"][1]["gain"][key] for key in ("difference", "low", "high")
    }
    for gain in kept["gains"].values():
        low, high = gain["low"], gain["high"]
        assert gain["verdict"] == ("better" if low > 0 else "worse" if high < 0 else "within noise")
    words = {"better": "Better than", "worse": "Worse than", "within noise": "Within noise of"}
    assert kept["sentences"][0].startswith(words[over_expert["verdict"]])
    assert any(sentence.startswith("Training on the same 8 examples") for sentence in kept["sentences"])
    assert any("Routing" in sentence for sentence in kept["sentences"])


def test_as_many_steps_as_are_asked_for_are_done(
    world: World, adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ("--model.optimizer.steps", "52", "--model.optimizer.batch", "1")  # `swarm fit` ends after 50 by default
    budget = ("--model.optimizer.evaluations", str(BUDGET + 400))
    with calm_process():
        main(arguments_of(world, adapted.parents[2] / "qa.csv", *more, *budget, "--trainer.log_every_n_steps", "52"))
    folder = tmp_path / "runs" / "adapt" / "version_0"
    assert json.loads((folder / "summary.json").read_text())["iterations"] == 52
    assert json.loads((folder / "run.json").read_text())["iterations_at_most"] == 52
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] > 52, "so that a resumed run goes on too"


def test_minutes_that_hold_nothing_hand_over_the_best_expert_and_say_so(world: World, tmp_path: Path) -> None:
    data = swarm_lightning.SwarmData(str(world.dataset), validation_size=8, test_size=8)
    with calm_process():
        result = swarm_lightning.adapt(
            str(world.base), str(world.experts), data, minutes=1e-6, objective="ExactMatch", folder=tmp_path / "runs"
        )
    assert result.summary["iterations"] == 0
    assert result.summary["evaluations"] == 2 * 4 * 8, "the experts, by the guide and by the objective"
    assert any(sentence.startswith("The budget was too small for a search") for sentence in result.verdict)
    assert (result.best / "adapter_model.safetensors").is_file()


def test_a_search_that_returns_the_best_expert_is_no_better_than_what_needs_no_search(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    use(monkeypatch, Contrary)  # and so the search begins with what the objective finds worst
    data = swarm_lightning.SwarmData(str(world.dataset), validation_size=8, test_size=8)
    strategy = partial(EvolutionStrategy, evaluations=BUDGET + 32, steps=2, batch=2, step_length=1e-9)
    with calm_process():
        result = swarm_lightning.adapt(
            str(world.base), str(world.experts), data, BUDGET, objective=ExactMatch(max_new_tokens=NEW_TOKENS),
            folder=tmp_path / "runs", optimizer=strategy,
        )  # fmt: skip
    summary = result.summary
    expert, choices = summary["test"][0]["detail"], summary["choices"]
    assert summary["iterations"] == 2
    assert choices["start"] < choices["best expert"] == max(choices.values())
    assert result.verdict[0].startswith(f"Within noise of the best expert, {expert}: +0.0000")
    assert result.verdict[1] == (
        f"On validation the search found nothing better than what needs no search: best expert {expert}."
    )
    kept = json.loads((result.best.parent / "verdict.json").read_text())
    assert list(kept["gains"]) == [f"the best expert, {expert}"]


@pytest.mark.slow
def test_a_killed_adaptation_goes_on_bit_for_bit(
    world: World, adapted: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    given = arguments_of(world, adapted.parents[2] / "qa.csv", "--trainer.default_root_dir", str(root))
    ended = kill_before_change(forked_ranks, root, 25, *given)
    assert ended.code == -signal.SIGKILL
    with calm_process():
        main(["adapt", "--resume", str(root / "version_0")])
    assert_same_run(root / "version_0", adapted)
    assert content(root / "version_0")["verdict.json"] == content(adapted)["verdict.json"]


def test_python_adapts_with_the_same_parts(world: World, adapted: Path, tmp_path: Path) -> None:
    data = swarm_lightning.SwarmData(str(adapted.parents[2] / "qa.csv"), validation_size=8, test_size=8)
    with calm_process():
        result = swarm_lightning.adapt(str(world.base), str(world.experts), data, budget=520, folder=tmp_path / "runs")
    assert result.summary["evaluations"] <= 520
    assert result.best == tmp_path / "runs" / "version_0" / "best_expert"
    assert result.verdict
    assert escape(result.verdict[0]) in result._repr_html_()
    assert result.history["iteration"].tolist() == list(range(result.summary["iterations"] + 1))
    exported = result.export(tmp_path / "mine")
    weights = "adapter_model.safetensors"
    assert content(exported)[weights] == content(result.best)[weights]
    assert content(exported)[weights] != content(world.experts / result.summary["test"][0]["detail"])[weights]


def test_relative_paths_of_a_run_mean_the_folder_in_which_it_was_started(
    adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "version_0"
    folder.mkdir()
    (folder / "config.yaml").write_text("data: {dataset: qa.csv}\n")
    (folder / "run.json").write_text((adapted / "run.json").read_text())
    monkeypatch.chdir(tmp_path)
    assert fit_arguments(["--resume", "version_0", "--trainer.max_steps", "3"]) == [
        *("fit", "--config", "version_0/config.yaml", "--data.dataset", str(adapted.parents[2] / "qa.csv")),
        *("--ckpt_path", "version_0", "--trainer.max_steps", "3"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--budget, a number of evaluations"), (["--budget", "many"], "invalid int value: 'many'"),
        (["--budget", "9", "--prompt", "{question}"], "--objective with --prompt"),
        (["--budjet", "6000"], "There is no --budjet"), (["--budget", "0"], "--budget to be above 0, but got 0"),
        (["--minutes", "-1"], "--minutes to be above 0, but got -1"),
        (["--resume", "nowhere"], "has no config.yaml"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_arguments(arguments)


def test_a_budget_for_less_than_the_cheap_things_is_refused_with_what_is_needed(
    world: World, adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with calm_process(), pytest.raises(SystemExit, match="2"):
        main(arguments_of(world, adapted.parents[2] / "qa.csv", "--model.optimizer.evaluations", "60"))
    said = capsys.readouterr().err
    assert "hold 64 pairs of a model and an example, 2 for each of 4 experts and 8 examples, but got 60" in said
    assert "data.validation_size to 7 or less" in said


# Twice the experts; then what is left holds nothing, the mean and a choice, also a soup of three, or also a fit.
@pytest.mark.parametrize(("budget", "tried"), [(64, 1), (64 + 4 * 8, 2), (64 + 6 * 8, 3), (64 + 9 * 8, 4)])
def test_a_budget_without_room_for_a_search_hands_over_what_it_held_and_says_so(
    world: World, adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int, tried: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with calm_process():
        main(arguments_of(world, adapted.parents[2] / "qa.csv", "--model.optimizer.evaluations", str(budget)))
    folder = tmp_path / "runs" / "adapt" / "version_0"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["evaluations"] <= budget
    assert summary["iterations"] == 0
    assert len(summary["starts"]) == tried
    assert summary["validation"][1]["utility"] == max(summary["choices"].values())
    assert (folder / "best_expert" / "adapter_model.safetensors").is_file()
    said = json.loads((folder / "verdict.json").read_text())["sentences"]
    assert any(sentence.startswith("The budget was too small for a search") for sentence in said)
    assert (folder / "checkpoints" / "last.ckpt").is_file()


def test_questions_alone_are_refused_with_what_is_needed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_csv(world, tmp_path / "prompts.csv", "question")
    with calm_process(), pytest.raises(SystemExit, match="2"):
        main(arguments_of(world, data))
    assert "Expected an answer to score replies by" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "adapt").exists()
