"""One search on several ranks: to the last bit that of one, whoever started them, and whatever becomes of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml

from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.errors import InputError
from swarm_lightning.search.strategy import SwarmStrategy, external_launch, ranks_of
from tests.forked_ranks import ForkedRanks, free_port, srun_environments, torchrun_environments
from tests.search.test_resume import assert_same_run, rows_without_timings
from tests.search.tiny_search import World, content, read_rows, run_swarm

ITERATIONS = 3
SETTINGS: dict[str, Any] = {
    "restart": {"patience": 2},
    "trainer": {"max_steps": ITERATIONS},
    "model": {
        "optimizer": {"class_path": "swarm_lightning.ParticleSwarm", "init_args": {"drop_particle": 0.2}},
        "ensemble_size": 3,
        "engine": {"rows": 5, "chunk": 2},  # so that there is work for many ranks
    },
}


def write_config(world: World, root: Path, **changes: Any) -> str:
    path = root.parent / f"{root.name}.yaml"
    path.write_text(yaml.safe_dump(world.config(root, **{**SETTINGS, **changes})))
    return str(path)


@pytest.fixture(scope="module")
def alone(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the search on one rank, with a test of it."""
    root = tmp_path_factory.mktemp("alone") / "runs"
    config = world.config(root, **SETTINGS)
    run_swarm(config, "fit", root.parent)
    run_swarm(config, "test", root.parent, "--ckpt_path", "last")
    rows = rows_without_timings(root / "version_0")
    assert len({row["personal_best_mean"] for row in rows}) > 2, "a swarm that stands still proves nothing"
    return root / "version_0"


@pytest.mark.slow
@pytest.mark.parametrize("count", [3])
def test_any_number_of_ranks_makes_the_run_of_one_rank(
    world: World, alone: Path, forked_ranks: ForkedRanks, tmp_path: Path, count: int
) -> None:
    config = write_config(world, tmp_path / "runs")
    ended = forked_ranks.swarm(torchrun_environments(count), "fit", "--config", config)
    assert [rank.code for rank in ended] == [0] * count, ended
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["version_0"]
    folder = tmp_path / "runs" / "version_0"
    assert_same_run(folder, alone)
    assert (folder / "config.yaml").read_text().replace(str(tmp_path), "") == (
        alone / "config.yaml"
    ).read_text().replace(str(alone.parents[1]), "")
    assert content(folder).keys() == content(alone).keys() - {"test.csv"}
    assert len(read_rows(next((folder / "logs").rglob("metrics.csv")))) == ITERATIONS + 2  # the last is the result


@pytest.mark.slow
def test_the_first_rank_alone_prints_and_writes(
    world: World, alone: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    config = write_config(world, tmp_path / "runs")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What is 1 plus 1?\n")
    last = ["--config", config, "--ckpt_path", "last"]
    ended = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", config)
    for arguments in (
        ["validate", *last],
        ["test", *last],
        ["predict", *last, "--data.prompts", str(prompts)],
        ["export", *last, "--particle", "1"],
    ):
        ended += forked_ranks.swarm(torchrun_environments(2), *arguments)
    assert [rank.code for rank in ended] == [0] * 10, ended
    first, others = ended[::2], ended[1::2]
    assert all(rank.out == rank.err == "" for rank in others)
    assert "best found expert" in first[0].out
    for rank, name in zip(first[1:], ("validation.csv", "test.csv", "predictions.jsonl", "particle_1"), strict=True):
        assert f"{name}\n" in rank.out
    folder = tmp_path / "runs" / "version_0"
    assert_same_run(folder, alone)
    assert (folder / "test.csv").read_bytes() == (alone / "test.csv").read_bytes()
    assert len((folder / "predictions.jsonl").read_text().splitlines()) == 1
    assert [path.name for path in folder.iterdir() if "_1." in path.name] == []


@pytest.mark.slow
def test_ranks_on_two_machines_under_slurm_need_no_setting(
    world: World, alone: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    config = write_config(world, tmp_path / "runs")
    ended = forked_ranks.swarm(srun_environments(nodes=2, per_node=1), "fit", "--config", config)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_same_run(tmp_path / "runs" / "version_0", alone)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["trainer.devices", "torchrun"])
def test_two_processes_started_from_the_shell_make_the_run_of_one(
    world: World, alone: Path, tmp_path: Path, start: str
) -> None:
    config = write_config(world, tmp_path / "runs")
    torchrun = ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()), "-m"]
    command = [sys.executable, "-m", *(torchrun if start == "torchrun" else [])]
    command += ["swarm_lightning", "fit", "--config", config]
    command += ["--trainer.devices", "2"] if start == "trainer.devices" else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("│ best found expert") == 1
    assert done.stdout.count("Gain of the best found expert") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["version_0"]
    assert_same_run(tmp_path / "runs" / "version_0", alone)


