"""Full checkpoints as vectors, against `from_pretrained`; and everything that is refused, by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from swarm_lightning.errors import InputError
from swarm_lightning.experts.checkpoint_pool import CheckpointPool
from swarm_lightning.experts.kinds import load_experts
from tests.full_models import ARCHITECTURES, NAMES, make_base, save_copies

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def checkpoints(
    request: pytest.FixtureRequest, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return save_copies(make_base(tiny_base_folder, request.param), tiny_base_folder, folder)


@pytest.fixture(scope="module")
def llamas(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_copies(make_base(tiny_base_folder, "llama"), tiny_base_folder, tmp_path_factory.mktemp("llamas"))


@pytest.fixture
def broken(llamas: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoints that a test may break: anna in one file, bert and dora in shards, clara bfloat16."""
    return Path(shutil.copytree(llamas, tmp_path / "experts"))


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.smoke
def test_a_vector_holds_the_weights_that_from_pretrained_loads_sorted_by_name_and_tied_ones_once(
    checkpoints: Path,
) -> None:
    pool = load_experts(str(checkpoints))
    assert isinstance(pool, CheckpointPool)
    assert pool.names == NAMES
    assert pool.base == str(checkpoints / "anna")
    for index, name in enumerate(NAMES):
        parameters = dict(load(checkpoints / name).named_parameters())
        expected = torch.cat([parameters[key].detach().flatten() for key in sorted(parameters)])
        vector = pool.vector(index)
        assert len(vector) == len(expected) == pool.layout.size
        assert vector[:].equal(expected)
        for start, stop in ((0, 1), (1000, 13_000), (len(expected) - 3, len(expected))):
            assert vector[start:stop].equal(expected[start:stop])


def test_the_fingerprint_knows_the_weights_and_not_the_place(broken: Path, llamas: Path) -> None:
    before = load_experts(str(llamas)).fingerprint
    assert load_experts(str(broken)).fingerprint == before
    weights = load_file(broken / "anna" / WEIGHTS)
    weights["model.norm.weight"][5] += 1
    save_file(weights, broken / "anna" / WEIGHTS, metadata={"format": "pt"})
    assert load_experts(str(broken)).fingerprint != before


def test_a_file_without_the_head_models_prefix_is_read_too(broken: Path) -> None:
    weights = load_file(broken / "anna" / WEIGHTS)
    save_file({name.removeprefix("model."): tensor for name, tensor in weights.items()}, broken / "anna" / WEIGHTS)
    assert load_experts(str(broken)).vector(0)[:].isfinite().all()


