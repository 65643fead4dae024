"""What a token swarm exports, moved away from its run: tested, predicted with, and loaded, it is one and the same."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from swarm_lightning import load
from swarm_lightning.cli import main
from swarm_lightning.errors import InputError
from tests.search.tiny_search import calm_process

SETTINGS = {
    "seed_everything": 0,
    "model": {
        "experts": ["demo:base", "demo:experts/scribe", "demo:experts/shepherd"],
        "mixture": "probabilities",
        "particles": 5,
        "objective": {"class_path": "swarm_lightning.objectives.MultipleChoice", "init_args": {"method": "likelihood"}},
    },
    "data": {"dataset": "demo:tasks/neighbours.json", "validation_size": 16, "test_size": 12},
    "export_best": {"particles": [4]},
    "trainer": {"max_steps": 3, "enable_progress_bar": False},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The personal best of a particle, whose run is gone."""
    place = tmp_path_factory.mktemp("token_swarm")
    (place / "search.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, calm_process():
        patch.chdir(place)
        patch.setattr("sys.argv", ["swarm"])
        main(["fit", "--config", "search.yaml"])
        shutil.copytree("runs/version_0/particle_4", "moved")
        shutil.rmtree("runs")
    return place / "moved"


def test_the_folder_alone_is_tested_and_predicted_with(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["swarm"])
    question = {"question": "Which lies near here?", "choices": {"A": "one", "B": "other"}}
    (tmp_path / "asked.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    with calm_process():
        main(["test", str(exported)])
        main(["predict", str(exported), "--data.prompts", "asked.jsonl"])
    with (exported / "test.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["detail"] for row in rows[:2]] == [rows[0]["detail"], "particle 4"]
    answer = json.loads((exported / "predictions.jsonl").read_text(encoding="utf-8"))
    mixture = load(exported)
    (choices,) = mixture.loglikelihood([answer["prompt"]], [[" A", " B"]])
    assert answer["reply"] == "AB"[choices[1].logarithm > choices[0].logarithm]


def test_what_is_loaded_has_the_numbers_of_the_file_and_of_the_particle(exported: Path) -> None:
    experts = json.loads((exported / "swarm.json").read_text(encoding="utf-8"))["experts"]
    mixture = load(exported)
    assert mixture.numbers == {expert["name"]: expert["number"] for expert in experts}
    assert [expert["source"] for expert in experts] == SETTINGS["model"]["experts"]  # type: ignore[index]
    checkpoint = torch.load(exported / "checkpoints" / "last.ckpt", weights_only=True)
    (memory,) = checkpoint["optimizer_states"][0]["state"].values()
    assert memory["personal_bests"][4].tolist() == list(mixture.numbers.values())
    assert mixture.generate(["Question: Why?\nAnswer:"] * 2, 3, temperature=0.0)[0] is not None
    assert "number" in (exported / "README.md").read_text(encoding="utf-8")


def test_no_search_goes_on_from_it(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--resume", str(exported)])
    assert "from which no search can be resumed" in capsys.readouterr().err


def test_a_folder_without_a_mixture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected a folder with swarm\.json or graph\.json, but '.*' holds neither"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content.update(format=2), "format 2"),
        (lambda content: content["experts"][0].update(number=float("nan")), "not all finite"),
        (lambda content: content.update(experts=[]), "no experts"),
        (lambda content: content["experts"][0].update(source="/gone"), "correct the sources there"),
    ],
)
def test_a_damaged_file_is_refused_by_name(exported: Path, tmp_path: Path, change: Any, told: str) -> None:
    content = json.loads((exported / "swarm.json").read_text(encoding="utf-8"))
    change(content)
    (tmp_path / "swarm.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "swarm.json"))) as raised:
        load(tmp_path)
    assert told in str(raised.value)
