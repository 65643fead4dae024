"""One adapter fine-tuned on the union of the experts' training data: what merging weights tries to do without.

The adapter is given, not trained here (`swarm experts --data_merge` makes one); it must be of the experts' kind (rank,
targets, scaling), so that the comparison is one of training data and not of sizes.
"""

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Absent, Composition, Kind
from swarm_lightning.errors import InputError
from swarm_lightning.search.loading import adapters_of


class DataMerge:
    """Reads the adapter that was trained on everything."""

    title = "data merge"
    kind: Kind = "fixed"
    least = 1

    def __init__(self, adapter: str | None) -> None:
        """Take where it lies.

        Args:
            adapter: A PEFT adapter folder; None where there is none.
        """
        self.adapter = adapter

    def compose(self, bench: Bench) -> Composition:
        """Read the adapter and ask it the validation examples.

        Raises:
            Absent: If no adapter is given, or it is of another kind than the experts.
        """
        from swarm_lightning.experts.pool import load_pool

        if self.adapter is None:
            raise Absent(
                "no adapter of all training data given: make one by `swarm experts --data_merge FOLDER ...` and name "
                "it in compare.data_merge"
            )
        pool = adapters_of(bench.module)
        try:
            both = load_pool([*pool.sources, self.adapter])
        except InputError as error:
            raise Absent(str(error)) from error
        # A pool brings its adapters into one form; with one that differs, it would be another form than the experts'.
        if both.layout != pool.layout or not both.vectors[:-1].equal(pool.vectors):
            raise Absent(f"{self.adapter!r} has another rank, scaling or other targets than the experts")
        vector = both.vectors[-1]
        return Composition(bench.utility(vector), self.adapter, vector)
