"""The packaged world is what it claims to be: it loads with public libraries and is small, sound and free of leaks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from swarm_lightning.demo import BASE, BASE_NAME, EXPERT_NAMES, EXPERTS, SEED, TASK_NAMES, TASKS, WORLD
from swarm_lightning.demo.grammar import KINDS, draw_facts

MULTIPLE_CHOICE = ("neighbours", "kinds")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(BASE)


def read_task(name: str) -> dict:
    return json.loads((TASKS / f"{name}.json").read_text("utf-8"))


def questions_of(name: str, split: str) -> list[str]:
    return [record["question"] for record in read_task(name)[split]]


def test_all_files_together_stay_under_ten_megabytes() -> None:
    assert sum(file.stat().st_size for file in WORLD.rglob("*") if file.is_file()) < 10_000_000
    assert (BASE / "model.safetensors").stat().st_size < 4_000_000


def test_the_listed_names_are_the_folders_and_files() -> None:
    assert sorted(path.name for path in EXPERTS.iterdir()) == sorted(EXPERT_NAMES)
    assert sorted(path.stem for path in TASKS.iterdir()) == sorted(TASK_NAMES)


def test_the_base_is_a_causal_model_that_ends_its_reply(tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE)
    assert model.config.model_type == "llama"
    assert 800_000 <= model.num_parameters() <= 1_000_000
    prompts = [f"Question: {question}\nAnswer:" for question in questions_of("lists", "dev")[:50]]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    replies = model.generate(**batch, max_new_tokens=4, do_sample=False)[:, batch["input_ids"].shape[1] :]
    assert (replies == tokenizer.eos_token_id).any(dim=1).float().mean() > 0.9


def test_the_generation_settings_name_the_special_tokens_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = json.loads((BASE / "generation_config.json").read_text("utf-8"))
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert settings[name] == getattr(tokenizer, name)


def test_there_are_ten_finite_experts_of_one_layout() -> None:
    layouts, settings = [], []
    for name in EXPERT_NAMES:
        weights = load_file(EXPERTS / name / "adapter_model.safetensors")
        assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights.values())
        assert all(weight.any() for weight in weights.values())
        layouts.append({key: tuple(weight.shape) for key, weight in weights.items()})
        settings.append(json.loads((EXPERTS / name / "adapter_config.json").read_text("utf-8")))
    assert len(layouts) >= 10
    assert all(layout == layouts[0] for layout in layouts)
    assert all(setting == settings[0] for setting in settings)
    assert settings[0]["base_model_name_or_path"] == BASE_NAME
    assert settings[0]["lora_dropout"] == 0.0
    assert 40_000 <= sum(rows * columns for rows, columns in layouts[0].values()) <= 100_000


def test_no_two_experts_are_equal() -> None:
    weights = [load_file(EXPERTS / name / "adapter_model.safetensors") for name in EXPERT_NAMES]
    key = next(key for key in weights[0] if "lora_B" in key)
    for number, first in enumerate(weights):
        assert all(not torch.equal(first[key], second[key]) for second in weights[number + 1 :])


def test_an_expert_loads_with_peft_and_changes_the_model(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = tokenizer("Question: Which number is largest in 4 17 9 30?\nAnswer:", return_tensors="pt")
    with torch.no_grad():
        before = AutoModelForCausalLM.from_pretrained(BASE)(**batch).logits
        adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), EXPERTS / EXPERT_NAMES[0])
        after = adapted(**batch).logits
    assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_a_task_has_its_sizes_and_fields(name: str) -> None:
    task = read_task(name)
    assert task["dataset"] == name
    assert (len(task["dev"]), len(task["test"])) == (200, 1000)
    records = task["dev"] + task["test"]
    assert len({record["id"] for record in records}) == len(records)
    fields = {"id", "question", "answer"} | ({"choices"} if name in MULTIPLE_CHOICE else set())
    assert all(set(record) == fields for record in records)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_no_question_occurs_twice_in_or_between_the_splits(name: str) -> None:
    questions = questions_of(name, "dev") + questions_of(name, "test")
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("name", MULTIPLE_CHOICE)
def test_the_answer_is_one_of_four_different_choices(name: str) -> None:
    for record in read_task(name)["dev"] + read_task(name)["test"]:
        assert list(record["choices"]) == ["A", "B", "C", "D"]
        assert len(set(record["choices"].values())) == 4
        assert record["answer"] in record["choices"]


@pytest.mark.parametrize("name", MULTIPLE_CHOICE)
def test_the_right_choice_is_the_only_one_of_its_group(name: str) -> None:
    group_of = {word: kind for kind, words in KINDS.items() for word in words}
    group_of |= {fact.land: fact.region for fact in draw_facts(SEED)}
    for record in read_task(name)["test"]:
        asked = [group_of[word] for word in record["question"].strip("?").split() if word in group_of]
        assert asked[0] == asked[1]
        fitting = [letter for letter, word in record["choices"].items() if group_of[word] == asked[0]]
        assert fitting == [record["answer"]]


def test_the_answers_about_the_atlas_are_the_facts() -> None:
    value_of = {(fact.land, fact.attribute): fact.value for fact in draw_facts(SEED)}
    lands, attributes = ({key[place] for key in value_of} for place in (0, 1))
    for record in read_task("atlas")["test"]:
        words = re.findall(r"[A-Za-z]+", record["question"])
        land = next(word for word in words if word in lands)
        attribute = next(word for word in words if word in attributes)
        assert record["answer"] == value_of[land, attribute]


def answer_list_question(question: str) -> int:
    """Answer in a second way: by positions in the text, with none of the generator's code."""
    asked, _, listed = question.rstrip("?").partition(" in ")
    numbers = [int(number) for number in listed.split()]
    words = asked.split()
    if "twice" in words:
        return next(number for number in numbers if numbers.count(number) == 2)
    if words[-2] in ("after", "before"):
        place = numbers.index(int(words[-1])) + (1 if words[-2] == "after" else -1)
        return numbers[place]
    ordered = sorted(numbers)
    return {
        "first": numbers[0],
        "last": numbers[-1],
        "second": numbers[1],
        "largest": ordered[-1],
        "smallest": ordered[0],
    }[words[-1]]


