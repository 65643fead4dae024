"""Models of any kind that can't be mixed, or can't answer each other, are refused before the search begins."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.paths import locate
from tests.cli.refused import message_of
from tests.search.tiny_search import World

ROLES = {"class_path": "swarm_lightning.HeterogeneousSwarm", "init_args": {"moves": "roles"}}
GRAPHS: dict[str, Any] = {"graphs": {"any_models": True}, "optimizer": ROLES}


def without_text(folder: Path) -> str:
    """Copy a model, and let its tokenizer decode everything to nothing."""
    shutil.copytree(str(locate("demo:models/almanac")), folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["decoder"] = {"type": "Replace", "pattern": {"Regex": ".*"}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return str(folder)


def test_a_tokenizer_whose_tokens_add_no_text_can_not_be_mixed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"experts": [str(world.experts / "towns"), without_text(tmp_path / "odd")], "mixture": "probabilities"}
    told = message_of(world.config(tmp_path / "runs", model=model), tmp_path, capsys)
    assert "tokens can be identified by the text they add, but of '" in told
    assert "leave it out, or give experts that share its vocabulary" in told


@pytest.mark.parametrize("kind", [{"mixture": "probabilities"}, GRAPHS], ids=["a mixture", "a graph"])
def test_one_model_alone_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: dict[str, Any]
) -> None:
    config = world.config(tmp_path / "runs", model={**kind, "experts": ["demo:models/almanac"]})
    told = message_of(config, tmp_path, capsys)
    assert "Expected at least two experts, but found 1" in told
    assert "Add adapters or models of any architecture." in told


def test_models_of_several_shapes_are_pointed_to_what_takes_them(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experts = [str(world.experts / "towns"), "demo:models/almanac"]
    config = world.config(tmp_path / "runs", model={"graphs": {}, "optimizer": ROLES, "experts": experts})
    told = message_of(config, tmp_path, capsys)
    assert "model.graphs.any_models: true, with the optimizer HeterogeneousSwarm and its moves: roles" in told
