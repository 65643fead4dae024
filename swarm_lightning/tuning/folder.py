"""The folder of a trained expert: it appears whole or not at all, and says what it was made of and how.

Beside PEFT's two files it holds `tuning.json`, by which a later run knows the expert again, and a card. While an expert
is trained its state lies in a hidden folder beside its place, which no search takes for an expert.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swarm_lightning.differences import differences_between, flatten
from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from swarm_lightning.experts.export.model_card import public_name
from swarm_lightning.files import storage_errors, whole_folder
from swarm_lightning.paths import DEMO_PREFIX
from swarm_lightning.shown import in_markdown

if TYPE_CHECKING:
    from peft import PeftModel

RECORD_FILE = "tuning.json"


def work_folder(folder: Path) -> Path:
    """Return where the state of an unfinished training lies.

    >>> work_folder(Path("experts/math")).as_posix()
    'experts/.math.training'
    """
    return folder.with_name(f".{folder.name}.training")


def is_finished(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Tell whether an expert is already there, made from the same inputs.

    Args:
        folder: Its folder.
        identity: What it is to be made of, and how: nested plain values.

    Raises:
        InputError: If something else stands there.
    """
    if not folder.exists():
        return False
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        record = None
    whole = all((folder / file).is_file() for file in (CONFIG_FILE, WEIGHTS_FILE))
    if not isinstance(record, dict) or not whole:
        raise InputError(
            f"Expected no folder {str(folder)!r}, or one that was written by `swarm experts`, but it is none. Choose "
            "another output or name, or move it away."
        )
    differences = differences_between(record, json.loads(json.dumps(identity)), "there")
    if differences:
        raise InputError(
            f"Expected the expert in {str(folder)!r} to be made of the same base, data and settings, but "
            f"{'; '.join(differences)}. Set them as they were, move it away, or choose another output."
        )
    return True


def write_expert(folder: Path, adapted: "PeftModel", base: str, record: Mapping[str, Any]) -> None:
    """Write adapter, record and card; the folder appears when all of them are complete.

    Args:
        folder: Must not exist.
        adapted: A model with one trained adapter.
        base: The base as the user named it.
        record: What the expert was made of and what came out: nested plain values with `identity`.

    Raises:
        StorageError: If it can't be written; the same command goes on from the last checkpoint then.
    """
    from peft import LoraConfig

    config = cast(LoraConfig, adapted.peft_config["default"])
    config.base_model_name_or_path = base
    # A set in the configuration would be written in an order that changes from run to run.
    config.target_modules = sorted(config.target_modules or ())
    with storage_errors(folder), whole_folder(folder) as partial:
        adapted.save_pretrained(str(partial), save_embedding_layers=False)
        (partial / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (partial / CARD_FILE).write_text(render_card(folder.name, base, record), encoding="utf-8")


def render_card(name: str, base: str, record: Mapping[str, Any]) -> str:
    """Return the card of a trained expert as Markdown with YAML front matter.

    Args:
        name: The expert's name.
        base: The base as the user named it.
        record: What stands in `tuning.json`.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=public_name(base),
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "peft", "swarm-lightning"],
    )
    held_out = record.get("validation_loss")
    identity = {key: value for key, value in flatten(record["identity"]).items() if value is not None}
    # Python literals made by ascii() hold no line break and no backtick fence of their own.
    source = ascii(base).replace("`", r"\x60")
    demo = base.startswith(DEMO_PREFIX)
    lines = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# {in_markdown(name)}",
        "",
        f"A LoRA adapter for {in_markdown(public_name(base))}, fine-tuned by `swarm-lightning` on the responses of "
        f"{record['examples']} examples of {in_markdown(public_name(str(record['data'])))} in {record['steps']} steps.",
        "",
        f"- Loss of the last step: {record['loss']:.4f} nats per token",
        *([f"- Loss on {record['held_out']} held-out examples: {held_out:.4f}"] if held_out is not None else []),
        "",
        "## Settings",
        "",
        "| setting | value |",
        "| --- | --- |",
        *(f"| {in_markdown(key)} | {in_markdown(value)} |" for key, value in identity.items()),
        "",
        "## How to load it",
        "",
        "From the folder that holds this one:",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        *(["from swarm_lightning.paths import locate"] if demo else []),
        "",
        f"base = locate({source})" if demo else f"base = {source}",
        "tokenizer = AutoTokenizer.from_pretrained(base)",
        'model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")',
        f"model = PeftModel.from_pretrained(model, {ascii(name)})".replace("`", r"\x60"),
        "```",
        "",
    ]
    return "\n".join(lines)
