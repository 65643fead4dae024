"""`swarm adapt`: one better adapter within a budget, for whoever does not care for methods.

It is `swarm fit` with a fixed recipe, and no search of its own: the cheap things first (the experts, the mean of their
products, greedy soup, these two with experts fitted anew, scaled sums), then an evolution strategy from the best of
them, then the choice among few candidates on the validation split. Every setting of `swarm fit` can be given behind it,
and wins over the recipe.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from swarm_lightning.callbacks import ExportBest, History, OrderlyEnd, Summary, SwarmCheckpoint, Verdict
from swarm_lightning.cli.command import COMMON, OTHER_COMMANDS, SwarmCLI
from swarm_lightning.cli.found import Found
from swarm_lightning.cli.parsing.named_run import with_run
from swarm_lightning.cli.parsing.plain_parser import PlainParser
from swarm_lightning.cli.search import objective_named
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.runs.run_folder import CONFIG, find_checkpoint, next_run_folder, run_folder_of
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy

ROOT = "runs/adapt"
UNLIMITED = 10**9  # evaluations, where minutes are the limit; and iterations, which the strategy itself limits
RECIPE = (
    *("--model.coefficients", "module", "--model.guide", "smooth", "--model.refit", "true"),
    *("--model.optimizer", "swarm_lightning.swarm.EvolutionStrategy"),
    *("--restart.patience", "null", "--stop.patience", "null"),
    *("--replies.validation", "false"),  # they would be asked beside the budget
    *("--trainer.max_steps", str(UNLIMITED)),  # with -1, Lightning would end after 1000 epochs
    *("--trainer.default_root_dir", ROOT),
)
USAGE = """swarm adapt --model.base B --model.experts E --data.dataset D --budget N [further settings of swarm fit]
       swarm adapt --resume RUN"""
NEEDED = (
    "Expected --budget, a number of evaluations (pairs of a model and an example), or --minutes, but got neither. With "
    "n experts and M validation examples, about (3 n + 14) M evaluations go to the experts, their soup, fits and the "
    "final choice; "
    "44000 were enough for 10 experts and 200 examples."
)


class AdaptCLI(SwarmCLI):
    """`swarm fit` that ends with a verdict in words."""

    def further_callbacks(self) -> list[Callback]:
        """Return those of `swarm fit`, and the verdict."""
        return [*super().further_callbacks(), Verdict()]


def run_adapt(arguments: Sequence[str]) -> None:
    """Run `swarm adapt`.

    Args:
        arguments: What stands behind it on the command line.

    Raises:
        InputError: If something the user gave can't be used.
    """
    AdaptCLI(ModelSwarm, args=fit_arguments(arguments), **COMMON)


def fit_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the command line of `swarm fit` that an adaptation is.

    Args:
        arguments: What stands behind `swarm adapt`.

    Raises:
        InputError: If there is no budget, or a prompt for an objective that is not named.

    >>> fit_arguments(["--budget", "6000", "--data.dataset", "qa.csv"])[-4:]
    ['--model.optimizer.evaluations', '6000', '--data.dataset', 'qa.csv']
    """
    given, others = _parser().parse_known_args(list(arguments))
    if given.resume is not None:
        folder = run_folder_of(find_checkpoint(given.resume, ROOT)) if given.resume == "last" else Path(given.resume)
        if not (folder / CONFIG).is_file():
            raise InputError(f"Expected --resume to name a run folder, but {str(folder)!r} has no {CONFIG}.")
        if (given.budget, given.minutes, given.objective, given.prompt) != (None,) * 4:
            raise InputError(
                "Expected --resume without budget, objective and prompt: a run is resumed with its own settings."
            )
        return [*with_run(["fit", "--resume", str(folder)]), *others]
    if given.budget is None and given.minutes is None:
        near = [name for name in others if get_close_matches(name.partition("=")[0], ["--budget", "--minutes"])]
        raise InputError(NEEDED + (f" There is no {', '.join(near)}." if near else ""))
    for name, value in (("--budget", given.budget), ("--minutes", given.minutes)):
        if value is not None and not value > 0:
            raise InputError(f"Expected {name} to be above 0, but got {value}.")
    limits = ["--model.optimizer.evaluations", str(UNLIMITED if given.budget is None else given.budget)]
    if given.minutes is not None:
        limits += ["--model.optimizer.minutes", str(given.minutes)]
    asking = [] if given.objective is None else ["--model.objective", given.objective]
    if given.prompt is not None:
        if given.objective is None:
            raise InputError(
                "Expected --objective with --prompt, as in --objective ExactMatch, but got the prompt alone."
            )
        asking += ["--model.objective.template", given.prompt]
    return ["fit", *RECIPE, *limits, *asking, *others]


def _parser() -> PlainParser:
    parser = PlainParser(
        "swarm adapt",
        usage=USAGE,
        description=OTHER_COMMANDS["adapt"]
        + " It is `swarm fit` with a fixed recipe; see `swarm fit --help` for further settings.",
    )
    parser.add_argument(
        "--budget", type=int, help="number of evaluations, (model, example) pairs, without the test split"
    )
    parser.add_argument(
        "--minutes", type=float, help="approximate time limit, tests included; instead of --budget or besides it"
    )
    parser.add_argument(
        "--objective", help="ExactMatch, MultipleChoice, ... (default: chosen by the columns of the data)"
    )
    parser.add_argument("--prompt", help="template of the prompt, such as 'Q: {question} A:'; needs --objective")
    parser.add_argument("--resume", help=f"run folder of an interrupted run, or last for the newest in {ROOT}")
    return parser


def adapt(
    base: str,
    experts: str | list[str],
    data: str | SwarmData,
    budget: int | None = None,
    minutes: float | None = None,
    objective: Objective | str | None = None,
    folder: str | Path = ROOT,
    **settings: Any,
) -> Found:
    """Make one better adapter of the experts within a budget, as `swarm adapt` does.

    Args:
        base: Folder or hub id of the base model.
        experts: Folder of adapters, or a list of folders or hub ids.
        data: A dataset as `SwarmData` takes it, or that.
        budget: (model, example) pairs that may be asked, the test split not counted.
        minutes: About how long it may take from loading to the test, instead of the budget or beside it.
        objective: What to ask: an objective, or the name of one for its default settings; None for what fits the data.
        folder: The run gets a folder of its own in here.
        **settings: Further ones of `ModelSwarm`.

    Returns:
        The result.

    Raises:
        InputError: If something can't be used.
    """
    if budget is None and minutes is None:
        raise InputError(NEEDED.replace("--", ""))
    limit = UNLIMITED if budget is None else budget
    strategy = partial(EvolutionStrategy, evaluations=limit, minutes=minutes)
    search = ModelSwarm(
        base,
        experts=experts,
        objective=objective_named(objective) if isinstance(objective, str) else objective,
        **{"coefficients": "module", "guide": "smooth", "refit": True, "optimizer": strategy, **settings},
    )
    verdict, run = Verdict(), next_run_folder(folder)
    callbacks = [OrderlyEnd(), SwarmCheckpoint(), History(), Summary(), verdict, ExportBest()]
    trainer = SwarmTrainer(
        max_steps=UNLIMITED, default_root_dir=run, callbacks=callbacks, logger=False,
        enable_model_summary=False, enable_progress_bar=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(search, SwarmData(data) if isinstance(data, str) else data)
    return Found(Path(run), search, tuple(verdict.sentences))
