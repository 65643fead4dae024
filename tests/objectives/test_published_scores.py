"""Prompts, replies and scores are those of the published evaluation where it asks one question at a time.

What stands here follows the description of `evaluate.py` in google-research/model_swarm with plain `transformers`: one
prompt in a batch. With several the published code feeds padding as if it were text, without an attention mask, so that
its replies depend on their neighbours; that is the difference which remains.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from swarm_lightning.data.examples import Example
from swarm_lightning.data.readers import read_splits
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import Abstention, ExactMatch, MultipleChoice
from swarm_lightning.objectives.protocol import Objective, Outcome
from tests.search.real_experts import save_experts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

pytestmark = pytest.mark.shared
CONFIGS = Path(__file__).parents[2] / "configs" / "paper"
ASKED = 16


def objective_settings(name: str) -> dict[str, Any]:
    """The settings of the objective in a config of the paper."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    return dict(config["model"]["objective"]["init_args"])


class Published:
    """The published evaluation of the base model, one prompt at a time."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
        self.model, self.tokenizer, self.folder = model, tokenizer, folder

    def file(self, dataset: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / f"{dataset}.json").read_text(encoding="utf-8")))

    def reply(self, prompt: str, tokens: int) -> str:
        ids = self.tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            output = self.model.generate(ids, max_new_tokens=tokens, do_sample=False)  # type: ignore[operator]
        return str(self.tokenizer.decode(output[0][len(ids[0]) :], skip_special_tokens=True)).strip()

    def ask_choices(self, record: dict[str, Any], dataset: str) -> str:
        opening = {
            "knowledge_crosswords": f"{self.file(dataset).get('icl_prompt')}\n",
            "hellaswag": "Please choose an option that best completes the sentence.\n",
        }.get(dataset, "Please choose an option that best answers the question.\n")
        lines = "".join(f"{key}: {text}\n" for key, text in record["choices"].items())
        return f"{opening}Question: {record['question']}\n{lines}The answer is"

    @staticmethod
    def read_choice(record: dict[str, Any], reply: str) -> str | None:
        for part in (reply[:5], reply[-5:]):
            for letter in record["choices"]:
                if letter in part:
                    return str(letter)
        return next((letter for letter, text in record["choices"].items() if text.lower() in reply.lower()), None)


class Ours:
    """The same base under our evaluator."""

    def __init__(self, base: Path, experts: Path) -> None:
        self.model, self.tokenizer = load_base(str(base))
        self.model.config.max_position_embeddings = 16384
        self.adapted = AdaptedModel(self.model, load_pool(str(experts)))

    def ask(self, objective: Objective, examples: list[Example]) -> list[Outcome]:
        outcomes = (
            Evaluator(ResidentRunner(self.adapted, self.tokenizer), objective).evaluate_base(examples).outcomes[0]
        )
        return [outcome for outcome in outcomes if outcome is not None]


@pytest.fixture(scope="module")
def ours(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ours:
    base = shared_folder / "models" / "stories260k"
    return Ours(base, save_experts(base, tmp_path_factory.mktemp("experts"), count=2))


@pytest.fixture(scope="module")
def published(shared_folder: Path) -> Published:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = shared_folder / "models" / "stories260k"
    model = AutoModelForCausalLM.from_pretrained(base, max_position_embeddings=16384).eval()
    return Published(model, AutoTokenizer.from_pretrained(base), shared_folder / "data" / "model_swarms")


def examples_of(published: Published, dataset: str) -> tuple[list[Example], list[dict[str, Any]]]:
    examples = list(read_splits(str(published.folder / f"{dataset}.json")).validation[:ASKED])
    records = published.file(dataset)["dev"][:ASKED]
    assert [example.question for example in examples] == [record["question"] for record in records]
    return examples, records


@pytest.mark.parametrize("dataset", ["mmlu", "mmlu_pro", "hellaswag", "truthfulqa", "knowledge_crosswords"])
def test_a_choice_is_asked_and_answered_as_published(published: Published, ours: Ours, dataset: str) -> None:
    examples, records = examples_of(published, dataset)
    objective = MultipleChoice(**objective_settings(dataset))
    prompts = [published.ask_choices(record, dataset) for record in records]
    assert [objective.prompt(example, ours.tokenizer) for example in examples] == prompts
    replies = [published.reply(prompt, 10) for prompt in prompts]
    outcomes = ours.ask(objective, examples)
    assert [outcome.reply.strip() for outcome in outcomes] == replies
    for record, outcome in zip(records, outcomes, strict=True):
        theirs = published.read_choice(record, outcome.reply.strip())
        assert outcome.answer == theirs
        assert outcome.score == float(theirs == record["answer"])


@pytest.mark.parametrize("dataset", ["gsm8k", "nlgraph"])
def test_an_exact_match_scores_as_published(published: Published, ours: Ours, dataset: str) -> None:
    examples, records = examples_of(published, dataset)
    settings = objective_settings(dataset)
    replies = [published.reply(record["question"], settings["max_new_tokens"]) for record in records]
    ends = [" ".join(reply.split(" ")[-5:]) if dataset == "gsm8k" else reply for reply in replies]
    expected = [float(record["answer"] in end) for record, end in zip(records, ends, strict=True)]
    outcomes = ours.ask(ExactMatch(**settings), examples)
    assert [outcome.reply.strip() for outcome in outcomes] == replies
    assert [outcome.score for outcome in outcomes] == expected


def test_both_turns_of_abstention_are_asked_and_answered_as_published(published: Published, ours: Ours) -> None:
    examples, records = examples_of(published, "mmlu")
    expected = []
    for record in records:
        prompt = published.ask_choices(record, "mmlu")
        reply = published.reply(prompt, 10)
        question = "Is the proposed answer true or false? Directly answer with true or false."
        verdict = published.reply(f"{prompt}\nProposed answer: {reply}\n{question}", 10)
        assert "false" not in verdict.lower()
        expected.append(f"{reply}\nIs that true or false? {verdict} -> answers")
    outcomes = ours.ask(Abstention(**objective_settings("abstainqa")), examples)
    assert [outcome.reply.strip() for outcome in outcomes] == expected
