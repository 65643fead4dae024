"""The processes of one run, its ranks: which share of the work is mine, and what have the others found.

Every rank holds the whole swarm; only scores, replies and short reports cross the network, through the CPU (gloo):
a few kilobytes an iteration, and a rank that dies is noticed at once. A failure on one rank is a failure on all: each
reports how it fared before anything is gathered, so that nobody waits for a rank that has given up.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.interruption import Interrupted

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")
RESUME = "If the run has a checkpoint, go on from it with --ckpt_path, on any number of ranks."


class RankError(RuntimeError):
    """The ranks can't go on together: one has failed, is gone, or has drifted away from the others.

    Attributes:
        shared: Whether every rank that is left raises the same.
    """

    shared = False


class Report(NamedTuple):
    """How a rank fared where it failed.

    Attributes:
        mendable: Whether the user can mend it.
        message: What went wrong.
        signal: The one that asked it to end; None where something went wrong.
    """

    mendable: bool
    message: str
    signal: int | None = None


class Ranks:
    """All processes of a run; without arguments, the only one.

    >>> ranks = Ranks()
    >>> ranks.index, ranks.count, ranks.share(["a", "b"]), ranks.gather_objects(["a", "b"])
    (0, 1, ['a', 'b'], ['a', 'b'])

    Attributes:
        index: Which rank this process is, in [0, count).
        count: Number of ranks.
    """

    def __init__(self, fabric: "Fabric | None" = None) -> None:
        """Take the place that Fabric knows; see `join`.

        Args:
            fabric: A launched Fabric on the CPU; None for a run of one process.
        """
        self.index = 0 if fabric is None else fabric.global_rank
        self.count = 1 if fabric is None else fabric.world_size
        self._fabric = fabric
        self._group = None
        if self.count > 1 and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")

    @classmethod
    def join(cls, processes: int, nodes: int = 1) -> "Ranks":
        """Meet the other ranks of this run; returns once all are there.

        Somebody else has started the processes (Lightning's Trainer, torchrun or srun), so Fabric starts none. It
        makes the process group, or attaches to the one there is; the Trainer attaches to it in turn.

        Args:
            processes: Ranks on every machine.
            nodes: Number of machines.

        Raises:
            RankError: If another rank is gone before all have met.
        """
        if processes * nodes == 1:
            return cls()
        import os

        from lightning.fabric import Fabric
        from lightning.fabric.strategies import DDPStrategy

        os.environ.setdefault("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))  # or Fabric would start processes
        fabric = Fabric(accelerator="cpu", devices=processes, num_nodes=nodes, strategy=DDPStrategy())
        with _contact(int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))), processes * nodes):
            fabric.launch()
            return cls(fabric)

    def share(self, items: Sequence[T]) -> list[T]:
        """Return the items that this rank works on: every `count`-th.

        Args:
            items: The same on all ranks, in the same order.
        """
        return list(items[self.index :: self.count])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all ranks succeed, or all fail: at its end a `with` block waits until every rank has reported.

        Raises:
            InputError: On every rank, if the first rank that failed did so by something that the user can mend.
            RankError: On the ranks that did not fail, if another one did; that one raises what it met.
            Interrupted: On every rank, if one was asked to end.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        try:
            reports = self._exchange(_report(failure))
        except RankError:
            if failure is not None:
                raise failure from None
            raise
        first = next((index for index, report in enumerate(reports) if report is not None), None)
        if first is None:
            return
        report = reports[first]
        assert report is not None
        if report.signal is not None:
            raise Interrupted(report.signal)
        if report.mendable:
            if isinstance(failure, InputError) and self.index == first:
                failure.shared = True
                raise failure
            mistake = InputError(report.message)
            mistake.shared = True
            raise mistake from failure
        if failure is not None:
            raise failure
        lost = RankError(
            f"Expected all {self.count} ranks to go on, but rank {first} failed: {report.message} {RESUME}"
        )
        lost.shared = True
        raise lost

    def gather_scores(self, scores: Tensor) -> Tensor:
        """Merge what each rank has asked, to the last bit.

        Args:
            scores: This rank's score table [P, M], float64 on the CPU; NaN where it has asked nothing.

        Returns:
            The whole table [P, M], the same on all ranks.

        Raises:
            ValueError: If two ranks have asked the same.
        """
        if self._fabric is None:
            return scores
        asked = ~scores.isnan()
        # The bits as whole numbers: adding zeros to them changes none.
        bits, times = self.sum(torch.stack([scores.contiguous().view(torch.int64) * asked, asked.long()])).unbind()
        if (times > 1).any():
            raise ValueError(f"Expected every pair to be asked by one rank, but {int((times > 1).sum())} were by more.")
        return bits.contiguous().view(torch.float64).masked_fill(times == 0, math.nan)

    def gather_objects(self, items: Sequence[T]) -> list[T]:
        """Return the items of all ranks, rank by rank.

        Args:
            items: This rank's: plain values, or dataclasses of them.
        """
        return [item for part in self._exchange(list(items)) for item in part]

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the ranks.

        Args:
            tensor: Numbers of any one shape, on the CPU; whole numbers are added without rounding.
        """
        if self._fabric is None:
            return tensor
        with _contact(self.index, self.count):
            total = self._fabric.all_reduce(tensor.clone(), group=self._group, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def first(self, value: T) -> T:
        """Return what the first rank holds, so that it decides for all.

        Args:
            value: A plain value.
        """
        return self._exchange(value)[0]

    def every(self, value: T) -> list[T]:
        """Return what every rank holds, in the order of the ranks.

        Args:
            value: A plain value.
        """
        return self._exchange(value)

    def _exchange(self, value: T) -> list[T]:
        if self._fabric is None:
            return [value]
        values: list[T] = [value] * self.count
        with _contact(self.index, self.count):
            torch.distributed.all_gather_object(values, value, group=self._group)
        return values


def digest(*values: object) -> str:
    """Return a fingerprint of plain values, the same in every process.

    >>> digest("a", 1) == digest("a", 1) != digest("a", 2)
    True
    """
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _report(failure: Exception | None) -> Report | None:
    if failure is None:
        return None
    if isinstance(failure, Interrupted):
        return Report(False, str(failure), failure.signal)
    mendable = isinstance(failure, InputError)
    return Report(mendable, str(failure) if mendable else f"{type(failure).__name__}: {failure}")


@contextmanager
def _contact(index: int, count: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as cause:
        reason = re.sub(r"^\[.*?\] ", "", str(cause)).strip().split(". ")[0]  # without file name and advice
        raise RankError(
            f"Expected all {count} ranks to go on, but rank {index} has lost another one ({reason}). {RESUME}"
        ) from cause
