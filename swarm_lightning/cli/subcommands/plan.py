"""The subcommand `plan`: what a search would cost, from a few rows that are asked for real."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import lightning as L
import psutil

from swarm_lightning.callbacks import Replies, SwarmCheckpoint
from swarm_lightning.callbacks.patience import patience_of
from swarm_lightning.cli.printing import without_remarks
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import Objective, PaysForScores
from swarm_lightning.objectives.utility import bounds_of, each_of
from swarm_lightning.plan.cost import Plan, plan_of
from swarm_lightning.plan.likely import Span, graded
from swarm_lightning.plan.sizes import disk_of, free_memory, free_space, memory_of, step_seconds
from swarm_lightning.plan.trial_rows import TrialRows, try_rows
from swarm_lightning.plan.work import asked_later, distance_of, work_of
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.shown import say
from swarm_lightning.swarm.optimizer import ParticleSwarm


def run_plan(
    trainer: L.Trainer,
    sibling: Callable[..., L.Trainer],
    search: ModelSwarm,
    data: L.LightningDataModule,
    ranks: int | None,
    points: float,
    seconds: float,
    prices: tuple[float | None, float | None],
    as_json: bool,
) -> None:
    """Check everything, ask a few rows, and say what the search would cost.

    Args:
        trainer: The command's.
        sibling: Gives a trainer like it; see `SwarmTrainer.sibling`.
        search: The search that would begin.
        data: Its data.
        ranks: A number of ranks to say the time for; None for the present one alone.
        points: The difference of two utilities that the validation examples are to tell from noise.
        seconds: What the rows may take, about.
        prices: Of a million tokens that a judge reads, and of those that it writes.
        as_json: Whether everything is printed as one JSON object.

    Raises:
        InputError: If anything that the user gave can't be used.
    """
    _check(ranks, points, seconds, prices)
    folder = Path(trainer.default_root_dir)
    present = trainer.num_devices * trainer.num_nodes
    with without_remarks():
        own = sibling(folder, [], devices=1, num_nodes=1, enable_progress_bar=False, enable_checkpointing=False)
    search.trainer, own.datamodule = own, data  # type: ignore[attr-defined]
    search.prepare_data()
    data.prepare_data()
    space = search.rehearse()
    splits = data.splits  # type: ignore[attr-defined]
    examples, optimizer = splits.validation, search.movement
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    saves = any(isinstance(callback, SwarmCheckpoint) for callback in callbacks)
    kept = any(isinstance(callback, Replies) and callback.validation for callback in callbacks)
    patience = patience_of(callbacks)
    step = step_seconds(search, space, folder, saves)
    loading = time.time() - psutil.Process().create_time()
    trial = try_rows(search, space, examples, seconds)
    guided = search.guide is not search.objective
    repels = not isinstance(optimizer, ParticleSwarm) or optimizer.settings.repel > 0
    stops = search.settings.engine.exact_stop and isinstance(optimizer, ParticleSwarm)
    lowest, highest = zip(*bounds_of(search.guide, examples), strict=True)
    bounds = (min(lowest), max(highest))
    work = work_of(
        optimizer, search.settings.particles, len(search.pool.names), len(examples), trainer.max_steps, patience,
        distance_of(trial.utilities, trial.scores, bounds, len(examples), repels) if stops else 0.0, search.chunk,
        guided, asked_later(examples, splits.test, kept), 1 / max(trial.step.pair, 1e-9),
        search.settings.objective_every or 0 if guided else 0, graded(trial.scores), search.settings.start.soup,
    )  # fmt: skip
    reply, answer = _longest_reply(search.guide), _answer_tokens(search.objective)
    sizes = (
        memory_of(search, space, trial.rows, trial.longest + (reply or 0)), free_memory(search),
        disk_of(search, space, work.most, len(examples)), free_space(folder),
    )  # fmt: skip
    known = None if None in prices else (float(prices[0] or 0), float(prices[1] or 0))
    counts = list(dict.fromkeys([present, *([] if ranks is None else [ranks])]))
    plan = plan_of(work, trial, step, loading, counts, reply, answer, known, points, sizes)
    if as_json:
        say(json.dumps(plan.to_dict()))
        return
    for line in told(plan, trial):
        say(line)


def told(plan: Plan, trial: TrialRows) -> list[str]:
    """Say a plan in lines.

    Args:
        plan: What is planned.
        trial: What it was made from.
    """
    work, seconds = plan.work, plan.seconds
    ends = f"at most {work.most}" if len(work.chances) > 1 else "as they are set"
    lines = [
        f"Asked {plan.rows} rows for this plan, in {duration(plan.took)}: {1 / max(trial.followed.pair, 1e-9):,.0f} "
        "evaluations a second.",
        f"Iterations: {between(plan.iterations)} ({ends}).",
        f"Evaluations: {between(plan.evaluations)}, {plan.most_evaluations:,.0f} at most; {work.tests:,} more when the "
        "search has ended.",
    ]
    if plan.read[0]:
        lines.append(
            f"Tokens: the model reads {short(plan.read[0])} ({short(plan.read[1])} at most) and generates "
            f"{short(plan.generated[0])} ({short(plan.generated[1])} at most)."
        )
    parts = ", ".join(f"{name} {duration(part)}" for name, part in seconds.items() if part >= 0.05)
    lines.append(
        f"Time: {duration(plan.total.likely)} ({duration(plan.total.low)} to {duration(plan.total.high)}), "
        f"{duration(plan.most_seconds)} at most: {parts}."
    )
    for count, total in list(plan.ranks.items())[1:]:
        lines.append(
            f"Time with {count} ranks, each as fast as this one: {duration(total.likely)} ({duration(total.low)} to "
            f"{duration(total.high)})."
        )
    lines.append(_sized("Memory", plan.memory, plan.free_memory, " beside Python and its libraries"))
    lines.append(_sized("Disk", plan.disk, plan.free_disk))
    if plan.bill is not None:
        bill = plan.bill
        cost = "" if bill.price is None else f": {bill.price:,.2f}, {bill.most_price:,.2f} at most, by the prices given"
        lines.append(
            f"Judge: {bill.calls:,.0f} calls ({bill.most_calls:,.0f} at most) of about {bill.tokens:,.0f} tokens, with "
            f"answers of at most {bill.answer or 'any number of'} tokens{cost}. Equal replies are rated once."
        )
        if bill.price is None:
            lines.append("  --price_in and --price_out, of a million tokens, give the price.")
    if plan.needed is not None:
        needed = plan.needed
        lines.append(
            f"Validation examples: to tell a difference of {needed.difference:g} from noise takes {needed.paired:,} "
            f"(the same ones for both models) or {needed.unpaired:,} (others for each); the {needed.present:,} that "
            f"there are tell {needed.told:.3f}. By (1.96 + 0.84)^2 v / d^2: found four times in five, 5% level."
        )
    return lines


def duration(seconds: float) -> str:
    """Write a duration as it is spoken of.

    >>> [duration(seconds) for seconds in (0.4, 59.0, 150.0, 9000.0, 400000.0)]
    ['0.4 s', '59 s', '2.5 min', '2.5 h', '4.6 days']
    """
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for limit, unit, name in ((5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86400:.1f} days"


def between(span: Span) -> str:
    """Write a span.

    >>> between(Span(11, 15, 21)), between(Span(50, 50, 50))
    ('15 likely (11 to 21)', '50')
    """
    if span.low == span.high:
        return f"{span.likely:,.0f}"
    return f"{span.likely:,.0f} likely ({span.low:,.0f} to {span.high:,.0f})"


def short(count: float) -> str:
    """Write a large number.

    >>> short(950), short(1_234_567)
    ('950', '1.2 million')
    """
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:,.0f}"


def size(count: float) -> str:
    """Write a number of bytes.

    >>> size(3_600_000), size(12e9)
    ('3.6 MB', '12.0 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _sized(what: str, parts: dict[str, int], free: int, beside: str = "") -> str:
    total = sum(parts.values())
    named = ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count >= 1e5)
    short = " THAT IS MORE THAN THERE IS." if total > free else ""
    return f"{what}: {size(total)}{beside}, and {size(free)} are free ({named}).{short}"


def _check(ranks: int | None, points: float, seconds: float, prices: tuple[float | None, float | None]) -> None:
    if ranks is not None and ranks < 1:
        raise InputError(f"Expected --ranks to be at least 1, but got {ranks}.")
    if not points > 0:
        raise InputError(f"Expected --points to be a difference above 0, such as 0.05, but got {points}.")
    if not seconds > 0:
        raise InputError(f"Expected --seconds to be above 0, but got {seconds}.")
    given = [price for price in prices if price is not None]
    if len(given) == 1 or any(price < 0 for price in given):
        raise InputError(
            f"Expected --price_in and --price_out together, prices of a million tokens of 0 or more, but got {prices}."
        )


def _longest_reply(objective: Objective) -> int | None:
    """Return the tokens of a reply at most, where the objective says so."""
    found = [getattr(getattr(part, "settings", None), "max_new_tokens", None) for part in each_of(objective)]
    return max((tokens for tokens in found if tokens is not None), default=None)


def _answer_tokens(objective: Objective) -> int | None:
    found = [part.answer_tokens for part in each_of(objective) if isinstance(part, PaysForScores)]
    return max((tokens for tokens in found if tokens is not None), default=None)
