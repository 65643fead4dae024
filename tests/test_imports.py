"""Reads the imports of every module of the package and fails on an arrow that runs back.

A *room* is what stands directly below `swarm_lightning`: a folder or a module. The tables say what a room may import.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "swarm_lightning"
FOLDER = Path(__file__).parents[1] / PACKAGE

# From low to high. Every room may import itself; `""` is the package's own front door, which holds the version.
GROUND = {"", "differences", "doors", "errors", "files", "locks", "paths", "shown", "texts", "threads", "vectors"}
MATHEMATICS_AND_PARTS = GROUND | {"swarm", "experts", "data", "objectives", "evaluation"}
MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "differences": set(),
    "doors": {"errors"},
    "errors": set(),
    "files": {"errors"},
    "locks": set(),
    "paths": {"errors"},
    "texts": {"errors"},
    "shown": set(),
    "threads": set(),
    "vectors": set(),
    "swarm": {"doors", "threads", "vectors"},
    "data": GROUND,
    "experts": GROUND,
    "tuning": GROUND | {"data", "experts"},
    "objectives": GROUND | {"data", "experts"},  # models that score are read as carefully as bases
    "evaluation": GROUND | {"data", "experts", "objectives"},
    "search": MATHEMATICS_AND_PARTS,
    "callbacks": MATHEMATICS_AND_PARTS | {"search"},
    "sweep": MATHEMATICS_AND_PARTS | {"search"},
    "baselines": MATHEMATICS_AND_PARTS | {"search", "tuning"},
    "report": GROUND,
    "demo": GROUND | {"data", "experts", "tuning"},
    "cli": MATHEMATICS_AND_PARTS | {"search", "callbacks", "baselines", "report", "demo", "tuning", "sweep"},
    "__main__": {"cli"},
}
# The rooms whose other imports are limited too; the standard library is always free.
MAY_IMPORT_FROM_OUTSIDE: dict[str, set[str]] = {
    "": set(),
    "differences": set(),
    "errors": set(),
    "files": set(),
    "locks": set(),
    "paths": set(),
    "texts": set(),
    "shown": {"rich"},
    "threads": set(),
    "vectors": {"torch"},
    "swarm": {"torch"},
    "data": {"datasets", "lightning", "lm_eval", "numpy", "torch"},
}
HEAVY = ("torch", "lightning", "transformers", "peft", "datasets")
NAMES_THAT_SAY_NOTHING = {"utils", "misc", "helpers", "common", "base"}

MODULES = sorted(FOLDER.rglob("*.py"))


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk everything that can run: function bodies too, but not what stands below `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_type_checking(child.test):
            for alternative in child.orelse:
                yield alternative
                yield from executed(alternative)
        else:
            yield child
            yield from executed(child)


def imports_of(source: str, package: str) -> list[tuple[int, str]]:
    """List the line and the full dotted name of everything that a module imports.

    Args:
        source: Text of the module.
        package: Dotted name of the package that the module stands in, for relative imports.
    """
    found = []
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.append((node.lineno, node.args[0].value))
    return found


def room_of(path: Path) -> str:
    first = path.relative_to(FOLDER).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def refusals(path: Path) -> list[str]:
    """Say what is wrong with each import of one module."""
    room = room_of(path)
    package = ".".join([PACKAGE, *path.relative_to(FOLDER).parts[:-1]])
    problems = []
    for line, name in imports_of(path.read_text(encoding="utf-8"), package):
        top, *rest = name.split(".")
        where = f"{path.relative_to(FOLDER.parent)}:{line}"
        if top == PACKAGE:
            target = "" if not rest or rest[0].startswith("__version__") else rest[0]
            if target not in MAY_IMPORT[room] | {room}:
                allowed = ", ".join(sorted(MAY_IMPORT[room] - {""})) or "no other part"
                problems.append(f"{where} imports {name}, but {room or 'the front door'} may import {allowed}")
        elif room in MAY_IMPORT_FROM_OUTSIDE and top not in MAY_IMPORT_FROM_OUTSIDE[room] | sys.stdlib_module_names:
            allowed = ", ".join(["the standard library", *sorted(MAY_IMPORT_FROM_OUTSIDE[room])])
            problems.append(f"{where} imports {name}, but {room or 'the front door'} may import {allowed}")
    return problems


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(path) for path in MODULES}
    assert rooms <= MAY_IMPORT.keys(), f"say in MAY_IMPORT what {sorted(rooms - MAY_IMPORT.keys())} may import"


def test_the_order_itself_has_no_circle() -> None:
    order = list(TopologicalSorter(MAY_IMPORT).static_order())
    assert set(order) == MAY_IMPORT.keys()
    assert order.index("data") < order.index("objectives") < order.index("evaluation") < order.index("search")
    assert order.index("search") < order.index("callbacks") < order.index("cli")
    assert {room for room, others in MAY_IMPORT.items() if "demo" in others} == {"cli"}
    assert {room for room, others in MAY_IMPORT.items() if "cli" in others} == {"__main__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_flow_one_way(path: Path) -> None:
    assert refusals(path) == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    packages = {path.parent for path in MODULES} - {FOLDER}
    named = {path: path.stem for path in MODULES} | {folder: folder.name for folder in packages}
    assert [path for path, name in named.items() if name.strip("_").lower() in NAMES_THAT_SAY_NOTHING] == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = f"import sys, {PACKAGE}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=FOLDER.parent, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


SAMPLE = """
import os.path, torch.nn as nn
from typing import TYPE_CHECKING
from swarm_lightning import evaluation
from swarm_lightning.data.readers import read
from . import rules
from .state import Swarm
from ..errors import InputError
if TYPE_CHECKING:
    from swarm_lightning.cli import main
else:
    import json
class Later:
    def load(self):
        try:
            from peft import PeftModel
        except ImportError:
            import transformers
        return importlib.import_module("lightning.pytorch"), import_module(self.name), print("swarm_lightning.cli")
"""


def test_imports_are_found_wherever_they_can_run() -> None:
    assert imports_of(SAMPLE, "swarm_lightning.swarm") == [
        (2, "os.path"),
        (2, "torch.nn"),
        (3, "typing.TYPE_CHECKING"),
        (4, "swarm_lightning.evaluation"),
        (5, "swarm_lightning.data.readers.read"),
        (6, "swarm_lightning.swarm.rules"),
        (7, "swarm_lightning.swarm.state.Swarm"),
        (8, "swarm_lightning.errors.InputError"),
        (12, "json"),
        (16, "peft.PeftModel"),
        (18, "transformers"),
        (19, "lightning.pytorch"),
    ]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("swarm/rules.py", "from swarm_lightning.errors import InputError"),
        ("swarm/rules.py", "import numpy"),
        ("data/readers.py", "from swarm_lightning import objectives"),
        ("data/readers.py", "def f():\n    import transformers"),
        ("objectives/choice.py", "from ..evaluation import table"),
        ("search.py", "from swarm_lightning.callbacks import Patience"),
        ("callbacks/history.py", "from swarm_lightning.demo import WORLD"),
        ("demo/make.py", "from swarm_lightning import ModelSwarm"),
        ("errors.py", "from swarm_lightning.paths import locate"),
        ("__init__.py", "import torch"),
    ],
)
def test_an_arrow_that_runs_back_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str
) -> None:
    monkeypatch.setitem(globals(), "FOLDER", tmp_path / PACKAGE)
    path = tmp_path / PACKAGE / module
    path.parent.mkdir(parents=True)
    path.write_text(f"import os\n{line}\n")
    assert len(refusals(path)) == 1
