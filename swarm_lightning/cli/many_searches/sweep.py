"""`swarm sweep`: many searches with drawn settings, in a study that can be shared and gone on with.

Every search is run as `swarm fit` runs it, with a config and a run folder of its own.
"""

import gc
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from swarm_lightning.callbacks import FirstLook
from swarm_lightning.cli.command import SwarmCLI
from swarm_lightning.cli.many_searches.sweep_ranks import RANKS, check_ranks, run_apart
from swarm_lightning.cli.many_searches.sweep_table import show
from swarm_lightning.cli.many_searches.sweep_trial import RehearsalCLI, TrialCLI
from swarm_lightning.cli.parsing.user_code import told_as_input
from swarm_lightning.doors.lightning import runs_several_processes
from swarm_lightning.errors import InputError, ServiceError, StorageError
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.experts.finding import find_experts
from swarm_lightning.experts.naming import unique_names
from swarm_lightning.files import storage_errors, whole_folder
from swarm_lightning.locks import lock
from swarm_lightning.names import INITIAL
from swarm_lightning.report.live import Renewal, renew
from swarm_lightning.runs.run_folder import BEST_EXPERT, CHECKPOINTS
from swarm_lightning.shown import for_terminal, say, written_out
from swarm_lightning.swarm.spaces.rows_on_disk import rows_folder
from swarm_lightning.sweep.first_scores import FirstScores
from swarm_lightning.sweep.notices import said_once, without_bars
from swarm_lightning.sweep.report import FACTS, SUMMARY, outcome, rows_of, tests_of, write_report
from swarm_lightning.sweep.settings import SETTINGS, SweepSettings
from swarm_lightning.sweep.space import DrawnSpace, check_grid, keys_of, names, put, read_space, samples, size
from swarm_lightning.sweep.study import LOCKS, SweepStudy, check_folder, require_optuna
from swarm_lightning.sweep.subsets import variants_of
from swarm_lightning.sweep.trial import ReportToStudy, Shared

# What does not change what is found: where and how fast it is searched, and what is shown of it.
FREE = (
    "trainer.accelerator", "trainer.devices", "trainer.logger", "trainer.default_root_dir",
    "trainer.enable_progress_bar", "trainer.log_every_n_steps", "trainer.profiler", "model.engine", "checkpoint",
    "history", "replies", "export_best", "page", "progress", "sweep.trials", "sweep.storage",
    "sweep.keep_checkpoints", "sweep.study", "sweep.tasks", "sweep.published",
)  # fmt: skip


def run_sweep(cli: SwarmCLI) -> None:
    """Run `swarm sweep`.

    Args:
        cli: The parsed command.

    Raises:
        InputError: If the sweep can't be run as it is configured, or all of its searches failed.
    """
    require_optuna()
    with said_once():
        whole = yaml.safe_load(cli.parser_of("sweep").dump(cli.config["sweep"], skip_unset=False))
        settings: SweepSettings = cli.parser_of("sweep").instantiate_classes(cli.config["sweep"]).sweep
        config = {name: value for name, value in whole.items() if name not in ("sweep", "config")}
        space = _checked_space(cli, settings, config)
        folder = Path(config["trainer"]["default_root_dir"]).expanduser() / settings.study
        check_folder(folder)
        shared = Shared(FirstScores(folder / "first_scores", folder / LOCKS))
        shared.with_test, shared.also_test = settings.test == "all", tuple(settings.also_test or ())
        study = SweepStudy(folder, settings, space, _identity(whole, space) | _rehearse(config, space, folder, shared))
        renewal = Renewal()
        while True:
            interruption.check()
            with study.next_trial() as claimed:
                if claimed is None:
                    break
                _run_trial(study, shared, config, *claimed)
            without_bars()
            if renewal.due:
                _show_so_far(study, shared, renewal)
        _finish(study, shared, config)


