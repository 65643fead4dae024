"""Exports a composition as a PEFT adapter folder, with a card that says which method made it of which experts."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from swarm_lightning.baselines.results import Result
from swarm_lightning.experts.export import export_adapter
from swarm_lightning.experts.model_card import escape, public_name
from swarm_lightning.search.loading import adapters_of
from swarm_lightning.search.resident import base_of

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


def export_composition(
    module: "ModelSwarm", folder: Path, vector: Tensor, title: str, result: Result, test: float | None
) -> Path:
    """Write an adapter folder, replacing one that an interrupted comparison has left.

    Args:
        module: The search whose experts were composed.
        folder: Where it goes.
        vector: Weights [D].
        title: What the method is called.
        result: Its numbers.
        test: Its utility on the test split; None where there is none.

    Returns:
        The folder.
    """
    card = composition_card(base_of(module), module.task, module.pool.names, title, result, test)
    return export_adapter(folder, vector, adapters_of(module), card, overwrite=True, base=base_of(module))


def composition_card(
    base: str, task: str, experts: tuple[str, ...], title: str, result: Result, test: float | None
) -> str:
    """Return the card as Markdown with YAML front matter.

    Args:
        base: Path or hub id of the base model.
        task: Name of the dataset.
        experts: Names of the experts.
        title: What the method is called.
        result: Its numbers.
        test: Its utility on the test split; None where there is none.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=public_name(base),
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "peft", "swarm-lightning", "merge"],
    )
    tested = "" if test is None else f" and {test:.4f} on {len(result.test)} test examples"
    seed = "" if result.seed is None else f", seed {result.seed}"
    detail = f" ({escape(result.detail)})" if result.detail else ""
    return "\n".join(
        [
            f"---\n{data.to_yaml()}\n---\n",
            f"# {escape(title)}\n",
            f"A LoRA adapter for {escape(public_name(base))}: {escape(title)}{detail}{seed}, in a comparison of ways "
            f"to use {len(experts)} experts by `swarm-lightning`.",
            "",
            f"Task {escape(public_name(task))}: utility {result.validation:.4f} on the validation examples{tested}; "
            f"{result.evaluations} evaluations.",
            "",
            "Experts: " + ", ".join(escape(name) for name in experts),
            "",
        ]
    )
