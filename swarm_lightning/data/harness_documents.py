"""Documents of tasks of the lm-evaluation-harness as records, for `lm_eval:TASK` in place of a dataset.

The texts of a record are there to be read by people and compared with each other. What a model is asked, and how its
replies are scored, the objective `HarnessTask` has from the task itself, which a record names along with its document.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swarm_lightning.data.harness_tasks import PREFIX, LoadedTask, load_tasks, splits_of, task_code
from swarm_lightning.data.notices import Notice
from swarm_lightning.data.tables import Record, Source, Table
from swarm_lightning.errors import InputError

# The columns of a record that say which document of which task it is.
SPEC, TASK, SPLIT, INDEX, DOCUMENT = "lm_eval", "lm_eval_task", "lm_eval_split", "lm_eval_index", "lm_eval_document"


def open_harness(source: str, subset: str | None = None) -> Source:
    """Open a task, or all tasks of a group, as a dataset.

    The documents that the harness evaluates a model on are the split `test`. Others guide the search: `validation` are
    the task's validation documents, or its training documents where it is the validation documents that the harness
    evaluates. A task with one kind of documents has one split, from which both are drawn without a common document.

    Args:
        source: `lm_eval:` and the name of a task, group or tag, or the path of a YAML or folder.
        subset: None; a task has no subsets.

    Raises:
        InputError: If there is no such task, or it can't be loaded.
    """
    spec = source.removeprefix(PREFIX)
    if subset is not None:
        raise InputError(f"Expected no subset for {source!r}, but got {subset!r}. Name another task instead.")
    tasks = list(load_tasks(spec).values())
    splits = splits_of(tasks)
    return Source(spec, source, {split: _reader(spec, tasks, split) for split in splits}, (_notice(source, tasks),))


def _reader(spec: str, tasks: Sequence[LoadedTask], split: str) -> Callable[[], Table]:
    def read() -> Table:
        records = [_record(spec, loaded, split, index) for loaded in tasks for index in _indices(loaded, split)]
        return Table(f"{PREFIX}{spec} ({split!r})" if split else f"{PREFIX}{spec}", records)

    def _indices(loaded: LoadedTask, split: str) -> range:
        return range(len(loaded.documents(split)))

    return read


def _record(spec: str, loaded: LoadedTask, split: str, index: int) -> Record:
    document = loaded.documents(split)[index]
    with task_code(f"the text of document {index} ({loaded.kinds[split]}) of {loaded.name!r}"):
        question, answer = _describe(loaded.task, document)
    return {
        "question": question,
        "answer": answer,
        "id": f"{loaded.name}/{loaded.kinds[split]}/{index}",
        SPEC: spec,
        TASK: loaded.name,
        SPLIT: split,
        INDEX: index,
        DOCUMENT: document,
    }


def _describe(task: Any, document: Mapping[str, Any]) -> tuple[str, str]:
    """Write down what a document asks and what the task takes for right."""
    text, target = task.doc_to_text(document), task.doc_to_target(document)
    choices = [str(choice) for choice in task.doc_to_choice(document)] if task.config.doc_to_choice is not None else []
    if isinstance(text, int):  # the choices are beginnings, the text says which is right, and the target follows it
        gold, text = text, ""
    else:
        gold = target
    golds = [
        choices[one] if isinstance(one, int) and 0 <= one < len(choices) else str(one)
        for one in (gold if isinstance(gold, list) else [gold])
    ]
    answer = " | ".join(golds).strip()
    asked = [str(text), *(choice for choice in choices if choice not in str(text))]
    return "\n".join(part for part in asked if part.strip()) or answer or "(empty)", answer or "(empty)"


def _notice(source: str, tasks: Sequence[LoadedTask]) -> Notice:
    kinds = tasks[0].kinds
    if "" in kinds:
        message = (
            f"{source} has {kinds['']} documents only: the validation and the test split are both drawn from them."
        )
        return Notice("one split", "warning", message)
    message = (
        f"In {source} the {kinds['validation']} documents are the split that guides the search, and the "
        f"{kinds['test']} documents, by which the harness evaluates, are held back."
    )
    return Notice("splits", "info", message)
