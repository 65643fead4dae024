"""Tasks of a user's own for the lm-evaluation-harness: YAML files with their documents beside them, no hub needed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from swarm_lightning.data.examples import ExampleSplits
from swarm_lightning.objectives import HarnessTask, LanguageModel

COLOURS = ("red", "dark green", "blue", "pale yellow", "a shade of grey", "black")
THINGS = ("sky", "rose", "stone", "river", "fox", "bear", "town", "story")
Documents = Mapping[str, Sequence[Mapping[str, Any]]]


def documents(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Make documents that serve every kind of task: a question, choices of unequal length, a label and a text."""
    made = []
    for number in range(first, first + count):
        thing, start = THINGS[number % len(THINGS)], number % 4
        made.append(
            {
                "question": f"Which of these is a colour of {thing} number {number}?",
                "choices": list(COLOURS[start : start + 3]),
                "label": number % 3,
                "answer": f"{thing} {number % 5}",
            }
        )
    return made


CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "label",
    "doc_to_choice": "choices",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
    ],
}
LAST_WORD = {
    "output_type": "loglikelihood",
    "doc_to_text": "Question: {{question}} ",
    "doc_to_target": "{{answer}}",
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}
REPLY = {
    "output_type": "generate_until",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n", "ee"], "max_gen_toks": 8, "do_sample": False},
    "filter_list": [
        {"name": "vowel", "filter": [{"function": "regex", "regex_pattern": "([aeiou])"}, {"function": "take_first"}]},
        {"name": "none", "filter": [{"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def write_task(folder: Path, name: str, settings: Mapping[str, Any], splits: Documents, **changes: Any) -> str:
    """Write a task's YAML and its documents, and return what names it as a dataset.

    Args:
        folder: Where to write.
        name: Name of the task.
        settings: What it asks.
        splits: The harness's word for each split (training, validation, test) to its documents.
        changes: Settings to add or replace.
    """
    files = {}
    for split, rows in splits.items():
        path = folder / f"{name}-{split}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        files[split] = str(path)
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        **{f"{split}_split": split for split in splits},
        **settings,
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return f"lm_eval:{path}"


def check(objective: HarnessTask, splits: ExampleSplits, model: LanguageModel) -> None:
    """Let an objective see what it will be asked, as a search does before it begins."""
    objective.check(splits.validation, model.tokenizer)
    objective.check(splits.test, model.tokenizer)
