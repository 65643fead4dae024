"""How a Trainer runs a search on several ranks: who starts the processes, how they meet, that they agree, how they end.

Lightning's `DDPStrategy` owns the processes; nothing is wrapped, because a swarm has no gradients to share. Until the
search runs, every exchange between ranks is one that a failing rank can answer with its failure, so that a refusal on
one rank is a refusal on all. `swarm_lightning/evaluation/ranks.py` shares out the work.

Every rank moves the whole swarm with the same numbers. Files that differ between two machines, or a rank whose
arithmetic went another way, would make of one search several that look like one: it goes on only where all hold the
same, before the search and in every iteration.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import differences_between
from swarm_lightning.doors.lightning import LaunchingStrategy, ScriptLauncher, end_between_iterations, set_threads
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import RESUME, RankError, Ranks, digest
from swarm_lightning.swarm.search_optimizer import SearchOptimizer

T = TypeVar("T")
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Launch:
    """Processes that somebody else has started.

    Attributes:
        processes: Ranks on every machine.
        nodes: Number of machines.
    """

    processes: int
    nodes: int


def external_launch() -> Launch | None:
    """Return how torchrun or srun has started this run; None where neither has, or for one process only."""
    environment = os.environ
    if TorchElasticEnvironment.detect():
        ranks, here = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        ranks, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", 1))
        here = int(environment.get("SLURM_NTASKS_PER_NODE", ranks // nodes))
    else:
        return None
    if ranks % here:
        raise InputError(f"Expected as many ranks on every machine, but got {ranks} in all and {here} on this one.")
    return Launch(here, ranks // here) if ranks > 1 else None


def ranks_of(trainer: L.Trainer) -> Ranks:
    """Return the ranks of a trainer, all of them once it has started its processes.

    Args:
        trainer: The trainer of a search.

    Raises:
        InputError: If there are several and they were not started by `SwarmStrategy`.
    """
    if isinstance(trainer.strategy, SwarmStrategy):
        return trainer.strategy.ranks
    count = trainer.num_devices * trainer.num_nodes
    if count > 1:
        raise InputError(
            f"Expected SwarmStrategy for {count} ranks, but got {type(trainer.strategy).__name__}, which "
            "can't hold a search. Use SwarmTrainer, or L.Trainer(strategy=SwarmStrategy(), ...) with "
            "`from swarm_lightning.search.strategy import SwarmStrategy`."
        )
    return Ranks()


class SwarmStrategy(LaunchingStrategy):
    """Several ranks that each hold the whole swarm."""

    strategy_name = "swarm"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `DDPStrategy`.

        Args:
            args: Those of `DDPStrategy`.
            kwargs: Those of `DDPStrategy`.
        """
        super().__init__(*args, **kwargs)
        self.ranks = Ranks()
        self._running = False

    def configure_ddp(self) -> None:
        """Leave the module as it is: DDP refuses a module without gradients."""

    def setup_environment(self) -> None:
        """Meet the other ranks before Lightning does."""
        self._running = False
        self.ranks = Ranks.join(self.num_processes, self.num_nodes)
        super().setup_environment()

    def barrier(self, name: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Wait for all ranks, and fail if one of them has failed."""
        with self.ranks.together():
            pass
        if name == "run-stage":
            self._running = True
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self._note_sigterm)

    def _note_sigterm(self, number: int, _: Any) -> None:
        """Let the run end between two iterations, on all ranks.

        Lightning 2.6.6 broadcasts from within its handler, wherever that interrupts a rank, and again before every
        iteration. The second is enough; the first can meet another exchange of the other ranks, and wait for ever.
        """
        assert self.lightning_module is not None
        trainer = self.lightning_module.trainer
        if not trainer.received_sigterm and isinstance(self.launcher, RankLauncher):
            self.launcher.kill(signal.Signals(number))
        end_between_iterations(trainer)

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return what one rank holds, on all ranks."""
        with self.ranks.together():
            pass
        return self.ranks.every(obj)[src]

    def on_exception(self, exception: BaseException) -> None:
        """Tell the other ranks why this one does not go on; once the search runs, the evaluator does so."""
        told = self._running or not isinstance(exception, Exception) or getattr(exception, "shared", False)
        if not told:
            # What the others met instead is theirs to raise; this rank raises its own.
            with suppress(Exception), self.ranks.together():
                raise exception
            if isinstance(exception, InputError):
                exception.shared = True
        super().on_exception(exception)

    def make_launcher(self, environment: ClusterEnvironment) -> "RankLauncher":
        """Start the further ranks in a way that ends them in order."""
        return RankLauncher(environment, self.num_processes, self.num_nodes)


class RankLauncher(ScriptLauncher):
    """Starts one process per further rank of this machine, where nobody else has, and ends with them.

    Lightning's own watches its children too, but kills the first rank without a word of ours, sometimes while that
    rank is ending with a message and an exit code of its own.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> Any:
        """Start the processes, then call the function.

        Args:
            function: What every rank does.
            args: Its arguments.
            trainer: Not used.
            kwargs: Its arguments.

        Raises:
            InputError: If torchrun or srun has started another number of processes.
        """
        try:
            self.environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        except ValueError as error:
            raise InputError(f"{error} Leave trainer.devices and trainer.num_nodes out.") from error
        starts = not self.environment.creates_processes_externally
        if starts:
            self.start_processes()
        set_threads(self.num_processes)
        if not starts:
            return function(*args, **kwargs)
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True, name="watch-ranks").start()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            ended.set()
            # Ranks that know why they end may say so; any other would only say that it has lost this one.
            self._end_others(GRACE_SECONDS if isinstance(error, RankError) or getattr(error, "shared", False) else 0)
            raise

    def _end_others(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        for process in self.processes:
            if process.poll() is None:
                process.kill()

    def _watch(self, ended: threading.Event) -> None:
        """End this process if another rank has died and this one does not notice, busy with its own share."""
        while not ended.wait(POLL_SECONDS):
            codes = [process.poll() for process in self.processes]
            if all(code == 0 for code in codes):
                return
            if any(codes):
                break
        if ended.wait(GRACE_SECONDS):
            return
        for rank, process in enumerate(self.processes, start=1):
            if process.poll():
                print(f"swarm: Rank {rank} {_ending(process.returncode)}. {RESUME}", file=sys.stderr, flush=True)
            else:
                process.kill()
        os._exit(1)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by signal {-code} ({signal.Signals(-code).name})"


def check_same_run(ranks: Ranks, own: Mapping[str, Any], run: Path) -> None:
    """Compare base, experts, data, settings and run folder between the ranks.

    Args:
        ranks: The processes that share the work.
        own: What this rank has, as plain values.
        run: Its run folder.

    Raises:
        InputError: If a rank has others than the first; on all ranks, by name.
    """
    if ranks.count == 1:
        return
    first, *others = ranks.every({**own, "run folder": str(run)})
    for rank, other in enumerate(others, start=1):
        differing = differences_between(first, other, "on rank 0")
        if differing:
            named = "; ".join(differing)
            error = InputError(
                f"Expected the same files and settings on all {ranks.count} ranks, but on rank {rank} {named}. Give "
                "every rank the same config and the same files, and a seed."
            )
            error.shared = True
            raise error


def check_same_swarm(ranks: Ranks, optimizer: SearchOptimizer, examples: Sequence[Example]) -> None:
    """Compare the candidates, those that are due and what they are asked between the ranks.

    Candidates are compared by the sum of their bits as whole numbers, which no order of adding changes: one pass over
    [P, D] at the speed of memory.

    Args:
        ranks: The processes that share the work.
        optimizer: The swarm.
        examples: What is about to be asked.

    Raises:
        RankError: If a rank holds others than the first; on all ranks.
    """
    if ranks.count == 1:
        return
    bits = optimizer.candidates.view(torch.int32).sum(dim=1, dtype=torch.int64)
    asked = [(example.identifier, example.question) for example in examples]
    wanted = None if optimizer.wanted is None else optimizer.wanted.nonzero().tolist()
    digests = ranks.every(digest(bits.tolist(), optimizer.due.tolist(), asked, wanted))
    differing = [rank for rank, held in enumerate(digests) if held != digests[0]]
    if differing:
        error = RankError(
            f"Expected the same swarm and the same examples on all {ranks.count} ranks, but those of {differing} are "
            f"others than those of rank 0. Are machines, devices and library versions the same? {RESUME}"
        )
        error.shared = True
        raise error
