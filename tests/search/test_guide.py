"""Whole searches that follow a smooth guide: what they follow, what they report, and that all else holds for guides."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, History, StopOnPlateau, Summary, SwarmCheckpoint
from swarm_lightning.data.examples import Example
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import Abstention, ExactMatch, LanguageModel, MeanLogLikelihood, Outcome, guides
from swarm_lightning.objectives.guides import GoldLikelihood
from swarm_lightning.report.analyses import emergence
from swarm_lightning.report.notebook import read_run
from swarm_lightning.search import ModelSwarm
from tests.forked_ranks import COMMAND, ForkedRanks, torchrun_environments
from tests.search.killed import WATCHED
from tests.search.test_kill_anywhere import assert_resumable
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import NEW_TOKENS, World, content, load_checkpoint, read_rows, run_swarm, search

OF_PRODUCTS: dict[str, Any] = {"coefficients": "module", "draws": "coefficient"}


class Contrary(ExactMatch):
    """Ranks the other way round: the lower its objective, the higher it is."""

    bounds = (-1.0, 0.0)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return [Outcome(one.reply, one.answer, -one.score) for one in super().evaluate(examples, model)]


class Same(ExactMatch):
    """Ranks as its objective does, on another scale."""

    bounds = (-2.0, 0.0)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return [Outcome(one.reply, one.answer, 2 * one.score - 2) for one in super().evaluate(examples, model)]


def use(monkeypatch: pytest.MonkeyPatch, guide: type) -> None:
    """Let a guide stand for exact matches."""
    monkeypatch.setattr(guides, "GUIDES", {ExactMatch: lambda _: guide(max_new_tokens=NEW_TOKENS)})


def validation(module: ModelSwarm) -> list[Example]:
    return list(SwarmData(str(module.trainer.datamodule.dataset)).splits.validation)  # type: ignore[attr-defined]


def same_trajectory(one: ModelSwarm, other: ModelSwarm) -> bool:
    return one.positions.equal(other.positions) and one.swarm.personal_bests.equal(other.swarm.personal_bests)


@pytest.mark.parametrize("settings", [{}, OF_PRODUCTS, {"storage": "disk"}], ids=["weights", "products", "disk"])
def test_a_search_follows_its_guide_and_the_objective_reports_and_chooses(
    world: World, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    callbacks = [History(), SwarmCheckpoint(), ExportBest(), Summary()]
    module = search(world, tmp_path, callbacks=callbacks, guide="smooth", particles=6, **settings)
    examples, swarm = validation(module), module.swarm
    space, found = module.particle_swarm.space, module.particle_swarm.found_particle
    bests = space.vectors(swarm.personal_bests)
    by_guide = module.evaluator.asking(GoldLikelihood(ExactMatch(max_new_tokens=NEW_TOKENS))).evaluate(bests, examples)
    assert swarm.personal_best_utilities.tolist() == by_guide.utilities.tolist()
    assert float(swarm.global_best_utility) == max(by_guide.utilities.tolist()) < 0
    by_objective = module.evaluator.evaluate(bests, examples).utilities
    result = module.result()
    assert result.validation[1].utility == float(by_objective[found])
    five = by_guide.utilities.argsort(descending=True)[:5].tolist()
    assert result.choices == {f"particle {place}": float(by_objective[place]) for place in five}
    assert result.validation[1].utility == max(result.choices.values())
    experts = module.evaluator.evaluate([space.expert(place) for place in range(len(module.pool.names))], examples)
    assert result.validation[0].utility == float(experts.utilities.max())
    exported = world.replies(world.load(tmp_path / "best_expert"), "dev")
    assert sum(world.score(exported, "dev")) / len(examples) == result.validation[1].utility
    kept = load_file(tmp_path / "score_tables" / "by_objective.safetensors")
    assert kept["found"].tolist() == world.score(exported, "dev")
    names = [world.replies(world.load(world.experts / name), "dev") for name in module.pool.names]
    assert kept["experts"].tolist() == [world.score(replies, "dev") for replies in names]
    guide = json.loads((tmp_path / "summary.json").read_text())["guide"]
    assert guide["after"] == float(swarm.personal_best_utilities[found])
    assert "## Guide" in (tmp_path / "best_expert" / "README.md").read_text()
    rows = read_rows(tmp_path / "history.csv")
    assert float(rows[-1]["global_best"]) == float(swarm.global_best_utility)
    assert int(load_checkpoint(tmp_path)["optimizer_states"][0]["state"][0]["choice"]) == found


# The same in processes of their own.
UNCHECKED = "import swarm_lightning.search.guide as found; found.SURE = found.MATTERS = 1e9\n"
LAST = "checkpoints/last.ckpt"


def use_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow the real guide however it ranks the tiny experts."""
    monkeypatch.setattr("swarm_lightning.search.guide.SURE", 1e9)
    monkeypatch.setattr("swarm_lightning.search.guide.MATTERS", 1e9)


