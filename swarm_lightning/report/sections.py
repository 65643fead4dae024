"""The texts and tables of a page, as HTML. Everything that is not of this package is escaped.

Examples with their replies are in `examples.py`, what belongs to systems of models in `graphs.py`.
"""

import html
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from swarm_lightning.names import OF_BEST
from swarm_lightning.report.analyses import emergence, rank_at_start, winner_of
from swarm_lightning.report.examples import examples
from swarm_lightning.report.lacking import drawn, shown
from swarm_lightning.report.run import Run
from swarm_lightning.report.tables import counted, duration, table_of, table_of_frame
from swarm_lightning.runs.run_folder import PAGE
from swarm_lightning.swarm.population import Start

BY_OBJECTIVE = (
    "On the validation split, by the objective, which was asked about the experts before the search and the winner "
    "after it. What others answer at the end is not known: the search followed a guide."
)


def lead(run: Run) -> str:
    """Say what was found, how the run stands, and what to beware of."""
    parts = [shown(_found, run)] if run.kind == "search" else []
    if run.record:
        parts.append(shown(_state, run))
    parts += [f'<p class="warning">{html.escape(warning)}</p>' for warning in warnings_of(run)]
    return "\n".join(parts)


def under_way(run: Run) -> str:
    """Say how far several searches are that go on; an open page says when nothing more is heard of them."""
    if run.kind == "sweep":
        table = run.sweep
        ended = int((~table.state.isin(["running", "waiting"])).sum())
        text = f"Running: {ended} of {len(table)} searches that were begun have ended."
    elif run.kind == "tasks":
        table = run.tasks
        text = "Running: this is what there is so far."
    else:
        table = run.comparison
        text = f"Running: {counted(len(table), 'method')} so far."
    each = float(table.seconds.max()) if "seconds" in table and table.seconds.notna().any() else 0.0
    return f'<p class="state"{_heard(time.time(), each)}>{html.escape(text)}</p>'


def _heard(updated: float, each: float) -> str:
    """Return what lets an open page say that a run has gone silent: longer than 20 of what it does at a time."""
    return f' data-updated="{updated:.0f}" data-patience="{20 * each + 60:.0f}"'


def _found(run: Run) -> str:
    return f'<p class="lead">{html.escape(sentence(run))}</p>'


def sentence(run: Run) -> str:
    """Say in one sentence what a search has found."""
    summary, experts = run.summary, len(run.experts)
    of = f"the best of {experts} experts" if experts else "the best expert"
    if not summary:
        swarm = run.swarm
        if swarm.empty or "global_best" not in swarm:
            return "The first positions are not scored yet."
        first, last = float(swarm.global_best.iloc[0]), float(swarm.global_best.iloc[-1])
        done = int(swarm.iteration.iloc[-1])
        told = f"So far {last:.4f} on validation after {counted(done, 'iteration')}, from {first:.4f} at the start."
        if OF_BEST in swarm:
            shown = swarm[OF_BEST].dropna()
            told += f" That is the guide's; the objective said {float(shown.iloc[0]):.4f} at the start"
            told += f" and has said {float(shown.iloc[-1]):.4f} since."
        return told
    passes = summary.get("forward_passes")  # unknown of older runs
    counted_passes = "" if passes is None else f"{passes:,} forward passes, "
    cost = (
        f"in {counted(summary['iterations'], 'iteration')}, {summary['evaluations']:,} evaluations, {counted_passes}"
        f"{duration(summary['seconds'])}"
    )
    rows = summary.get("test", [])
    if len(rows) < 2:
        before, after = (row["utility"] for row in summary["validation"][:2])
        return f"{after - before:+.4f} on validation, which has guided the search, over {of}, {cost}. There is no test."
    before, after = rows[0]["utility"], rows[1]["utility"]
    gain = rows[1].get("gain")
    share = all(0 <= value <= 1 for value in (before, after))
    told = f"{100 * (after - before):+.1f} points" if share else f"{after - before:+.4f}"
    if gain is not None:
        scale, digits = (100, 1) if share else (1, 4)
        told += f" on test (95%: {scale * gain['low']:+.{digits}f} to {scale * gain['high']:+.{digits}f})"
        told += ", which is within noise," if gain.get("within_noise") else ""
    return f"{told} over {of}, {cost}."


def warnings_of(run: Run) -> list[str]:
    """Return what a reader should beware of."""
    found = [str(notice["message"]) for notice in run.record.get("notices", ()) if notice.get("severity") == "warning"]
    broken = float(run.swarm["broken"].sum()) if "broken" in run.swarm else 0
    if broken:
        found.append(f"Particles broke {broken:.0f} times: what the model computed was NaN or infinite.")
    rows = {split: run.summary.get(split, []) for split in ("validation", "test")}
    if all(len(of_split) > 1 for of_split in rows.values()):
        gains = {split: of[1]["utility"] - of[0]["utility"] for split, of in rows.items()}
        if gains["validation"] > 0 and gains["test"] < gains["validation"] / 2:
            found.append(
                f"The gain on validation ({gains['validation']:+.4f}) is more than twice that on test "
                f"({gains['test']:+.4f}): the search has fitted its examples. More of them would help."
            )
    return found


