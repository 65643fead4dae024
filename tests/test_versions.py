"""What pyproject.toml, the README, the doors and `.ci/requirements.py` say of versions is one thing."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

REPOSITORY = Path(__file__).parents[1]
DOORS = sorted((REPOSITORY / "swarm_lightning" / "doors").glob("[!_]*.py"))

OWN_ENVIRONMENT = {"vllm"}  # extras that no other test needs: `.ci/vllm`


def extras() -> list[Requirement]:
    """What the extras in pyproject.toml ask for, but for those of tests and development."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("[project.optional-dependencies]") : text.index("test = [")]
    return [Requirement(quoted) for quoted in re.findall(r'"([^"]+)"', block)]


def loaded(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(REPOSITORY / ".ci" / "requirements.py")


def series(version: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    return Version(version).major, Version(version).minor


def allowed(requirement: Requirement) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The lowest and the newest series that a requirement allows, or None where it has no upper bound."""
    bounds = {bound.operator: bound.version for bound in requirement.specifier}
    if "<" not in bounds:
        return None
    major, minor = series(bounds["<"])
    return series(bounds[">="]), (major, minor - 1)


def statements(text: str) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Every `name 1.2 to 1.4` of a text, and `name 1.2` as 1.2 to 1.2."""
    number = r"(\d+\.\d+)(?:\.\d+)*"
    return {
        name: (series(low), series(high or low))
        for name, low, high in re.findall(rf"\b([A-Za-z][\w-]*) {number}(?: to {number})?", text)
    }


def test_the_readme_states_the_versions_that_are_allowed(script: ModuleType) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"^Tested on Python.*?\n\n", readme, re.DOTALL | re.MULTILINE)
    stated = statements(" ".join(paragraph.split()))
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={".".join(map(str, stated.pop("Python")[0]))}"' in pyproject
    bounded = {requirement.name: allowed(requirement) for requirement in script.requirements()}
    assert stated == {name: bounds for name, bounds in bounded.items() if bounds is not None}


def test_every_door_states_the_versions_that_are_allowed(script: ModuleType) -> None:
    own = [one for one in extras() if one.name in OWN_ENVIRONMENT]
    bounds = {requirement.name: allowed(requirement) for requirement in [*script.requirements(), *own]}
    for door in DOORS:
        (stated,) = re.findall(r"^Tested with (.*?)[:;]? ?(?:Relied|$)", door.read_text(encoding="utf-8"), re.MULTILINE)
        ((name, versions),) = list(statements(stated).items())[:1]
        assert versions == bounds[name], door.name


def test_a_requirement_that_an_extra_repeats_has_the_same_bounds(script: ModuleType) -> None:
    required = {requirement.name: requirement.specifier for requirement in script.requirements()}
    repeated = [one for one in extras() if one.name not in OWN_ENVIRONMENT]
    differing = [str(one) for one in repeated if one.specifier != required[one.name]]
    assert differing == []


@pytest.mark.parametrize(
    ("requirement", "lowest", "lifted"),
    [
        ("peft>=0.18,<0.22", "peft==0.18", "peft>=0.18"),
        ("jsonargparse[signatures]>=4.51,<4.54", "jsonargparse==4.51", "jsonargparse[signatures]>=4.51"),
        ("rich>=13", "rich==13", "rich>=13"),
        ("torch>=2.7,<2.14", "torch==2.7", "torch<2.14,>=2.7"),
    ],
)
def test_bounds_are_turned_into_pins_and_taken_away(
    script: ModuleType, requirement: str, lowest: str, lifted: str
) -> None:
    assert script.lowest(Requirement(requirement)) == lowest
    assert script.lifted(Requirement(requirement)) == lifted


def test_a_requirement_without_a_lower_bound_has_no_lowest_version(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="one lower bound .* peft<1 has 0"):
        script.lowest(Requirement("peft<1"))


def test_what_is_installed_beyond_a_bound_is_named(script: ModuleType) -> None:
    assert script.beyond(Requirement("pytest>=8")) == ""
    assert re.fullmatch(r"pytest [\d.]+ \(allowed: <8\)", script.beyond(Requirement("pytest<8")))
