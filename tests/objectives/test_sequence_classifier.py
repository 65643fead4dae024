"""The resident classifier against plain `transformers`, one text at a time and without padding."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.sequence_classifier import SequenceClassifier, padded_length
from tests.objectives.tiny_classifiers import plain_outputs, save_decoder, save_encoder

LABELS = ("neutral", "toxic", "odd")


@pytest.fixture(
    scope="module", params=["decoder", "decoder without a padding token", "padding is end-of-text", "encoder"]
)
def folder(request: pytest.FixtureRequest, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    if request.param == "encoder":
        return save_encoder(folder, tiny_base_folder, LABELS)
    padding = {"decoder": 0, "decoder without a padding token": None, "padding is end-of-text": 2}[request.param]
    return save_decoder(folder, tiny_base_folder, LABELS, pad_token_id=padding)


def sequences(count: int = 23, most: int = 60) -> list[list[int]]:
    draw = random.Random(0)
    # From 3 on: 0 to 2 are padding, begin and end; some end with end-of-text as after a chat template.
    return [
        [draw.randrange(3, 300) for _ in range(draw.randint(1, most))] + [2] * (place % 2) for place in range(count)
    ]


def test_the_outputs_are_those_of_each_text_alone(folder: Path) -> None:
    texts = sequences()
    found = SequenceClassifier(str(folder), "a classifier", batch_size=4).outputs(texts)
    torch.testing.assert_close(found, torch.stack([plain_outputs(folder, ids) for ids in texts]), atol=1e-5, rtol=1e-4)
    assert found.std(dim=0).min() > 0.1, "outputs that are all the same prove nothing"


def test_the_outputs_of_a_text_are_the_same_to_the_last_bit_whatever_else_is_asked(folder: Path) -> None:
    classifier = SequenceClassifier(str(folder), "a classifier", batch_size=4)
    texts = sequences()
    whole = classifier.outputs(texts)
    order = random.Random(1).sample(range(len(texts)), len(texts))
    assert classifier.outputs([texts[place] for place in order]).equal(whole[order])
    alone = torch.cat([classifier.outputs([ids]) for ids in texts])
    assert alone.equal(whole)
    assert classifier.outputs([]).shape == (0, 3)


def test_a_pass_leaves_the_models_settings_as_they_are(folder: Path) -> None:
    classifier = SequenceClassifier(str(folder), "a classifier")
    before = classifier._model.config.pad_token_id
    classifier.outputs(sequences(3))
    assert classifier._model.config.pad_token_id == before


def test_an_encoder_reads_as_many_tokens_as_it_has_positions_for(tiny_base_folder: Path, tmp_path: Path) -> None:
    classifier = SequenceClassifier(str(save_encoder(tmp_path, tiny_base_folder, LABELS)), "a classifier")
    assert classifier.limit == 64 - 1 - 1  # RoBERTa's positions begin behind the padding's
    encoded = classifier.encode(["a b c d " * 40, "a"])
    assert [len(ids) for ids in encoded] == [62, 2]
    assert classifier.outputs(encoded).isfinite().all()


def test_the_limit_is_the_smallest_of_model_tokenizer_and_setting(tiny_base_folder: Path, tmp_path: Path) -> None:
    folder = str(save_decoder(tmp_path, tiny_base_folder))
    assert SequenceClassifier(folder, "a classifier").limit == 256
    assert SequenceClassifier(folder, "a classifier", max_tokens=100).limit == 100
    assert SequenceClassifier(folder, "a classifier", max_tokens=300).limit == 256


def test_an_output_is_found_by_its_name(tiny_base_folder: Path, tmp_path: Path) -> None:
    labels = ("neutral", "Toxic", "a", "A")
    classifier = SequenceClassifier(str(save_decoder(tmp_path, tiny_base_folder, labels)), "a classifier")
    assert classifier.labels == labels
    assert [classifier.place_of(label, "toxic_label") for label in ("toxic", "Toxic", "A", "a")] == [1, 1, 3, 2]
    with pytest.raises(InputError, match=r"toxic_label.*\(neutral, Toxic, a, A\), but got 'toxik'.*mean 'Toxic'"):
        classifier.place_of("toxik", "toxic_label")


def test_padded_lengths_are_few_and_hold_the_text() -> None:
    lengths = {padded_length(tokens) for tokens in range(1, 2049)}
    assert all(tokens <= padded_length(tokens) <= max(1.125 * tokens + 1, tokens + 15) for tokens in range(1, 2049))
    assert len(lengths) < 50


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def broken_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Own"}}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, "only the pickled pytorch_model.bin"),
        (without_config, "no config.json"),
        (without_tokenizer, "a tokenizer"),
        (broken_weights, "can't be loaded"),
        (adapter, "holds an adapter.*merge_and_unload"),
        (own_code, "brings its own Python code"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    spoil: Callable[[Path], None], message: str, tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = save_decoder(tmp_path / "model", tiny_base_folder)
    spoil(folder)
    with pytest.raises(InputError, match=message):
        SequenceClassifier(str(folder), "a reward model")


def test_a_language_model_is_no_classifier(tiny_base_folder: Path) -> None:
    with pytest.raises(InputError, match=r"not that of a sequence classifier.*score\.weight"):
        SequenceClassifier(str(tiny_base_folder), "a reward model")


def test_a_place_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder or a hub id .* of a reward model"):
        SequenceClassifier(str(tmp_path / "nowhere"), "a reward model")


def test_a_fingerprint_tells_models_apart_wherever_they_lie(tiny_base_folder: Path, tmp_path: Path) -> None:
    first = save_decoder(tmp_path / "first", tiny_base_folder)
    moved = shutil.copytree(first, tmp_path / "moved")
    other = save_decoder(tmp_path / "other", tiny_base_folder, ("a", "b"))
    prints = [SequenceClassifier(str(folder), "a classifier").fingerprint for folder in (first, moved, other)]
    assert prints[0] == prints[1] != prints[2]
