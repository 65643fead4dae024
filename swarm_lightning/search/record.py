"""What a checkpoint holds beside Lightning's own: which search it belongs to, and what that search knew and had done.

Lightning stores the positions and the optimizer state; `resume.py` says what makes two searches the same.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swarm_lightning.differences import differences_between
from swarm_lightning.errors import InputError
from swarm_lightning.search.objective_state import load_objective_state, objective_state
from swarm_lightning.search.resident import base_of
from swarm_lightning.search.resume import FORMAT, KEY, check_same_search, identity_of
from swarm_lightning.search.storage import storage_record, take_storage

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

READ_BY = ("experts", "particles", "draws", "differences_from")  # what positions mean nothing without
COUNTS = ("seconds", "evaluations", "generated_tokens", "examples", "seed")


def record_of(module: "ModelSwarm") -> dict[str, Any]:
    """Return what a checkpoint of a search holds beside Lightning's own, as tensors and plain values."""
    return {
        "format": FORMAT,
        "identity": identity_of(module),
        **{name: getattr(module, name) for name in COUNTS},
        "scores": module.score_memory.state_dict(),
        "objective": objective_state(module.objective),
        "parts": module.parts,
        "base": base_of(module),
        "task": module.task,
        "experts": list(module.pool.names),
        "storage": storage_record(module),
    }


def take_record(module: "ModelSwarm", checkpoint: dict[str, Any], compared: Iterable[str] | None = None) -> None:
    """Give a search what an earlier part of it knew and had done.

    Args:
        module: The search, attached to a trainer.
        checkpoint: The content of a checkpoint file.
        compared: In what the two must be equal; in everything where not given.

    Raises:
        InputError: If the checkpoint is not one of a swarm, or of another search.
    """
    record = checkpoint.get(KEY)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(
            f"Expected a checkpoint of a swarm in format {FORMAT}, but this one holds "
            f"{'nothing of a swarm' if record is None else record.get('format')}. "
            "Give the last.ckpt of a run folder of this version of swarm-lightning."
        )
    record["identity"].setdefault("draws", "particle")  # all that there was at first
    saved, present = record["identity"], identity_of(module)
    compared = present.keys() if compared is None else compared
    check_same_search({name: saved.get(name) for name in compared}, {name: present[name] for name in compared})
    take_storage(module, record.get("storage", {}), checkpoint)
    for name in COUNTS:
        setattr(module, name, record[name])
    module.parts = record.get("parts", {})
    module.score_memory.load_state_dict(record["scores"])
    if saved["objective"]["class"] == present["objective"]["class"]:
        load_objective_state(module.objective, record.get("objective", {}))
    if module.trainer.state.fn != "fit":
        module.record = record
        others = {name: saved[name] for name in ("data", "objective")}
        for difference in differences_between(others, {name: present[name] for name in others}, "in the checkpoint"):
            rank_zero_warn(f"This is not what guided the search: {difference}.", stacklevel=2)
