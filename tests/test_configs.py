"""Every file in configs/ is complete: it parses, opens with its launch command, and explains each of its keys."""

from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli import main

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_there_are_configs() -> None:
    assert [path.name for path in CONFIGS] == ["exact_match.yaml", "own_experts.yaml", "quickstart.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_parses_and_keeps_its_values(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["swarm"])
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(path), "--print_config"])
    assert ended.value.code == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_opens_with_its_launch_command(path: Path) -> None:
    opening = path.read_text(encoding="utf-8").split("\nseed_everything", 1)[0].splitlines()
    assert all(line.startswith("#") for line in opening)
    assert any(f"swarm fit --config configs/{path.name}" in line for line in opening)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_value_of_a_config_is_explained(path: Path) -> None:
    # These say what they are by their own name, or are explained by the comment of the line above.
    known = {"seed_everything", "class_path", "validation_size", "test_split", "test_size", "question", "answer"}
    known |= {"name", "template"}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, rest = line.strip().partition(":")
        if line.lstrip().startswith("#") or not rest.strip() or "#" in rest:
            continue
        assert key in known, f"{path.name}: {line}"


def assert_contains(whole: object, part: object) -> None:
    if isinstance(part, dict):
        assert isinstance(whole, dict)
        for key, value in part.items():
            assert_contains(whole[key], value)
    elif isinstance(part, str) and "." in part and isinstance(whole, str) and whole != part:
        # A class may be printed by the shortest path that imports it.
        assert whole.rsplit(".", 1)[-1] == part.rsplit(".", 1)[-1]
    else:
        assert whole == part
