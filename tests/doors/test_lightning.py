"""What `doors/lightning.py` relies on, on every version of Lightning."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from swarm_lightning.doors.lightning import (
    LaunchingStrategy,
    OwnCSVLogger,
    RowWriter,
    ScriptLauncher,
    cluster_environment_of,
    end_between_iterations,
    known_rank,
    last_saved_step,
    limit_validation,
    runs_several_processes,
    set_threads,
)

pytestmark = pytest.mark.smoke
DOOR = f"swarm_lightning/doors/lightning.py relies on it, and lightning is {L.__version__}"


def trainer_in(folder: Path, **settings: Any) -> L.Trainer:
    plain: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "limit_train_batches": 3,
        "limit_val_batches": 0,
        "logger": False,
        "max_epochs": 1,
    }
    return L.Trainer(**{**plain, **settings})


@pytest.mark.parametrize(("devices", "nodes", "several"), [(1, 1, False), (2, 1, True), (1, 2, True), ("1", 1, False)])
def test_it_is_known_what_runs_in_several_processes(devices: Any, nodes: int, several: bool) -> None:
    found = runs_several_processes("cpu", devices, nodes)
    assert found == several, f"Expected _AcceleratorConnector to choose the strategy: {DOOR}."


def test_the_only_process_is_the_first_rank(tmp_path: Path) -> None:
    trainer_in(tmp_path)
    assert known_rank() == 0, f"Expected rank_zero_only.rank to be the rank: {DOOR}."


def test_the_environment_of_a_single_process_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = f"Expected the trainer's accelerator connector to have a cluster_environment: {DOOR}."
    assert isinstance(cluster_environment_of(trainer_in(tmp_path)), LightningEnvironment | None), what
    for name, value in {"NTASKS": "1", "JOB_NAME": "search", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert isinstance(cluster_environment_of(trainer_in(tmp_path)), SLURMEnvironment), what


class EndsAfterTwo(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            end_between_iterations(trainer)
            assert trainer.received_sigterm


def test_a_run_ends_between_two_iterations(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, callbacks=[EndsAfterTwo()], limit_train_batches=5)
    with pytest.raises(SIGTERMException):
        trainer.fit(BoringModel())
    assert trainer.global_step == 2, f"Expected received_sigterm to end the run before its next iteration: {DOOR}."


class Watched(ModelCheckpoint):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, every_n_train_steps=2, save_top_k=-1)
        self.seen: list[int] = []

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, *arguments)
        self.seen.append(last_saved_step(self))


def test_the_step_of_the_last_checkpoint_is_known(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    trainer_in(tmp_path, callbacks=[watched], enable_checkpointing=True, limit_train_batches=4).fit(BoringModel())
    assert watched.seen == [0, 2, 2, 4], f"Expected _last_global_step_saved to follow what is written: {DOOR}."


class Validates(BoringModel):
    validated = 0

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.validated += 1
        return super().validation_step(batch, batch_idx)


def test_validation_is_left_out_and_comes_back(tmp_path: Path) -> None:
    trainer, module = trainer_in(tmp_path, limit_val_batches=2, num_sanity_val_steps=0), Validates()
    before = limit_validation(trainer, 0)
    trainer.fit(module)
    assert module.validated == 0, f"Expected limit_val_batches to be read when a run begins: {DOOR}."
    limit_validation(trainer, before)
    trainer.validate(module, verbose=False)
    assert module.validated == before == 2, f"Expected limit_val_batches to be read when a run begins: {DOOR}."


def test_the_cores_are_shared_out_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        set_threads(2)
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (before, "1"), DOOR
        monkeypatch.delenv("OMP_NUM_THREADS")
        set_threads(10_000)
        assert torch.get_num_threads() == 1, f"Expected no more threads than cores in all: {DOOR}."
        assert os.environ["OMP_NUM_THREADS"] == "1", f"Expected the processes that are started to know it: {DOOR}."
    finally:
        torch.set_num_threads(before)


class Launcher(ScriptLauncher):
    pass


class Strategy(LaunchingStrategy):
    def make_launcher(self, environment: ClusterEnvironment) -> ScriptLauncher:
        return Launcher(environment, self.num_processes, self.num_nodes)


def test_a_strategy_has_the_launcher_that_is_made_for_it(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, strategy=Strategy(), devices=2)
    launcher = trainer.strategy.launcher
    assert isinstance(launcher, Launcher), f"Expected _configure_launcher to make the launcher: {DOOR}."
    assert (launcher.num_processes, launcher.num_nodes) == (2, 1), DOOR
    assert isinstance(launcher.environment, LightningEnvironment), f"Expected cluster_environment to be known: {DOOR}."
    assert launcher.processes == [], f"Expected procs to hold what was started: {DOOR}."


def test_a_launcher_starts_the_further_ranks_with_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "names = ('LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')\n"
        "line = ' '.join([*sys.argv[1:], *(os.environ[name] for name in names)])\n"
        f"path = os.path.join({str(tmp_path)!r}, 'rank_' + os.environ['LOCAL_RANK'])\n"
        "open(path + '.partial', 'w').write(line)\n"
        "os.rename(path + '.partial', path)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(sys, "argv", [str(script), "fit"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "0")  # so that they go when the test ends
        monkeypatch.delenv(name)
    launcher = Launcher(LightningEnvironment(), 3, 1)
    launcher.start_processes()
    try:
        what = f"Expected _call_children_scripts to start one process per further rank: {DOOR}."
        assert len(launcher.processes) == 2, what
        until = time.monotonic() + 30
        files = [tmp_path / f"rank_{rank}" for rank in (1, 2)]
        while time.monotonic() < until and not all(file.exists() for file in files):
            time.sleep(0.05)
        port = os.environ["MASTER_PORT"]
        for rank, file in enumerate(files, start=1):
            assert file.read_text() == f"fit {rank} 3 127.0.0.1 {port}", what
        launcher.kill(15)
        codes = [process.wait(10) for process in launcher.processes]
        assert codes == [-15, -15], f"Expected kill to send the signal to the processes: {DOOR}."
    finally:
        for process in launcher.processes:
            process.kill()


class Rows(RowWriter):
    saved = 0

    def save(self) -> None:
        if self.metrics:
            self.saved += len(self.metrics)
            self.metrics = []


class Logger(OwnCSVLogger):
    def make_writer(self) -> Rows:
        return Rows(self.log_dir)


class Logs(BoringModel):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        found: Any = super().training_step(batch, batch_idx)
        self.log("loss", found["loss"])
        return found


def test_what_is_logged_reaches_the_writer_that_is_made_for_it(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "version_0" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text("step\n1\n")
    logger = Logger(str(tmp_path), name="logs", version=0)
    trainer_in(tmp_path, logger=logger, log_every_n_steps=1).fit(Logs())
    writer = logger.experiment
    assert isinstance(writer, Rows), f"Expected the logger's experiment to be what is made for it: {DOOR}."
    assert writer.saved == 3, f"Expected all rows to go through metrics and save: {DOOR}."
    assert Path(writer.log_dir) == file.parent, DOOR
    assert Path(writer.metrics_file_path) == file, DOOR
    assert writer.NAME_HPARAMS_FILE == "hparams.yaml", DOOR
    assert writer.hparams == {}, DOOR
    assert file.read_text() == "step\n1\n", f"Expected _check_log_dir_exists to be what empties the folder: {DOOR}."
