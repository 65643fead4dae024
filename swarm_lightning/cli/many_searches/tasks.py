"""`swarm compare` and `swarm sweep` on several tasks: the command once for each, and one table of all.

Each task is an ordinary comparison or sweep in a folder of its own, so that all of it can be gone on with.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.box import SIMPLE_HEAD
from rich.table import Table

from swarm_lightning.baselines.results import COMPARISON
from swarm_lightning.cli.command import COMMON, SwarmCLI
from swarm_lightning.cli.many_searches.sweep import run_sweep
from swarm_lightning.cli.many_searches.task_table import (
    TaskTable,
    explained,
    of_comparisons,
    of_sweeps,
    read_published,
    shown_difference,
    shown_mean,
    write_task_table,
)
from swarm_lightning.cli.parsing.user_code import told_as_input
from swarm_lightning.cli.subcommands.compare import comparison_folder
from swarm_lightning.data.module import SwarmData
from swarm_lightning.doors.lightning import runs_several_processes
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.report.live import Renewal, renew
from swarm_lightning.report.run import TASKS
from swarm_lightning.runs.run_folder import claim_run_folder, remove_if_empty
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.objective import check_data, chosen_objective
from swarm_lightning.shown import cell, say, show_table
from swarm_lightning.sweep.space import put, with_full_keys

CONFIGS = (".yaml", ".yml")
TAKEN = {"method", "title", "published"}  # what other columns of the table are called
TOTALS = ("mean", "difference")


def run_tasks(cli: SwarmCLI) -> None:
    """Run the command on every task, and show the table.

    Args:
        cli: The parsed command, `compare` or `sweep`, with tasks.

    Raises:
        InputError: If a task can't be run, or the published scores can't be read.
    """
    command = str(cli.subcommand)
    whole = yaml.safe_load(cli.parser_of(command).dump(cli.config[command], skip_unset=False))
    own, config = whole[command], {name: value for name, value in whole.items() if name not in (command, "config")}
    tasks = read_tasks(own["tasks"], config, f"{command}.tasks")
    published = read_published(own["published"], list(tasks))
    configs = {name: put(config, settings) for name, settings in tasks.items()}
    for name, settings in configs.items():
        _check(cli, name, settings)
    trainer = config["trainer"]
    if runs_several_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"]) or cli.ranks.count > 1:
        raise InputError(
            f"Expected one process for {command}.tasks, but got several. Set trainer.devices to 1, or run "
            f"'swarm {command}' on each task by itself."
        )
    root = config["trainer"]["default_root_dir"]
    if command == "compare":
        given = comparison_folder(own["output"], root, f"*/{COMPARISON}")
        folder = claim_run_folder(root) if given is None else given
        places, make = {name: folder / name for name in tasks}, of_comparisons
    else:
        folder = Path(root).expanduser() / own["study"]
        places, make = {name: folder / f"{own['study']}_{name}" for name in tasks}, of_sweeps
    renewal = Renewal()
    try:
        for number, (name, place) in enumerate(places.items(), start=1):
            say(f"Task {name} ({number} of {len(tasks)}): {place}", flush=True)
            alone = {**own, "tasks": None, "published": None}
            if command == "compare":
                _run(command, configs[name], {**alone, "output": str(place)})
            else:
                _run(
                    command,
                    put(configs[name], {"trainer.default_root_dir": str(folder)}),
                    {**alone, "study": place.name},
                )
            table = make(places, published)
            write_task_table(table, folder)
            if renewal.due:
                renewal.renew(folder, going_on=True)
    except (KeyboardInterrupt, SystemExit, Interrupted, SIGTERMException):
        if command == "compare":
            say(f"To resume all tasks: --compare.output {folder}")
        raise
    finally:
        remove_if_empty(folder)
    show(table)
    say(f"All tasks: {folder / 'tasks.md'}, {TASKS}")
    renew(folder)


def read_tasks(
    tasks: Sequence[str] | Mapping[str, Any], config: Mapping[str, Any], where: str
) -> dict[str, dict[str, Any]]:
    """Read what each task has of its own.

    Args:
        tasks: Datasets and config files; or by name these, or settings by their keys.
        config: The whole config as nested plain values.
        where: Which setting it is, for errors.

    Returns:
        Full key of the config -> value, by the name of the task.

    Raises:
        InputError: If a name can't be one, a config can't be read, or a key is none.
    """
    if isinstance(tasks, Mapping):
        named = dict(tasks)
    else:
        names = [Path(re.split(r"[/\\\\:]", source.rstrip("/"))[-1]).stem for source in tasks]
        named = dict(zip(names, tasks, strict=True))
        if len(named) < len(names):
            raise InputError(
                f"Expected files of different names in {where}, but got {', '.join(names)}. Name the tasks, as in "
                "{first: a/qa.csv, second: b/qa.csv}."
            )
    if len(named) < 2:
        raise InputError(f"Expected two tasks or more in {where}, but got {list(named)}. Leave it out for one task.")
    columns = TAKEN | {f"{total}{end}" for total in TOTALS for end in ("", "_low", "_high")}
    for name in named:
        if not name or name in columns or name.startswith(".") or any(part in name for part in ("/", "\\")):
            raise InputError(
                f"Expected names of tasks in {where} that can be folders and columns of a table, but got {name!r}. "
                "Choose another."
            )
    return {name: with_full_keys(_settings(source, where), config, where) for name, source in named.items()}


def _settings(source: Any, where: str) -> dict[str, Any]:
    """Return what a task has of its own: what a config says of objective and data, a dataset, or settings."""
    if isinstance(source, Mapping):
        return dict(source)
    if not isinstance(source, str):
        raise InputError(
            f"Expected a dataset, a config file or settings for every task in {where}, but got {source!r}."
        )
    if Path(source).suffix not in CONFIGS:
        return {"data.dataset": source}
    try:
        config = yaml.safe_load(Path(source).expanduser().read_text(encoding="utf-8"))
        found = {f"data.{name}": value for name, value in config["data"].items()}
        objective = (config.get("model") or {}).get("objective")
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Expected a config with the section `data` at {source!r} in {where}, but it can't be read as one: "
            f"{error}. Correct the path, or the file."
        ) from error
    return found if objective is None else {"model.objective": objective, **found}


def _check(cli: SwarmCLI, name: str, config: Mapping[str, Any]) -> None:
    """Make the parts of a search and read its data: what is wrong with the last task shows before the first is run.

    Raises:
        InputError: If something can't be used.
    """
    parser = cli.parser_of("fit")
    try:
        with told_as_input():
            made = parser.instantiate_classes(parser.parse_object(dict(config)))
        data: SwarmData = made.data
        data.prepare_data()
        if config["model"]["objective"] is None:
            chosen_objective(data.splits)
        else:
            check_data(made.model.objective, data.splits)
    except InputError as error:
        raise InputError(f"Task {name}: {error}") from error


def _run(command: str, config: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Run the command on one task."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
        single = SwarmCLI(ModelSwarm, args={"subcommand": command, command: {**config, command: own}}, **COMMON)
    if command == "sweep":
        run_sweep(single)


def show(table: TaskTable) -> None:
    """Print the table.

    Args:
        table: What to show.
    """
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    shown.add_column("", no_wrap=True)
    for task in table.tasks:
        shown.add_column(cell(task), justify="right", overflow="fold")
    for name in ("mean", f"less {table.reference}"):
        shown.add_column(name, justify="right")
    for row in table.rows:
        scores = [f"{row.scores[task].value:.3f}" if task in row.scores else "" for task in table.tasks]
        totals = shown_mean(row, table, 3), shown_difference(row, table, 3)
        shown.add_row(cell(row.title), *scores, *map(cell, totals), style="dim" if row.published else None)
    show_table(shown)
    for line in explained(table):
        say(line)
