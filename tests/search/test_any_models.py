"""Whole searches of token swarms and of graphs: killed, shared out or stopped early, each stays the same search.

Replies are sampled in all but the first, so that noise has to be found again too.
"""

import json
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.evaluation.any_models import save_families
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.killed import kill_before_change
from tests.search.test_resume import assert_same_run, exported
from tests.search.tiny_search import World, load_checkpoint, read_rows, run_swarm, same

pytestmark = pytest.mark.slow
ITERATIONS = 3
SAMPLED = {"class_path": "swarm_lightning.ExactMatch", "init_args": {"max_new_tokens": 4, "temperature": 0.8}}
LIKELIHOOD = {"class_path": "swarm_lightning.MeanLogLikelihood"}
KINDS = ("likelihoods of one vocabulary", "several vocabularies", "graphs of any models", "graphs")
# What becomes of particles, whatever was left unasked.
MEMORY = ("velocities", "personal_bests", "personal_best_utilities", "global_best", "global_worst")


@dataclass(frozen=True)
class Calm:
    """A search that nobody disturbs: its kind, its settings, and its run folder."""

    kind: str
    model: dict[str, Any]
    folder: Path

    def config(self, world: World, root: Path, **model: Any) -> dict[str, Any]:
        settings = {"model": {**self.model, **model}, "trainer": {"max_steps": ITERATIONS}, "restart": {"patience": 2}}
        config = world.config(root, **settings)
        config["model"]["objective"] = self.model["objective"]
        return config

    def write(self, world: World, root: Path) -> str:
        path = root.parent / f"{root.name}.yaml"
        path.write_text(yaml.safe_dump(self.config(world, root)), encoding="utf-8")
        return str(path)


@pytest.fixture(scope="module")
def other_model(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 with the tokenizer of the tiny Llama."""
    return save_families(tiny_base_folder, tmp_path_factory.mktemp("families"), ("gpt2",)) / "gpt2"


@pytest.fixture(scope="module", params=KINDS)
def calm(
    request: pytest.FixtureRequest, world: World, other_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Calm:
    kinds: dict[str, dict[str, Any]] = {
        "likelihoods of one vocabulary": {
            "experts": [str(world.experts), str(other_model)],
            "mixture": "log_probabilities",
            "objective": LIKELIHOOD,
        },
        "several vocabularies": {
            "experts": [str(world.experts / "towns"), str(other_model), "demo:models/chronicle"],
            "mixture": "probabilities",
            "objective": SAMPLED,
        },
        "graphs of any models": {
            "experts": [str(world.experts / "towns"), str(other_model), "demo:models/chronicle"],
            "graphs": {"any_models": True},
            "optimizer": {"class_path": "swarm_lightning.HeterogeneousSwarm", "init_args": {"moves": "roles"}},
            "objective": SAMPLED,
        },
        "graphs": {
            "graphs": {"decoding": {"top_p": 0.8, "edges": 2}},
            "optimizer": {"class_path": "swarm_lightning.HeterogeneousSwarm", "init_args": {"assignments": 2}},
            "objective": SAMPLED,
        },
    }
    model = {**kinds[request.param], "engine": {"rows": 10, "lots": 4, "chunk": 2}}
    root = tmp_path_factory.mktemp("calm")
    found = Calm(request.param, model, root / "runs" / "version_0")
    run_swarm(found.config(world, root / "runs"), "fit", root)
    rows = read_rows(found.folder / "history.csv")
    assert len({row["personal_best_mean"] for row in rows}) > 1, "a swarm that stands still proves nothing"
    return found


def test_killed_at_random_instants_it_goes_on_to_the_same_end(
    world: World, calm: Calm, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root, numbers = tmp_path / "runs", random.Random(calm.kind)
    config, codes = calm.write(world, root), []
    for _ in range(4):  # before a change to a file: of scores, while questions are asked, more often than not
        begun = ["--ckpt_path", "last"] if list(root.glob("version_*/config.yaml")) else []
        change = numbers.randint(5, 20)
        codes.append(kill_before_change(forked_ranks, root, change, "fit", "--config", config, *begun).code)
    assert codes.count(-signal.SIGKILL) > 1, codes
    run_swarm(calm.config(world, root), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(max(root.glob("version_*")), calm.folder)  # what was killed before its config is passed over


@pytest.mark.parametrize("count", [2, 3])
def test_any_number_of_ranks_makes_the_run_of_one(
    world: World, calm: Calm, forked_ranks: ForkedRanks, tmp_path: Path, count: int
) -> None:
    config = calm.write(world, tmp_path / "runs")
    ended = forked_ranks.swarm(torchrun_environments(count), "fit", "--config", config)
    assert [rank.code for rank in ended] == [0] * count, ended
    assert_same_run(tmp_path / "runs" / "version_0", calm.folder)


def test_what_the_exact_stop_leaves_unasked_changes_nothing(world: World, calm: Calm, tmp_path: Path) -> None:
    whole = calm.config(world, tmp_path / "runs", engine={"rows": 10, "lots": 4, "exact_stop": False})
    run_swarm(whole, "fit", tmp_path)
    folders = (calm.folder, tmp_path / "runs" / "version_0")
    first, second = (load_checkpoint(folder)["optimizer_states"][0]["state"][0] for folder in folders)
    assert [name for name in MEMORY if not same(first[name], second[name])] == []
    assert exported(folders[0]) == exported(folders[1]) != {}
    stopped, everything = (
        sum(float(row["evaluations"]) for row in read_rows(folder / "history.csv")) for folder in folders
    )
    # Logarithms have no lower bound: there, nothing can be left unasked.
    assert stopped == everything if calm.kind == "likelihoods of one vocabulary" else stopped < everything


def test_another_process_draws_the_same_replies(
    world: World, calm: Calm, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(calm.folder, tmp_path / "run"))
    config = calm.write(world, tmp_path / "runs")
    (ended,) = forked_ranks.swarm([{}], "validate", "--config", config, "--ckpt_path", str(run))
    assert ended.code == 0, ended.err
    summary = json.loads((calm.folder / "summary.json").read_text(encoding="utf-8"))
    found = [float(row["validation_utility"]) for row in read_rows(run / "validation.csv")]
    assert found == pytest.approx([row["utility"] for row in summary["validation"]], abs=1e-12)
