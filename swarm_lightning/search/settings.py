"""The settings of a search, what makes it the same search as another one, and the refusal to go on from any other.

Settings are fixed once they are made. What a search is known by follows from them, from what the optimizer and its
schedule say of themselves, and from fingerprints of base, experts and data; all of it plain values, so that a
checkpoint is never continued by a search that would silently be another one.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from swarm_lightning.differences import differences_between, is_plain
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.mixtures.mixture import AVERAGED, MixtureKind
from swarm_lightning.evaluation.runners import RUNNERS
from swarm_lightning.evaluation.settings import EngineSettings, GraphSettings
from swarm_lightning.experts.products.products import GRANULARITIES, Granularity
from swarm_lightning.objectives.guides import FLOOR, softens
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.population import Start, grow_population
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.spaces import SPACES

if TYPE_CHECKING:
    DrawsChoice = str
    Storage = str
else:  # what the registry of spaces names: a further one is a line there and nothing here
    Storage = Literal[tuple(dict.fromkeys(name.split("/")[0] for name in SPACES))]
    DrawsChoice = Literal[tuple(dict.fromkeys(name.split("/")[1] for name in SPACES))]
OF_COEFFICIENTS, OF_MIXTURE, OF_GRAPHS = "/coefficients", "/mixture", "/graphs"
GuideChoice = Literal["objective", "smooth", "mixed"]
LIBRARIES = frozenset({"torch", "transformers", "peft", "lightning"})

# What positions mean nothing without.
READ_BY = ("experts", "particles", "draws", "coefficients", "refit", "mixture", "differences_from")


@dataclass(frozen=True)
class SearchSettings:
    """What a user sets of a search, but for its objective and its data; see the arguments of `ModelSwarm`."""

    base: str | None
    experts: str | list[str]
    particles: int
    child_span: float
    start: Start
    draws: DrawsChoice
    optimizer: Callable[[Iterable[Tensor]], SearchOptimizer]
    scheduler: Callable[[Optimizer], LRScheduler]
    ensemble_size: int
    dtype: str
    trust_remote_code: bool
    engine: EngineSettings
    storage: Storage
    state_folder: str | None
    coefficients: Granularity | None = None
    guide: GuideChoice = "objective"
    mixture: MixtureKind | None = None
    graphs: GraphSettings | None = None
    objective_every: int | None = None
    refit: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        if self.particles < 2:
            raise InputError(f"Expected at least 2 particles, but got {self.particles}.")
        if not 0 < self.child_span < float("inf"):
            raise InputError(f"Expected child_span to be above 0 and finite, but got {self.child_span}.")
        if self.ensemble_size < 1:
            raise InputError(f"Expected ensemble_size to be at least 1, but got {self.ensemble_size}.")
        if self.guide not in get_args(GuideChoice):
            raise InputError(f"Expected guide to be one of {', '.join(get_args(GuideChoice))}, but got {self.guide!r}.")
        if self.objective_every is not None and self.objective_every < 1:
            raise InputError(
                f"Expected objective_every to be null or a number of iterations, 1 or more, but got "
                f"{self.objective_every}."
            )
        draws = tuple(dict.fromkeys(name.split("/")[1] for name in SPACES))  # a space may have been added since
        if self.draws not in draws:
            raise InputError(f"Expected draws to be one of {', '.join(draws)}, but got {self.draws!r}.")
        if self.coefficients is not None and self.coefficients not in GRANULARITIES:
            raise InputError(
                f"Expected coefficients to be null or one of {', '.join(GRANULARITIES)}, but got {self.coefficients!r}."
            )
        if self.engine.backend not in RUNNERS:
            raise InputError(
                f"Expected engine.backend to be one of {', '.join(RUNNERS)}, but got {self.engine.backend!r}."
            )
        if self.refit and (self.coefficients is None or self.engine.backend != "torch"):
            got = {"model.coefficients": self.coefficients, "model.engine.backend": self.engine.backend}
            raise InputError(
                "Expected model.coefficients to be set and model.engine.backend to be torch where "
                "LoRA experts are fitted anew (model.refit: true), but got "
                + " and ".join(f"{name} {'null' if value is None else value}" for name, value in got.items())
                + ". Set model.refit to false, or change them: model.coefficients to module, say."
            )
        others = (self.storage, self.draws, self.coefficients, self.mixture)
        if self.graphs is not None and others != ("memory", "particle", None, None):
            raise InputError(
                "Expected model.storage memory, model.draws particle, and model.coefficients and model.mixture null "
                f"with model.graphs, but got {', '.join(map(str, others))}. Leave them out."
            )
        if self.mixture is not None:
            self._check_mixture()
        if self.of_any_models and self.engine.backend != "torch":
            raise InputError(
                "Expected model.engine.backend to be torch with model.graphs.any_models, because vLLM serves adapters "
                f"of one base, but got {self.engine.backend!r}. Leave it out."
            )
        if self.space not in SPACES and self.coefficients is not None:
            fitting = [name.split("/")[:2] for name in SPACES if name.endswith(OF_COEFFICIENTS)]
            raise InputError(
                "Expected model.storage and model.draws to be "
                f"{' or '.join(' and '.join(pair) for pair in fitting)} with model.coefficients, but got "
                f"{self.storage} and {self.draws}. Leave them out, or set model.coefficients to null."
            )
        if self.space not in SPACES:
            raise InputError(
                f"Expected model.storage to be memory with draws: {self.draws}, but got {self.storage!r}. Leave it "
                "out, or set model.draws to particle."
            )

    @property
    def space(self) -> str:
        """The name of the space that positions lie in."""
        chosen = {OF_GRAPHS: self.graphs, OF_MIXTURE: self.mixture, OF_COEFFICIENTS: self.coefficients}
        kind = next((kind for kind, setting in chosen.items() if setting is not None), "")
        return f"{self.storage}/{self.draws}{kind}"

    @property
    def of_any_models(self) -> bool:
        """Whether experts are models of any architecture, which no search moves."""
        return self.mixture is not None or (self.graphs is not None and self.graphs.any_models)

    def _check_mixture(self) -> None:
        """Refuse what does not go together with a token swarm."""
        if self.mixture not in AVERAGED:
            raise InputError(f"Expected mixture to be null or one of {', '.join(AVERAGED)}, but got {self.mixture!r}.")
        if self.coefficients is not None:
            raise InputError(
                f"Expected model.coefficients to be null with model.mixture, but got {self.coefficients}: a token "
                "swarm has one number per expert. Leave it out."
            )
        if self.engine.backend != "torch":
            raise InputError(
                "Expected model.engine.backend to be torch with model.mixture, which reads whole distributions, but "
                f"got {self.engine.backend!r}. Leave it out."
            )
        if self.space not in SPACES:
            raise InputError(
                "Expected model.storage to be memory, and model.draws particle or coefficient, with model.mixture, but "
                f"got {self.storage} and {self.draws}. Leave them out."
            )

    def check_population(self, experts: int) -> None:
        """Refuse a population that can't be made.

        Args:
            experts: Number of experts n.

        Raises:
            InputError: If it is too small, there is no such start, or it begins with a base that is not named.
        """
        if self.graphs is not None:  # particles are graphs, as many as one likes
            return
        try:
            points = self.start.points(torch.zeros(experts, 1), torch.Generator())
            if self.start.soup and self.particles <= len(points):
                raise ValueError(
                    f"Expected particles to be {len(points) + 1} or more with model.start.kind {self.start.kind} and "
                    f"{experts} experts, for these, {len(points) - experts} sums of them and their greedy soup, but "
                    f"got {self.particles}."
                )
            grow_population(points, self.particles, self.child_span, torch.Generator())
        except ValueError as error:
            raise InputError(str(error)) from error
        if self.start.kind != "experts" and self.base is None:
            raise InputError(
                f"Expected model.base to name the base that model.start.kind {self.start.kind} begins with, but it is "
                "not set. Give its folder or hub id, or set the kind to experts."
            )


def identity_of(
    settings: SearchSettings,
    movement: Mapping[str, Any],
    differences_from: str | None,
    objective: object,
    base: str | None,
    experts: str,
    data: str | None,
) -> dict[str, Any]:
    """Return what makes a search this search and no other, as plain values.

    Args:
        settings: Of the search.
        movement: What optimizer and schedule say of themselves, as plain values.
        differences_from: What its positions' numbers multiply differences from.
        objective: What is asked.
        base: Fingerprint of the base; None while it is not loaded.
        experts: Fingerprint of the experts.
        data: Fingerprint of the data; None where they have none.
    """
    guide = None if settings.guide == "objective" else str(settings.guide)
    if guide is not None and softens(objective):
        guide = f"{guide}, floor {FLOOR}"  # with another floor, what was kept can't be compared with its scores
    return {
        "base": base,
        "experts": experts,
        "data": data,
        "particles": settings.particles,
        "child_span": settings.child_span,
        "start": asdict(settings.start),
        "draws": settings.draws,
        "coefficients": settings.coefficients,
        "refit": settings.refit or None,  # searches from before there was a choice did not
        "mixture": settings.mixture,
        # What runs the model is no part of a search, but for the last digits: those of torch are what there was first.
        "backend": None if settings.engine.backend == "torch" else settings.engine.backend,
        # Searches from before there was a choice followed the objective.
        "guide": guide,
        "graphs": None if settings.graphs is None else _plain_graphs(settings.graphs),
        "differences_from": differences_from,
        **movement,
        "objective": settings_of(objective),
    }


def _plain_graphs(graphs: GraphSettings) -> dict[str, Any]:
    """Return the settings of graphs; searches from before there was a choice had experts of one form."""
    plain = asdict(graphs)
    return {name: value for name, value in plain.items() if name != "any_models" or value}


def settings_of(instance: object, depth: int = 5) -> dict[str, Any]:
    """Return the class of an object and its public attributes, as far down as they are settings.

    Settings are plain values, patterns, and collections and objects that hold settings of their own.

    Args:
        instance: Any object; models and other objects of the large libraries below count as no settings.
        depth: Levels of objects to look into.

    >>> class Rule:
    ...     def __init__(self):
    ...         self.limits, self._cache, self.words = (3, 4), {}, frozenset("ab")
    >>> settings_of(Rule())
    {'class': 'Rule', 'limits': [3, 4], 'words': ['a', 'b']}
    >>> class Rules:
    ...     def __init__(self):
    ...         self.rules = {"first": Rule()}
    >>> settings_of(Rules())["rules"]["first"]["limits"]
    [3, 4]
    """
    settings: dict[str, Any] = {"class": type(instance).__qualname__}
    for name, value in vars(instance).items():
        if not name.startswith("_") and _is_setting(value, depth):
            settings[name] = _setting(value, depth)
    return settings


def _is_setting(value: object, depth: int) -> bool:
    if is_plain(value) or isinstance(value, re.Pattern):
        return True
    if type(value).__module__.split(".")[0] in LIBRARIES:
        return False
    if isinstance(value, Mapping | set | frozenset | list | tuple):
        return True
    return hasattr(value, "__dict__") and not callable(value) and depth > 0


def _setting(value: object, depth: int) -> Any:
    if is_plain(value):
        return value
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, Mapping):
        return {str(key): _setting(entry, depth) for key, entry in value.items() if _is_setting(entry, depth)}
    if isinstance(value, set | frozenset):
        return sorted(str(entry) for entry in value)
    if isinstance(value, list | tuple):
        return [_setting(entry, depth) for entry in value if _is_setting(entry, depth)]
    return settings_of(value, depth - 1)


def check_same_search(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Refuse to go on from the checkpoint of another search.

    Args:
        saved: What the checkpoint says, a nested mapping of plain values.
        present: The same of the search that wants to go on; keys that only one of the two has are compared as None.

    Raises:
        InputError: If anything differs; it names every difference.

    >>> check_same_search({"optimizer": {"inertia": 0.2}}, {"optimizer": {"inertia": 0.2}})
    """
    differences = differences_between(saved, present, "in the checkpoint")
    if differences:
        raise InputError(
            "Expected to resume with the experts, data and settings of the checkpoint, but "
            + "; ".join(differences)
            + ". Resume with the config.yaml of the checkpoint's run folder, or start a new search without --ckpt_path."
        )


