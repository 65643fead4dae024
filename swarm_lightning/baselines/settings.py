"""Settings of a comparison."""

from dataclasses import dataclass, field
from typing import Any

from swarm_lightning.errors import InputError


@dataclass(frozen=True)
class CompareSettings:
    """What is compared, at which cost, and where the result goes.

    Attributes:
        methods: Names of the methods, in any order; null: all. See `swarm_lightning/baselines/registry.py`.
        seeds: Seeds of the methods with random numbers in them; the others run once.
        evaluations: (particle, example) pairs that every search may ask; null: as many as the model swarm has asked
            with the same seed.
        resamples: Bootstrap samples of the test examples; 1000 at most where the utility is no mean of scores, as of
            several tasks.
        density: Share of the weights that TIES and DARE-TIES keep, in (0, 1).
        data_merge: What was fine-tuned on the data of all experts, a PEFT adapter or a full checkpoint as they are;
            null: there is none.
        domain_texts: For cBTM, texts of the domain that each expert knows: a folder with `<expert>.txt` (one text a
            line) or `<expert>.jsonl` (one record a line) for every expert, or such a file by the expert's name; null:
            there are none.
        export: Whether what is one adapter or one full checkpoint is written to the comparison's folder. A row that is
            kept from before is not written again.
        output: Folder of the comparison; null: a new version below trainer.default_root_dir; `last`: the newest there.
            In a folder with a comparison, rows that are done are kept and the others are made.
        tasks: Several tasks, each compared by itself, with one table of all: a list of datasets and of config files, or
            a mapping from the name of every task to one of these or to the settings that it has of its own, key of the
            config -> value. Of a config file, `model.objective` and `data` are taken. Null: the one task of the config.
        published: Published test scores that the table of several tasks shows beside its own: a CSV file with a column
            `method` (names as in `methods`) and one for every task, or the swarm's score by task; null: none.
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
