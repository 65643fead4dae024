"""Tokenizers beside experts, as plain `tokenizers` and `transformers` write them, against the base's."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.experts.tokenizers.tokenizers import check_same_ids, check_tokenizers

NAMES = ("anna", "bert", "clara")
Change = Callable[[Path], None]


@pytest.fixture
def places(tiny_base_folder: Path, tmp_path: Path) -> dict[str, Path]:
    """Three experts with the base's tokenizer, and the base."""
    folders = {name: tmp_path / name for name in (*NAMES, "base")}
    for folder in folders.values():
        folder.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(tiny_base_folder / file, folder / file)
    return folders


def check(places: dict[str, Path]) -> None:
    check_tokenizers({name: str(places[name]) for name in NAMES}, str(places["base"]))


def changed(file: str, change: Callable[[Any], None]) -> Change:
    def write(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return write


def swap(content: Any) -> None:
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["t"] = vocab["t"], vocab["a"]


def rename(content: Any) -> None:
    vocab = content["model"]["vocab"]
    vocab["another"] = vocab.pop("a")


def shift(content: Any) -> None:
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {token: index + (index > 5) for token, index in vocab.items()}


def move_the_end(content: Any) -> None:
    added = next(entry for entry in content["added_tokens"] if entry["content"] == "</s>")
    added["id"] = 9999


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swap, r"in 2 tokens: '.' is \d+ there and \d+ here; '.' is"),
        (rename, r"in 1 tokens: \d+ is 'another' there and 'a' here"),
        (shift, r"in \d+ tokens"),
        (move_the_end, "'</s>' is 9999 there and 2 here"),
    ],
)
def test_other_ids_than_the_bases_are_refused_by_name(
    places: dict[str, Path], change: Callable[[Any], None], told: str
) -> None:
    changed("tokenizer.json", change)(places["bert"])
    with pytest.raises(InputError, match=f"that of 'bert' differs from that of the base .*{told}"):
        check(places)


@pytest.mark.parametrize("odd", NAMES)
def test_among_experts_alone_the_odd_one_is_refused(places: dict[str, Path], odd: str) -> None:
    changed("tokenizer.json", swap)(places[odd])
    with pytest.raises(InputError, match=f"that of '{odd}' differs from that of '"):
        check_same_ids({name: str(places[name]) for name in NAMES})


def reordered(content: Any) -> None:
    content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    content["model"]["vocab"] = dict(reversed(content["model"]["vocab"].items()))


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def padded(folder: Path) -> None:
    changed("tokenizer.json", lambda content: content["added_tokens"].append({"id": 9999, "content": "[PAD]"}))(folder)
    changed("tokenizer_config.json", lambda content: content.update(pad_token="[PAD]"))(folder)


def older_template(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "other"}, {"name": "default", "template": template + "\n"}]
    changed("tokenizer_config.json", lambda content: content.update(chat_template=named))(folder)


@pytest.mark.parametrize(
    "change", [changed("tokenizer.json", reordered), nothing, padded, older_template], ids=lambda one: one.__name__
)
def test_what_asks_the_same_is_taken_without_a_word(places: dict[str, Path], change: Change) -> None:
    change(places["bert"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(places)
        check_same_ids({name: str(places[name]) for name in NAMES})


def other_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("<|u|>{{ messages[0].content }}<|a|>")


def other_old_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    changed("tokenizer_config.json", lambda content: content.update(chat_template="{{ messages }}"))(folder)


def other_end(folder: Path) -> None:
    changed("tokenizer_config.json", lambda content: content.update(eos_token={"content": "<pad>"}))(folder)


def more_tokens(folder: Path) -> None:
    changed("tokenizer.json", lambda content: content["added_tokens"].append({"id": 9999, "content": "<|im_start|>"}))(
        folder
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (other_template, "come with a chat template, where the base has another: 'bert', 'clara'"),
        (other_old_template, "come with a chat template, where the base has another: 'bert', 'clara'"),
        (other_end, "other special tokens .*: 'bert' .eos_token '<pad>' instead of '</s>'."),
        (more_tokens, "tokens in their tokenizers that the base's lacks: 'bert' .'<|im_start|>'."),
    ],
)
def test_other_prompts_than_the_bases_are_warned_of_by_name(places: dict[str, Path], change: Change, told: str) -> None:
    change(places["bert"])
    change(places["clara"])
    with pytest.warns(UserWarning, match=told.replace("|", r"\|")):
        check(places)


def test_a_template_where_the_base_has_none_is_warned_of(places: dict[str, Path]) -> None:
    (places["base"] / "chat_template.jinja").unlink()
    with pytest.warns(UserWarning, match="where the base has none: 'anna', 'bert', 'clara'"):
        check(places)


@pytest.mark.parametrize(
    ("file", "content"),
    [("vocab.json", json.dumps({"<s>": 0, "a": 1, "b": 2})), ("vocab.txt", "<s>\na\nb\n")],
)
def test_older_vocabularies_are_read_too(places: dict[str, Path], file: str, content: str) -> None:
    for folder in places.values():
        (folder / "tokenizer.json").unlink()
        (folder / file).write_text(content)
    (places["clara"] / file).write_text(content.replace("a", "x").replace("b", "a").replace("x", "b"))
    with pytest.raises(InputError, match="that of 'clara' differs .* in 2 tokens: '.' is . there"):
        check(places)
    (places["clara"] / file).write_text(content)
    (places["bert"] / "added_tokens.json").write_text('{"<|more|>": 3}')
    with pytest.warns(UserWarning, match="lacks: 'bert' .'<.more.>'."):
        check(places)


def test_the_tokens_of_a_unigram_model_stand_in_the_order_of_their_ids(places: dict[str, Path]) -> None:
    def listed(order: list[str]) -> Callable[[Any], None]:
        return lambda content: content.update(model={"vocab": [[token, 0.0] for token in order]}, added_tokens=[])

    for name, folder in places.items():
        changed("tokenizer.json", listed(["a", "b"] if name != "bert" else ["b", "a"]))(folder)
    with pytest.raises(InputError, match="'bert' .* in 2 tokens: 'b' is 0 there and 1 here"):
        check(places)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {"vocab": 3}}', '{"model": {"vocab": [1]}}'])
def test_a_broken_file_is_refused_by_name(places: dict[str, Path], content: str) -> None:
    (places["bert"] / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match="bert"):
        check(places)
