"""Prints what pyproject.toml says of versions, in the form in which installers take it.

    python .ci/requirements.py lowest   # every lower bound as `name==version`: constraints
    python .ci/requirements.py lifted   # every requirement without its upper bound
    python .ci/requirements.py beyond   # what is installed in this environment beyond its upper bound

torch keeps its upper bound: a newer one costs gigabytes and is compiled for other machines than most that run this.
"""

import re
import sys
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
EXTRA = "test"
KEEP = {"torch"}


def requirements() -> list[Requirement]:
    """Read the requirements of the package and of its tests, from the file and not from what is installed.

    pyproject.toml is read by its lines, as Python 3.10 has no reader of TOML: a requirement is the first text in double
    quotes of a line within `dependencies` or the extra of the tests.
    """
    text, found = PYPROJECT.read_text(encoding="utf-8"), []
    for name in ("dependencies", EXTRA):
        (block,) = re.findall(rf"^{name} = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
        found += [Requirement(quoted) for quoted in re.findall(r'^ *"([^"]+)"', block, re.MULTILINE)]
    return found


def lowest(requirement: Requirement) -> str:
    """Turn a lower bound into a constraint: `peft>=0.18,<0.22` into `peft==0.18`.

    Raises:
        ValueError: If the requirement has no lower bound, or several.
    """
    bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
    if len(bounds) != 1:
        raise ValueError(f"Expected one lower bound in pyproject.toml, but {requirement} has {len(bounds)}.")
    return f"{requirement.name}=={bounds[0]}"


def lifted(requirement: Requirement) -> str:
    """Take a requirement's upper bound away: `peft>=0.18,<0.22` becomes `peft>=0.18`."""
    if requirement.name not in KEEP:
        requirement.specifier = SpecifierSet(
            ",".join(str(bound) for bound in requirement.specifier if not bound.operator.startswith("<"))
        )
    return str(requirement)


def beyond(requirement: Requirement) -> str:
    """Say which installed version the requirement does not allow; empty where it is allowed."""
    installed = version(requirement.name)
    if requirement.specifier.contains(installed, prereleases=True):
        return ""
    return f"{requirement.name} {installed} (allowed: {requirement.specifier})"


if __name__ == "__main__":
    say = {"lowest": lowest, "lifted": lifted, "beyond": beyond}[sys.argv[1]]
    print("\n".join(filter(None, map(say, requirements()))))