def change_config(**settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def change_weights(function: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        function(weights)
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    return change


def another_vocabulary(folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    config.vocab_size = 300
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def another_architecture(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(ARCHITECTURES["gpt2"](316)).save_pretrained(folder)


def pickled_only(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")


def empty(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{\n  "model_type" "llama"\n}')


def an_adapter_too(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def set_tensor(name: str, tensor: torch.Tensor | None) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(weights: dict[str, torch.Tensor]) -> None:
        if tensor is None:
            del weights[name]
        else:
            weights[name] = tensor

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (another_vocabulary, r"'model.embed_tokens.weight' has shape .*300, 32.* in .*vocabularies of"),
        (
            another_architecture,
            "one architecture, but 'bert' is a LlamaForCausalLM and 'anna' a GPT2LMHeadModel.*"
            "model.mixture: probabilities.*model.graphs.any_models: true.*HeterogeneousSwarm.*moves: roles",
        ),
        (change_config(rms_norm_eps=1e-3), "rms_norm_eps is .*0.001"),
        (change_config(num_attention_heads=8, head_dim=4), r"shape|num_attention_heads is 8|head_dim is 4"),
        (
            change_config(model_type="no such model"),
            "that transformers knows in the expert 'anna'",
        ),
        (change_config(auto_map={"AutoModel": "evil.Model"}), "'anna' brings its own code .auto_map"),
        (change_config(quantization_config={"bits": 4}), "'anna' is quantised"),
        (no_config, "Expected config.json in the expert 'anna'"),
        (broken_config, "config.json' of the expert 'anna', but line 2, column 16"),
        (pickled_only, "'anna' .*only the pickled pytorch_model.bin.*never opened.*save_pretrained"),
        (truncated, "of the expert 'anna' .*truncated"),
        (empty, r"of the expert 'anna' \(0 bytes\)"),
        (pointer, "git lfs pull"),
        (an_adapter_too, "holds the files of both"),
        (change_weights(set_tensor("model.norm.weight", None)), "'anna', but its files lack 'model.norm.weight'"),
        (
            change_weights(set_tensor("model.norm.weight", torch.zeros(7))),
            r"'model.norm.weight' of .*'anna'.*\[7\]",
        ),
        (
            change_weights(set_tensor("model.norm.weight", torch.zeros(32).long())),
            "'model.norm.weight' .*'anna' is I",
        ),
        (
            change_weights(set_tensor("model.norm.weight", torch.zeros(32).double())),
            "'model.norm.weight' .*'anna' is F",
        ),
        (change_weights(set_tensor("score.weight", torch.zeros(2, 32))), "only 'anna' has 'score.weight'"),
        (change_weights(set_tensor("lm_head.weight", torch.zeros(316, 32))), "'lm_head.weight' of the expert 'anna'.*"),
    ],
)
def test_a_checkpoint_that_can_not_be_moved_with_the_others_is_refused_by_name(
    broken: Path, change: Callable[[Path], None], named: str
) -> None:
    change(broken / "anna")
    with pytest.raises(InputError, match=named):
        load_experts(str(broken))


def change_index(shard: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"]["model.norm.weight"] = shard
        (folder / INDEX).write_text(json.dumps(index))

    return change


def lose_a_shard(folder: Path) -> None:
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def cut_a_shard(folder: Path) -> None:
    path = sorted(folder.glob("model-*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lose_a_shard, "the shard 'model-00002-of-.*' of the expert 'bert'.* is missing"),
        (cut_a_shard, "model-00002-of-.*of the expert 'bert'.*truncated"),
        (
            change_index("../anna/model.safetensors"),
            "'bert' in its own folder, but its .* names '../anna/",
        ),
        (change_index("/etc/passwd"), "'bert' in its own folder, but its .* names '/etc/passwd'"),
        (change_index("pytorch_model.bin"), "'bert' to be safetensors, but its .* names 'pytorch_model.bin'"),
        (lambda folder: (folder / INDEX).write_text("{}"), "name the shard of every tensor"),
        (lambda folder: (folder / INDEX).write_text("[1]"), "Expected a JSON object"),
    ],
)
def test_shards_that_are_missing_cut_or_elsewhere_are_refused_by_name(
    broken: Path, change: Callable[[Path], None], named: str
) -> None:
    change(broken / "bert")
    with pytest.raises(InputError, match=named):
        load_experts(str(broken))


def test_tensors_that_are_no_weights_must_be_the_same_in_all(broken: Path) -> None:
    mask = torch.ones(4, 4).tril().bool()
    for name in ("anna", "clara"):
        change_weights(set_tensor("model.mask", mask))(broken / name)
    chosen = [str(broken / "anna"), str(broken / "clara")]
    assert load_experts(chosen).names == ("anna", "clara")
    change_weights(set_tensor("model.mask", ~mask))(broken / "clara")
    with pytest.raises(InputError, match="'model.mask' to be the same in all experts, but 'clara' and 'anna' differ"):
        load_experts(chosen)


def test_kinds_are_told_from_the_files_and_not_mixed(broken: Path, tiny_experts_folder: Path, tmp_path: Path) -> None:
    assert isinstance(load_experts([str(broken / "anna"), str(broken / "bert")]), CheckpointPool)
    assert not isinstance(load_experts(str(tiny_experts_folder)), CheckpointPool)
    with pytest.raises(InputError, match="colours' is a LoRA adapter and .*anna' a full checkpoint"):
        load_experts([str(broken), str(tiny_experts_folder)])
    shutil.copytree(tiny_experts_folder / "towns", broken / "towns")
    with pytest.raises(InputError, match="towns' is a LoRA adapter and .*anna' a full checkpoint"):
        load_experts(str(broken))
    with pytest.raises(InputError, match="at least two experts, but found 1"):
        load_experts(str(broken / "anna"))
    with pytest.raises(InputError, match="anna' is given 2 times"):
        load_experts([str(broken / "anna"), str(broken / "anna" / ".." / "anna"), str(broken / "bert")])


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "layers.1.attn.masked_bias"])
@pytest.mark.parametrize("expert", ["anna", "clara"])
def test_buffers_that_models_compute_are_ignored_with_a_word(broken: Path, name: str, expert: str) -> None:
    expected = load_experts(str(broken)).vector(0)[:]
    change_weights(set_tensor(name, torch.ones(4)))(broken / expert)
    with pytest.warns(UserWarning, match=f"'{expert}' .'{name}'.*change nothing"):
        pool = load_experts(str(broken))
    assert pool.vector(0)[:].equal(expected)
    change_weights(set_tensor(name, torch.zeros(4)))(broken / ("clara" if expert == "anna" else "anna"))
    pool = load_experts([str(broken / "anna"), str(broken / "clara")])
    pool.resident(load(broken / "anna"), str(broken / "anna"))


def test_the_masks_of_an_older_gpt2_are_ignored_and_its_real_biases_are_not(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = save_copies(make_base(tiny_base_folder, "gpt2"), tiny_base_folder, tmp_path / "experts")
    change_weights(set_tensor("transformer.h.0.attn.bias", torch.ones(1, 1, 8, 8).tril()))(folder / "clara")
    change_weights(set_tensor("h.1.attn.masked_bias", torch.tensor(-1e4)))(folder / "clara")
    with pytest.warns(UserWarning, match="'clara' .'h.1.attn.masked_bias', ..."):
        assert load_experts(str(folder)).names == NAMES
    change_weights(set_tensor("transformer.h.0.attn.c_attn.bias", None))(folder / "clara")
    with pytest.raises(InputError, match="lack 'transformer.h.0.attn.c_attn.bias'"):
        load_experts([str(folder / name) for name in ("clara", "dora")])


def test_an_expert_whose_tokenizer_gives_other_ids_is_refused_before_any_model_is_loaded(broken: Path) -> None:
    path = broken / "clara" / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["t"] = vocabulary["t"], vocabulary["a"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="that of 'clara' differs from that of 'anna' in 2 tokens"):
        load_experts(str(broken))


def test_checkpoints_further_in_and_by_links_are_called_by_the_entries(broken: Path, tmp_path: Path) -> None:
    (tmp_path / "named" / "deep").mkdir(parents=True)
    (tmp_path / "named" / "math").symlink_to(broken / "anna")
    (broken / "bert").rename(tmp_path / "named" / "deep" / "checkpoint-500")
    with pytest.warns(UserWarning, match="'deep' from 'deep/checkpoint-500'"):
        assert load_experts(str(tmp_path / "named")).names == ("deep", "math")