def _rehearse(config: Mapping[str, Any], space: DrawnSpace, folder: Path, shared: Shared) -> dict[str, str]:
    """Go through the beginning of a search, once with all experts and data that are drawn.

    Returns:
        What tells experts and data from others; see `RehearsalCLI.content`.
    """
    # How many ranks there are changes nothing of what is read.
    first, *others = ({key: value for key, value in one.items() if key != RANKS} for one in samples(space))
    content = RehearsalCLI(config, first, folder, shared).content(space)
    read = [_files_of(first)]
    for settings in others:
        if (files := _files_of(settings)) not in read:
            gc.collect()  # the experts before are large
            RehearsalCLI(config, settings, folder, shared, loads=False)
            read.append(files)
    gc.collect()
    return content


def _files_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say which experts and data are read."""
    return {key: value for key, value in settings.items() if key.startswith(("model.experts", "data."))}


def _run_trial(
    study: SweepStudy, shared: Shared, config: Mapping[str, Any], trial: Any, settings: Mapping[str, Any]
) -> None:
    folder, named = study.folder_of(trial.number), names(study.space)
    place = sum(other.number <= trial.number for other in study.trials())
    shown = ", ".join(f"{name} {settings[key]}" for key, name in named.items())
    report = ReportToStudy(trial)
    done = f", goes on after {_counted(report.facts['iterations'])}" if "iterations" in report.facts else ""
    say(f"Trial {trial.number} ({place} of {study.count}{done}): {shown}", flush=True)
    trial.set_user_attr(SETTINGS, dict(settings))
    try:
        if RANKS in settings:
            run_apart(config, settings, folder)
        else:
            TrialCLI(config, settings, folder, shared, [report, *([FirstLook()] if trial.number == 0 else [])])
    except (ServiceError, StorageError):
        raise  # no search can go on now
    except (InputError, MisconfigurationException) as error:
        report.keep(error=str(error))
        study.tell(trial, "FAIL")
        print(for_terminal(f"Trial {trial.number} failed: {error}", keep="\n\t"), flush=True)
        return
    except (SystemExit, KeyboardInterrupt, SIGTERMException, Interrupted):
        say("Interrupted. Run the same command again to resume this search.", flush=True)
        raise
    finally:
        gc.collect()  # modules and trainers know each other; their positions are large
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    first, last = summary["validation"]
    found, initial = float(last["utility"]), [first["detail"], float(first["utility"])]
    report.keep(validation=found, **{INITIAL: initial}, **{name: summary[name] for name in FACTS if name in summary})
    if report.pruned:
        study.tell(trial, "PRUNED")
    else:
        study.tell(trial, "COMPLETE", found)
    tests = tests_of(folder)
    if tests is not None:
        study.keep_tests(trial.number, tests)
    state = "pruned" if report.pruned else "ended"
    say(f"Trial {trial.number} {state}: {found:.4f} on validation, {_counted(summary['iterations'])}.", flush=True)
    _drop_checkpoints(study, config)


def _counted(iterations: int) -> str:
    return f"{iterations} {'iteration' if iterations == 1 else 'iterations'}"


def _drop_checkpoints(study: SweepStudy, config: Mapping[str, Any]) -> None:
    """Remove checkpoints, and swarms on the disk, where only those of the best search that has ended are kept."""
    best = study.best()
    if study.settings.keep_checkpoints == "all" or best is None:
        return
    with lock(study.folder / LOCKS / "study"):
        best = study.best()
        for trial in study.trials():
            if trial.state.is_finished() and best is not None and trial.number != best.number:
                folder = study.folder_of(trial.number)
                for left in (folder / CHECKPOINTS, rows_folder(folder, config["model"]["state_folder"])):
                    shutil.rmtree(left, ignore_errors=True)


def _show_so_far(study: SweepStudy, shared: Shared, renewal: Renewal) -> None:
    """Write the table and the page of a sweep that goes on."""
    with lock(study.folder / LOCKS / "report"):
        write_report(study.folder, rows_of(study), study.space, None, shared.first_scores.count())
    renewal.renew(study.folder, going_on=True)


def _finish(study: SweepStudy, shared: Shared, config: Mapping[str, Any]) -> None:
    """Report; whoever ends last scores the best search on the test split, where its folder lies here."""
    with lock(study.folder / LOCKS / "report"):
        rows = rows_of(study)
        running = [row for row in rows if row.state in ("running", "waiting")]
        best = study.best()
        number = None if running or best is None else best.number
        row = next((row for row in rows if row.number == number), None)
        if row is not None and row.here:
            folder = study.folder_of(row.number)
            if tests_of(folder) is None:
                shared.with_test, shared.also_test = True, ()
                TrialCLI(config, row.settings, folder, shared)
            tests = tests_of(folder)
            if tests is not None:
                study.keep_tests(row.number, tests)
                rows = rows_of(study)
            if (folder / BEST_EXPERT).is_dir():  # there is none where nothing writes what is found
                _copy_expert(folder / BEST_EXPERT, study.folder / BEST_EXPERT)
        first = shared.first_scores.count()
        write_report(study.folder, rows, study.space, number, first)
    if running:
        say("Other processes are still searching; the last to finish reports the best:")
        for row in running:
            say(f"  trial {row.number}: {row.folder}")
    elif row is None:
        reasons = next((row.why for row in rows if row.why), "")
        raise InputError(
            f"Expected at least one search to end, but none of {len(rows)} has. The first that failed says: {reasons} "
            "They are not retried: fix the cause and choose another sweep.study."
        )
    else:
        told = outcome(rows, study.space, number, first, spell=lambda value: written_out(str(value)))
        show(rows, study.space)
        for line in ("", *told.replace("**", "").split("\n"), ""):
            say(line)
        if row.here and (study.folder / BEST_EXPERT).is_dir():
            say(f"Best expert: {study.folder / BEST_EXPERT}")
        elif not row.here:
            say(f"The best search is on another machine: {row.folder}")
            if row.test is None:
                say("Run the same command there to score it on the test split.")
    say(f"All searches: {study.folder / 'sweep.md'}, sweep.csv")
    renew(study.folder)


def _copy_expert(source: Path, target: Path) -> None:
    """Put a copy in place of an earlier one, whole or not at all."""
    with storage_errors(target), whole_folder(target) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)


def _checked_space(cli: SwarmCLI, settings: SweepSettings, config: Mapping[str, Any]) -> DrawnSpace:
    variants = settings.variants
    if settings.subsets is not None:
        found = find_experts(config["model"]["experts"])
        sources = [one.source for one in found]
        called = unique_names([one.name for one in found], sources)
        variants = variants_of(list(zip(called, sources, strict=True)), settings.subsets, settings.seed)
    space = read_space(settings.drawn, config, variants)
    for together in samples(space):
        try:
            _try(cli, put(config, together))
        except InputError:
            for key, value in together.items():  # which of them is it?
                try:
                    _try(cli, put(config, {key: value}))
                except InputError as error:
                    raise InputError(
                        f"Expected values in sweep.space that {key!r} accepts, but {value!r} is not one: {error}"
                    ) from error
            raise
    if settings.sampler == "grid":
        check_grid(space)
    if RANKS in keys_of(space):
        check_ranks(settings)
    settings.count(size(space))
    trainer = config["trainer"]
    if runs_several_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"]) or cli.ranks.count > 1:
        raise InputError(
            "Expected one rank for each process of a sweep, but got several. Start several processes of the same "
            "command instead: they share the study and its searches. To compare numbers of ranks, name them in "
            f"sweep.space as {RANKS}."
        )
    return space


def _try(cli: SwarmCLI, config: Mapping[str, Any]) -> None:
    """Make the parts of a search to see whether they take their settings.

    Raises:
        InputError: If they do not.
    """
    parser = cli.parser_of("fit")
    with told_as_input():
        parser.instantiate_classes(parser.parse_object(dict(config)))


def _identity(whole: Mapping[str, Any], space: DrawnSpace) -> dict[str, Any]:
    """Return the config without what may differ between the processes of a sweep, and without what is drawn."""
    drawn = dict.fromkeys(keys_of(space), "drawn by the sweep")
    kept = put({name: value for name, value in whole.items() if name != "config"}, drawn)
    for path in FREE:
        *parts, last = path.split(".")
        place: Any = kept
        for part in parts:
            place = place.get(part, {})
        place.pop(last, None)
    return kept
