"""Every guide is true: its commands run, its links lead somewhere, and its tables name what is there.

The commands are taken from the guides as they stand, and only made small. Those of the top-level README are run by
`test_readme.py`.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli import main
from tests.test_imports import HEIGHT

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("swarm_lightning", "configs", "benchmarks")
GUIDES = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("README.md"))]
LONGEST_README = 180
SEARCH = ["--data.validation_size", "8", "--data.test_size", "6"]
SMALL = {
    "adapt": [*SEARCH, "--model.optimizer.steps", "1", "--model.optimizer.evaluations", "500"],
    "fit": [*SEARCH, "--trainer.max_steps", "1"],
    "compare": [*SEARCH, "--trainer.max_steps", "1", "--compare.methods", "[uniform_soup, model_swarm]"],
    "sweep": [*SEARCH, "--trainer.max_steps", "1", "--sweep.trials", "1"],
    "experts": ["--training.steps", "1"],
    "plan": [*SEARCH, "--seconds", "0.5"],
    "score": SEARCH,
    "validate": SEARCH,
    "test": SEARCH,
    "predict": [],
    "report": [],
    "export": [],
    "runs": [],
}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def commands_of(guide: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


# These show many searches, or long ones.
LONG = (
    "configs/studies",
    "swarm_lightning/cli",
    "swarm_lightning/baselines",
    "swarm_lightning/sweep",
    "swarm_lightning/swarm",
    "swarm_lightning/tuning",
)
WITH_COMMANDS = [
    pytest.param(guide, marks=pytest.mark.slow) if name_of(guide.parent) in LONG else guide
    for guide in GUIDES
    if commands_of(guide)
]


@pytest.mark.parametrize("guide", WITH_COMMANDS, ids=name_of)
def test_every_command_of_a_guide_runs(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["swarm"])
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    question = {"question": "Which lies near here and there?", "choices": dict(zip("ABCD", "wxyz", strict=True))}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    for command in commands_of(guide):
        words = shlex.split(command, comments=True)
        if words[0] == "pip":  # the tests' extra has all of them
            assert re.fullmatch(r"pip install -e '\.\[[\w-]+\]'", command)
            continue
        assert words[0] == "swarm"
        small = SMALL[words[1]]
        if words[1] == "fit" and "--ckpt_path" in words:
            small = [*small[:-1], "2"]  # the run that is resumed has done its one iteration
        main([*words[1:], *small])


@pytest.mark.parametrize("guide", [REPOSITORY / "README.md", *GUIDES], ids=name_of)
def test_every_link_leads_to_a_file(guide: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", guide.read_text(encoding="utf-8"))
    missing = [link for link in links if not (guide.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("guide", [REPOSITORY / "README.md", *GUIDES], ids=name_of)
def test_every_source_file_that_is_named_is_there(guide: Path) -> None:
    known = {
        path.relative_to(REPOSITORY) for folder in (*FOLDERS, "tests") for path in (REPOSITORY / folder).rglob("*.py")
    }
    named = set(re.findall(r"`([\w/]+\.py)`", guide.read_text(encoding="utf-8"))) - {"my_scores.py", "my_module.py"}
    assert not {name for name in named if not any(path.match(name) for path in known)}


@pytest.mark.parametrize("guide", [REPOSITORY / "README.md", *GUIDES], ids=name_of)
def test_no_line_is_left_of_an_entry_that_is_gone(guide: Path) -> None:
    text = re.sub(r"^```.*?^```", "", guide.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^\s*\n {2,3}\S.*", text, flags=re.MULTILINE)


def test_the_guide_to_the_code_lists_folders_from_high_to_low() -> None:
    guide = (REPOSITORY / "swarm_lightning" / "README.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)/` \|", guide, flags=re.MULTILINE)
    heights = [HEIGHT[room] for room in rooms]
    assert heights == sorted(heights, reverse=True)
    folders = {path.parent.name for path in (REPOSITORY / "swarm_lightning").glob("*/__init__.py")}
    assert sorted(rooms) == sorted(folders)


def test_the_readme_fits_a_newcomers_patience() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


def test_every_guide_can_be_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([\w/]+/README\.md)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8")))
    assert {name_of(guide) for guide in GUIDES} - linked <= {
        "swarm_lightning/swarm/README.md",  # from the guide to the code
        "configs/cluster/README.md",  # these from the guide to the recipes
        "configs/paper/README.md",
        "configs/sequel/README.md",
        "configs/studies/README.md",
    }


def test_every_recipe_is_in_the_guide_to_them() -> None:
    guide = (REPOSITORY / "configs" / "README.md").read_text(encoding="utf-8")
    recipes = {path.name for path in (REPOSITORY / "configs").glob("*.yaml")}
    assert set(re.findall(r"`(\w+\.yaml)`", guide)) == recipes


def test_every_result_of_the_paper_stands_in_its_guide_with_the_files_that_its_config_reads() -> None:
    folder = REPOSITORY / "configs" / "paper"
    rows = [line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if ".yaml` |" in line]
    named = {name: row for row in rows for name in re.findall(r"\| `(\w+\.yaml)` \|", row)}
    assert named.keys() == {path.name for path in folder.glob("*.yaml")}
    for name, row in named.items():
        dataset = yaml.safe_load((folder / name).read_text(encoding="utf-8"))["data"]["dataset"]
        files = dataset.values() if isinstance(dataset, dict) else [dataset]
        for file in files:
            assert f"`{Path(file).name}`".replace("human_phd_application", "human_<domain>") in row, (name, file)


def test_the_manifest_of_kubernetes_is_a_job_that_goes_on_where_it_was_stopped() -> None:
    guide = (REPOSITORY / "configs" / "cluster" / "README.md").read_text(encoding="utf-8")
    (manifest,) = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, flags=re.DOTALL))
    assert (manifest["kind"], manifest["apiVersion"]) == ("Job", "batch/v1")
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (script,) = container["args"]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    command = shlex.split(script.splitlines()[-2].rstrip("\\") + script.splitlines()[-1])
    assert command[:3] == ["exec", "swarm", "fit"]
    flags = {word.removeprefix("--") for word in command if word.startswith("--")}
    assert flags == {"config", "trainer.default_root_dir", "trainer.accelerator", "trainer.devices"}


def test_every_study_is_in_the_guide_to_them() -> None:
    folder = REPOSITORY / "configs" / "studies"
    guide = (folder / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in folder.glob("*.yaml")} <= set(re.findall(r"`(\w+\.yaml)`", guide))


def test_every_benchmark_is_in_the_guide_to_them() -> None:
    guide = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (REPOSITORY / "benchmarks").glob("*.py")}
    assert scripts <= set(re.findall(r"`(\w+\.py)`", guide))