def check_identity(saved: Mapping[str, Any], present: Mapping[str, Any], compared: Iterable[str] | None = None) -> None:
    """Refuse to go on from the checkpoint of another search.

    Args:
        saved: The identity in the checkpoint.
        present: That of the search that wants to go on.
        compared: In what the two must be equal; in everything where not given.

    Raises:
        InputError: If anything differs; it names every difference.
    """
    names = list(present if compared is None else compared)
    check_same_search({name: saved.get(name) for name in names}, {name: present[name] for name in names})


def warn_of_other_guides(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Say where a swarm that is looked at was guided by other data or another objective.

    Args:
        saved: The identity in the checkpoint.
        present: The present one.
    """
    guides: Sequence[str] = ("data", "objective")
    others = {name: saved[name] for name in guides}
    for difference in differences_between(others, {name: present[name] for name in guides}, "in the checkpoint"):
        rank_zero_warn(f"This is not what guided the search: {difference}.", stacklevel=2)


def check_evolution(settings: SearchSettings, name: str) -> None:
    """Refuse what an evolution strategy can't move or begin with.

    Args:
        settings: Of the search.
        name: What the strategy is called.

    Raises:
        InputError: If positions are no coefficients, or the population is to begin with more than the experts.
    """
    others = {"model.mixture": settings.mixture, "model.graphs": settings.graphs}
    for other, given in others.items():
        if given is not None:
            raise InputError(
                f"Expected {other} to be null with {name}, which moves coefficients of the experts' weights, "
                f"but it is set. Leave {other} out, or leave model.optimizer out."
            )
    if settings.coefficients is None:
        raise InputError(
            f"Expected model.coefficients to be set with {name}, which moves coefficients, but it is null. "
            "Set it to module, or to another of its choices."
        )
    if settings.start.kind != "experts":
        raise InputError(
            f"Expected model.start.kind to be experts with {name}, which starts from the best of a few "
            f"weighted sums of them, but got {settings.start.kind}. Leave it out."
        )


def check_heterogeneous(settings: SearchSettings, optimizer: SearchOptimizer) -> None:
    """Refuse graphs without what moves them, and settings of graphs that say nothing together.

    Args:
        settings: Of the search.
        optimizer: What is to move it.

    Raises:
        InputError: If they do not go together.
    """
    moves_graphs = isinstance(optimizer, HeterogeneousSwarm)
    if moves_graphs != (settings.graphs is not None):
        has, lacks = (
            ("HeterogeneousSwarm as model.optimizer", "model.graphs is not set. Set it, {} will do,")
            if moves_graphs
            else ("model.graphs", f"model.optimizer is {type(optimizer).__name__}. Set it to HeterogeneousSwarm,")
        )
        raise InputError(f"Expected model.graphs and HeterogeneousSwarm together, but got {has}, and {lacks} or leave "
                         "both out.")  # fmt: skip
    if settings.graphs is None or not isinstance(optimizer, HeterogeneousSwarm):
        return
    fixed = settings.graphs.decoding.fixed
    if fixed is not None and optimizer.moves != "weights":
        raise InputError(
            f"Expected model.optimizer.moves to be weights with model.graphs.decoding.fixed {fixed}, because a graph "
            f"that is fixed has no roles to move, but got {optimizer.moves}. Set it to weights, or fixed to null."
        )
    if settings.graphs.any_models and optimizer.moves != "roles":
        raise InputError(
            "Expected model.optimizer.moves to be roles with model.graphs.any_models, because weights of models of "
            f"different shapes can't be moved towards each other, but got {optimizer.moves}. Set it to roles, or give "
            "experts of one shape and leave any_models out."
        )
    if settings.guide != "objective":
        raise InputError(
            f"Expected model.guide to be objective with model.graphs, whose models reply with text, but got "
            f"{settings.guide}. Leave it out."
        )
