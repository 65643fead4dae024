"""The data module, alone and under a real trainer."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import LightningModule, Trainer, seed_everything

from swarm_lightning.data.examples import Example
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError

CONTENT = {
    "dev": [{"question": "1 + 1?", "answer": "2"}, {"question": "1 + 2?", "answer": "3"}],
    "test": [{"question": "2 + 2?", "answer": "4"}],
}


class Recorder(LightningModule):
    """Keeps the batches of every stage; learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[str, list[Example]]] = []

    def training_step(self, batch: list[Example]) -> torch.Tensor:
        self.seen.append(("fit", batch))
        return self.weight.square().sum()

    def validation_step(self, batch: list[Example]) -> None:
        self.seen.append(("validate", batch))

    def test_step(self, batch: list[Example]) -> None:
        self.seen.append(("test", batch))

    def predict_step(self, batch: list[Example]) -> None:
        self.seen.append(("predict", batch))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # as ModelSwarm does: examples are text

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "sums.json"
    path.write_text(json.dumps(CONTENT))
    return str(path)


def _trainer(folder: str, **settings: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **settings)


def test_each_stage_sees_its_split_as_one_batch(dataset: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("3 + 3?\n")
    data, module = SwarmData(dataset, prompts=str(prompts)), Recorder()
    trainer = _trainer(str(tmp_path), max_epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(workers|dataloader).*")
        trainer.fit(module, datamodule=data)
        trainer.validate(module, datamodule=data, verbose=False)
        trainer.test(module, datamodule=data, verbose=False)
        trainer.predict(module, datamodule=data)
    one, two = Example("1 + 1?", "2", identifier="0"), Example("1 + 2?", "3", identifier="1")
    assert module.seen == [
        ("fit", [one, two]),
        ("fit", [one, two]),
        ("validate", [one, two]),
        ("test", [Example("2 + 2?", "4", identifier="0")]),
        ("predict", [Example("3 + 3?", identifier="0")]),
    ]


def test_without_a_trainer_every_loader_gives_its_split(dataset: str) -> None:
    data = SwarmData(dataset)
    data.prepare_data()
    data.setup("fit")
    assert [len(batch) for batch in data.train_dataloader()] == [2]
    assert [len(batch) for batch in data.val_dataloader()] == [2]
    assert [len(batch) for batch in data.test_dataloader()] == [1]


def test_a_leak_is_shown_once_as_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "leaking.json"
    path.write_text(json.dumps({"dev": CONTENT["dev"], "test": CONTENT["dev"]}))
    data = SwarmData(str(path))
    data.prepare_data()
    with pytest.warns(UserWarning, match="LEAK in 'leaking': 2 of 2"):
        data.setup("fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup("test")
    assert [notice.kind for notice in data.notices] == ["leak"]


def test_what_is_wrong_comes_up_before_the_work(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        SwarmData(dataset + "l").prepare_data()
    with pytest.raises(InputError, match="a file with prompts at"):
        SwarmData(dataset, prompts=str(tmp_path / "no.txt")).prepare_data()
    with pytest.raises(InputError, match="--data.prompts"):
        SwarmData(dataset).predict_dataloader()


def test_what_was_noticed_about_prompts_is_shown_once(dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "cut \\ud83d"}')
    data = SwarmData(dataset, prompts=str(path))
    with pytest.warns(UserWarning, match=r"1 of 1 records of .*prompts\.jsonl .* not valid Unicode"):
        data.prepare_data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [example.question for batch in data.predict_dataloader() for example in batch] == ["cut \ufffd"]


def test_the_columns_of_the_dataset_do_not_apply_to_the_prompts(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps([{"q": "a?", "answer": "1"}, {"q": "b?", "answer": "2"}]))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "c?"}')
    data = SwarmData(str(tmp_path / "list.json"), columns={"question": "q"}, prompts=str(tmp_path / "prompts.jsonl"))
    data.prepare_data()
    assert [len(batch) for batch in data.predict_dataloader()] == [1]


def test_the_seed_of_the_run_draws_where_none_is_given(tmp_path: Path) -> None:
    records = [{"question": f"{number}?", "answer": "1"} for number in range(60)]
    (tmp_path / "list.json").write_text(json.dumps(records))
    state = torch.random.get_rng_state()
    seed_everything(5, verbose=False)
    drawn = SwarmData(str(tmp_path / "list.json")).splits
    torch.random.set_rng_state(state)
    assert drawn.validation == SwarmData(str(tmp_path / "list.json"), seed=5).splits.validation
    assert drawn.validation != SwarmData(str(tmp_path / "list.json"), seed=6).splits.validation


def test_the_fingerprint_tells_that_the_data_has_changed(dataset: str) -> None:
    before = SwarmData(dataset).fingerprint
    assert before == SwarmData(dataset).fingerprint
    Path(dataset).write_text(json.dumps({**CONTENT, "test": [{"question": "2 + 2?", "answer": "5"}]}))
    assert SwarmData(dataset).fingerprint != before


def test_every_setting_can_come_from_yaml(dataset: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SwarmData, "data")
    text = f"""
    data:
      dataset: {dataset}
      columns: {{question: question, answer: answer, choices: [first, second], id: null}}
      validation_size: 1
      seed: 3
    """
    configured = getattr(parser, "instantiate", parser.instantiate_classes)(parser.parse_string(text)).data
    assert isinstance(configured, SwarmData)
    assert configured.columns == {
        "question": "question",
        "answer": "answer",
        "choices": ["first", "second"],
        "id": None,
    }
    assert (configured.validation_size, configured.seed) == (1, 3)
