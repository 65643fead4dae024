"""The parts of a search that are loaded: the resident model, and what asks it.

Everything the user gave is checked here or in the parts, before any long work starts. What searches of one process may
share is handed in: see `Sharing`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.refitting import put_second
from swarm_lightning.evaluation.runner import Loaded, Runner
from swarm_lightning.evaluation.runners import runner_of
from swarm_lightning.experts.kinds import Pool, load_experts
from swarm_lightning.experts.model_pool import load_models
from swarm_lightning.experts.products.division import Division, GroupedProducts
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.objectives.protocol import Objective, RepliesOnly
from swarm_lightning.search.settings import SearchSettings, check_same_search
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.vectors import PRODUCTS, Vectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Resident:
    """What is loaded once.

    Attributes:
        adapted: The base as the model that becomes particles: by adapters, or by all of its weights.
        tokenizer: The base's.
        fingerprint: What tells the base from others.
    """

    adapted: ResidentModel
    tokenizer: "PreTrainedTokenizerBase"
    fingerprint: str


@dataclass(frozen=True)
class Asked:
    """What the scores of a position depend on beside the position.

    Attributes:
        objective: What is asked.
        identity: What makes the search this one.
        seed: Its seed, which sampled replies are drawn by.
        dtype: Data type of the base.
        device: Type of the device.
    """

    objective: Objective
    identity: Mapping[str, Any]
    seed: int | None
    dtype: str
    device: str


class Sharing(Protocol):
    """What a search leaves to others that it may share with: what is loaded, what was measured, what was asked."""

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        """Return what a search needs loaded.

        Args:
            key: What tells it from what other searches need.
            load: Loads it.
        """

    def measure(self, asked: Asked, measure: Callable[[], None]) -> None:
        """Have the objective measure what it needs on the base, or give it what was measured.

        Args:
            asked: What that depends on.
            measure: Measures it.
        """

    def first_scores(self, asked: Asked, positions: Vectors, ask: Callable[[Tensor], Evaluation]) -> Evaluation:
        """Score first positions.

        Args:
            asked: What their scores depend on.
            positions: Of N particles.
            ask: Asks those of a mask [N] bool.
        """

    def held_back(self, test: Sequence[Example]) -> Sequence[Example]:
        """Return what of a test split a search is scored on when it has ended."""


class Alone:
    """Shares nothing."""

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        """Load."""
        return load()

    def measure(self, asked: Asked, measure: Callable[[], None]) -> None:
        """Measure."""
        measure()

    def first_scores(self, asked: Asked, positions: Vectors, ask: Callable[[Tensor], Evaluation]) -> Evaluation:
        """Ask all."""
        return ask(torch.ones(len(positions), dtype=torch.bool))

    def held_back(self, test: Sequence[Example]) -> Sequence[Example]:
        """Return all of it."""
        return test


class Parts:
    """Owns what is loaded for a search: the experts, the resident model, and what asks it.

    Attributes:
        settings: Of the search.
        sharing: What is left to others.
    """

    def __init__(self, settings: SearchSettings, least_experts: int = 2) -> None:
        """Begin with nothing loaded.

        Args:
            settings: Of the search.
            least_experts: How many experts there must be.
        """
        self.settings = settings
        self._least_experts = least_experts
        self.sharing: Sharing = Alone()
        self._pool: Pool | None = None
        self._division: Division | None = None
        self._with_part: Tensor | None = None
        self._loaded: Resident | None = None
        self._evaluator: Evaluator | None = None
        self._weights_evaluator: Evaluator | None = None

    @property
    def pool(self) -> Pool:
        """The experts, read from their sources at the first use."""
        if self._pool is None:
            settings, least = self.settings, self._least_experts
            if settings.of_any_models and settings.experts:
                self._pool = load_models(settings.experts, settings.base, settings.mixture, least)
            else:
                self._pool = load_experts(settings.experts, least)
        return self._pool

    @property
    def division(self) -> Division | None:
        """What of the experts has a coefficient of its own; None where positions are no such coefficients.

        Raises:
            InputError: If experts of this kind can't be divided so.
        """
        granularity = self.settings.coefficients
        if self._division is None and granularity is not None:
            self._division = self.pool.divide(granularity)
            if self.settings.refit and self._division.weighed is not None:
                self._division = Division.of_products(self._division.weighed.products.doubled(), granularity)
            elif self.settings.refit:
                rank_zero_info(
                    "Full checkpoints are not fitted anew: that is done with LoRA adapters. The search goes on with "
                    "the experts as they are."
                )
        return self._division

    @property
    def refitting(self) -> GroupedProducts | None:
        """The products of experts that are fitted anew; None where none are."""
        division = self.division
        return division.weighed if division is not None and division.versions == 2 else None

    @property
    def with_part(self) -> Tensor:
        """Which versions of which experts add anything at all [versions, n] bool, where experts are fitted anew.

        It takes a look at all A matrices, so it is remembered until others are taken up.
        """
        if self._with_part is None:
            assert self.refitting is not None
            self._with_part = self.refitting.products.parts
        return self._with_part

    def put_second(self, downs: Sequence[Tensor]) -> None:
        """Take up experts that were fitted anew, also in the model where it is loaded.

        Args:
            downs: Their A matrices, layer by layer [n r, in].
        """
        weighed = self.refitting
        assert weighed is not None
        self._with_part = None
        if self._evaluator is None:
            weighed.products.put_second(downs)
        else:
            put_second(self._evaluator, weighed.products, downs)

    @property
    def form(self) -> str:
        """The form of the candidates that the space makes of positions."""
        return SPACES[self.settings.space].form(self.pool.form)

    @property
    def base(self) -> str:
        """Folder or hub id of the base model: the one that was named, or the first of the full checkpoints.

        Raises:
            InputError: If none was named and the experts are adapters.
        """
        base = self.settings.base if self.settings.base is not None else self.pool.base
        if base is None:
            raise InputError(
                "Expected model.base to name the base model that the adapters belong to, but it is not set. Give its "
                "folder or hub id."
            )
        return base

    @property
    def fingerprint(self) -> str | None:
        """What tells the base from others; None while it is not loaded."""
        return None if self._loaded is None else self._loaded.fingerprint

    @property
    def evaluator(self) -> Evaluator:
        """What scores what a space makes of positions; there once the parts are loaded."""
        if self._evaluator is None:
            raise RuntimeError("Expected `setup` to have run before the evaluator is used.")
        return self._evaluator

    @property
    def weights_evaluator(self) -> Evaluator:
        """What scores weights [D] of the experts' form, whatever positions are; what it asks counts there too."""
        if self._weights_evaluator is None:
            evaluator, loaded, own = self.evaluator, self._loaded, self.pool.form
            assert loaded is not None
            self._weights_evaluator = evaluator if self.form == own else evaluator.on(self._runner(own, loaded))
        return self._weights_evaluator

    def products_evaluator(self, weighed: GroupedProducts) -> Evaluator:
        """Return what scores weighted sums of other products than the search's; what it asks counts there too.

        Args:
            weighed: Of adapters of the base.
        """
        assert self._loaded is not None
        return self.evaluator.on(self._runner(PRODUCTS, self._loaded, weighed))

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the base model; there once the parts are loaded."""
        if self._loaded is None:
            raise RuntimeError("Expected `setup` to have run before the tokenizer is used.")
        return self._loaded.tokenizer

    def load(
        self, objective: Objective, ranks: Ranks, device: torch.device, splits: ExampleSplits | None, replies: bool
    ) -> None:
        """Load the base model, make it the resident model of the experts, and make what asks it; once.

        Args:
            objective: What will be asked.
            ranks: The processes that share the work.
            device: Where the base goes.
            splits: What will be asked, where that is known.
            replies: Whether replies are wanted, and no scores.

        Raises:
            InputError: If the experts do not fit the base, or the objective can't serve the examples.
        """
        if self._evaluator is not None:
            return
        if ranks.index > 0:  # one bar for all
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()
        settings = self.settings
        key = (settings.base, settings.dtype, device, settings.trust_remote_code, self.pool.fingerprint)
        loaded = self.sharing.resident(key, lambda: self._load(device))
        asked = [split for split in (splits.validation, splits.test) if split] if splits is not None else []
        for examples in asked:
            objective.check(examples, loaded.tokenizer)
        if replies and isinstance(objective, RepliesOnly):
            objective = objective.replies_only()
        weighed = None if self.division is None else self.division.weighed
        evaluator = Evaluator(self._runner(self.form, loaded, weighed), objective, ranks)
        for examples in asked:
            evaluator.check_lengths(examples)
        self._loaded, self._evaluator = loaded, evaluator

    def resident(self, needed: str | None = None) -> ResidentModel:
        """Return the resident model, loaded on the CPU where it is not loaded.

        Args:
            needed: Fingerprint that its base must have then; any where not given.

        Raises:
            InputError: If the base can't be loaded, or is another one.
        """
        if self._loaded is not None:
            return self._loaded.adapted
        loaded = self._load(torch.device("cpu"))
        if needed is not None:
            check_same_search({"base": needed}, {"base": loaded.fingerprint})
        return loaded.adapted

    def check_in_memory(self) -> None:
        """Refuse to compare methods where the swarm lies on the disk: the others work on all experts at once.

        Raises:
            InputError: If it does.
        """
        settings = self.settings
        if settings.storage != "memory":
            copies = 3 * settings.particles + 2 + len(self.pool.names)
            raise InputError(
                f"Expected model.storage to be memory to compare methods, which work on all experts at once, but got "
                f"{settings.storage}. Set it to memory if that holds about {copies} copies of an expert in float32 (3 "
                "for each of model.particles), or search with `swarm fit`, which can keep the swarm on disk."
            )

    def _runner(self, form: str, loaded: Resident, weighed: GroupedProducts | None = None) -> Runner:
        """Make what runs candidates of a form; where they are coefficients of products, of those that are given."""
        settings = self.settings
        made = Loaded(
            loaded.adapted,
            loaded.tokenizer,
            settings.engine,
            self.pool,
            self.base,
            settings.trust_remote_code,
            settings.dtype,
            weighed,
            settings.mixture,
            settings.graphs,
        )
        return runner_of(form, made)

    def _load(self, device: torch.device) -> Resident:
        from swarm_lightning.experts.resident.base_model import base_fingerprint, load_base

        model, tokenizer = load_base(self.base, self.settings.dtype, device, self.settings.trust_remote_code)
        fingerprint = base_fingerprint(model)
        return Resident(self.pool.resident(model, self.base), tokenizer, fingerprint)
