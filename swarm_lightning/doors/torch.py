"""What this package takes of torch's compiler beyond its documented interface.

Tested with torch 2.6 to 2.13. Relied on:
- `torch._dynamo.exc.TorchDynamoException` is the parent of what compiling raises, before the kernel runs;
- the option `pick_loop_orders` of the inductor backend keeps the order of the loops where it is False;
- its option `cpp_cache_precompile_headers`, where there is one, compiles torch's headers on their own first: for
  one kernel, that takes longer than it saves, and leaves 150 MB in the folder for temporary files.
"""

from collections.abc import Callable

import torch


class CompileError(RuntimeError):
    """A function could not be compiled."""


def compile_in_order(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function for all sizes and strides, with loops in the order of its arguments' dimensions.

    Args:
        function: Works on tensors, in place.

    Returns:
        The compiled function; it is compiled at its first call.

    Raises:
        CompileError: By this function where this Python or this system has no compiler, by the returned one where
            compiling fails; nothing has been computed then.
    """
    options: dict[str, str | int | bool | Callable[..., object]] = {"pick_loop_orders": False}
    if "cpp_cache_precompile_headers" in torch._inductor.list_options():
        options["cpp_cache_precompile_headers"] = False
    try:
        compiled = torch.compile(function, fullgraph=True, dynamic=True, options=options)
    except RuntimeError as error:  # this Python or this system has no torch.compile
        raise CompileError(str(error)) from error

    def run(*arguments: object) -> None:
        try:
            compiled(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise CompileError(str(error)) from error

    return run
