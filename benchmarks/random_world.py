"""A language model of any size, its adapters and its prompts, all random, from seeds and without a disk.

The replies mean nothing and never end early: the embeddings of the special tokens are zero, and so are their logits,
the embeddings being tied to the output. A token is a word (`w17`), so that prompts have exactly the length wanted.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPECIAL = ("<pad>", "<s>", "</s>")
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Size:
    """The measures of a Llama; "1b" has those of Llama 3.2 1B with a smaller vocabulary, "135m" those of SmolLM2-135M.

    Attributes:
        hidden: Width.
        inner: Width of the feed-forward layers.
        layers: Number of layers.
        heads: Attention heads.
        key_heads: Heads of keys and values.
        vocabulary: Number of tokens.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int


SIZES = {
    "1b": Size(2048, 8192, 16, 32, 8, 32000),
    "135m": Size(576, 1536, 30, 9, 3, 49152),
    "100m": Size(768, 2048, 12, 12, 4, 32000),
    "30m": Size(512, 1408, 8, 8, 4, 16000),
    "tiny": Size(64, 128, 2, 4, 2, 512),
}


def random_base(size: Size, dtype: torch.dtype, device: torch.device, positions: int, seed: int) -> "PreTrainedModel":
    """Make a Llama with random weights.

    Args:
        size: Its measures.
        dtype: Of its weights.
        device: Where it is made.
        positions: The most tokens of a prompt and its reply.
        seed: Seed of the weights: the same seed, device and size make the same model.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=size.hidden**-0.5,  # a layer's output has the scale of its input, whatever the width
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.device(device):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[: len(SPECIAL)] = 0
    torch.nn.Module.to(model, dtype)
    return model.requires_grad_(False).eval()


def random_tokenizer(vocabulary: int) -> "PreTrainedTokenizerBase":
    """Make a tokenizer of one token per word, which pads on the left and adds no special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), vocabulary))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad, begin, end = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=begin, eos_token=end, padding_side="left"
    )


def random_prompts(count: int, shortest: int, longest: int, vocabulary: int, seed: int) -> list[str]:
    """Make prompts of random words, their lengths spread evenly from the shortest to the longest, in random order."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.linspace(shortest, longest, count).round().long()[torch.randperm(count, generator=generator)]
    drawn = [torch.randint(len(SPECIAL), vocabulary, (int(length),), generator=generator) for length in lengths]
    return [" ".join(f"w{number}" for number in row.tolist()) for row in drawn]


def lora_settings(rank: int) -> "LoraConfig":
    """Return the settings of adapters on all linear layers, with alpha twice the rank."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LINEAR), task_type="CAUSAL_LM")


def random_adapters(model: "PreTrainedModel", count: int, rank: int, seed: int) -> list[dict[str, Tensor]]:
    """Make adapters for all linear layers of a model that has none yet.

    A has the scale of PEFT's start, U(-1, 1) / sqrt(in); B is normal with 0.05 / sqrt(rank), so that with alpha twice
    the rank an adapter changes a layer's output by about 6% of what the base gives: enough to change replies.

    Args:
        model: The base; only its shapes are read.
        count: Number of adapters N.
        rank: Their rank.
        seed: Seed of the weights.

    Returns:
        The adapters by the names of an adapter's file, float32 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [(name, module) for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in LINEAR]
    adapters = []
    for _ in range(count):
        tensors = {}
        for name, module in layers:
            assert isinstance(module, torch.nn.Linear)
            first = torch.rand(rank, module.in_features, generator=generator) * 2 - 1
            second = torch.randn(module.out_features, rank, generator=generator)
            tensors[f"base_model.model.{name}.lora_A.weight"] = first / module.in_features**0.5
            tensors[f"base_model.model.{name}.lora_B.weight"] = second * 0.05 / rank**0.5
        adapters.append(tensors)
    return adapters