def emerging(run: Run, room: int) -> str:
    """Say which examples are answered now and were not before, and show them with the replies.

    Args:
        run: A search.
        room: Characters that there is room for.
    """
    parts = []
    found = emergence(run)
    if found is not None:
        rows = "".join(
            f'<tr><td>{name}</td><td class="number">{count}</td></tr>' for name, count in found.counts.items()
        )
        told = "On the validation split:" if found.particles is not None else BY_OBJECTIVE
        parts.append(f'<p class="note">{told}</p><table>{rows}</table>')
    rank, winner = rank_at_start(run), winner_of(run)
    if rank is not None:
        particles = int(run.history.particle.nunique())
        text = f"Particle {winner}, which won, began {_beginning(run, winner)}in rank {rank} of {particles}."
        parts.append(f"<p>{html.escape(text)}</p>")
    parts.append(examples(run, room))
    parts = [part for part in parts if part]
    return "<h2>What emerged</h2>\n" + "\n".join(parts) if parts else ""


def diamonds(runs: Sequence[Run]) -> str:
    """Return one line for each of several runs, sortable: what was found, and where the winner began."""
    rows: list[list[Any]] = []
    for run in runs:
        test = run.summary.get("test", [])
        scores = [row["utility"] for row in test[:2]] if len(test) > 1 else [None, None]
        rank = drawn(rank_at_start, run) if run.kind == "search" else None
        rows.append([run.name, *scores, run.summary.get("iterations"), run.summary.get("evaluations"), rank])
    ranks = [(rank, int(run.history.particle.nunique())) for run, (*_, rank) in zip(runs, rows, strict=True) if rank]
    low = sum(rank > particles / 2 for rank, particles in ranks)
    told = f"Of {counted(len(ranks), 'winner')}, {low} began in the lower half of its search's particles, "
    told += f"{sum(rank == 1 for rank, _ in ranks)} as the best of them."
    names = ["run", "best initial on test", "best found on test", "iterations", "evaluations", "winner's rank at start"]
    return f"<h1>{len(runs)} runs</h1>\n{table_of(names, rows)}" + (f"\n<p>{told}</p>" if ranks else "")


def comparison_table(run: Run) -> str:
    """Return the table of a comparison, and what its signs mean."""
    table = run.comparison
    if table.empty:
        return ""
    tested = {"test", "difference"} <= set(table.columns)
    own = table[table.test.notna() & table.difference.isna()] if tested else table[:0]
    heads = {
        "title": "method",
        "validation": "validation",
        "test": "test",
        "difference": f"less {own.title.iloc[0]}" if len(own) == 1 else "difference",
        "within_noise": "within noise",
        "evaluations": "evaluations",
        "forward_passes": "forward passes",
        "seconds": "seconds",
        "detail": "what was found, or why it is absent",
    }
    told = table.assign(detail=table.detail.fillna(table.absent)) if "absent" in table else table
    if "within_noise" in told:
        told = told.assign(within_noise=told.within_noise.map({True: "yes", False: ""}))
    told = told[[name for name in heads if name in told]].rename(columns=heads)
    signs = table[table.sign != ""].drop_duplicates("sign") if "sign_means" in table else table[:0]
    legend = "".join(f'<p class="note">{row.sign} {html.escape(row.sign_means)}.</p>' for row in signs.itertuples())
    return table_of_frame(told, list(told.columns)) + legend


def comparison_of_tasks(run: Run, folder: Path) -> str:
    """Return the table of several tasks, and links to their pages where `folder`, the page's, is that of the run."""
    if run.tasks.empty:
        return ""
    names = [str(name) for name in run.tasks.columns if name not in ("method", "published")]
    pages = sorted(path.parent.name for path in run.folder.glob(f"*/{PAGE}"))
    links = [f'<a href="{quote(name)}/{PAGE}">{html.escape(name)}</a>' for name in pages]
    own = folder.resolve() == run.folder.resolve() and links
    led = f'<p class="note">The tasks by themselves: {", ".join(links)}.</p>' if own else ""
    return table_of_frame(run.tasks, names) + led


def sweep_table(run: Run, folder: Path) -> str:
    """Return the table of a sweep; its trials lead to their own pages where `folder`, the page's, is the sweep's."""
    if run.sweep.empty:
        return ""
    names = [str(name) for name in run.sweep.columns if name != "folder"]
    links = {}
    for trial in run.sweep.trial:
        inner = Path(f"trial_{int(trial):04d}") / PAGE
        if folder.resolve() == run.folder.resolve() and (run.folder / inner).is_file():
            links[int(trial)] = f'<a href="{inner.as_posix()}">{int(trial)}</a>'
    return table_of(names, run.sweep[names].to_numpy().tolist(), links)


