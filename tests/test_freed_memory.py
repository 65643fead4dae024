"""What glibc does with freed memory, in a process of its own: page faults and resident memory are the system's."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")

# Twelve activations of 2 MB that are freed together, as in the layer of a small model.
WORK = """
import resource
from pathlib import Path
import torch
from swarm_lightning.freed_memory import keep_freed_memory, return_freed_memory

torch.set_num_threads(1)

def faults():
    def layer():
        return [torch.ones(1 << 19) for _ in range(12)]
    layer(), layer()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        layer()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

plain = faults()
keep_freed_memory()
kept = faults()
return_freed_memory()
before, large = resident(), torch.ones(1 << 21)
del large
print(plain, kept, faults(), resident() - before)
"""


def test_freed_memory_is_kept_for_the_next_pass_and_returned_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    plain, kept, returned, grown = map(int, done.stdout.split())
    assert kept < plain / 10, (plain, kept)
    assert returned > 10 * kept, (kept, returned)
    assert grown < 1 << 21
