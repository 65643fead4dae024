import pytest
import torch

from swarm_lightning.doors.torch import CompileError, compile_in_order
from tests.doors.contract import changed

pytestmark = pytest.mark.smoke


def unsupported(values: torch.Tensor) -> None:
    if values.sum() > 0:  # depends on numbers: no whole graph
        values.mul_(2)


def test_what_compiling_raises_is_known_and_nothing_is_computed() -> None:
    values = torch.ones(3)
    raised: Exception | None = None
    try:
        compile_in_order(unsupported)(values)
    except Exception as error:
        raised = error
    assert isinstance(raised, CompileError), changed("torch", f"what compiling raises ({raised!r})", "torch.py")
    assert values.tolist() == [1, 1, 1]


def test_the_compiler_knows_the_option_that_keeps_loops_in_order() -> None:
    from torch._inductor import config

    assert hasattr(config, "pick_loop_orders"), changed("torch", "inductor's options", "torch.py")
