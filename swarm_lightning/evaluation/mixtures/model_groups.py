"""Models of any architecture: each with the experts that stand on it, in memory as long as there is room.

Experts that are adapters of one base share its forward pass; every other expert is a model of its own. Where the models
do not fit into memory together, they take turns: the one that was longest not asked goes, and is read again from its
files when it is asked. That of the base stays.
"""

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.memory import free_bytes
from swarm_lightning.evaluation.engine.tokens import end_of_text_ids
from swarm_lightning.evaluation.lengths import ids_of, positions_of
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.experts.checkpoints import read_checkpoint
from swarm_lightning.experts.model_pool import Standing
from swarm_lightning.experts.resident.base_model import load_base, load_tokenizer
from swarm_lightning.experts.safetensors_files import DTYPES
from swarm_lightning.experts.sources import local_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHARE = 0.6  # of the free memory that a further model may take; its batches need the rest


class ModelGroup:
    """One model with the experts that stand on it.

    Attributes:
        standing: Which they are.
        name: What the model is called in messages.
        places: The experts' places in the pool, in the order of the crowd's particles.
        tokenizer: The model's.
        positions: Tokens that the model reads at most; None where nothing limits it.
        ends: Ids that end a reply.
        size: Number of ids that the model knows, whatever its tokenizer has.
        engine: The model in memory; None where it is not there.
        crowd: The experts as particles of it; None where it is not there.
    """

    def __init__(self, standing: Standing, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Take note of a model; nothing is loaded.

        Args:
            standing: The model and its experts.
            tokenizer: The model's.
        """
        self.standing, self.name, self.places = standing, standing.source, standing.places
        self.tokenizer = tokenizer
        self.positions: int | None = None
        self.ends: frozenset[int] = frozenset()
        self.size = 0
        self.engine: Engine | None = None
        self.crowd: Crowd | None = None

    def take(self, engine: Engine) -> None:
        """Take the model in.

        Args:
            engine: The model in memory.
        """
        self.engine, self.crowd = engine, Crowd(engine.adapted, self._vectors(), meter=engine.meter)
        self.positions = positions_of(engine.adapted.model)
        self.size = ids_of(engine.adapted.model)
        ends = end_of_text_ids(engine.adapted.model, self.tokenizer)
        self.ends = frozenset(index for index in ends if index < self.size)

    def let_go(self) -> None:
        """Let the model go."""
        self.engine = self.crowd = None

    def _vectors(self) -> Tensor | None:
        """Return the adapters, and for the model itself one that adds nothing; None where there are no adapters."""
        adapters = self.standing.adapters.vectors
        if not self.standing.adapters.names:
            return None
        return torch.cat([adapters, torch.zeros_like(adapters[:1])]) if self.standing.plain else adapters


class Shelf:
    """All models of a pool.

    Attributes:
        groups: Those that experts stand on.
        base: The engine of the base, which is always there.
        count: Number of experts n.
        loads: How often a model was read beside the base.
    """

    def __init__(self, loaded: Loaded, base: Engine) -> None:
        """Load every model once, so that what can't be used is refused; those that memory has no room for go again.

        Args:
            loaded: What a search has loaded: the base, its tokenizer, and a pool of models that answer as they are.
            base: The engine of the base.

        Raises:
            InputError: If a model or its tokenizer can't be loaded, or an adapter does not belong to its base.
        """
        pool = loaded.pool
        self._loaded = loaded
        self.base = base
        self.count, self.loads = len(pool.names), 0
        self.groups: list[ModelGroup] = []
        self._latest: list[ModelGroup] = []  # of those that may go, the one that was asked last at the end
        for place, standing in enumerate(pool.standings):
            if not standing.places:  # the base without any expert
                continue
            if place == 0:
                group = ModelGroup(standing, loaded.tokenizer)
                group.take(self.base)
            else:
                group = ModelGroup(standing, self._tokenizer_of(standing.source))
                self.crowd(group)
            self.groups.append(group)
        if len(self._latest) < sum(group.engine is not self.base for group in self.groups):
            rank_zero_info(
                f"{len(self.groups)} models take turns in memory, which has room for {len(self._latest)} beside the "
                "base at a time: every turn reads a model from its files."
            )

    def crowd(self, group: ModelGroup) -> Crowd:
        """Return the experts of a model that is in memory, and make room for it where it is not there.

        Args:
            group: Which.

        Raises:
            InputError: If it can't be loaded.
        """
        if group.engine is None:
            self._make_room(group)
            loaded = self._loaded
            source, device = group.standing.source, loaded.resident.model.device
            model, tokenizer = load_base(source, loaded.dtype, device, loaded.trust_remote_code)
            resident = group.standing.adapters.resident(model, source)
            group.take(Engine(resident, tokenizer, loaded.settings, self.base.meter))
            self.loads += 1
        if group.engine is not self.base:
            self._latest = [*(one for one in self._latest if one is not group), group]
        assert group.crowd is not None
        return group.crowd

    def engine(self, group: ModelGroup) -> Engine:
        """Return a model in memory; see `crowd`."""
        self.crowd(group)
        assert group.engine is not None
        return group.engine

    def unload(self) -> None:
        """Let go of the adapters that models carry."""
        for group in self.groups:
            if group.engine is not None:
                group.engine.adapted.unload()

    def rows(self, tokens: int, groups: Sequence[ModelGroup] | None = None) -> int:
        """Return how many texts of so many tokens all models can read at a time."""
        chosen = self.groups if groups is None else groups
        engines = [(group.engine or self.base, len(group.places)) for group in chosen]
        return max(1, min(engine.rows(tokens) // count for engine, count in engines))

    def _make_room(self, group: ModelGroup) -> None:
        most = self._loaded.settings.models
        needed = weight_bytes(group.standing, self._loaded.dtype)

        def is_short() -> bool:
            if most is not None:
                return len(self._latest) >= most
            return needed > SHARE * free_bytes(self._loaded.resident.model.device)

        while self._latest and is_short():
            self._latest.pop(0).let_go()
            gc.collect()  # models refer to themselves in circles
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _tokenizer_of(self, source: str) -> "PreTrainedTokenizerBase":
        folder = local_folder(source, "a model", bare_names=True)
        return load_tokenizer(source if folder is None else str(folder), self._loaded.trust_remote_code, folder is None)


def weight_bytes(standing: Standing, dtype: str) -> int:
    """Return the bytes that a model's weights take in memory, its adapters not counted.

    Args:
        standing: The model.
        dtype: What its weights are brought to; `auto` for as they are stored.
    """
    tensors = read_checkpoint(standing.source, "a model").tensors.values()
    sizes = (DTYPES[one.kind] if dtype == "auto" else getattr(torch, dtype) for one in tensors)
    return sum(one.numel * size.itemsize for one, size in zip(tensors, sizes, strict=True))


def further_bytes(standings: Sequence[Standing], dtype: str, models: int | None) -> int:
    """Return the bytes of weights that models beside the base take at most.

    Args:
        standings: All models of a pool, that of the base first.
        dtype: What their weights are brought to; `auto` for as they are stored.
        models: How many of them are in memory at a time; None for all, where memory has room.
    """
    sizes = sorted((weight_bytes(standing, dtype) for standing in standings[1:] if standing.places), reverse=True)
    return sum(sizes[:models])
