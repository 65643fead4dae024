"""Runs a program on several ranks, each in a process of its own, as torchrun or srun would start them.

A fresh interpreter needs many seconds for its imports. So one process imports everything, once per test run, and forks
itself for every rank: what the ranks do from there on is what they do anywhere, over real sockets.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 100.0
COMMAND = "from swarm_lightning.cli import main; main(ARGUMENTS)"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def torchrun_environments(count: int) -> list[dict[str, str]]:
    """What torchrun tells each of its processes on one machine."""
    port = str(free_port())
    return [
        {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test",
        }
        for rank in range(count)
    ]  # fmt: skip


def srun_environments(nodes: int, per_node: int) -> list[dict[str, str]]:
    """What srun tells each of its processes; all machines are this one."""
    port, count = str(free_port()), nodes * per_node
    return [
        {
            "SLURM_NTASKS": str(count), "SLURM_NNODES": str(nodes), "SLURM_NTASKS_PER_NODE": str(per_node),
            "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % per_node), "SLURM_NODEID": str(rank // per_node),
            "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "search", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port,
        }
        for rank in range(count)
    ]  # fmt: skip


@dataclass
class Ended:
    """How a rank ended: its exit code (minus the signal where one ended it) and what it printed."""

    code: int
    out: str
    err: str


class ForkedRanks:
    """Starts ranks by forking one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._runs = folder, 0
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, environments: list[dict[str, str]], program: str = COMMAND, arguments: list[str] | None = None
    ) -> list[Ended]:
        """Run a program on every rank and wait for all; it finds `ARGUMENTS` and `RANK`."""
        if self._server is None:
            root = Path(__file__).parents[1]
            self._server = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
            )  # fmt: skip
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        job = {"environments": environments, "program": program, "arguments": arguments or [], "folder": str(folder)}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(job), file=self._server.stdin, flush=True)
        codes = json.loads(self._server.stdout.readline())
        return [
            Ended(code, (folder / f"{rank}.out").read_text(), (folder / f"{rank}.err").read_text())
            for rank, code in enumerate(codes)
        ]

    def swarm(self, environments: list[dict[str, str]], *arguments: str) -> list[Ended]:
        """Run the command `swarm` on every rank."""
        return self.run(environments, arguments=list(arguments))

    def close(self) -> None:
        if self._server is not None:
            assert self._server.stdin is not None
            self._server.stdin.close()
            self._server.wait(TIMEOUT_SECONDS)


def _be_a_rank(rank: int, environment: dict[str, str], job: dict[str, Any]) -> None:
    for name, place in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{job['folder']}/{rank}.{name}", os.O_CREAT | os.O_WRONLY), place)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does not have
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    setattr(rank_zero_only, "rank", rank)  # noqa: B010 - as it is set on import
    code: Any = 0
    try:
        exec(job["program"], {"ARGUMENTS": job["arguments"], "RANK": rank, "__name__": "__main__"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait_for(processes: list[int]) -> list[int]:
    codes: dict[int, int] = {}
    until = time.monotonic() + TIMEOUT_SECONDS
    while len(codes) < len(processes):
        for process in set(processes) - codes.keys():
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                codes[process] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return [codes[process] for process in processes]


def serve() -> None:
    """Fork as many ranks as each line of stdin asks for, and answer with their exit codes."""
    import peft  # noqa: F401
    import transformers  # noqa: F401
    from peft import PeftModel  # noqa: F401
    from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: F401

    import swarm_lightning.cli.main
    import swarm_lightning.cli.running  # noqa: F401

    sys.argv = ["swarm"]
    for line in sys.stdin:
        job = json.loads(line)
        processes = []
        for rank, environment in enumerate(job["environments"]):
            process = os.fork()
            if process == 0:
                _be_a_rank(rank, environment, job)
            processes.append(process)
        print(json.dumps(_wait_for(processes)), flush=True)
    os._exit(0)  # there is nothing left to tidy up, and an interpreter with so many modules takes seconds over it


if __name__ == "__main__":
    serve()
