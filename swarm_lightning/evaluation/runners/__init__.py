"""The runners of this package, one file each; `evaluation/runner.py` says what a runner is.

A further one is a file of its own with two classes. The runner says how long prompts are, how many rows and candidates
share a forward pass, and in `session` takes up candidates, in a form of its choice. The session lends them, row by row,
as a language model with a set of `broken` rows. What reads and writes token ids on the resident model need only follow
`TokenModel`: `TextRows` turns texts into token ids and back, and says by a `TokenDecoding` when replies end and how
tokens are chosen. `Evaluator(runner, objective)` asks its candidates, and `evaluator.on(runner)` asks those of a second
runner the same. The smallest example, without any model, is `tests/evaluation/table_runner.py`.

A search makes its runner from what it has loaded, by the form of its candidates, which its space names: `RUNNERS_OF`
has a line for every form. Where the resident model takes candidates up, there is a choice of engines: `RUNNERS` has a
line for every name that `model.engine.backend` can give.
"""

from collections.abc import Callable
from dataclasses import replace

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Loaded, Runner
from swarm_lightning.evaluation.runners.any_models import AnyModelsRunner
from swarm_lightning.evaluation.runners.graphs import GraphRunner
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.runners.token_swarm import TokenSwarmRunner
from swarm_lightning.evaluation.runners.vllm import VllmRunner
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.vectors import ADAPTER, CHECKPOINT, MIXTURE, MODEL, PRODUCTS, SYSTEM

RUNNERS: dict[str, Callable[[Loaded], Runner]] = {
    "torch": lambda loaded: ResidentRunner(loaded.resident, loaded.tokenizer, loaded.settings),
    "vllm": VllmRunner,
}


def by_engine(loaded: Loaded) -> Runner:
    """Make the runner that `model.engine.backend` names, whose candidates are what the resident model takes up."""
    return RUNNERS[loaded.settings.backend](loaded)


def _of_products(loaded: Loaded) -> Runner:
    assert loaded.weighed is not None
    assert isinstance(loaded.resident, AdaptedModel)
    return by_engine(replace(loaded, resident=ProductModel(loaded.resident, *loaded.weighed)))


def _of_mixtures(loaded: Loaded) -> Runner:
    assert loaded.mixture is not None
    return TokenSwarmRunner(loaded, loaded.mixture)


def _of_systems(loaded: Loaded) -> Runner:
    assert loaded.graphs is not None
    return GraphRunner(runner_of(loaded.pool.form, loaded), loaded.graphs.instructions)


RUNNERS_OF: dict[str, Callable[[Loaded], Runner]] = {
    ADAPTER: by_engine,
    CHECKPOINT: by_engine,
    PRODUCTS: _of_products,
    MIXTURE: _of_mixtures,
    MODEL: AnyModelsRunner,
    SYSTEM: _of_systems,
}


def runner_of(form: str, loaded: Loaded) -> Runner:
    """Make what runs candidates of a form.

    Args:
        form: Its name; see `vectors.py`.
        loaded: What a search has loaded.

    Raises:
        InputError: If no runner has a line for it.
    """
    if form not in RUNNERS_OF:
        raise InputError(
            f"Expected candidates of one of the forms {', '.join(RUNNERS_OF)}, but the space of this search makes them "
            f"of the form {form!r}. Give it a line in RUNNERS_OF (swarm_lightning.evaluation.runners): `by_engine`, "
            "where model.engine.backend names what takes them up."
        )
    return RUNNERS_OF[form](loaded)
