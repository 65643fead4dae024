"""What an evaluation takes beside the model itself at a pretrained model's size, and what had been estimated.

Three things, each in a fresh process, as the peak of what is resident over what was resident before:

- whole evaluations of particles at SmolLM2's measures, by generation and by likelihood: mostly keys and values of the
  rows of a pass, and the widest layer;
- single passes at several vocabularies, beside the bytes that `swarm_lightning/evaluation/engine/memory.py` expects of
  their rows: the rows of a pass come from there;
- `swarm fit` on a base of two layers with the whole vocabulary in bfloat16, four adapters, one iteration: all of the
  process, its libraries included.

See `memory.py`, which runs this file.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measuring import forget_peak, resident, table
from random_world import Size, lora_settings, random_adapters, random_base, random_prompts, random_tokenizer

MEGA = 1e6
KINDS = ("generation", "likelihood")
TARGETS = {"evaluation": 600e6, "fit": 1.6e9}
# Vocabulary, layers, rows and prompt tokens of single passes.
PASSES = ((1_000, 3, 32, 64), (49_152, 3, 32, 64), (256_000, 3, 32, 64), (49_152, 30, 16, 112))
DTYPES = ("float32", "bfloat16")
TWO_LAYERS = Size(576, 1536, 2, 9, 3, 49_152)
NEW_TOKENS, CHOICES = 8, "ABCD"


def evaluation(kind: str, particles: int, examples: int, threads: int) -> dict[str, float]:
    """Evaluate particles at SmolLM2's measures; call it in a fresh process.

    Args:
        kind: `generation` or `likelihood`.
        particles: N.
        examples: M prompts of 50 to 120 tokens.
        threads: CPU threads.

    Returns:
        Bytes: the `model` with its adapters and libraries, and what came on top of it (`extra`).
    """
    import torch

    import real_regime

    torch.set_num_threads(threads)
    parser = argparse.ArgumentParser()
    real_regime.add_arguments(parser.add_argument_group("what is measured"))
    chosen = parser.parse_args([])
    chosen.particles, chosen.examples, chosen.new_tokens, chosen.seed = particles, examples, NEW_TOKENS, 0
    ours = real_regime.Ours(real_regime.real_swarm(chosen))
    forget_peak()
    before = resident("VmRSS")
    ours.evaluate(kind)
    return {"model": before, "extra": resident("VmHWM") - before}


def single_pass(kind: str, dtype: str, vocabulary: int, layers: int, rows: int, tokens: int) -> dict[str, float]:
    """Run rows that share one pass; call it in a fresh process.

    Returns:
        Bytes: what was `taken`, and the `estimate`.
    """
    import torch

    from swarm_lightning.evaluation.engine.crowd import Crowd
    from swarm_lightning.evaluation.engine.generation import TokenDecoding, generate_tokens
    from swarm_lightning.evaluation.engine.likelihood import loglikelihoods
    from swarm_lightning.evaluation.engine.memory import bytes_of_a_row
    from swarm_lightning.evaluation.engine.tokens import Continuation
    from swarm_lightning.experts.layout import Layout
    from swarm_lightning.experts.pool import ExpertPool
    from swarm_lightning.experts.resident.adapted import AdaptedModel

    torch.set_num_threads(1)
    base = random_base(Size(576, 1536, layers, 9, 3, vocabulary), getattr(torch, dtype), torch.device("cpu"), 512, 0)
    adapters = random_adapters(base, 2, 8, 0)
    layout = Layout.of(adapters[0])
    positions = torch.stack([layout.flatten(tensors) for tensors in adapters])
    pool = ExpertPool(("a", "b"), ("a", "b"), positions, layout, lora_settings(8).to_dict(), "random")
    crowd = Crowd(AdaptedModel(base, pool), positions)
    draw = torch.Generator().manual_seed(0)

    def ids(count: int, length: int) -> list[list[int]]:
        return torch.randint(3, vocabulary, (count, length), generator=draw).tolist()

    def run(prompts: list[list[int]]) -> None:
        owners = [place % 2 for place in range(len(prompts))]
        if kind == "generation":
            generate_tokens(crowd, owners, prompts, TokenDecoding(NEW_TOKENS, frozenset([2]), 0, rows))
            return
        texts = [Continuation((*prompt, *end), len(prompt)) for prompt in prompts for end in ids(len(CHOICES), 3)]
        loglikelihoods(crowd, [owner for owner in owners for _ in CHOICES], texts, rows, 0)

    run(ids(2, 20))  # what is loaded at the first use
    forget_peak()
    before = resident("VmRSS")
    run(ids(rows, tokens))
    return {"taken": resident("VmHWM") - before, "estimate": rows * bytes_of_a_row(base, tokens + NEW_TOKENS)}


def write_world(folder: Path, size: Size, particles: int, prompts: int, tokens: int) -> list[str]:
    """Write a base in bfloat16, four adapters and a dataset of multiple choice; return the flags of `swarm fit`."""
    import torch
    from safetensors.torch import save_file

    base = random_base(size, torch.bfloat16, torch.device("cpu"), 512, 0)
    base.save_pretrained(folder / "base")
    random_tokenizer(size.vocabulary).save_pretrained(folder / "base")
    for place, tensors in enumerate(random_adapters(base, 4, 8, 0)):
        lora_settings(8).save_pretrained(str(folder / "experts" / f"expert_{place}"))
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            folder / "experts" / f"expert_{place}" / "adapter_model.safetensors",
        )
    questions = random_prompts(prompts + 4, tokens, tokens, size.vocabulary, 0)
    texts = random_prompts(len(CHOICES) * len(questions), 3, 3, size.vocabulary, 1)
    records = [
        {"id": str(place), "question": question, "answer": "A"}
        | {"choices": dict(zip(CHOICES, texts[place :: len(questions)], strict=True))}
        for place, question in enumerate(questions)
    ]
    (folder / "data.json").write_text(json.dumps({"dataset": "random", "dev": records[4:], "test": records[:4]}))
    return [
        *("--model.base", str(folder / "base"), "--model.experts", str(folder / "experts")),
        *("--data.dataset", str(folder / "data.json"), "--model.particles", str(particles)),
        *("--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
        *("--trainer.default_root_dir", str(folder / "runs")),
        *("--model.objective", "swarm_lightning.objectives.MultipleChoice"),
        *("--model.objective.template", "{question}"),
    ]


def fit(flags: list[str], threads: int) -> dict[str, float]:
    """Run `swarm fit`; call it in a fresh process. Return the `peak` of the whole process in bytes."""
    import torch

    from swarm_lightning.cli import main as swarm

    torch.set_num_threads(threads)
    swarm(["fit", *flags])
    return {"peak": resident("VmHWM")}


def measure(in_fresh_process: Any, particles: int, examples: int, threads: int) -> dict[str, Any]:
    """Measure everything.

    Args:
        in_fresh_process: Runs `memory.py` with flags and returns its numbers.
        particles: N of the evaluations.
        examples: M of the evaluations.
        threads: CPU threads.
    """
    sizes = ["--particles", str(particles), "--examples", str(examples), "--threads", str(threads)]
    found: dict[str, Any] = {
        "evaluation": {kind: in_fresh_process("--measure", kind, *sizes) for kind in KINDS},
        "passes": [
            {"kind": kind, "dtype": dtype, "vocabulary": one[0], "layers": one[1], "rows": one[2], "tokens": one[3]}
            | in_fresh_process("--measure", "pass", "--pass", kind, dtype, *map(str, one))
            for one in PASSES
            for dtype in DTYPES
            for kind in KINDS
        ],
        "fit": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        flags = write_world(Path(folder), TWO_LAYERS, 8, 64, 70)
        for kind, method in zip(KINDS, (["generate"], ["likelihood", "--model.objective.scored", "text"]), strict=True):
            more = ["--model.objective.method", *method]
            found["fit"][kind] = in_fresh_process("--threads", str(threads), "--measure", "fit", *flags, *more)
    return found


def text_of(found: dict[str, Any]) -> str:
    """Return the tables of what `measure` returned."""
    evaluations = [
        [kind, f"{row['model'] / MEGA:.0f}", f"{row['extra'] / MEGA:.0f}", f"<= {TARGETS['evaluation'] / MEGA:.0f}"]
        for kind, row in found["evaluation"].items()
    ]
    passes = [
        [
            f"{row['kind']}, {row['dtype']}",
            *(f"{row[name]:,}" for name in ("vocabulary", "layers", "rows", "tokens")),
            f"{row['taken'] / MEGA:.0f}",
            f"{row['estimate'] / MEGA:.0f}",
            f"{row['estimate'] / row['taken']:.2f}",
        ]
        for row in found["passes"]
    ]
    fits = [
        [kind, f"{row['peak'] / MEGA:.0f}", f"<= {TARGETS['fit'] / MEGA:.0f}"] for kind, row in found["fit"].items()
    ]
    header = ["a pass", "vocabulary", "layers", "rows", "tokens", "MB", "estimate, MB", "estimate / taken"]
    return "\n\n".join(
        [
            table(["an evaluation", "model and libraries, MB", "on top, MB", "target, MB"], evaluations),
            table(header, passes),
            table(["swarm fit, two layers, bfloat16", "whole process, MB", "target, MB"], fits),
        ]
    )
