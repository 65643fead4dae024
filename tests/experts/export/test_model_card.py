import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from swarm_lightning.experts.export.adapter import export_adapter
from swarm_lightning.experts.export.model_card import CardFacts, Utilities, public_name, render_card
from swarm_lightning.experts.export.provenance import Provenance
from swarm_lightning.experts.pool import ExpertPool

FACTS = CardFacts(
    name="best",
    base="owner/base",
    experts=("colours", "numbers"),
    task="arithmetic.json",
    best_initial_expert="numbers",
    validation=Utilities(0.5, 0.625, 200),
    test=Utilities(0.25, 0.5, 1000),
    objective={"method": "generate", "max_new_tokens": 10},
    swarm={"particles": 20, "repel": True},
    seed=7,
    iterations=31,
)


def loading_code(card: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_the_front_matter_is_that_of_a_hugging_face_card() -> None:
    data = ModelCard(render_card(replace(FACTS, test=None))).data.to_dict()
    assert data == {
        "base_model": "owner/base",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "peft", "swarm-lightning"],
    }


def metadata(card: str) -> ModelCardData:
    """Read what stands above a card, as the hub does."""
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


def test_the_test_scores_are_results_that_the_hub_shows() -> None:
    test = Utilities(0.25, 0.51234, 1000, {"sums": (0.2, 0.5), "towns": (0.3, 0.6)})
    facts = replace(FACTS, test=test, objective={"class": "ExactMatch"})
    data = metadata(render_card(facts))
    assert data.model_name == "best"
    found = [
        (one.dataset_name, one.dataset_split, one.metric_type, one.metric_value) for one in data.eval_results or ()
    ]
    assert found == [
        ("arithmetic.json", "test", "exact_match", 0.5123),
        ("sums", "test", "exact_match", 0.5),
        ("towns", "test", "exact_match", 0.6),
    ]
    assert {one.metric_type for one in metadata(render_card(FACTS)).eval_results or ()} == {"utility"}


def test_the_license_is_the_one_that_all_agree_on() -> None:
    agreed = Provenance("owner/base", "apache-2.0", {"numbers": "apache-2.0"})
    card = render_card(replace(FACTS, base="/models/base", provenance=agreed))
    data = metadata(card)
    assert (data.base_model, data.license) == ("owner/base", "apache-2.0")
    assert "base = 'owner/base'" in loading_code(card)
    assert "/models" not in card
    assert "| base, the base | apache\\-2\\.0 |\n| numbers | apache\\-2\\.0 |\n" in card
    for other in (Provenance(None, "gemma", {"numbers": "mit"}), Provenance(None, None, {"numbers": "mit"})):
        card = render_card(replace(FACTS, provenance=other))
        assert metadata(card).license is None
        assert "| numbers | mit |" in card


def test_the_card_tells_experts_task_settings_and_utilities() -> None:
    card = render_card(FACTS)
    assert "## Experts (2)\n\n- colours\n- numbers\n" in card
    assert "| split | examples | before: best initial expert (numbers) | after: this adapter |" in card
    assert "| validation (guided the search) | 200 | 0.5000 | 0.6250 |" in card
    assert "| test (held back) | 1000 | 0.2500 | 0.5000 |" in card
    assert "| max\\_new\\_tokens | 10 |" in card
    assert "| particles | 20 |\n| repel | True |" in card
    assert "in 31 iterations" in card
    assert "- Seed: 7" in card


def test_several_tasks_have_a_line_each() -> None:
    utilities = Utilities(0.48, 0.6, 200, {"sums": (0.4, 0.75), "my_towns": (0.6, 0.5)})
    card = render_card(CardFacts("best", "owner/base", ("a", "b"), "sums: a, my_towns: b", validation=utilities))
    assert (
        "| validation (guided the search) | 200 | 0.4800 | 0.6000 |\n"
        "| validation (guided the search), task sums | | 0.4000 | 0.7500 |\n"
        "| validation (guided the search), task my\\_towns | | 0.6000 | 0.5000 |\n"
    ) in card
    assert "- Task: sums: a, my\\_towns: b" in card.replace("\\:", ":")


def test_what_is_not_known_is_left_out() -> None:
    card = render_card(CardFacts("best", "owner/base", ("a", "b"), "task", validation=Utilities(0.5, 0.625)))
    assert "test (held back)" not in card
    assert "## Search" not in card
    assert "| validation (guided the search) |  | 0.5000 | 0.6250 |" in card
    assert "Utility" not in render_card(CardFacts("best", "owner/base", ("a", "b"), "task"))


def test_the_front_matter_and_text_do_not_tell_local_folders(tmp_path: Path) -> None:
    card = render_card(CardFacts("best", str(tmp_path / "my-base"), ("a", "b"), "task"))
    assert ModelCard(card).data.to_dict()["base_model"] == "my-base"
    assert str(tmp_path) not in card.replace(loading_code(card), "")
    assert public_name("demo:base") == "base"


def test_line_breaks_in_settings_are_shown() -> None:
    card = render_card(CardFacts("best", "owner/base", ("a", "b"), "task", objective={"template": "Q\nA"}))
    assert '| template | "Q\\\\nA" |' in card


def test_the_loading_code_runs(
    tiny_base_folder: Path, tmp_path: Path, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = render_card(CardFacts("best", str(tiny_base_folder), pool.names, "task"))
    export_adapter(tmp_path / "best", pool.vectors[0], pool, card)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(loading_code(card), made)
    assert made["model"].peft_config["default"].r == 4
    assert len(made["tokenizer"]) == 320


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "a|b\n# Heading", "[click](http://x)", "```\n---\n", "*b*"]
)
def test_what_the_user_gave_can_only_be_read_as_text(hostile: str) -> None:
    facts = CardFacts(
        hostile,
        hostile,
        (hostile, "b"),
        hostile,
        hostile,
        hostile,
        Utilities(0.5, 0.5),
        objective={hostile: hostile, "list": [hostile]},
    )
    card = render_card(facts)
    text = card.split("\n---\n", 1)[1].replace(loading_code(card), "")
    assert "<script" not in text
    assert "[click](" not in text
    assert " *b*" not in text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert [line.partition(" ")[0] for line in headings] == ["#", "##", "##", "##", "##"]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 5) for line in text.splitlines() if line.startswith("|"))
    assert text.count("```") == 2
    compile(loading_code(card), "card", "exec")
    assert ModelCard(card).data.to_dict()["library_name"] == "peft"