OWN_OBJECTIVE = '''
import os, signal, time
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch

calls = 0

class Frail(ExactMatch):
    """Like ExactMatch, but one rank does not survive a certain call, and another may be long about it."""

    def __init__(self, max_new_tokens: int = 6) -> None:
        super().__init__(max_new_tokens=max_new_tokens)

    def evaluate(self, examples, model):
        global calls
        calls += 1
        rank, call, end = os.environ.get("FRAIL", "-1 0 none").split()
        if "BUSY" in os.environ and os.environ["LOCAL_RANK"] != rank and calls > int(call):
            time.sleep(1)
            if os.path.exists(os.environ["BUSY"]):  # the other rank is dead by now
                time.sleep(200)
        if os.environ.get("RANK", os.environ.get("LOCAL_RANK")) == rank and calls == int(call):
            if end == "killed":
                open(os.environ.get("BUSY", os.devnull), "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            if end == "failing":
                model.generate(None, None)
            raise {"mistaken": InputError, "raising": KeyError}[end]("example 'x' can't be asked")
        return super().evaluate(examples, model)
'''
# Of 8 examples, every rank of two is asked 4 in each iteration, one after the other.
FRAIL: dict[str, Any] = {
    "model": {
        "objective": {"class_path": "own_frail.Frail", "init_args": {"max_new_tokens": 6}},
        "engine": {"rows": 5, "lots": 8, "exact_stop": False},
    }
}


@pytest.fixture
def frail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Two ranks that can import an objective that fails on command."""
    (tmp_path / "own_frail.py").write_text(OWN_OBJECTIVE)
    monkeypatch.syspath_prepend(tmp_path)
    return torchrun_environments(2)


def frail_program(folder: Path) -> str:
    return f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom swarm_lightning.cli import main; main(ARGUMENTS)"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("end", "code"), [("mistaken", 2), ("raising", 2), ("failing", 1)])
def test_what_fails_on_one_rank_ends_all_with_one_message(
    world: World, forked_ranks: ForkedRanks, frail: list[dict[str, str]], tmp_path: Path, rank: int, end: str, code: int
) -> None:
    config = write_config(world, tmp_path / "runs", **FRAIL)
    environments = [{**environment, "FRAIL": f"{rank} 3 {end}"} for environment in frail]
    ended = forked_ranks.run(environments, frail_program(tmp_path), ["fit", "--config", config])
    assert [each.code for each in ended] == [code, code]
    told = [line for each in ended for line in each.err.splitlines() if line.startswith("swarm: ")]
    if end == "mistaken":
        assert told == ["swarm: example 'x' can't be asked"]
        assert "Traceback" not in ended[0].err + ended[1].err
    elif end == "raising":
        assert len(told) == 1
        assert "from Frail for" in told[0]
        assert "raised KeyError" in told[0]
        assert "Traceback" not in ended[0].err + ended[1].err
    else:
        assert ["Traceback" in each.err for each in ended] == [rank == 0, rank == 1]
        assert len(told) == (0 if rank == 0 else 1)
        assert rank == 0 or ("rank 1 failed: TypeError" in told[0] and "--ckpt_path" in told[0])


@pytest.mark.slow
def test_a_refusal_before_the_search_is_told_once_and_leaves_no_folder(
    world: World, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    config = write_config(world, tmp_path / "runs")
    for arguments in (
        ["--model.experts", str(tmp_path)],
        ["--model.objective.rule", "regex", "--model.objective.pattern", "null"],
        ["--export_best.particles", "[5]"],
        ["--trainer.max_steps", "0"],
        ["--ckpt_path", "last"],
    ):
        ended = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", config, *arguments)
        assert [rank.code for rank in ended] == [2, 2], (arguments, ended)
        assert (ended[0].err.count("swarm: "), ended[1].err) == (1, ""), arguments
        assert not (tmp_path / "runs").exists(), arguments


def test_ranks_with_other_files_are_refused(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    config = write_config(world, tmp_path / "runs")
    other = json.loads(world.dataset.read_text())
    other["dev"].pop()
    (tmp_path / "other.json").write_text(json.dumps(other))
    program = f"ARGUMENTS += ['--data.dataset', {str(tmp_path / 'other.json')!r}] if RANK else []\n"
    program += "from swarm_lightning.cli import main; main(ARGUMENTS)"
    ended = forked_ranks.run(torchrun_environments(2), program, ["fit", "--config", config])
    assert [rank.code for rank in ended] == [2, 2]
    assert "on rank 1 the data differ from those on rank 0" in ended[0].err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_ranks_that_have_drifted_apart_do_not_go_on(world: World, forked_ranks: ForkedRanks, tmp_path: Path) -> None:
    program = """
