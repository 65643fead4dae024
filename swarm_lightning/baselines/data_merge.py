"""One adapter fine-tuned on the union of the experts' training data: what merging weights tries to do without.

The adapter is given, not trained here (`swarm experts --data_merge` makes one). It may have no higher rank and no
further targets than the experts, so that the comparison is one of training data and not of sizes.
"""

import warnings

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Absent, Composition, Kind
from swarm_lightning.errors import InputError
from swarm_lightning.experts.checks import UP, layer_of
from swarm_lightning.experts.model_card import public_name
from swarm_lightning.experts.settings import scaling_of
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
            Absent: If no adapter is given, it can't be read, or it is larger than the experts.
        """
        from swarm_lightning.experts.pool import load_pool

        if self.adapter is None:
            raise Absent(
                "no adapter of all training data given: make one by `swarm experts --data_merge FOLDER ...` and name "
                "it in compare.data_merge"
            )
        pool = adapters_of(bench.module)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what it takes to bring all of them into one form moves nothing here
                both = load_pool([*pool.sources, self.adapter])
        except InputError as error:
            raise Absent(str(error)) from error
        if both.layout != pool.layout:
            raise Absent(f"{self.adapter!r} has a higher rank or other targets than the experts")
        tensors = both.layout.unflatten(both.vectors[-1].clone())
        for name, tensor in tensors.items():
            if name.endswith(UP):  # its scaling may have become that of all
                tensor *= scaling_of(both.config, layer_of(name)) / scaling_of(pool.config, layer_of(name))
        vector = pool.layout.flatten(tensors)
        return Composition(bench.utility(vector), public_name(self.adapter), vector)
