"""One iteration as the published code of Model Swarms does it: through files, in fresh processes, in batches of 10.

Written anew after google-research/model_swarm (also github.com/BunsenFeng/model_swarm), files `search.py`
(`particle_update` and the loop below it), `merge.py` (`lora_merge` with `directly_load_safetensors`) and `evaluate.py`
(`evaluate`, `batch_generate`). What is reproduced:

- two process pools are started by `spawn` in every iteration, one for the moves and one for the evaluations, on one
  device, with one worker each: both import their libraries anew;
- a move is five merges, each of which reads whole adapters from safetensors files and writes one: p - x, g - x, x - w,
  the velocity, the position;
- an evaluation loads base, adapter and tokenizer from disk for every particle (`from_pretrained`, `load_adapter`) and
  generates greedily in batches of 10 prompts in the order of the file;
- utilities, bests and worst live in a JSON file that is read and written; new bests and a new worst are copied as
  folders.

What is left out, in favour of the procedure: its waiting calls (0.2 s after every right answer of an exact match), its
logging to the network, its further imports (wandb, trl, vertexai, ...), and restarts, which would copy one folder and
merge once more. What differs so that replies can be compared: float32 instead of float16, the attention mask is handed
to `generate`, and the random weights of the four terms are all 1.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 10
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
SCRATCHPAD = "utilities.json"


@dataclass(frozen=True)
class Terms:
    """Weights of the four terms of the velocity, and the step length.

    Attributes:
        inertia: Weight of the present velocity.
        cognitive: Weight of p - x.
        social: Weight of g - x.
        repel: Weight of x - w.
        step_length: Fraction of the velocity that is travelled.
    """

    inertia: float
    cognitive: float
    social: float
    repel: float
    step_length: float


@dataclass(frozen=True)
class Questions:
    """What every particle is asked.

    Attributes:
        base: Folder of the base model.
        prompts: M texts.
        new_tokens: The most tokens of a reply.
        threads: CPU threads of a worker.
    """

    base: Path
    prompts: Sequence[str]
    new_tokens: int
    threads: int


def write_adapter(folder: Path, tensors: "dict[str, Tensor]", config: Path) -> None:
    """Write an adapter folder.

    Args:
        folder: Where it goes; made if it is not there.
        tensors: The content of its weights file.
        config: The `adapter_config.json` to copy.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
    shutil.copyfile(config, folder / CONFIG_FILE)


def write_utilities(root: Path, now: Sequence[float], best: Sequence[float], g: float, worst: float) -> None:
    """Write the scratchpad: the utilities of all particles [N], their bests [N], and those of the swarm."""
    content = {"now": list(now), "best": list(best), "g": g, "g_worst": worst}
    (root / SCRATCHPAD).write_text(json.dumps(content, indent=4), encoding="utf-8")


def merge(weights: Sequence[float], folders: Sequence[Path], out: Path) -> None:
    """Read adapters from their files, add them up with weights, and write the sum as a file."""
    from safetensors.torch import load_file, save_file

    loaded = [load_file(folder / WEIGHTS_FILE) for folder in folders]
    total = {name: weights[0] * tensor for name, tensor in loaded[0].items()}
    for weight, tensors in zip(weights[1:], loaded[1:], strict=True):
        for name, tensor in tensors.items():
            total[name] += weight * tensor
    out.mkdir(exist_ok=True)
    save_file(total, out / WEIGHTS_FILE)


def move_particle(root: Path, number: int, terms: Terms) -> None:
    """Move one particle by five merges of files.

    Args:
        root: Folder of the swarm: `particle_<i>/now`, `/personal_best` and `/velocity`, `global_best`, `global_worst`.
        number: The particle i.
        terms: Weights of the terms, before they are divided by their sum.
    """
    particle = root / f"particle_{number}"
    now, velocity = particle / "now", particle / "velocity"
    to_personal, to_global, from_worst = particle / "p_x", particle / "g_x", particle / "x_w"
    merge([1, -1], [particle / "personal_best", now], to_personal)
    merge([1, -1], [root / "global_best", now], to_global)
    merge([-1, 1], [root / "global_worst", now], from_worst)
    four = [terms.inertia, terms.cognitive, terms.social, terms.repel]
    merge([one / sum(four) for one in four], [velocity, to_personal, to_global, from_worst], velocity)
    merge([1, terms.step_length], [now, velocity], now)


def ask_particle(adapter: Path, questions: Questions) -> list[str]:
    """Load the base and one adapter from disk and reply to all prompts [M]."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(questions.threads)
    model: Any = AutoModelForCausalLM.from_pretrained(questions.base, dtype=torch.float32)
    model.load_adapter(str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(questions.base, padding_side="left")
    replies: list[str] = []
    for start in range(0, len(questions.prompts), BATCH):
        inputs = tokenizer(list(questions.prompts[start : start + BATCH]), return_tensors="pt", padding=True)
        ids = inputs["input_ids"]
        output = model.generate(
            ids, attention_mask=inputs["attention_mask"], max_new_tokens=questions.new_tokens, do_sample=False
        )
        replies += [str(tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True)) for row in output]
    return replies


def iterate(
    root: Path, particles: int, terms: Terms, questions: Questions, score: Callable[[Sequence[str]], float]
) -> list[list[str]]:
    """Do one iteration on the folder of a swarm.

    Args:
        root: See `move_particle`; with the scratchpad of `write_utilities`.
        particles: Number of particles N.
        terms: Weights of the terms and the step length.
        questions: What every particle is asked.
        score: Turns the replies of a particle [M] into its utility.

    Returns:
        The replies [N][M].
    """
    spawn = get_context("spawn")
    with spawn.Pool(1) as pool:
        pool.starmap(move_particle, [(root, number, terms) for number in range(particles)], chunksize=particles)
        pool.close()
        pool.join()
    with spawn.Pool(1) as pool:
        asked = [(root / f"particle_{number}" / "now", questions) for number in range(particles)]
        replies = pool.starmap(ask_particle, asked, chunksize=particles)
        pool.close()
        pool.join()
    _remember(root, [score(row) for row in replies])
    return replies


def _remember(root: Path, utilities: Sequence[float]) -> None:
    known = json.loads((root / SCRATCHPAD).read_text(encoding="utf-8"))

    def copy(number: int, to: Path) -> None:
        shutil.copytree(root / f"particle_{number}" / "now", to, dirs_exist_ok=True)

    for number, utility in enumerate(utilities):
        if utility > known["best"][number]:
            known["best"][number] = utility
            copy(number, root / f"particle_{number}" / "personal_best")
    if max(utilities) > known["g"]:
        copy(utilities.index(max(utilities)), root / "global_best")
    if min(utilities) < known["g_worst"]:
        copy(utilities.index(min(utilities)), root / "global_worst")
    best, worst = max(known["g"], *utilities), min(known["g_worst"], *utilities)
    write_utilities(root, utilities, known["best"], best, worst)