def test_a_guide_that_ranks_the_other_way_round_is_dropped_for_the_objective(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = search(world, tmp_path / "plain", particles=8, callbacks=[ExportBest()])
    use(monkeypatch, Contrary)
    module = search(
        world, tmp_path / "run", particles=8, guide="smooth", callbacks=[History(), ExportBest(), Summary()]
    )  # fmt: skip
    assert not (tmp_path / "run" / "score_tables" / "by_objective.safetensors").exists(), (
        "all tables are by the objective"
    )
    assert module.state.check is not None
    assert module.state.check.kendall == -1.0
    assert not module.state.check.followed
    assert "The guide Contrary does not rank as ExactMatch does" in caplog.text
    assert same_trajectory(module, plain)
    assert module.swarm.initial_utilities.tolist() == plain.swarm.initial_utilities.tolist()
    assert module.result().validation == plain.result().validation
    assert module.result().choices == {}
    # The first positions were asked twice.
    assert module.state.evaluations == plain.state.evaluations + 8 * 8
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["guide"]["followed"] is False


def test_a_guide_on_another_scale_leads_where_its_objective_leads(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = search(world, tmp_path / "plain", particles=8)
    use(monkeypatch, Same)
    module = search(world, tmp_path / "run", particles=8, guide="smooth")
    assert module.state.guided
    assert same_trajectory(module, plain)
    assert module.result().validation[1].utility == plain.result().validation[1].utility
    # The exact stop leaves the same unasked; the first positions and the few in the end are asked by the objective.
    assert module.state.evaluations == plain.state.evaluations + 8 * 8 + 5 * 8


def test_a_guide_that_is_mixed_with_what_it_repeats_leads_where_that_leads(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("swarm_lightning.search.guide.SURE", 1e9)  # no order is clear,
    monkeypatch.setattr("swarm_lightning.search.guide.MATTERS", 0.0)  # and the objective tells the candidates apart
    plain = search(world, tmp_path / "plain", particles=8)
    use(monkeypatch, Same)
    module = search(world, tmp_path / "run", particles=8, guide="mixed", callbacks=[Summary()])
    assert module.state.check is not None
    assert module.state.check.mixed
    assert same_trajectory(module, plain)
    assert module.result().validation == plain.result().validation
    assert "Followed: Same, mixed half and half with ExactMatch" in capsys.readouterr().out
    # What it follows are standard deviations from the mean of the first positions, by both alike.
    first = module.state.reported
    expected = (first - first.mean()) / first.std()
    assert module.swarm.initial_utilities.tolist() == pytest.approx(expected.tolist())


def test_an_objective_that_is_smooth_itself_is_followed_as_it_is(world: World, tmp_path: Path) -> None:
    plain = search(world, tmp_path / "plain", objective=MeanLogLikelihood())
    module = search(world, tmp_path / "run", objective=MeanLogLikelihood(), guide="smooth")
    assert module.guide is module.objective
    assert same_trajectory(module, plain)
    assert module.state.evaluations == plain.state.evaluations
    assert "guide" not in module.result().to_dict()


def test_an_objective_without_a_smooth_guide_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match=r"Abstention has none.*Follow the objective itself"):
        ModelSwarm("no/base", experts="no/experts", objective=Abstention(), guide="smooth")


def test_a_search_from_before_there_were_guides_is_the_same_search(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path)
    assert module.identity["guide"] is None
    assert "check" not in module.state.record()


def test_what_a_longer_search_has_found_replaces_what_the_shorter_one_had(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    kept = tmp_path / "score_tables" / "by_objective.safetensors"
    callbacks = [History(), SwarmCheckpoint()]
    search(world, tmp_path, guide="smooth", iterations=1, callbacks=callbacks)
    first = load_file(kept)
    kept.unlink()  # as a process leaves it that was killed behind its last checkpoint
    search(world, tmp_path, guide="smooth", iterations=1, callbacks=callbacks, ckpt_path=str(tmp_path / LAST))
    assert {name: table.tolist() for name, table in load_file(kept).items()} == {
        name: table.tolist() for name, table in first.items()
    }
    module = search(world, tmp_path, guide="smooth", iterations=3, callbacks=callbacks, ckpt_path=str(tmp_path / LAST))
    assert load_file(kept)["found"].mean().item() == module.result().validation[1].utility


def test_what_patience_ends_is_chosen_before_the_last_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    module = search(
        world, tmp_path, guide="smooth", callbacks=[StopOnPlateau(1), SwarmCheckpoint()], iterations=30
    )  # fmt: skip
    assert int(module.swarm.iterations) < 30
    memory = load_checkpoint(tmp_path)["optimizer_states"][0]["state"][0]
    assert float(memory["chosen_utility"]) == module.result().validation[1].utility


def config_of(world: World, root: Path) -> dict[str, Any]:
    model = {"guide": "smooth", "engine": {"rows": 10, "lots": 4}, "particles": 6, **OF_PRODUCTS}
    return world.config(root, model=model)


def write_config(world: World, root: Path) -> str:
    path = root.parent / f"{root.name}.yaml"
    path.write_text(yaml.safe_dump(config_of(world, root)))
    return str(path)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a guided search that nobody disturbs."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        use_unchecked(patch)
        printed = run_swarm(config_of(world, root), "fit", root.parent)
    assert "Followed: GoldLikelihood from -" in printed
    return root / "version_0"


def test_the_history_says_what_the_objective_makes_of_the_best_by_the_guide(whole: Path) -> None:
    rows = read_rows(whole / "history.csv")
    summary = json.loads((whole / "summary.json").read_text())
    shown = [row["global_best_by_objective"] for row in rows]
    assert float(shown[0]) >= 0 > float(rows[0]["global_best"])
    assert float(shown[-1]) == next(iter(summary["choices"].values()))  # of the global best
    logged = [row for row in read_rows(next((whole / "logs").rglob("metrics.csv"))) if row.get("swarm/global_best")]
    assert [row["swarm/global_best_by_objective"] for row in logged] == pytest.approx(shown)


@pytest.mark.slow
def test_all_commands_take_a_guided_run(
    world: World, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    config, last = config_of(world, tmp_path / "elsewhere"), ("--ckpt_path", str(whole))
    run_swarm(config, "validate", tmp_path, *last)
    run_swarm(config, "test", tmp_path, *last)
    run_swarm(config, "export", tmp_path, *last, "--output", str(tmp_path / "exported"))
    summary = json.loads((whole / "summary.json").read_text())
    validated, tested = read_rows(whole / "validation.csv"), read_rows(whole / "test.csv")
    assert [float(row["validation_utility"]) for row in validated] == [row["utility"] for row in summary["validation"]]
    assert [float(row["test_utility"]) for row in tested[:2]] == [row["utility"] for row in summary["test"]]
    weights = "adapter_model.safetensors"
    assert content(tmp_path / "exported")[weights] == content(whole / "best_expert")[weights]


# Among the changes to the folder: before there is a checkpoint, and behind those of so many iterations.
@pytest.mark.parametrize(
    ("number", "done"),
    [
        pytest.param(6, None, marks=pytest.mark.slow),
        pytest.param(53, 0, marks=pytest.mark.slow),
        pytest.param(77, 1, marks=pytest.mark.slow),
        pytest.param(101, 2, marks=pytest.mark.slow),
    ],
)
def test_a_killed_guided_search_goes_on_bit_for_bit(
    world: World,
    whole: Path,
    forked_ranks: ForkedRanks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    done: int | None,
) -> None:
    use_unchecked(monkeypatch)
    root = tmp_path / "runs"
    arguments = [str(root), "", str(number), "fit", "--config", write_config(world, root)]
    (ended,) = forked_ranks.run([{}], UNCHECKED + WATCHED, arguments)
    assert ended.code == -signal.SIGKILL
    saved = load_checkpoint(root / "version_0") if (root / "version_0" / LAST).exists() else None
    assert (None if saved is None else saved["global_step"]) == done
    run_swarm(config_of(world, root), "fit", tmp_path, *assert_resumable(root))
    assert_same_run(max(root.glob("version_*")), whole)


@pytest.mark.slow
def test_any_number_of_ranks_makes_the_guided_run_of_one(
    world: World, whole: Path, forked_ranks: ForkedRanks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    arguments = ["fit", "--config", write_config(world, tmp_path / "runs")]
    ended = forked_ranks.run(torchrun_environments(2), UNCHECKED + COMMAND, arguments)
    assert [rank.code for rank in ended] == [0] * 2, ended
    assert_same_run(tmp_path / "runs" / "version_0", whole)


def test_an_evolution_strategy_begins_and_steps_by_the_guide_and_chooses_by_the_objective(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    strategy = {"evaluations": 360, "steps": 2, "batch": 2}
    optimizer = {"class_path": "swarm_lightning.swarm.EvolutionStrategy", "init_args": strategy}
    model = {"coefficients": "module", "guide": "smooth", "optimizer": optimizer, "objective_every": 1}
    run_swarm(world.config(tmp_path / "runs", model=model), "fit", tmp_path)
    summary = json.loads((tmp_path / "runs" / "version_0" / "summary.json").read_text())
    rows = read_rows(tmp_path / "runs" / "version_0" / "history.csv")
    steps = [float(row["evaluations"]) for row in rows[1:]]
    assert steps[0] == steps[1] + 8, "the objective is asked about the centre between the two"
    assert rows[0]["centre_by_objective"] == ""
    assert float(rows[1]["centre_by_objective"]) >= 0
    assert float(rows[2]["centre_by_objective"]) == summary["choices"]["last centre"]
    assert summary["evaluations"] <= 360
    assert all(utility < 0 for utility in summary["starts"].values()), "these are logarithms"
    assert all(utility >= 0 for utility in summary["choices"].values())
    assert summary["validation"][1]["utility"] == max(summary["choices"].values())
    assert summary["guide"]["followed"]
    kept = load_file(tmp_path / "runs" / "version_0" / "score_tables" / "by_objective.safetensors")
    before, after = (row["utility"] for row in summary["validation"])
    assert kept["experts"].shape == (4, 8)
    assert kept["experts"].mean(dim=1).max().item() == before
    assert kept["found"].mean().item() == after
    found = emergence(read_run(tmp_path / "runs" / "version_0"))
    assert found is not None
    emerged = [
        not any(column[:-1]) and column[-1]
        for column in zip(*kept["experts"].tolist(), kept["found"].tolist(), strict=True)
    ]
    assert found.counts["of these right by the winner now"] == sum(emerged)


@pytest.mark.slow
def test_several_tasks_are_combined_as_the_objective_says(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    exact = {"class_path": "ExactMatch", "init_args": {"max_new_tokens": NEW_TOKENS}}
    tasks = {"class_path": "MultiTask", "init_args": {"tasks": {"one": exact, "two": exact}}}
    config = world.config(tmp_path / "runs", model={"guide": "smooth"})
    config["model"]["objective"] = tasks
    config["data"]["dataset"] = {"one": str(world.dataset), "two": str(world.dataset)}
    run_swarm(config, "fit", tmp_path)
    folder = tmp_path / "runs" / "version_0"
    summary = json.loads((folder / "summary.json").read_text())
    found = summary["validation"][1]
    one, two = found["parts"]["one"], found["parts"]["two"]
    assert found["utility"] == pytest.approx(2 * one * two / (one + two) if one * two else 0.0)
    last = read_rows(folder / "history.csv")[-1]
    assert float(last["best/one"]) < 0  # what is followed: the mean log-likelihood of a task
    # Both tasks have the same examples, so their harmonic mean is exp of either.
    assert float(last["global_best"]) == pytest.approx(float(torch.tensor(float(last["best/one"])).exp()))