def files_and_commands(run: Run) -> str:
    """Return costs, settings, versions and the commands that go on from here."""
    config = run.folder / "config.yaml"
    place = shlex.quote(str(run.folder))
    parts = [shown(_costs, run)]
    if config.is_file() and run.kind == "search":
        begin = f"--config {shlex.quote(str(config))} --ckpt_path {place}"
        lines = [f"swarm {command} {begin}" for command in ("fit", "test", "export")]
        parts.append(f"<p>Go on, test, export:</p><pre>{html.escape(chr(10).join(lines))}</pre>")
    if run.record:
        facts = {
            name: value for name, value in run.record.items() if name not in ("notices", "started", "updated", "left")
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        parts.append(f"<details><summary>The run and its versions</summary><pre>{html.escape(text)}</pre></details>")
    if config.is_file():
        text = config.read_text(encoding="utf-8", errors="replace")
        parts.append(f"<details><summary>config.yaml</summary><pre>{html.escape(text)}</pre></details>")
    parts = [part for part in parts if part]
    return "<h2>Costs, settings, commands</h2>\n" + "\n".join(parts) if parts else ""


def _costs(run: Run) -> str:
    """Return the evaluations, forward passes, tokens, seconds by part and memory of a search."""
    swarm, summary, record = run.swarm, run.summary, run.record
    if swarm.empty or "evaluations" not in swarm:
        return ""
    asked, particles = float(swarm.evaluations.sum()), run.history.particle.nunique() if len(run.history) else 0
    whole = particles * record.get("examples", {}).get("validation", 0) * len(swarm)
    text = f"{asked:,.0f} evaluations in the iterations"
    if 0.99 * whole > asked > 0:
        text += f", {1 - asked / whole:.0%} of all were left out"
    beside = summary.get("evaluations", asked) - asked
    text += f"; {beside:,.0f} more before, beside and after them" if beside > 0 else ""
    counted_passes = float(swarm.forward_passes.sum()) if "forward_passes" in swarm else None  # not of older runs
    passes = summary.get("forward_passes", counted_passes)
    text += "" if passes is None else f"; {passes:,.0f} forward passes"
    text += f"; {summary.get('generated_tokens', float(swarm.generated_tokens.sum())):,.0f} generated tokens."
    first, others = float(swarm.evaluation_seconds.iloc[0]), float(swarm.evaluation_seconds.iloc[1:].sum())
    rest = max(0.0, summary["seconds"] - first - others) if "seconds" in summary else None
    seconds = {
        "loading": record.get("loading_seconds"),
        "evaluation of the first positions": first,
        "evaluation in the iterations": others,
        "what else the search did": rest,
        "test and export": record.get("test_seconds"),
    }
    rows = [[f"seconds: {name}", round(float(value), 1)] for name, value in seconds.items() if value is not None]
    if record.get("peak_memory"):
        rows.append([f"most memory used, MB ({record.get('device', '')})", round(record["peak_memory"] / 1e6, 1)])
    return f"<p>{text}</p>{table_of(['cost', 'amount'], rows)}"


def _beginning(run: Run, winner: int | None) -> str:
    """Say as what a particle began, where experts stand for the first particles."""
    if not run.starts or winner is None:
        return ""
    start = Start(run.record.get("start", "experts"))  # the records of earlier versions know no other
    return f"as {start.names(run.starts, int(run.history.particle.nunique()))[winner]}, "


def _state(run: Run) -> str:
    record = run.record
    state = record.get("state", "")
    done, most = record.get("iterations", 0), record.get("iterations_at_most")
    text = {
        "running": f"Running: {done} of at most {most or 'any number of'} iterations.",
        "testing": "The search has ended, the best experts are being asked the held-back examples.",
        "ended": f"Ended ({record.get('why', '')}).",
        "interrupted": f"Interrupted: {record.get('why', '')}. It can go on.",
        "failed": f"Failed: {record.get('why', '')}",
        "silent": f"Silent: after iteration {done} its process has gone without a word. It can go on.",
    }.get(state, "")
    swarm = run.swarm
    attributes = ""
    if state in ("running", "testing") and len(swarm):
        each = float(swarm.evaluation_seconds.mean())
        left = record.get("left")
        if left and state == "running":
            text += f" Likely {duration(left['seconds'])} more, to iteration {left['iterations']:.0f}; "
            text += f"at most {duration(left['at_most'])} more."
        elif most and state == "running":  # a record of an earlier version
            text += f" At most {duration(each * max(0, most - done))} more."
        attributes = _heard(float(record.get("updated", time.time())), each)
    return f'<p class="state"{attributes}>{html.escape(text)}</p>'
