"""Which half precisions this computer's processor computes in by itself.

Elsewhere a model in such a dtype is slower than in float32, not faster. The dtype is never changed for that: `auto`
means as stored, so that a run gives the same numbers wherever it goes on.
"""

import re
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")  # Linux
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
    if is_native(dtype, info) is not False:
        return None
    name = str(dtype).removeprefix("torch.")
    return (
        f"The base is stored in {name}, and dtype auto keeps it so, but this processor does not compute in {name} by "
        "itself. Float32 is faster here and more exact, in twice the memory: set dtype to float32."
    )
