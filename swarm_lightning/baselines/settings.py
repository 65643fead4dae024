"""Settings of a comparison."""

from dataclasses import dataclass, field
from typing import Any

from swarm_lightning.errors import InputError


@dataclass(frozen=True)
class CompareSettings:
    """What is compared, at which cost, and where the result goes.

    Attributes:
        methods: Names of the methods, in any order, as in `swarm_lightning/baselines/registry.py`; null: all.
        seeds: Seeds of the methods that use random numbers; the others run once.
        evaluations: Number of evaluations, (particle, example) pairs, that every search may use; null: as many as the
            model swarm used with the same seed.
        resamples: Number of bootstrap samples of the test examples; at most 1000 if the utility is not a mean of
            scores, as with several tasks.
        density: Share of the weights that TIES and DARE-TIES keep, in (0, 1).
        data_merge: A PEFT adapter or full checkpoint, in the format of the experts, that was fine-tuned on the data of
            all of them; null: none.
        domain_texts: Texts of each expert's domain, for cBTM: a folder with `<expert>.txt` (one text per line) or
            `<expert>.jsonl` (one record per line) for every expert, or a mapping from experts to such files; null:
            none.
        export: Whether results that are one adapter or one full checkpoint are written to the folder of the comparison.
            Rows kept from before are not written again.
        output: Folder of the comparison; null: a new version_<k> in trainer.default_root_dir; `last`: the newest one
            there. An existing comparison is continued: finished rows are kept, and the others are run.
        tasks: Several tasks, each compared by itself, with one table of all: a list of datasets and config files, or a
            mapping from task names to a dataset, a config file, or settings (config key -> value) that differ for the
            task. Of a config file, `model.objective` and `data` are used. null: only the task of the config.
        published: Published test scores to show in the table of several tasks: a CSV file with a column `method` (names
            as in `methods`) and one column per task, or a mapping from tasks to the swarm's score; null: none.
    """

    methods: list[str] | None = None
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    evaluations: int | None = None
    resamples: int = 10_000
    density: float = 0.5
    data_merge: str | None = None
    domain_texts: str | dict[str, str] | None = None
    export: bool = True
    output: str | None = None
    tasks: list[str] | dict[str, Any] | None = None
    published: str | dict[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse values that can't be meant."""
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"Expected compare.seeds to be different numbers of 0 or more, but got {self.seeds}.")
        for name in ("evaluations", "resamples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"Expected compare.{name} to be 1 or more, but got {value}.")
        if not 0 < self.density < 1:
            raise InputError(f"Expected compare.density to lie between 0 and 1, but got {self.density}.")
