from pathlib import Path

import pytest
import torch

from swarm_lightning.experts.resident import cpu_dtypes
from swarm_lightning.experts.resident.cpu_dtypes import is_native, slow_dtype_hint

OLD = "processor : 0\nmodel name : some\nflags : fpu sse2 avx2 avx512f\nbugs : bf16\n"
NEW = OLD.replace("avx512f", "avx512f avx512_bf16 amx_fp16")
ARM = "processor : 0\nFeatures : fp asimd asimdhp\n"


@pytest.mark.parametrize(
    ("dtype", "info", "expected"),
    [
        (torch.bfloat16, OLD, False),
        (torch.bfloat16, NEW, True),
        (torch.bfloat16, ARM, False),
        (torch.bfloat16, ARM.replace("asimdhp", "bf16"), True),
        (torch.float16, OLD, False),
        (torch.float16, NEW, True),
        (torch.float16, ARM, True),
        (torch.float16, "", None),
        (torch.bfloat16, "no such line", None),
        (torch.float32, OLD, True),
        (torch.float32, "", True),
    ],
)
def test_a_dtype_is_native_where_a_feature_of_the_processor_says_so(
    dtype: torch.dtype, info: str, expected: bool | None
) -> None:
    assert is_native(dtype, info) is expected


def test_a_hint_is_given_for_a_slow_dtype_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_dtypes, "times_as_long", lambda dtype: 0.6)
    monkeypatch.setattr(cpu_dtypes, "CPU_INFO", tmp_path / "cpuinfo")
    assert slow_dtype_hint(torch.bfloat16) is None  # not known
    (tmp_path / "cpuinfo").write_text(OLD)
    assert "set dtype to float32" in str(slow_dtype_hint(torch.bfloat16))
    assert slow_dtype_hint(torch.float32) is None
    (tmp_path / "cpuinfo").write_text(NEW)
    assert slow_dtype_hint(torch.bfloat16) is None


def test_a_dtype_that_the_processor_knows_and_is_slow_in_is_told_with_the_measured_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu avx512f avx512_bf16\n")
    monkeypatch.setattr(cpu_dtypes, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu_dtypes, "times_as_long", lambda dtype: 1.83)
    assert "a product takes 1.8 times as long in bfloat16 as in float32" in str(slow_dtype_hint(torch.bfloat16))
    monkeypatch.setattr(cpu_dtypes, "times_as_long", lambda dtype: 1.1)
    assert slow_dtype_hint(torch.bfloat16) is None


def test_the_time_of_a_product_is_measured_beside_float32() -> None:
    assert cpu_dtypes.times_as_long(torch.float32) == 1
    assert 0.02 < cpu_dtypes.times_as_long(torch.bfloat16) < 1000
