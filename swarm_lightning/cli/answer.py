"""`swarm predict FOLDER` where the folder is no run, but a system of models that one has exported."""

from collections.abc import Sequence
from pathlib import Path

from swarm_lightning.callbacks.predictions import write_predictions
from swarm_lightning.cli.plain_parser import PlainParser
from swarm_lightning.data.module import show_notices
from swarm_lightning.data.prompts import read_prompts
from swarm_lightning.evaluation.answering_system import load_system


def answer(arguments: Sequence[str]) -> None:
    """Answer a file of prompts as the search has put its questions, print the answers and write them down.

    Args:
        arguments: The folder, `--data.prompts FILE`, and perhaps `--trust_remote_code true`.

    Raises:
        InputError: If the arguments can't be read, or the folder or the file can't be used.
    """
    parser = PlainParser("swarm predict", description="Answer prompts with a system of models that was exported.")
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
    write_predictions(Path(), answers)
