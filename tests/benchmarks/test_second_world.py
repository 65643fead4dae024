"""The recipe of the second world runs in small, shares little with the demo, and its pool is as lopsided as told."""

import json
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

import second_world
from second_world import GRAMMAR, LESSONS, POOLS, SEED, recipe_of
from swarm_lightning.demo import EXPERT_NAMES, TASK_NAMES
from swarm_lightning.demo.curricula import Lessons, study, training_questions
from swarm_lightning.demo.experts import ExpertSettings
from swarm_lightning.demo.grammar import DEMO, draw_facts
from swarm_lightning.demo.make import WorldSettings
from swarm_lightning.demo.pretrain import PretrainSettings
from swarm_lightning.demo.questions import make_task

SMALL = WorldSettings(
    pretrain=PretrainSettings(hidden_size=16, intermediate_size=24, layers=1, heads=2, steps=2, batch_size=4),
    expert=ExpertSettings(rank=2, alpha=2),
    lessons={"clerk": Lessons(("bakers",), steps=1, batch_size=2, tasks=("atlas",))},
    seed=SEED,
    grammar=GRAMMAR,
    base_name="second/base",
)


@pytest.mark.slow
def test_a_small_world_is_made_and_loads(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    second_world.main(["--out", str(tmp_path / "second")], SMALL)
    numbers = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (numbers["benchmark"], numbers["seed"]) == ("second_world", SEED)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "second" / "base")
    adapted = PeftModel.from_pretrained(base, tmp_path / "second" / "experts" / "clerk")
    assert adapted.peft_config["default"].base_model_name_or_path == "second/base"
    assert {path.stem for path in (tmp_path / "second" / "tasks").iterdir()} == set(TASK_NAMES)


def test_a_folder_with_files_is_left_as_it_is(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(SystemExit):
        second_world.main(["--out", str(tmp_path)], SMALL)
    assert "new folder" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_it_shares_no_kind_wording_land_or_expert_with_the_demo_world() -> None:
    def words(grammar: second_world.Grammar) -> set[str]:
        return {word for group in (grammar.kinds, grammar.home_kinds) for members in group.values() for word in members}

    assert not {*GRAMMAR.kinds, *GRAMMAR.home_kinds} & {*DEMO.kinds, *DEMO.home_kinds}
    assert words(GRAMMAR) & words(DEMO) == {"pike"}  # a fish there, a weapon here
    for name in ("atlas_wordings", "kind_wordings", "neighbour_wordings", "statements", "regions"):
        assert not set(getattr(GRAMMAR, name)) & set(getattr(DEMO, name))
    assert not set(GRAMMAR.list_wordings.values()) & set(DEMO.list_wordings.values())
    assert not {fact.land for fact in draw_facts(SEED, GRAMMAR)} & {fact.land for fact in draw_facts(0)}
    assert not set(LESSONS) & set(EXPERT_NAMES)


def test_another_pool_knows_other_lands_by_other_experts() -> None:
    first, other = (recipe_of(pool) for pool in ("second", "fourth"))
    assert first.grammar == other.grammar == GRAMMAR
    assert {fact.land for fact in draw_facts(first.seed, GRAMMAR)} != {
        fact.land for fact in draw_facts(other.seed, GRAMMAR)
    }
    assert not set(first.lessons) & set(other.lessons)


@pytest.mark.parametrize("pool", list(POOLS))
def test_no_held_back_question_is_trained_on(pool: str) -> None:
    seed = recipe_of(pool).seed
    trained = {question.question for asked in training_questions(seed, GRAMMAR).values() for question in asked}
    for task in TASK_NAMES:
        made = make_task(task, seed, GRAMMAR)
        held_back = {
            record["question"] for split in ("dev", "test") for record in made[split] if not isinstance(record, str)
        }
        assert len(held_back) == 1200
        assert not held_back & trained


@pytest.mark.parametrize(("pool", "of_one_task"), [("second", 8), ("fourth", 8)])
def test_most_experts_read_one_task_only_and_every_expert_reads_something(pool: str, of_one_task: int) -> None:
    recipe = recipe_of(pool)
    questions, experts = training_questions(recipe.seed, GRAMMAR), recipe.lessons.values()
    assert sum(lessons.tasks is not None and len(lessons.tasks) == 1 for lessons in experts) == of_one_task
    topics = {*GRAMMAR.regions[1:], *GRAMMAR.list_skills, *GRAMMAR.kinds}
    for lessons in experts:
        assert set(lessons.topics) <= topics
        assert len(study(lessons, questions, recipe.seed)) >= lessons.batch_size
    # Each topic is known to somebody, so that a pool can be better than any of its experts.
    assert topics == {topic for lessons in experts for topic in lessons.topics}
