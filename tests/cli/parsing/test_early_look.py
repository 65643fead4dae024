"""What a first look at the data refuses, in the words of the search, and what it leaves to the search."""

from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli.parsing.early_look import look_at_data
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError

CHOICES = "question,choices,answer\nWhich is red?,\"['rose', 'sky']\",A\nWhich is blue?,\"['rose', 'sky']\",B\n"
ANSWERS = "question,answer\nWhat is 1 + 1?,2\nWhat is 1 + 2?,3\n"
QUESTIONS = "question,gold\nWhat is 1 + 1?,2\nWhat is 1 + 2?,3\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, text in (("answers", ANSWERS), ("questions", QUESTIONS), ("broken", "question,answer\na,b\nc,d,e\n")):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def config(folder: Path, **sections: object) -> str:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.dataset", "questions.csv"], "have a question only; its other columns are gold"),
        (["--data.dataset=answers.csv", "--model.objective=MultipleChoice"], "Expected choices .*ExactMatch"),
        (["--data.dataset", "questions.csv", "--model.objective", "ExactMatch"], "Expected an answer"),
        (["--data.dataset", "missing.csv"], "Expected a file or folder at 'missing.csv'"),
        (["--data.dataset", "answer.csv"], r"Did you mean 'answers\.csv'"),
        (["--data.dataset", "answers.csv", "--data.columns", "{answer: gold}"], "Expected the column 'gold'"),
    ],
)
def test_data_that_are_of_no_use_are_refused(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        look_at_data(["fit", *words])


def test_what_can_not_be_read_is_refused_in_the_words_of_the_search(folder: Path) -> None:
    with pytest.raises(InputError) as at_once:
        look_at_data(["fit", "--data.dataset", "broken.csv"])
    with pytest.raises(InputError) as later:
        SwarmData("broken.csv").prepare_data()
    assert str(at_once.value) == str(later.value)


def test_configs_and_flags_are_read_in_their_order(folder: Path) -> None:
    objective = {"class_path": "swarm_lightning.objectives.MultipleChoice"}
    path = config(folder, data={"dataset": "answers.csv"}, model={"objective": objective})
    with pytest.raises(InputError, match="for MultipleChoice"):
        look_at_data(["fit", "--config", path])
    look_at_data(["fit", "--config", path, "--model.objective", "ExactMatch"])
    look_at_data(["fit", "--config", path, "--model.objective", "null"])
    with pytest.raises(InputError, match="for MultipleChoice"):  # settings of an objective leave its class
        look_at_data(["fit", "--config", path, "--model.objective", "{init_args: {max_new_tokens: 3}}"])


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--data.dataset", "answers.csv"],
        ["fit", "--data.dataset", "owner/name"],
        ["fit", "--data.dataset", "{a: questions.csv, b: missing.csv}"],
        ["fit", "--data.dataset", "questions.csv", "--model.objective", "RewardModel"],
        ["fit", "--data.dataset", "answers.csv", "--model.objective", "my_module.MultipleChoice"],
        ["fit", "--data.dataset", "answers.csv", "--data.colums", "x"],
        ["fit", "--config", "missing.yaml", "--data.dataset", "missing.csv"],
        ["fit", "--data.dataset"],
        ["fit", "--data.dataset", "questions.csv", "--print_config"],
        ["test", "--data.dataset", "missing.csv"],
        ["fit"],
        [],
    ],
)
def test_what_is_good_or_takes_a_parser_is_left_to_the_search(folder: Path, words: list[str]) -> None:
    look_at_data(words)


def test_several_processes_find_out_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    look_at_data(["fit", "--data.dataset", "missing.csv"])