def test_the_answers_about_lists_are_right() -> None:
    for record in read_task("lists")["dev"] + read_task("lists")["test"]:
        assert record["answer"] == str(answer_list_question(record["question"]))


def test_encoding_adds_the_begin_token_in_front_and_no_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenizer.encode("Which number is largest?")
    assert tokens[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in tokens
    assert tokenizer.bos_token_id not in tokens[1:]


@pytest.mark.parametrize(
    "text",
    [
        "Question: What goes with iron and tin?\nA: gold\nB: oak\nC: trout\nD: hat\nThe answer is B",
        "  two  spaces,\ttabs\n\nand lines \n",
        "unknown wörds, 12345 and 東京 (?!)",
    ],
)
def test_any_text_comes_back_unchanged(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert tokenizer.unk_token_id not in tokens
    assert tokenizer.decode(tokens, skip_special_tokens=True) == text


@pytest.mark.parametrize("name", TASK_NAMES)
def test_prompts_are_short_and_answers_are_one_token(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    for record in read_task(name)["dev"]:
        assert len(tokenizer.encode(record["question"])) <= 18
        assert len(tokenizer.encode(f" {record['answer']}", add_special_tokens=False)) == 1


def test_the_chat_template_writes_the_prompt_the_model_was_trained_on(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [{"role": "user", "content": "Which number is largest in 1 2 3 4?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s>Question: Which number is largest in 1 2 3 4?\nAnswer:"
    answered = [*messages, {"role": "assistant", "content": "4"}]
    assert str(tokenizer.apply_chat_template(answered, tokenize=False)).endswith("\nAnswer: 4</s>")


def test_the_default_import_is_light() -> None:
    code = "import sys, swarm_lightning.demo, swarm_lightning.demo.questions; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "False"
