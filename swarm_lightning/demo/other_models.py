"""Models of the demo world that share neither architecture nor vocabulary with its base: experts of a token swarm.

Each is trained from random weights on the questions about a few regions of the atlas, and knows nothing of the others.
Its tokenizer is one that its kind of model usually has.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from swarm_lightning.demo.curricula import Document, Lessons, in_order, study
from swarm_lightning.demo.pretrain import pad_documents, train
from swarm_lightning.demo.questions import Question

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POSITIONS = 256


@dataclass(frozen=True)
class ModelSettings:
    """One model and its training.

    Attributes:
        family: What transformers calls its architecture.
        sizes: Of its config.
        tokenizer: `bytes` (byte-level BPE, as GPT-2 has) or `words` (BPE on words that begin with a mark for the space
            before them, with single bytes for what is not known, as Llama 2 has).
        vocabulary: Number of its tokens at most.
        lessons: What it studies.
        learning_rate: Largest value of the one-cycle schedule.
    """

    family: str
    sizes: dict[str, Any]
    tokenizer: str
    vocabulary: int
    lessons: Lessons
    learning_rate: float = 3e-3


MODELS = {
    "almanac": ModelSettings(
        "gpt_neox",
        {"hidden_size": 80, "intermediate_size": 320, "num_hidden_layers": 3, "num_attention_heads": 4},
        "words",
        640,
        Lessons(("east", "west", "isles"), steps=900, batch_size=48, tasks=("atlas",)),
    ),
    "chronicle": ModelSettings(
        "gpt2",
        {"n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": POSITIONS},
        "bytes",
        640,
        Lessons(("north", "south", "coast"), steps=900, batch_size=48, tasks=("atlas",)),
    ),
}


def byte_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Make a byte-level BPE tokenizer, which puts nothing in front of a text.

    Args:
        texts: Texts to read.
        vocabulary: Number of tokens at most.
    """
    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[end], initial_alphabet=letters, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end, model_max_length=POSITIONS
    )


def word_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Make a BPE tokenizer on words, which puts the token that begins a text in front.

    Args:
        texts: Texts to read.
        vocabulary: Number of tokens at most.
    """
    special = ["<pad>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=False))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\u2581?[A-Za-z]+|\u2581?[0-9]+|[^A-Za-z0-9]"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=vocabulary + 256, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS: dict[str, Callable[[list[str], int], PreTrainedTokenizerFast]] = {
    "bytes": byte_tokenizer,
    "words": word_tokenizer,
}


def make_model(
    settings: ModelSettings, questions: dict[str, list[Question]], texts: list[str], seed: int, folder: Path
) -> "PreTrainedModel":
    """Train one model and write its folder.

    Args:
        settings: The model and its training.
        questions: All questions that may be trained on, by task.
        texts: What the tokenizer is made of.
        seed: Of the weights and of the order of what is read.
        folder: Where to write.

    Returns:
        The model, float32, in evaluation mode.
    """
    tokenizer = TOKENIZERS[settings.tokenizer](texts, settings.vocabulary)
    config = AutoConfig.for_model(
        settings.family,
        **settings.sizes,
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        initializer_range=0.06,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    lessons = settings.lessons
    read = in_order(study(lessons, questions, seed), lessons, seed)

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for start in range(0, len(read), lessons.batch_size):
            documents: list[Document] = read[start : start + lessons.batch_size]
            yield pad_documents(documents, tokenizer)

    train(model, batches(), steps=lessons.steps, learning_rate=settings.learning_rate, weight_decay=0.05)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
