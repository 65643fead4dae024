"""What every stage of a trainer needs of a search: its parts are loaded, its swarm is made, and checkpoints hold both.

Everything the user gave is checked here or in the parts, before any work starts. What the search does is in
`model_swarm.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.lots import LEAST_PAIRS
from swarm_lightning.evaluation.progress import Watcher
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.products.division import GroupedProducts
from swarm_lightning.experts.products.refit import bytes_of, evaluations_of
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.objectives.fitting import said_of_room, said_of_unread_choices
from swarm_lightning.objectives.guides import guide_of
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.guide import GuideCheck
from swarm_lightning.search.objective import check_data, chosen_objective, load_objective_state, objective_state
from swarm_lightning.search.parts import Parts, Sharing
from swarm_lightning.search.population import Population
from swarm_lightning.search.settings import READ_BY, SearchSettings, check_identity, identity_of, warn_of_other_guides
from swarm_lightning.search.state import FORMAT, KEY, SearchState, record_in
from swarm_lightning.search.strategy import check_same_run, ranks_of
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.spaces.coefficients import BASE
from swarm_lightning.swarm.state import Swarm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PreparedSearch(L.LightningModule):
    """A search that can be set up, saved, resumed, and taken out of a checkpoint.

    Attributes:
        settings: Of the search.
        state: What it knows and has done.
        ranks: The processes that share the work; all of them after `setup`.
        positions: The one parameter.
    """

    def __init__(self, settings: SearchSettings, objective: Objective | None) -> None:
        """Take the settings; nothing is read before `prepare_data`.

        Args:
            settings: Of the search.
            objective: What to ask; None for what fits the data.

        Raises:
            InputError: If the optimizer or the schedule refuses its settings, or a smooth guide is to be followed and
                the objective has none.
        """
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings
        self._objective = objective
        self._guide: Objective | None = None
        self._mixed: tuple[GuideCheck, Objective] | None = None
        self._by_guide: Evaluator | None = None
        if objective is not None:
            _ = self.guide
        self.state = SearchState()
        self.ranks = Ranks()
        self.positions: torch.nn.Parameter
        self._parts = Parts(settings)
        self._watcher: Watcher | None = None
        self._take_population(Population(settings))

    def share(self, sharing: Sharing) -> None:
        """Leave to others what they may do for several searches.

        Args:
            sharing: What is loaded, measured and asked for all of them.
        """
        self._parts.sharing = sharing

    def watch(self, watcher: Watcher | None) -> None:
        """Let somebody know how evaluations go on; None for nobody."""
        self._watcher = watcher

    def sample_by(self, seed: int) -> None:
        """Draw sampled replies by another seed than the last search's.

        Args:
            seed: Of the noise.
        """
        self.state.seed = seed

    def prepare_data(self) -> None:
        """Check the data, then read the experts and check them against each other, before anything is written."""
        check_data(self.objective, self.splits)
        _ = self.pool, self._parts.division

    @property
    def objective(self) -> Objective:
        """What is asked; where none was given, what fits the data of the trainer."""
        if self._objective is None:
            self._objective = chosen_objective(self.splits)
            rank_zero_info(
                f"No objective was given: {type(self._objective).__name__} is used, which fits the examples."
                + said_of_room(self._objective)
                + said_of_unread_choices(self.splits.validation if self.splits is not None else ())
            )
        return self._objective

    @property
    def guide(self) -> Objective:
        """What the search is to follow: the objective itself, or its smooth guide.

        Raises:
            InputError: If a smooth guide is to be followed, and the objective has none.
        """
        if self._guide is None:
            self._guide = self.objective if self.settings.guide == "objective" else guide_of(self.objective)
        return self._guide

    @property
    def pool(self) -> Pool:
        """The experts, read from their sources at the first use."""
        return self._parts.pool

    @property
    def form(self) -> str:
        """The form of the candidates that the space makes of positions; see `vectors.py`."""
        return self._parts.form

    @property
    def evaluator(self) -> Evaluator:
        """What scores what the space makes of positions; there after `setup`."""
        return self._seeded(self._parts.evaluator)

    @property
    def followed(self) -> Objective:
        """What the search follows: its guide, unless that was dropped, or is mixed with the objective."""
        check = self.state.check
        if check is None or not check.mixed:
            return self.guide if check is None or check.followed else self.objective
        if self._mixed is None or self._mixed[0] is not check:
            self._mixed = check, check.mixture(self.guide, self.objective)
        return self._mixed[1]

    def evaluator_of(self, objective: Objective) -> Evaluator:
        """Return what scores what the space makes of positions by the objective or by the guide.

        Args:
            objective: Which of them.
        """
        if objective is self.objective:
            return self.evaluator
        if self._by_guide is None or self._by_guide.objective is not objective:  # it remembers the prompts
            self._by_guide = self._parts.evaluator.asking(objective)
        return self._seeded(self._by_guide)

    @property
    def refits(self) -> bool:
        """Whether experts are fitted anew."""
        return self._parts.refitting is not None

    @property
    def cost_of_fit(self) -> int:
        """How many whole evaluations a fit of the experts costs; 0 where there is none."""
        weighed = self._parts.refitting
        return 0 if weighed is None else evaluations_of(weighed.products)

    @property
    def bytes_of_fit(self) -> int:
        """The memory that a fit of the experts takes at most; 0 where there is none."""
        weighed = self._parts.refitting
        return 0 if weighed is None else bytes_of(weighed.products.trained)

    @property
    def bytes_of_fitted(self) -> int:
        """The size of the experts' A matrices that are fitted anew, which checkpoints hold; 0 where none are."""
        weighed = self._parts.refitting
        return 0 if weighed is None else sum(down.nbytes for down in weighed.products.second)

    @property
    def bytes_of_products(self) -> int:
        """The memory of the experts' products, where a position is their coefficients; else 0."""
        division = self._parts.division
        if division is None or division.weighed is None:
            return 0
        products = division.weighed.products
        return sum(matrix.nbytes for matrix in (*products.downs, *products.ups))

    @property
    def weights_evaluator(self) -> Evaluator:
        """What scores weights [D] of the experts' form, whatever positions are; there after `setup`."""
        return self._seeded(self._parts.weights_evaluator)

    def products_evaluator(self, weighed: GroupedProducts) -> Evaluator:
        """Return what scores weighted sums of other products than the search's; there after `setup`.

        Args:
            weighed: Of adapters of the base; candidates are coefficients of them.
        """
        return self._seeded(self._parts.products_evaluator(weighed))

    def _seeded(self, evaluator: Evaluator) -> Evaluator:
        evaluator.seed = self.state.seed or 0  # which a checkpoint may have brought along
        evaluator.watcher = self._watcher
        return evaluator

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the base model; there after `setup`."""
        return self._parts.tokenizer

    def setup(self, stage: str) -> None:
        """Load the base model once, check everything against it, and make the first population.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.

        Raises:
            InputError: If the experts do not fit the base, the objective can't serve the examples, or the ranks do
                not all run the same.
        """
        self.ranks = ranks_of(self.trainer)
        callbacks: Sequence[Any] = self.trainer.checkpoint_callbacks
        keeps_all = any(callback.save_top_k not in (0, 1) for callback in callbacks)
        self._population.check(len(self.pool.names), self.ranks.count, keeps_all)
        self.load(stage)
        if stage == "fit" or not self._population.used:
            self._populate()
        own = {"experts": self.pool.fingerprint, "base": self._parts.fingerprint}
        own |= self.identity if self.trainer.state.fn == "fit" else {}
        check_same_run(self.ranks, own, self._run_folder)

    def rehearse(self) -> Space:
        """Check and load all that a search needs, without a run folder, and make no positions.

        Returns:
            The space that they would lie in.

        Raises:
            InputError: As `setup`.
        """
        self._population.check(len(self.pool.names), self.ranks.count, keeps_all=False)
        self.load("fit")
        self.state.seed = torch.initial_seed()
        self._population.enter(self.pool, self._parts.division, self._run_folder)
        return self._population.space

    @property
    def chunk(self) -> int:
        """Examples that the exact stop asks of a particle at a time."""
        together = self.evaluator.runner.at_once or self.settings.particles
        return self.settings.engine.chunk or math.ceil(2 * LEAST_PAIRS / together)

    @property
    def movement(self) -> SearchOptimizer:
        """What would move the particles; its settings are there before a search is."""
        return self._population.swarm

    def load(self, stage: str) -> None:
        """Load the base model once, and check everything against it; see `Parts.load`.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.
        """
        predicts = stage == "predict"
        splits, device = None if predicts else self.splits, self.trainer.strategy.root_device
        self._parts.load(self.objective, self.ranks, device, splits, predicts)

    def check_in_memory(self) -> None:
        """Refuse to compare methods where the swarm lies on the disk; see `Parts.check_in_memory`."""
        self._parts.check_in_memory()

    def _take_population(self, population: Population) -> None:
        self._population, self.positions = population, population.positions

    def _populate(self) -> None:
        """Begin a new search: with a new swarm, unless the one that is there has not been used yet."""
        if self._population.used:
            self._take_population(Population(self.settings))
        self.state.start(self.ranks.first(torch.initial_seed()))
        self._population.enter(self.pool, self._parts.division, self._run_folder)
        self._population.begin(self.state.generator)

    @property
    def _run_folder(self) -> Path:
        return Path(self.trainer.default_root_dir)

    @property
    def task(self) -> str:
        """Name of the dataset whose validation split guides the search."""
        return self.splits.name if self.splits is not None else "examples of the user's own dataloader"

    @property
    def held_back(self) -> Sequence[Example]:
        """What the search is scored on when it has ended: the test split, where the trainer's data module has one."""
        return self._parts.sharing.held_back(self.splits.test if self.splits is not None else ())

    @property
    def splits(self) -> ExampleSplits | None:
        """The examples of the trainer's data module, where it has one."""
        return getattr(getattr(self.trainer, "datamodule", None), "splits", None)

    @property
    def base(self) -> str:
        """Folder or hub id of the base model: the one that was named, or the first of the full checkpoints."""
        return self._parts.base

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this search this one and no other, as plain values."""
        data = getattr(getattr(self.trainer, "datamodule", None), "fingerprint", None)
        population, experts = self._population, self.pool.fingerprint
        origin = population.space.differences_from
        return identity_of(
            self.settings, population.said, origin, self.objective, self._parts.fingerprint, experts, data
        )

    def configure_optimizers(self) -> Any:
        """Return the particle swarm and the schedule of its step length, and make what is still missing of them."""
        self._population.complete(self.state.generator)
        return [self._population.swarm], [self._population.schedule]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave examples where they are: they are text, and Lightning refuses to look into frozen dataclasses."""
        return batch

    @property
    def particle_swarm(self) -> SearchOptimizer:
        """The optimizer: there once the trainer has set the search up or a checkpoint has brought it."""
        if not self._population.used:
            raise RuntimeError("Expected a search: call `trainer.fit`, or give a checkpoint.")
        return self._population.swarm

    @property
    def swarm(self) -> Swarm:
        """The memory of the swarm; there once the first positions have been evaluated."""
        return self.particle_swarm.swarm

    def resident(self) -> ResidentModel:
        """Return the resident model, loaded on the CPU where the search is not set up.

        Raises:
            InputError: If the base can't be loaded, or is not the one of a checkpoint whose weights are made with it.
        """
        origin = self.state.origin
        made_with_base = origin is not None and self.particle_swarm.space.differences_from == BASE
        return self._parts.resident(origin["identity"]["base"] if origin and made_with_base else None)

    # Checkpoints: Lightning stores positions and optimizer; here is what they belong to.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the positions belong to, so that they can be resumed and exported."""
        if self.state.origin is not None:  # taken out of a checkpoint, which knows better
            checkpoint[KEY] = self.state.origin
            return
        checkpoint[KEY] = {
            "format": FORMAT,
            "identity": self.identity,
            **self.state.record(),
            "objective": objective_state(self.objective),
            "base": self.base,
            "task": self.task,
            "experts": list(self.pool.names),
            "storage": self.particle_swarm.space.record(self.particle_swarm.held),
        }
        if self.state.fit and self._parts.refitting is not None:
            checkpoint[KEY]["fitted"] = [down.clone() for down in self._parts.refitting.products.second]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this search, and take the swarm out of it where no trainer does.

        Raises:
            InputError: If the checkpoint is not one of a swarm, or of another search.
        """
        if self.trainer.state.fn != "fit":
            self.restore(checkpoint)
            return
        record = record_in(checkpoint)
        check_identity(record["identity"], self.identity)
        kind = record.get("storage", {}).get("kind", "memory")
        if kind != self.settings.storage:
            raise InputError(
                f"Expected to resume with the storage of the checkpoint, {kind}, but model.storage is "
                f"{self.settings.storage}. Set it to {kind}."
            )
        self._take(record, checkpoint)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take positions and memory of the swarm out of a checkpoint, to score or export them.

        Raises:
            InputError: If the checkpoint is not one of a swarm, or of other experts.
        """
        record = record_in(checkpoint)
        meant = {name: getattr(self.settings, name) for name in ("draws", "coefficients", "mixture")}
        meant["refit"] = self.settings.refit or None
        check_identity(record["identity"], meant)
        storage = record.get("storage", {}).get("kind", "memory")
        self._take_population(Population(replace(self.settings, storage=storage)))
        self._population.enter(self.pool, self._parts.division, self._run_folder)
        check_identity(record["identity"], self.identity, {*READ_BY, *(["base"] if self._parts.fingerprint else [])})
        self._take(record, checkpoint)
        self.state.origin = record
        warn_of_other_guides(record["identity"], self.identity)
        self._population.restore(checkpoint)

    def _take(self, record: dict[str, Any], checkpoint: dict[str, Any]) -> None:
        """Take up what an earlier part of the search knew and had done."""
        self._population.resume(record.get("storage", {}), checkpoint)
        self.state.resume(record)
        if self.state.fit:
            self._parts.put_second(record["fitted"])
        if record["identity"]["objective"]["class"] == type(self.objective).__qualname__:
            load_objective_state(self.objective, record.get("objective", {}))
