"""Exports a composition as what the experts are, a PEFT adapter or a full checkpoint, with a card of how it was made.

The card says which method made it of which experts, and what it scores.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from swarm_lightning.baselines.method import Composition
from swarm_lightning.baselines.results import Result
from swarm_lightning.experts.export.adapter import write_adapter
from swarm_lightning.experts.export.expert import export_expert
from swarm_lightning.experts.export.model_card import public_name
from swarm_lightning.shown import in_markdown

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

ADAPTERS = "adapters"
WHOLE_MODELS = "models"


def folder_name(module: "ModelSwarm") -> str:
    """Return the folder, in that of the comparison, that holds what was composed of a search's experts."""
    return ADAPTERS if module.pool.are_differences else WHOLE_MODELS


def export_composition(
    module: "ModelSwarm", folder: Path, composition: Composition, title: str, result: Result, test: float | None
) -> Path:
    """Write an adapter or checkpoint folder, replacing one that an interrupted comparison has left.

    Args:
        module: The search whose experts were composed; set up.
        folder: Where it goes.
        composition: One adapter or one full checkpoint.
        title: What the method is called.
        result: Its numbers.
        test: Its utility on the test split; None where there is none.

    Returns:
        The folder.
    """
    base, pool = module.base, module.pool
    card = composition_card(base, module.task, pool.names, title, result, test, not pool.are_differences)
    if composition.adapter is not None:
        return write_adapter(folder, composition.adapter.tensors, composition.adapter.config, card, True, base)
    assert composition.vector is not None
    return export_expert(
        folder, composition.vector, pool, card, base, base, module.resident, True,
        trust_remote_code=module.settings.trust_remote_code,
    )  # fmt: skip


def composition_card(
    base: str, task: str, experts: tuple[str, ...], title: str, result: Result, test: float | None, whole: bool = False
) -> str:
    """Return the card as Markdown with YAML front matter.

    Args:
        base: Path or hub id of the base model.
        task: Name of the dataset.
        experts: Names of the experts.
        title: What the method is called.
        result: Its numbers.
        test: Its utility on the test split; None where there is none.
        whole: Whether it is a full checkpoint and no adapter.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=public_name(base),
        library_name="transformers" if whole else "peft",
        pipeline_tag="text-generation",
        tags=[*([] if whole else ["lora", "peft"]), "swarm-lightning", "merge"],
    )
    what = "A full checkpoint of the architecture of" if whole else "A LoRA adapter for"
    tested = "" if test is None else f" and {test:.4f} on {len(result.test)} test examples"
    seed = "" if result.seed is None else f", seed {result.seed}"
    detail = f" ({in_markdown(result.detail)})" if result.detail else ""
    return "\n".join(
        [
            f"---\n{data.to_yaml()}\n---\n",
            f"# {in_markdown(title)}\n",
            f"{what} {in_markdown(public_name(base))}: {in_markdown(title)}{detail}{seed}, in a comparison of ways to "
            f"use {len(experts)} experts by `swarm-lightning`.",
            "",
            f"Task {in_markdown(public_name(task))}: utility {result.validation:.4f} on the validation examples{tested}"
            f"; {result.evaluations} evaluations.",
            "",
            "Experts: " + ", ".join(in_markdown(name) for name in experts),
            "",
        ]
    )
