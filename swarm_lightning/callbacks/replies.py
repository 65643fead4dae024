"""Writes the replies of the best experts: `replies/validation.parquet` and `replies/test.parquet`.

One row per example and expert, for the best initial and the best found expert: the question as the model saw it, the
reply, the parsed answer, and the score. For this, the validation split is evaluated once more after the search; the
replies on the test split are those behind the summary. For a search of graphs, `replies/nodes.parquet` has the replies
of every node of the best system to the first examples, in the order in which the nodes reply.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.systems.on_the_way import NodeReply, replies_on_the_way
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.objectives.protocol import Outcome
from swarm_lightning.runs.run_folder import NODES, REPLIES
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm

TEXTS = ("id", "task", "question", "prompt", "choices", "gold", "expert", "which", "reply", "answer")
OF_NODES = ("id", "task", "question", "choices", "gold", "expert", "reply")
MOST = 50  # examples whose replies of every node are kept


class Replies(L.Callback):
    """Writes the replies of the best initial and the best found expert when a search has ended."""

    def __init__(self, validation: bool = True, test: bool = True) -> None:
        """Choose which replies are kept.

        Args:
            validation: Whether to write those on the validation split, which takes two further evaluations of it. Never
                in a sweep.
            test: Whether to write those on the test split.
        """
        self.validation = validation
        self.test = test

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask where that has not been done, on all ranks, and write."""
        assert isinstance(pl_module, ModelSwarm)
        if pl_module.splits is None:
            return
        splits = {}
        if self.validation:
            splits["validation"] = (pl_module.splits.validation, pl_module.bests.ask(pl_module.splits.validation))
        if self.test and pl_module.held_back:
            pl_module.result(pl_module.held_back)  # asked by all ranks, if it was not
            splits["test"] = (tuple(pl_module.held_back), pl_module.state.tested)
        on_the_way = _on_the_way(pl_module, splits["test" if "test" in splits else "validation"][0] if splits else ())
        if not trainer.is_global_zero:
            return
        names = (pl_module.pool.names[pl_module.best_initial], pl_module.particle_swarm.found_name)
        folder = Path(trainer.default_root_dir) / REPLIES
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for split, (examples, outcomes) in splits.items():
            rows = _rows(pl_module, examples, outcomes, names)
            write_whole(folder / f"{split}.parquet", _parquet(rows, TEXTS))
        if on_the_way:
            rows = [_row_of_node(reply, pl_module.pool.names) for reply in on_the_way]
            write_whole(folder / NODES, _parquet(rows, OF_NODES, ("node", "level")))


def _on_the_way(module: ModelSwarm, examples: Sequence[Example]) -> list[NodeReply]:
    """Ask the best system of graphs on the first rank; nothing of other searches, and on other ranks."""
    swarm, ranks, found = module.particle_swarm, module.ranks, list[NodeReply]()
    if not isinstance(swarm, HeterogeneousSwarm) or not examples:
        return found
    with ranks.together():
        if ranks.index == 0:
            system, particle = swarm.found_asked, swarm.found_particle
            found = replies_on_the_way(module.evaluator, module.objective, system, particle, examples[:MOST])
    return found


def _row_of_node(reply: NodeReply, experts: Sequence[str]) -> dict[str, Any]:
    return {
        **_row_of(reply.example),
        "node": reply.node,
        "level": reply.level,
        "expert": experts[reply.model],
        "reply": reply.reply,
        "score": reply.score,
    }


def _row_of(example: Example) -> dict[str, Any]:
    return {
        "id": example.identifier,
        "task": example.task,
        "question": example.question,
        "choices": None if example.choices is None else json.dumps(dict(example.choices), ensure_ascii=False),
        "gold": example.answer,
    }


def _rows(
    module: ModelSwarm, examples: Sequence[Example], outcomes: Sequence[Sequence[Outcome]], names: tuple[str, str]
) -> list[dict[str, Any]]:
    prompts = [module.objective.prompt(example, module.tokenizer) for example in examples]
    return [
        {
            **_row_of(example),
            "prompt": prompt,
            "expert": expert,
            "which": which,
            "reply": outcome.reply,
            "answer": outcome.answer,
            "score": outcome.score,
        }
        for expert, which, of_expert in zip((INITIAL, FOUND), names, outcomes, strict=True)
        for example, prompt, outcome in zip(examples, prompts, of_expert, strict=True)
    ]


def _parquet(rows: Sequence[dict[str, Any]], texts: Sequence[str], numbers: Sequence[str] = ()) -> bytes:
    import pyarrow
    from pyarrow import parquet

    types = {**dict.fromkeys(texts, pyarrow.string()), **dict.fromkeys(numbers, pyarrow.int32())}
    columns = {name: [_text(row[name]) for row in rows] for name in texts}
    columns |= {name: [row[name] for row in rows] for name in (*numbers, "score")}
    content = io.BytesIO()
    schema = pyarrow.schema([*types.items(), ("score", pyarrow.float64())])
    parquet.write_table(pyarrow.table(columns, schema=schema), content)
    return content.getvalue()


def _text(value: Any) -> str | None:
    """Return a text that UTF-8 can hold: half a surrogate pair becomes an escape."""
    return None if value is None else str(value).encode("utf-8", "backslashreplace").decode()
