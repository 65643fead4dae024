"""vLLM's engine of one process: started, given adapters, and ended with all of its processes.

Tested with vllm 0.32.0. Relied on, besides what is documented:

- `LLM.llm_engine` with `add_lora`, `list_loras` and `remove_lora`: an adapter is read at once, so that its folder need
  not stay. Where none is removed, the devices of one engine may forget different ones.
- `LLM.llm_engine.engine_core.shutdown`: ends the processes of the engine.
- `lora_target_modules` without `lm_head`: with a wrapped output layer, version 0.32 ends the engine on a CPU when it is
  asked for the log-probabilities of a prompt by an adapter.
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm import LLM

# What vLLM has a kernel for; the rank of an adapter is rounded up to it.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def is_installed() -> bool:
    """Tell whether vLLM can be imported."""
    return find_spec("vllm") is not None


def start(model: str, targets: list[str], **settings: Any) -> "LLM":
    """Start an engine in processes of its own.

    Args:
        model: Folder or hub id of the base.
        targets: The last parts of the names of the layers that adapters change.
        settings: Of `vllm.LLM`.
    """
    # Threads as OMP_NUM_THREADS says, also where several engines share a machine; a fork would copy running threads.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM

    return LLM(
        model=model,
        enable_lora=True,
        lora_target_modules=targets,
        generation_config="vllm",
        enable_prefix_caching=True,
        disable_log_stats=True,
        **settings,
    )


def stop(engine: "LLM") -> None:
    """End an engine and its processes."""
    engine.llm_engine.engine_core.shutdown()


def carried(engine: "LLM") -> set[int]:
    """Return the numbers of the adapters that an engine holds."""
    return set(engine.llm_engine.list_loras())


def take_up(engine: "LLM", adapter: Any) -> None:
    """Have an engine read an adapter now, or note that one it holds is wanted again.

    Args:
        engine: The engine.
        adapter: A `LoRARequest`.
    """
    engine.llm_engine.add_lora(adapter)


def let_go(engine: "LLM", number: int) -> None:
    """Have an engine forget an adapter."""
    engine.llm_engine.remove_lora(number)
