"""Which documents of a task stand in a prompt, and what stands before a text without one."""

from pathlib import Path

import pytest

from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import HarnessTask, LanguageModel
from tests.objectives.local_tasks import CHOICE, check, documents, write_task

pytest.importorskip("lm_eval")


def test_no_document_that_is_asked_is_an_in_context_example(tmp_path: Path, language_model: LanguageModel) -> None:
    # All documents are of one kind: without care, test documents would stand in the prompts of the search.
    spec = write_task(tmp_path, "one-kind", CHOICE, {"test": documents(20)})
    splits = read_splits(spec, validation_size=6, test_size=8, seed=3)
    objective = HarnessTask(num_fewshot=3)
    check(objective, splits, language_model)
    asked = [example.extras["lm_eval_document"]["question"] for example in (*splits.validation, *splits.test)]
    shown = {row["question"] for row in documents(20)} - set(asked)
    for example, own in zip((*splits.validation, *splits.test), asked, strict=True):
        prompt = objective.prompt(example, language_model.tokenizer)
        assert [question in prompt for question in asked] == [question == own for question in asked]
        assert sum(question in prompt for question in shown) == 3


def test_a_document_that_is_shuffled_at_every_reading_is_still_the_same(
    tmp_path: Path, language_model: LanguageModel
) -> None:
    # As in gpqa; the few documents that are left over come in every prompt.
    (tmp_path / "shuffling.py").write_text(
        "import random, time\ndef change(row):\n"
        "    return {'choices': random.sample(row['choices'], 3), 'read': time.perf_counter_ns()}\n"
        "def shuffle(rows):\n    return rows.map(change, load_from_cache_file=False)\n"
    )
    spec = write_task(tmp_path, "shuffled", CHOICE, {"test": documents(20)})
    path = tmp_path / "shuffled.yaml"
    path.write_text(path.read_text() + "process_docs: !function shuffling.shuffle\n")
    splits = read_splits(spec, validation_size=8, test_size=10, seed=3)
    objective = HarnessTask(num_fewshot=2)
    check(objective, splits, language_model)
    asked = [example.extras["lm_eval_document"]["question"] for example in (*splits.validation, *splits.test)]
    for example, own in zip((*splits.validation, *splits.test), asked, strict=True):
        prompt = objective.prompt(example, language_model.tokenizer)
        assert [question in prompt for question in asked] == [question == own for question in asked]


def test_too_few_documents_for_in_context_examples_are_refused(tmp_path: Path, language_model: LanguageModel) -> None:
    spec = write_task(tmp_path, "too-few", CHOICE, {"training": documents(5), "test": documents(4, 20)})
    objective = HarnessTask(num_fewshot=3)
    with pytest.raises(InputError, match="of its 5 documents 1 can be drawn"):
        check(objective, read_splits(spec, validation_size=4), language_model)


def test_a_text_without_a_prompt_begins_as_in_the_harness(
    tmp_path: Path, tiny_base_folder: Path, language_model: LanguageModel
) -> None:
    # As in blimp: nothing stands before the choices. Without a token that begins a text, the one that ends it does.
    from transformers import AutoTokenizer

    spec = write_task(tmp_path, "pairs", {**CHOICE, "doc_to_text": ""}, {"test": documents(4)})
    example = read_splits(spec).test[0]
    assert HarnessTask("acc").prompt(example, language_model.tokenizer) == ""
    without = AutoTokenizer.from_pretrained(tiny_base_folder)
    without.bos_token = None
    assert HarnessTask("acc").prompt(example, without) == "</s>"
