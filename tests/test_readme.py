"""Every command and every example of the README, and the examples of the guide to objectives, run.

The commands are taken from the README as they stand, and only made small: fewer iterations, fewer examples. The two
`pip install` lines are what `.ci/run` does.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli import main

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
OBJECTIVES = (REPOSITORY / "swarm_lightning" / "objectives" / "README.md").read_text(encoding="utf-8")
HOUSE = (REPOSITORY / "swarm_lightning" / "README.md").read_text(encoding="utf-8")
SMALL = ["--data.validation_size", "8", "--data.test_size", "6", "--trainer.max_steps", "1"]
INSTALL = [
    "pip install -e . && swarm fit --config configs/quickstart.yaml",
    "pip install -e '.[test]' && pytest -n logical",
]


def blocks(language: str, guide: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide, flags=re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


def test_the_first_two_commands_install_search_and_test() -> None:
    assert commands()[:2] == INSTALL


def test_ci_runs_the_test_command_of_the_readme() -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install --quiet -e '.[test]'" in ci
    assert "\npytest -n logical\n" in ci


@pytest.mark.smoke
def test_every_swarm_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base_folder: Path, tiny_experts_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["swarm"])
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    questions = tmp_path / "questions.csv"
    lines = [f"What is {number} plus 1?,{number + 1}\n" for number in range(40)]
    questions.write_text("question,answer\n" + "".join(lines), encoding="utf-8")
    own = {
        "path/or/hub-id": str(tiny_base_folder),
        "folder/of/adapters": str(tiny_experts_folder),
        "qa.csv": str(questions),
    }
    ran = []
    for command in (line for text in commands() for line in text.split("&&") if line.strip().startswith("swarm ")):
        words = [own.get(word, word) for word in shlex.split(command, comments=True)[1:]]
        main([*words, *SMALL])
        ran.append(words[0])
    assert ran == ["fit", "fit"]
    run = max((tmp_path / "runs" / "quickstart").iterdir())
    for name in ("config.yaml", "history.csv", "score_tables", "checkpoints/last.ckpt", "best_expert", "summary.json"):
        assert (run / name).exists(), name


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path) -> None:
    example = next(block for block in blocks("python") if "ModelSwarm(" in block)
    small = example.replace("max_steps=50", "max_steps=1").replace(
        '"demo:tasks/neighbours.json"', '"demo:tasks/neighbours.json", validation_size=8, test_size=6'
    )
    assert small.count("validation_size=8") == 1
    for run in ("version_0", "version_1"):
        done = subprocess.run([sys.executable, "-c", small], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / "python" / run / "best_expert" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_the_objective_of_the_readme_works(tmp_path: Path) -> None:
    example = next(block for block in blocks("python", OBJECTIVES) if "class Brevity" in block)
    (tmp_path / "my_module.py").write_text(example, encoding="utf-8")
    swarm = Path(sys.executable).with_name("swarm")
    config = str(REPOSITORY / "configs" / "quickstart.yaml")
    command = [str(swarm), "fit", "--config", config, "--model.objective", "my_module.Brevity", *SMALL]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"\r" not in done.stdout + done.stderr, "a log in a file has plain lines"
    assert (tmp_path / "runs" / "quickstart" / "version_0" / "summary.json").is_file()


def test_the_function_of_the_readme_is_an_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = next(block for block in blocks("python", OBJECTIVES) if "def brevity" in block)
    (objective,) = (block for block in blocks("yaml", OBJECTIVES) if "my_scores.brevity" in block)
    (tmp_path / "my_scores.py").write_text(function, encoding="utf-8")
    (tmp_path / "own.yaml").write_text(f"model:\n{objective}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["swarm"])
    main(["fit", "--config", str(REPOSITORY / "configs" / "quickstart.yaml"), "--config", "own.yaml", *SMALL])
    run = yaml.safe_load((tmp_path / "runs" / "quickstart" / "version_0" / "config.yaml").read_text(encoding="utf-8"))
    assert run["model"]["objective"]["init_args"]["function"] == "my_scores.brevity"


def test_every_room_of_the_house_is_named() -> None:
    rooms = {path.parent.name for path in (REPOSITORY / "swarm_lightning").glob("*/__init__.py")}
    named = set(re.findall(r"^\| `(\w+)/` \|", HOUSE, flags=re.MULTILINE))
    assert named == rooms


@pytest.mark.parametrize("setting", ["rule", "method", "template", "chat", "system", "max_new_tokens", "stop"])
def test_the_settings_that_the_guide_to_objectives_names_exist(setting: str) -> None:
    import inspect

    from swarm_lightning.objectives import Asks, ExactMatch, MultipleChoice, Prompts

    names = {
        name for kind in (ExactMatch, MultipleChoice, Asks, Prompts) for name in inspect.signature(kind).parameters
    }
    assert setting in names
    assert f"`{setting}" in OBJECTIVES
