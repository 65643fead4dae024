"""What `doors/lightning_cli.py` relies on, on every version of Lightning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import pytest
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from swarm_lightning.doors.jsonargparse import Complaint, OpenParser
from swarm_lightning.doors.lightning_cli import CommandLine

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("ignore:.*args parameter is intended.*")]
DOOR = f"swarm_lightning/doors/lightning_cli.py relies on it, and lightning is {L.__version__}"


@dataclass
class Settings:
    """Settings of a command.

    Attributes:
        times: How often.
    """

    times: int = 1


class Parser(OpenParser, LightningArgumentParser):
    def refuse(self, complaint: Complaint, error: Exception | None) -> NoReturn:
        raise ValueError(complaint.text)


class Trainer(L.Trainer):
    def compare(
        self, model: L.LightningModule, datamodule: L.LightningDataModule, compare: Settings | None = None
    ) -> None:
        """Compare."""
        self.compared = (model, datamodule, compare)


class Commands(CommandLine):
    ran: str | None = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {**CommandLine.subcommands(), "compare": {"model", "datamodule"}}

    def settings_of_commands(self) -> Mapping[str, type]:
        return {"compare": Settings, "sweep": Settings}

    def further_commands(self) -> Mapping[str, str]:
        return {"sweep": "Sweep.", "experts": "Make experts."}

    def complete_parser(self, command: str, parser: LightningArgumentParser) -> None:
        self.completed = [*getattr(self, "completed", []), command]

    def run_command(self, command: str) -> None:
        if command == "sweep":
            self.ran = command
        else:
            super().run_command(command)


def run(*arguments: str) -> Commands:
    trainer = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    return Commands(
        BoringModel,
        BoringDataModule,
        trainer_class=Trainer,
        trainer_defaults=trainer,
        parser_class=Parser,
        save_config_callback=SaveConfigCallback,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        args=list(arguments),
    )


def test_a_method_of_the_trainer_gets_the_settings_of_its_command() -> None:
    ran = run("compare", "--compare.times", "3")
    assert isinstance(ran.trainer, Trainer)
    model, data, settings = ran.trainer.compared
    what = f"Expected _prepare_subcommand_parser and _subcommand_method_arguments to hand them on: {DOOR}."
    assert (model, data, settings) == (ran.model, ran.datamodule, Settings(3)), what
    assert ran.settings_given.compare.times == 3, DOOR


def test_a_further_command_takes_settings_beside_those_of_a_search_and_runs_in_its_own_way() -> None:
    ran = run("sweep", "--sweep.times", "2", "--trainer.max_epochs", "7")
    assert ran.ran == "sweep", f"Expected _run_subcommand to run the chosen command: {DOOR}."
    assert ran.settings_given.sweep.times == 2, f"Expected _add_subcommands to take further commands: {DOOR}."
    assert ran.settings_made("trainer")["max_epochs"] == 7, f"Expected _get to find what was made: {DOOR}."
    assert ran.parser_of("sweep").parse_args([]).sweep.times == 1, f"Expected _subcommand_parsers to know it: {DOOR}."


def test_the_parser_of_a_command_gets_its_arguments_where_it_is_needed_and_once() -> None:
    ran = run("sweep", "--sweep.times", "2")
    assert ran.completed == ["sweep"]
    for _ in range(2):
        filled = ran.parser_of("compare").parse_args(["--compare.times", "4", "--trainer.max_epochs", "7"])
        assert (filled.compare.times, filled.trainer.max_epochs) == (4, 7), DOOR
    assert ran.completed == ["sweep", "compare"]


def test_the_command_may_stand_behind_options(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("{}")
    assert run("--config", str(tmp_path / "none.yaml"), "sweep", "--sweep.times", "2").settings_given.sweep.times == 2


def test_a_method_without_settings_of_its_own_is_lightnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("validate", "--trainer.limit_val_batches", "1")
    assert ran.trainer.state.finished, f"Expected _run_subcommand to call the trainer's method: {DOOR}."


def test_a_command_without_settings_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "Make experts." in printed, f"Expected further commands to be listed: {DOOR}."
    assert "Sweep." in printed, DOOR


def test_the_callback_that_saves_the_config_keeps_parser_and_config() -> None:
    parser: Any = Parser()
    callback = SaveConfigCallback(parser, "config")  # type: ignore[arg-type]
    assert (callback.parser, callback.config) == (parser, "config"), DOOR
