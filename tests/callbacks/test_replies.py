"""The replies of the best experts, against plain `peft`."""

import json
from pathlib import Path

import pandas

from swarm_lightning.callbacks import ExportBest, Replies, Summary
from tests.search.tiny_search import World, prompt_of, search


def test_the_replies_of_the_best_experts_are_those_of_plain_peft_on_both_splits(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[ExportBest(), Summary(), Replies()], particles=5)
    summary = json.loads((tmp_path / "summary.json").read_text())
    for split in ("validation", "test"):
        replies = pandas.read_parquet(tmp_path / "replies" / f"{split}.parquet")
        asked = world.split("dev" if split == "validation" else "test")
        for row, folder in zip(
            summary[split], (world.experts / summary[split][0]["detail"], tmp_path / "best_expert"), strict=True
        ):
            own = replies[replies.expert == row["name"]]
            assert own.which.unique().tolist() == [row["detail"]]
            assert own.question.tolist() == [record["question"] for record in asked]
            assert own.prompt.tolist() == [prompt_of(record["question"]) for record in asked]
            assert own.gold.tolist() == [record["answer"] for record in asked]
            said = world.replies(world.load(folder), "dev" if split == "validation" else "test")
            assert own.reply.tolist() == said
            assert own.score.mean() == row["utility"]


def test_replies_to_a_split_can_be_left_out(world: World, tmp_path: Path) -> None:
    search(world, tmp_path, callbacks=[Replies(validation=False)], iterations=1)
    assert [path.name for path in (tmp_path / "replies").iterdir()] == ["test.parquet"]
