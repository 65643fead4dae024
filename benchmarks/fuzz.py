"""Feeds broken files to the readers and the adapter loader, guided by which lines of this package they reach.

Every target starts from whole files. An input is one of those kept so far with bytes flipped, cut, doubled or replaced
by pieces that mean something in its format. It is kept if it makes two lines follow each other that never did before
(as AFL does, here with the tracer of Python's interpreter). An `InputError` is what a broken file must end in; anything
else is a finding, and its input is printed.

What limits the rate is Python's tracing and the files that are written; nothing is compared here.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from measuring import report, table
from swarm_lightning.errors import InputError

PACKAGE = str(Path(__file__).parents[1] / "swarm_lightning")
RECORD = {
    "question": "Which is red?",
    "choices": {"A": "rose", "B": "sky"},
    "answer": "A",
    "id": "1",
    "icl_prompt": "x",
}
SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"], "rank_pattern": {"k": 1}}
PIECES = [
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"[]",
    b"{}",
    b'""',
    b"[" * 2000,
    b"\xff",
    b"\x00",
    b"\n",
    b",",
]
PIECES += [b'"', b"\\ud800", b"\xef\xbb\xbf", b'"dev"', b'"test"', b'"choices"', b'"answer"', b'"lora_alpha"', b'"A"']
Target = Callable[[Path, bytes], None]


def _data(name: str) -> Target:
    from swarm_lightning.data.readers import read_splits

    def read(folder: Path, content: bytes) -> None:
        (folder / name).write_bytes(content)
        read_splits(str(folder / name), seed=0)

    return read


def _adapter(broken: str) -> Target:
    from swarm_lightning.experts.adapters import read_adapter
    from swarm_lightning.experts.checks import check_adapters
    from swarm_lightning.experts.common_form import common_form

    def read(folder: Path, content: bytes) -> None:
        (folder / "adapter_config.json").write_text(json.dumps(SETTINGS))
        (folder / "adapter_model.safetensors").write_bytes(_weights())
        (folder / broken).write_bytes(content)
        adapters = [read_adapter(str(folder))]
        check_adapters(adapters)
        common_form(adapters)

    return read


def _weights() -> bytes:
    import torch
    from safetensors.torch import save

    name = "base_model.model.q.lora_{}.weight"
    return save({name.format("A"): torch.ones(2, 3), name.format("B"): torch.ones(3, 2)}, {"format": "pt"})


def targets() -> dict[str, tuple[Target, list[bytes]]]:
    """Name -> what reads an input, and the whole files to start from."""
    splits = json.dumps({"dataset": "x", "dev": [RECORD], "test": [RECORD], "icl_prompt": "y"}).encode()
    lines = (json.dumps(RECORD) + "\n" + json.dumps({"question": "2?", "answer": 2})).encode()
    prompts = json.dumps({"prompt": "Tell", "id": 3}).encode()
    return {
        "data.json": (_data("data.json"), [splits, json.dumps([RECORD] * 3).encode()]),
        "data.jsonl": (_data("data.jsonl"), [lines, prompts]),
        "adapter_config.json": (_adapter("adapter_config.json"), [json.dumps(SETTINGS).encode()]),
        "adapter_model.safetensors": (_adapter("adapter_model.safetensors"), [_weights()]),
    }


def mutate(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Return an input that differs in a few places.

    >>> mutate(b"abc", [b"abc"], random.Random(0)) != b"abc"
    True
    """
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        place = draw.randrange(len(data) + 1)
        end = min(len(data), place + draw.choice((1, 2, 4, 8, 32)))
        kind = draw.randrange(6)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[place:end]
        elif kind == 2:
            data[place:place] = data[place:end]
        elif kind == 3:
            data[place:end] = draw.choice(PIECES)
        elif kind == 4:
            data[place:place] = draw.choice(PIECES)
        else:
            data[place:] = draw.choice(others)[place:]
    return bytes(data[:20_000])


@contextlib.contextmanager
def lines_reached(found: set[tuple[str, int, int]]) -> Iterator[None]:
    """Collect pairs of lines of this package that run one after the other."""

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        last = frame.f_lineno

        def line(inner: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                found.add((name, last, inner.f_lineno))
                last = inner.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def fuzz(read: Target, seeds: Sequence[bytes], seconds: float, most: int, seed: int) -> dict[str, Any]:
    """Try inputs until the time is over or there were enough.

    Args:
        read: What reads an input.
        seeds: Whole files.
        seconds: How long.
        most: How many inputs at most.
        seed: Of the random numbers.

    Returns:
        Numbers of inputs, of those that were read, refused and kept, of pairs of lines, and the findings.
    """
    draw, kept, reached = random.Random(seed), list(seeds), set[tuple[str, int, int]]()
    ends, findings = Counter[str](), dict[str, str]()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in seeds:  # imports what is needed, untraced
            with contextlib.suppress(Exception):
                read(Path(name), content)
        started, tried = time.monotonic(), 0
        while tried < most and time.monotonic() - started < seconds:
            content = kept[tried] if tried < len(seeds) else mutate(draw.choice(kept), kept, draw)
            tried += 1
            now: set[tuple[str, int, int]] = set()
            try:
                with lines_reached(now):
                    read(Path(name), content)
                ends["read"] += 1
            except InputError:
                ends["refused"] += 1
            except Exception as error:
                place = error.__traceback__
                while place is not None and place.tb_next is not None:
                    place = place.tb_next
                line = f":{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else ""
                findings.setdefault(f"{type(error).__name__}{line}", repr(content[:300]))
            if not now <= reached:
                reached |= now
                kept.append(content)
    return {
        "inputs": tried,
        "read": ends["read"],
        "refused": ends["refused"],
        "kept": len(kept),
        "pairs_of_lines": len(reached),
        "findings": findings,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Try all targets, one after the other, and print what was found.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--inputs", type=int, default=10**9, help="of each target at most")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    chosen = parser.parse_args(arguments)
    found = {
        name: fuzz(read, seeds, chosen.seconds, chosen.inputs, chosen.seed) for name, (read, seeds) in targets().items()
    }
    columns = ["inputs", "read", "refused", "kept", "pairs_of_lines"]
    rows = [
        [name, *(str(one.get(key, 0)) for key in columns), str(len(one["findings"]))] for name, one in found.items()
    ]
    text = table(["target", *(key.replace("_", " ") for key in columns), "findings"], rows)
    for name, one in found.items():
        text += "".join(f"\n{name}: {where}\n    {content}" for where, content in one["findings"].items())
    report("fuzz", text, {"seed": chosen.seed, "targets": found})


if __name__ == "__main__":
    main()
