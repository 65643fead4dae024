"""A model that begins with another one's weights knows how to read, and not what the new words mean."""

from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from swarm_lightning.demo.pretrain import PretrainSettings, pretrain
from swarm_lightning.demo.tokenizer import save_tokenizer, train_tokenizer

SIZE = PretrainSettings(hidden_size=16, intermediate_size=24, layers=1, heads=2, steps=0, batch_size=1)
OLD, NEW = ["Question: apple pear fig"] * 2, ["Question: fig ruby opal jade"] * 2


def test_what_both_know_is_kept_and_new_words_get_embeddings_of_old_ones(tmp_path: Path) -> None:
    old_words, new_words = train_tokenizer(OLD), train_tokenizer(NEW)
    old = pretrain(SIZE, old_words, seed=1)
    old.save_pretrained(tmp_path)
    save_tokenizer(old_words, tmp_path)
    new = pretrain(PretrainSettings(**{**vars(SIZE), "start": tmp_path}), new_words, seed=2)

    def embedding(model: LlamaForCausalLM, word: str) -> torch.Tensor:
        vocabulary = old_words.get_vocab() if model is old else new_words.get_vocab()
        weight = model.get_input_embeddings().weight
        assert isinstance(weight, torch.Tensor)
        return weight[vocabulary[word]]

    for shared in ("Question:", "Ġfig", "<s>"):
        assert embedding(new, shared).equal(embedding(old, shared))
    # Three new words, two that only the old model knows: one of these stands twice.
    given = {tuple(embedding(new, word).tolist()) for word in ("Ġruby", "Ġopal", "Ġjade")}
    assert given == {tuple(embedding(old, word).tolist()) for word in ("Ġapple", "Ġpear")}
    assert new.get_output_embeddings().weight.equal(new.get_input_embeddings().weight)
    for name, weight in old.model.layers.state_dict().items():
        assert new.model.layers.state_dict()[name].equal(weight)
