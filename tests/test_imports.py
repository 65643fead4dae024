"""Reads every import of every file of the package: the arrows all run downwards, and no files stand in a circle.

A *room* is what stands directly below `swarm_lightning`: a folder or a module. Imports for typing only and those inside
functions count like any other: what a file needs to be understood is below it.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "swarm_lightning"
FOLDER = Path(__file__).parents[1] / PACKAGE

# From low to high: a room may import itself and those of the lines below its own, not its neighbours in its line. `""`
# is the package's own front door, which holds the version.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("",),
    ("differences", "errors", "freed_memory", "locks", "names", "shown", "threads", "vectors"),
    ("files", "paths", "texts"),
    ("doors",),
    ("swarm",),
    ("data", "experts"),
    ("objectives", "tuning"),
    ("evaluation", "demo"),
    ("search",),
    ("runs", "plan"),
    ("callbacks", "sweep", "baselines", "report"),
    ("cli",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(LEVELS) for room in rooms}
# Rooms that stand aside, and who alone may look into them.
ONLY_FOR: dict[str, set[str]] = {
    "tuning": {"demo", "baselines", "cli"},
    "demo": {"cli"},
    "report": {"cli"},
    "cli": {"__main__"},
}
# The rooms whose other imports are limited too; the standard library is always free.
MAY_IMPORT_FROM_OUTSIDE: dict[str, set[str]] = {
    "": set(),
    "differences": set(),
    "errors": set(),
    "files": set(),
    "locks": set(),
    "names": set(),
    "paths": set(),
    "shown": {"rich"},
    "texts": set(),
    "freed_memory": set(),
    "threads": set(),
    "vectors": {"torch"},
    "swarm": {"torch"},
    "data": {"datasets", "lightning", "lm_eval", "numpy", "torch", "transformers"},
}
HEAVY = ("torch", "lightning", "transformers", "peft", "datasets")
NAMES_THAT_SAY_NOTHING = {"utils", "misc", "helpers", "common", "base"}

MODULES = sorted(FOLDER.rglob("*.py"))


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk everything, in the order of the text."""
    for child in ast.iter_child_nodes(tree):
        yield child
        yield from nodes(child)


def imports_of(source: str, package: str) -> list[tuple[int, str]]:
    """List the line and the full dotted name of everything that a module imports.

    Args:
        source: Text of the module.
        package: Dotted name of the package that the module stands in, for relative imports.
    """
    found = []
    for node in nodes(ast.parse(source)):
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


def imports_in(path: Path) -> list[tuple[int, str]]:
    package = ".".join([PACKAGE, *path.relative_to(FOLDER).parts[:-1]])
    return imports_of(path.read_text(encoding="utf-8"), package)


