"""Which half precisions this computer's processor computes in by itself, and whether that is faster than float32.

Where it is not, a model in such a dtype is slower than in float32. The dtype is never changed for that: `auto`
means as stored, so that a run gives the same numbers wherever it goes on.
"""

import re
import time
from functools import cache
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")  # Linux
# Of the product that is measured: rows of a pass, and the width of a layer; the fastest of some turns counts.
ROWS, WIDTH, TURNS = 512, 1024, 5
SLOWER = 1.2  # times as long as in float32 from which on it is worth a word
# Features by the names that Linux gives them, on x86 and on ARM.
FEATURES = {
    torch.bfloat16: frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    torch.float16: frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}


def is_native(dtype: torch.dtype, cpu_info: str) -> bool | None:
    """Tell whether a processor computes in a dtype by itself.

    Args:
        dtype: The dtype.
        cpu_info: What Linux says of the processor; empty where that is not known.

    Returns:
        Whether it does; None where that is not known.

    >>> is_native(torch.bfloat16, "flags : fpu avx512f avx512_bf16"), is_native(torch.bfloat16, "flags : fpu avx2")
    (True, False)
    """
    if dtype not in FEATURES:
        return True
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpu_info, re.MULTILINE)
    return None if found is None else not FEATURES[dtype].isdisjoint(found[1].split())


def slow_dtype_hint(dtype: torch.dtype) -> str | None:
    """Return what to say of a model of this dtype that is to run on this computer's processor; None for nothing."""
    info = CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.is_file() else ""
    name, times = str(dtype).removeprefix("torch."), 1.0
    why = f"this processor does not compute in {name} by itself"
    if is_native(dtype, info) is not False:
        times = times_as_long(dtype)
        why = f"on this processor a product takes {times:.1f} times as long in {name} as in float32"
        if times < SLOWER:
            return None
    return (
        f"The base is stored in {name}, and dtype auto keeps it so, but {why}. Float32 is faster here and more exact, "
        "in twice the memory: set dtype to float32."
    )


@cache
def times_as_long(dtype: torch.dtype) -> float:
    """Measure how long the product of a pass takes in a dtype, as a multiple of what it takes in float32.

    That a processor has instructions for a dtype does not say that its products are faster; it takes some tenths of a
    second to see, once a process.

    Args:
        dtype: The dtype; 1 for float32 itself.
    """
    if dtype == torch.float32:
        return 1.0
    least = []
    for kind in (torch.float32, dtype):
        rows, weights = torch.ones(ROWS, WIDTH, dtype=kind), torch.ones(WIDTH, WIDTH, dtype=kind)
        seconds = []
        for _ in range(TURNS):
            started = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            seconds.append(time.perf_counter() - started)
        least.append(min(seconds))
    return least[1] / least[0]
