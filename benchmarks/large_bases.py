"""What a search with LoRA experts needs of memory on bases of 1, 7 and 13 billion weights, by the shapes alone.

    python benchmarks/large_bases.py
    python benchmarks/large_bases.py --rank 64 --particles 40 --experts 20 --tokens 1024

Nothing is loaded and nothing measured: bases are made on the meta device, rows are estimated as a search does it
(`evaluation/engine/memory.py`, within a factor of 1.5 of what was measured on small models), and the rest is counted.
Of a base that is there, `swarm plan` says the same with its own experts and data, and how much is free.

- base: its weights, in bfloat16.
- particles: the A and B matrices of all particles that share a forward pass, float32, beside the base.
- a row: one prompt with its reply in a forward pass: keys, values, activations, logits. A pass has as many rows as fit.
- swarm: positions, velocities and personal bests [N, D], global best and worst, and the experts [n, D], float32. A
  checkpoint holds it without the experts.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch

from measuring import report
from swarm_lightning.evaluation.engine.memory import bytes_of_a_row

# Shapes of Llama-3.2-1B, Llama-2-7B and Llama-2-13B: hidden size, MLP, layers, heads, heads of keys, vocabulary.
SHAPES = {
    "1B": (2048, 8192, 16, 32, 8, 128256),
    "7B": (4096, 11008, 32, 32, 32, 32000),
    "13B": (5120, 13824, 40, 40, 40, 32000),
}
FLOAT, GIB = 4, 2**30
HELD = 2  # the global best and worst


def sizes(shape: Sequence[int], rank: int, particles: int, experts: int, tokens: int) -> dict[str, float]:
    """Count what a search holds.

    Args:
        shape: One of `SHAPES`.
        rank: Of the adapters, on the four projections of attention.
        particles: N.
        experts: n.
        tokens: Of a row, prompt and reply together.

    Returns:
        GiB by what holds them.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    hidden, wide, layers, heads, kept_heads, vocabulary = shape
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=wide, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kept_heads, vocab_size=vocabulary, tie_word_embeddings=vocabulary > 100_000,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    projections = [
        module for name, module in model.named_modules() if name.endswith(("q_proj", "k_proj", "v_proj", "o_proj"))
    ]
    weights = rank * sum(module.in_features + module.out_features for module in projections)
    return {
        "base": sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) / GIB,
        "particles": particles * weights * FLOAT / GIB,
        "row": bytes_of_a_row(model, tokens) / GIB,
        "swarm": (3 * particles + HELD + experts) * weights * FLOAT / GIB,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description="Memory of a search on large bases, by their shapes.")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters, on q, k, v and o of every layer")
    parser.add_argument("--particles", type=int, default=20)
    parser.add_argument("--experts", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=512, help="of a row, prompt and reply together")
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {
        name: sizes(shape, given.rank, given.particles, given.experts, given.tokens) for name, shape in SHAPES.items()
    }
    lines = [
        "| base | base, GiB | particles, GiB | a row, MiB | swarm and experts, GiB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, one in found.items():
        lines.append(
            f"| {name} | {one['base']:.1f} | {one['particles']:.2f} | {one['row'] * 1024:.0f} | {one['swarm']:.1f} |"
        )
    report("large_bases", "\n".join(lines), {**vars(given), "gib": found})


if __name__ == "__main__":
    main()
