"""A whole search on a real pre-trained model with adapters made by plain `peft`, on a public dataset."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.search.real_experts import save_experts
from tests.search.tiny_search import run_swarm

pytestmark = pytest.mark.shared
LETTERS = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def base(shared_folder: Path) -> Path:
    return shared_folder / "models" / "stories260k"


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_experts(base, tmp_path_factory.mktemp("experts"), count=4)


@pytest.fixture(scope="module")
def dataset(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shortest questions of a public file: the model has room for 512 tokens of its own small vocabulary."""
    whole = json.loads((shared_folder / "data" / "model_swarms" / "hellaswag.json").read_text(encoding="utf-8"))
    short = {split: sorted(whole[split], key=lambda record: len(str(record)))[:24] for split in ("dev", "test")}
    path = tmp_path_factory.mktemp("data") / "hellaswag.json"
    path.write_text(json.dumps({"dataset": "hellaswag", **short}), encoding="utf-8")
    return path


def reference_choice(model: torch.nn.Module, tokenizer: object, record: dict[str, object]) -> str:
    """Choose by the sum of log-probabilities of each choice's text, one sequence at a time, without padding."""
    choices = record["choices"]
    assert isinstance(choices, dict)
    lines = "\n".join(f"{letter}: {text}" for letter, text in choices.items())
    prompt = f"Question: {record['question']}\n{lines}\nThe answer is"
    fed = tokenizer(prompt)["input_ids"]  # type: ignore[operator]
    sums = []
    for text in choices.values():
        whole = tokenizer(f"{prompt} {text}")["input_ids"]  # type: ignore[operator]
        assert whole[: len(fed)] == fed
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
        sums.append(sum(float(logits[place - 1, whole[place]]) for place in range(len(fed), len(whole))))
    return list(choices)[sums.index(max(sums))]


def test_a_search_on_a_real_model_finds_what_plain_peft_confirms(
    base: Path, experts: Path, dataset: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    likelihood = {"method": "likelihood", "scored": "text"}
    config = {
        "model": {
            "base": str(base),
            "experts": str(experts),
            "particles": 6,
            "engine": {"rows": 16},
            "objective": {"class_path": "swarm_lightning.objectives.MultipleChoice", "init_args": likelihood},
        },
        "data": {"dataset": str(dataset)},
        "trainer": {"max_steps": 3, "accelerator": "cpu", "default_root_dir": str(tmp_path / "runs")},
    }
    run_swarm(config, "fit", tmp_path)
    run = tmp_path / "runs" / "version_0"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    tables = [load_file(path)["utilities"] for path in sorted((run / "score_tables").iterdir())]
    assert [tuple(table.shape) for table in tables] == [(6,)] * 4
    assert max(float(table.nan_to_num(-1).max()) for table in tables) == summary["validation"][1]["utility"]

    tokenizer = AutoTokenizer.from_pretrained(base)
    records = json.loads(dataset.read_text(encoding="utf-8"))
    found = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run / "best_expert").eval()
    for split, name in (("dev", "validation"), ("test", "test")):
        right = [reference_choice(found, tokenizer, record) == record["answer"] for record in records[split]]
        assert sum(right) / len(right) == summary[name][1]["utility"]
