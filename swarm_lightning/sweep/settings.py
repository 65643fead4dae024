"""The settings of a sweep, and the published space. Plain values only."""

from dataclasses import dataclass
from typing import Any, Literal

from swarm_lightning.errors import InputError

# What the authors searched, at random; the best run by utility was reported (arXiv:2410.11163).
PUBLISHED_SPACE: dict[str, Any] = {
    "model.optimizer.inertia": [0.1, 0.2, 0.3],
    "model.optimizer.cognitive": [0.1, 0.2, 0.3, 0.4, 0.5],
    "model.optimizer.social": [0.2, 0.3, 0.4, 0.5, 0.6],
    "model.optimizer.repel": [0.01, 0.05, 0.1],
    "model.optimizer.lr": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
}
DEFAULT_TRIALS = 20
# Where what is known of a trial is kept with it, in the study.
KEPT, PLACE, SETTINGS = "facts", "place", "settings"


@dataclass(frozen=True)
class SweepSettings:
    """How settings are drawn, how many, and where the study is kept.

    Attributes:
        trials: Total number of searches over all processes that share the study, >= 1; null: 20, or the number of
            different settings if that is smaller, or all of them with `grid`.
        sampler: `random`; `grid`, every combination, in an order drawn by the seed; or `tpe`, which draws the first ten
            at random and then where the finished searches look promising. The same settings are never drawn twice.
        space: Config key -> a list of values, or a range `{low, high}` with `step` or `log`; null: the five
            coefficients of the published protocol.
        variants: Name -> settings that go together, config key -> value; each variant is combined with everything drawn
            from `space`, which may be just the seeds. `{}` is the config unchanged; null: none.
        subsets: Variants made from `model.experts`: numbers of experts, drawn by `seed` so that a smaller subset is
            contained in every larger one; or `each`: all experts, and all but one of them. null: none.
        test: Which searches are scored on the test split: the `best`, or `all`, for a study that measures how settings
            differ instead of choosing one.
        also_test: Further datasets of the same form; the result of each search is also scored on their test splits, if
            `test` is all. Each needs as many examples as `data.test_size` says.
        study: Name of the study, and of its folder in `trainer.default_root_dir`. A study of the same name is
            continued.
        storage: URL of an Optuna storage, for studies shared by machines without a common disk; null: SQLite in the
            study's folder.
        pruner: `median` stops a search whose global best is below the median of the finished searches at the same
            iteration (or at their last); `none` runs all searches to their end, as the published protocol does.
        pruner_warmup: Iterations of a search before it may be pruned, >= 0. At least five searches must have finished.
        seed: Seed of the draws; the searches themselves use `seed_everything`.
        keep_checkpoints: Whether to keep the checkpoints (and swarms on disk) of `all` searches, or only of the `best`
            finished one.
        tasks: Several tasks, each with its own study `<study>_<task>`, and one table of all in the folder `<study>`;
            see `compare.tasks`. null: only the task of the config.
        published: Published test scores to show in this table; see `compare.published`.
    """

    trials: int | None = None
    sampler: Literal["random", "grid", "tpe"] = "random"
    space: dict[str, Any] | None = None
    variants: dict[str, dict[str, Any]] | None = None
    subsets: list[int] | Literal["each"] | None = None
    test: Literal["best", "all"] = "best"
    also_test: list[str] | None = None
    study: str = "sweep"
    storage: str | None = None
    pruner: Literal["none", "median"] = "none"
    pruner_warmup: int = 5
    seed: int = 0
    keep_checkpoints: Literal["all", "best"] = "all"
    tasks: list[str] | dict[str, Any] | None = None
    published: str | dict[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range, and names that are no folder's."""
        if self.trials is not None and self.trials < 1:
            raise InputError(f"Expected sweep.trials to be at least 1, but got {self.trials}.")
        if self.pruner_warmup < 0:
            raise InputError(f"Expected sweep.pruner_warmup to be at least 0, but got {self.pruner_warmup}.")
        if not self.study or any(part in self.study for part in ("/", "\\")) or self.study.startswith("."):
            raise InputError(f"Expected sweep.study to be a plain name of a folder, but got {self.study!r}.")
        if self.variants is not None and len(self.variants) < 2:
            raise InputError(f"Expected two sweep.variants or more to compare, but got {list(self.variants)}.")
        if self.variants is not None and self.subsets is not None:
            raise InputError("Expected sweep.variants or sweep.subsets, but got both. Name experts in the variants.")
        if self.also_test is not None and self.test != "all":
            raise InputError("Expected sweep.test to be all with sweep.also_test, but got best. Set it.")
        if self.space is not None and not self.space:
            raise InputError("Expected a key in sweep.space, but it is empty. Name one, or leave it out.")

    @property
    def drawn(self) -> dict[str, Any]:
        """What is drawn beside the variants: the published space where nothing is named."""
        if self.space is not None:
            return self.space
        return PUBLISHED_SPACE if self.variants is None and self.subsets is None else {}

    def count(self, settings: int | None) -> int:
        """Return how many searches there are to be.

        Args:
            settings: How many different settings can be drawn; None where there is no limit.

        Raises:
            InputError: If more are wanted.
        """
        if self.trials is None:
            if settings is not None and (self.sampler == "grid" or settings < DEFAULT_TRIALS):
                return settings
            return DEFAULT_TRIALS
        if settings is not None and self.trials > settings:
            raise InputError(
                f"Expected sweep.trials to be at most {settings}, as many as there are different settings in "
                f"sweep.space, but got {self.trials}. Set fewer, or widen the space."
            )
        return self.trials