from swarm_lightning.callbacks import RestartStagnant
from swarm_lightning.cli import main

def drift(self, trainer, module, batch, batch_idx):
    if RANK == 1 and module.swarm.iterations == 1:
        module.positions.data[2, 5] += 1e-6

RestartStagnant.on_train_batch_start = drift
main(ARGUMENTS)
"""
    config = write_config(world, tmp_path / "runs")
    ended = forked_ranks.run(torchrun_environments(2), program, ["fit", "--config", config])
    assert [rank.code for rank in ended] == [1, 1]
    assert "those of [1] are others than those of rank 0" in ended[0].err
    assert len(read_rows(tmp_path / "runs" / "version_0" / "history.csv")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.usefixtures("frail")
def test_a_killed_rank_ends_the_run_which_goes_on_on_another_number_of_ranks(
    world: World, tmp_path: Path, busy: bool
) -> None:
    changes: dict[str, Any] = {**SETTINGS, **FRAIL, "trainer": {"max_steps": 4}}
    run_swarm(world.config(tmp_path / "whole", **changes), "fit", tmp_path)
    config = write_config(world, tmp_path / "runs", **changes)
    # It dies while the third iteration is scored; the first rank notices in the gather, or not, busy with its share.
    environment = {**os.environ, "FRAIL": "1 14 killed", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    environment |= {"BUSY": str(tmp_path / "dead")} if busy else {}
    command = [sys.executable, "-m", "swarm_lightning", "fit", "--config", config, "--trainer.devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1, done.stderr
    assert ("was ended by signal 9" if busy else "has lost another one") in done.stderr
    assert "go on from it with --ckpt_path" in done.stderr
    folder = tmp_path / "runs" / "version_0"
    assert [row["iteration"] for row in read_rows(folder / "history.csv")] == ["0", "1", "2"]

    run_swarm(world.config(tmp_path / "runs", **changes), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(folder, tmp_path / "whole" / "version_0")


def test_a_plain_strategy_is_refused_with_the_one_to_give() -> None:
    with pytest.raises(InputError, match=r"strategy=SwarmStrategy\(\)"):
        ranks_of(L.Trainer(accelerator="cpu", devices=2, logger=False))
    assert ranks_of(L.Trainer(accelerator="cpu", devices=1, logger=False)).count == 1


def test_several_devices_bring_the_strategy_along_and_examples_are_never_split() -> None:
    several = SwarmTrainer(accelerator="cpu", devices=2, logger=False)
    assert isinstance(several.strategy, SwarmStrategy)
    assert not isinstance(SwarmTrainer(accelerator="cpu", logger=False).strategy, SwarmStrategy)
    assert isinstance(SwarmTrainer(accelerator="cpu", num_nodes=2, logger=False).strategy, SwarmStrategy)
    with pytest.raises(InputError, match="use_distributed_sampler"):
        SwarmTrainer(accelerator="cpu", devices=2, logger=False, use_distributed_sampler=True)


def test_torchrun_and_srun_say_how_many_ranks_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert external_launch() is None
    for name, value in srun_environments(nodes=2, per_node=4)[5].items():
        monkeypatch.setenv(name, value)
    launch = external_launch()
    assert launch is not None
    assert (launch.processes, launch.nodes) == (4, 2)
    for name, value in torchrun_environments(3)[1].items():  # torchrun inside of a SLURM job counts
        monkeypatch.setenv(name, value)
    launch = external_launch()
    assert launch is not None
    assert (launch.processes, launch.nodes) == (3, 1)
    assert torch.distributed.is_torchelastic_launched()
