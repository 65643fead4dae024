"""`swarm predict FOLDER` where the folder is no run, but a system of models that one has exported."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_lightning.callbacks.predictions import write_predictions
from swarm_lightning.cli.parsing.plain_parser import PlainParser
from swarm_lightning.data.module import show_notices
from swarm_lightning.data.prompts import read_prompts
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.systems.answering_system import load_system

if TYPE_CHECKING:
    import torch


def answer(arguments: Sequence[str]) -> None:
    """Answer a file of prompts as the search has put its questions, print the answers and write them down.

    Args:
        arguments: The folder, `--data.prompts FILE`, and perhaps an accelerator and whether to trust code.

    Raises:
        InputError: If the arguments can't be read, or the folder or the file can't be used.
    """
    parser = PlainParser("swarm predict", description="Answer prompts with a system of models that was exported.")
    parser.add_argument("folder", help="with graph.json")
    parser.add_argument("--data.prompts", dest="prompts", required=True, help="file with the prompts")
    parser.add_argument("--model.trust_remote_code", dest="trusts", choices=("true", "false"), default="false")
    parser.add_argument("--trainer.accelerator", dest="accelerator", default="auto", help="cpu, gpu, mps, or auto")
    given = parser.parse_args(list(arguments))
    device = _device_of(given.accelerator)
    prompts, notices = read_prompts(given.prompts)
    show_notices(list(notices))
    system = load_system(given.folder, device, trust_remote_code=given.trusts == "true")
    answers = [
        {"id": example.identifier, "question": example.question, "reply": reply}
        for example, reply in zip(prompts, system.answer(prompts), strict=True)
    ]
    write_predictions(Path(), answers)


def _device_of(accelerator: str) -> "torch.device":
    """Return the device that a trainer with this accelerator runs on."""
    from lightning.fabric import Fabric

    try:
        return Fabric(accelerator=accelerator, devices=1).device
    except (ImportError, RuntimeError, ValueError) as cause:
        reason = " ".join(str(cause).split())
        raise InputError(
            f"Expected trainer.accelerator to name one of this machine, but got {accelerator!r}: {reason} Leave it out "
            "to use the fastest one available."
        ) from cause