def name_of(path: Path) -> str:
    """Return the dotted name by which a file is imported."""
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return ".".join([PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def files_imported(modules: list[Path]) -> Mapping[str, set[str]]:
    """Return by the name of every file the names of the files of the package that it imports."""
    known = {name_of(path) for path in modules}
    graph: dict[str, set[str]] = {}
    for path in modules:
        found = (name if name in known else name.rpartition(".")[0] for _, name in imports_in(path))
        graph[name_of(path)] = {name for name in found if name in known} - {name_of(path)}
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return circles of a graph until none would be left; each ends with what it begins with."""
    left = {name: set(others) for name, others in graph.items()}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            found.append(circle)
            left[circle[1]].discard(circle[0])
        else:
            return found


def refusals(path: Path) -> list[str]:
    """Say what is wrong with each import of one module."""
    room = room_of(path)
    problems = []
    for line, name in imports_in(path):
        top, *rest = name.split(".")
        where = f"{path.relative_to(FOLDER.parent)}:{line}"
        if top == PACKAGE:
            target = "" if rest and rest[0].startswith("__version__") else rest[0] if rest else None
            if target == room:
                continue
            if target not in HEIGHT:  # what the front door lends comes from any room, and nothing here would see which
                problems.append(f"{where} imports {name}, the front door: name the room that it comes from")
            elif HEIGHT[target] >= HEIGHT[room]:
                problems.append(f"{where} imports {name}, but {target} does not stand below {room or 'the front door'}")
            elif room not in ONLY_FOR.get(target, {room}):
                problems.append(f"{where} imports {name}, but {target} is only for {', '.join(ONLY_FOR[target])}")
        elif room in MAY_IMPORT_FROM_OUTSIDE and top not in MAY_IMPORT_FROM_OUTSIDE[room] | sys.stdlib_module_names:
            allowed = ", ".join(["the standard library", *sorted(MAY_IMPORT_FROM_OUTSIDE[room])])
            problems.append(f"{where} imports {name}, but {room or 'the front door'} may import {allowed}")
    return problems


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(path) for path in MODULES}
    assert rooms <= HEIGHT.keys(), f"say in LEVELS where {sorted(rooms - HEIGHT.keys())} stand"
    assert len(HEIGHT) == sum(map(len, LEVELS)), "a room stands in one place"


def test_every_import_of_the_package_names_a_file_of_it() -> None:
    # mypy does not look: `ignore_missing_imports` is set for libraries without types.
    known = {name_of(path) for path in MODULES}
    lost = [
        (str(path.relative_to(FOLDER)), line, name)
        for path in MODULES
        for line, name in imports_in(path)
        if name.startswith(f"{PACKAGE}.") and not {name, name.rpartition(".")[0]} & known
    ]
    assert lost == []


def test_no_files_stand_in_a_circle() -> None:
    assert circles(files_imported(MODULES)) == []


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


def test_imports_are_found_wherever_they_stand() -> None:
    assert imports_of(SAMPLE, "swarm_lightning.swarm") == [
        (2, "os.path"),
        (2, "torch.nn"),
        (3, "typing.TYPE_CHECKING"),
        (4, "swarm_lightning.evaluation"),
        (5, "swarm_lightning.data.readers.read"),
        (6, "swarm_lightning.swarm.rules"),
        (7, "swarm_lightning.swarm.state.Swarm"),
        (8, "swarm_lightning.errors.InputError"),
        (10, "swarm_lightning.cli.main"),
        (12, "json"),
        (16, "peft.PeftModel"),
        (18, "transformers"),
        (19, "lightning.pytorch"),
    ]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("swarm/rules.py", "from swarm_lightning.data.examples import Example"),
        ("swarm/rules.py", "import numpy"),
        ("data/readers.py", "from swarm_lightning import objectives"),
        ("data/readers.py", "from swarm_lightning.experts.pool import ExpertPool"),
        ("data/readers.py", "def f():\n    import peft"),
        ("objectives/choice.py", "from ..evaluation import table"),
        ("objectives/choice.py", "if TYPE_CHECKING:\n    from swarm_lightning.search import ModelSwarm"),
        ("search/state.py", "def f():\n    from swarm_lightning.runs.run_folder import LAST"),
        ("search.py", "from swarm_lightning.callbacks import Patience"),
        ("evaluation/rows.py", "from swarm_lightning.tuning.settings import TextSettings"),
        ("callbacks/history.py", "from swarm_lightning.demo import WORLD"),
        ("demo/make.py", "from swarm_lightning.search import ModelSwarm"),
        ("errors.py", "from swarm_lightning.paths import locate"),
        ("__init__.py", "import torch"),
        ("evaluation/lots.py", "def f():\n    import swarm_lightning"),
        ("evaluation/lots.py", "from swarm_lightning import ModelSwarm"),
        ("evaluation/lots.py", "from .. import ModelSwarm"),
        ("evaluation/lots.py", "import_module('swarm_lightning')"),
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


def test_a_circle_is_found_wherever_its_imports_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FOLDER", tmp_path / PACKAGE)
    texts = {
        "a/__init__.py": "from swarm_lightning.a.one import f\n",
        "a/one.py": "if TYPE_CHECKING:\n    from swarm_lightning.a.two import g\n",
        "a/two.py": "def g():\n    from . import three\n",
        "a/three.py": "import swarm_lightning.a.one\n",
        "a/four.py": "from swarm_lightning.a import f\nfrom swarm_lightning.a import two\n",
    }
    for name, text in texts.items():
        (tmp_path / PACKAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / PACKAGE / name).write_text(text)
    modules = sorted((tmp_path / PACKAGE).rglob("*.py"))
    (circle,) = circles(files_imported(modules))
    assert sorted(set(circle)) == [f"{PACKAGE}.a.{name}" for name in ("one", "three", "two")]
    (tmp_path / PACKAGE / "a/three.py").write_text("import json\n")
    assert circles(files_imported(modules)) == []
