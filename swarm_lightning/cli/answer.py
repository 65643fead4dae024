"""`swarm predict FOLDER` where the folder is no run, but a system of models that one has exported."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from swarm_lightning.data.module import show_notices
from swarm_lightning.data.prompts import read_prompts
from swarm_lightning.evaluation.answering_system import load_system
from swarm_lightning.files import write_whole
from swarm_lightning.runs.run_folder import free_path
from swarm_lightning.shown import say


def answer(arguments: Sequence[str]) -> None:
    """Answer a file of prompts as the search has put its questions, print the answers and write them down.

    Args:
        arguments: The folder, `--data.prompts FILE`, and perhaps `--trust_remote_code true`.

    Raises:
        InputError: If the folder or the file can't be used.
        SystemExit: If the arguments can't be read.
    """
    parser = ArgumentParser("swarm predict", description="Answer prompts with a system of models that was exported.")
    parser.add_argument("folder", help="with graph.json")
    parser.add_argument("--data.prompts", dest="prompts", required=True, help="file with the prompts")
    parser.add_argument("--model.trust_remote_code", dest="trusts", choices=("true", "false"), default="false")
    given = parser.parse_args(list(arguments))
    prompts, notices = read_prompts(given.prompts)
    show_notices(list(notices))
    system = load_system(given.folder, trust_remote_code=given.trusts == "true")
    answers = [
        {"id": example.identifier, "question": example.question, "reply": reply}
        for example, reply in zip(prompts, system.answer(prompts), strict=True)
    ]
    path = free_path(Path("predictions.jsonl"))
    write_whole(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in answers))
    for one in answers:
        say(f"{one['question']!r} -> {one['reply']!r}")
    say(f"{len(answers)} answers: {path}")
