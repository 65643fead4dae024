"""Make the demo world: tasks, tokenizer, pretrained model, experts, and models of other kinds.

What stands in `harness/` is written by hand.

    python -m swarm_lightning.demo.make --out FOLDER

The same seed gives the same tasks byte for byte, and the same weights up to rounding of the machine's arithmetic. The
packaged world is what this recipe makes.
"""

import argparse
import json
import shutil
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch

from swarm_lightning.demo import BASE_NAME, SEED, TASK_NAMES, WORLD
from swarm_lightning.demo.curricula import LESSONS, Lessons, all_words, corpus, study, training_questions
from swarm_lightning.demo.experts import ExpertSettings, make_expert
from swarm_lightning.demo.grammar import DEMO, Grammar
from swarm_lightning.demo.other_models import MODELS, ModelSettings, make_model
from swarm_lightning.demo.pretrain import PretrainSettings, pretrain
from swarm_lightning.demo.questions import make_task
from swarm_lightning.demo.tokenizer import save_tokenizer, train_tokenizer


@dataclass(frozen=True)
class WorldSettings:
    """The whole recipe; the defaults make the world that ships with the package.

    Attributes:
        pretrain: Size and length of the language model's training.
        expert: Shape and training of the adapters.
        lessons: Name of an expert -> what it studies.
        seed: Of everything that is drawn.
        grammar: The words.
        models: Name of a model with an architecture and a vocabulary of its own -> what it is and studies.
        base_name: What the adapters call their base.
    """

    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    expert: ExpertSettings = field(default_factory=ExpertSettings)
    lessons: dict[str, Lessons] = field(default_factory=lambda: dict(LESSONS))
    seed: int = SEED
    grammar: Grammar = DEMO
    models: dict[str, ModelSettings] = field(default_factory=lambda: dict(MODELS))
    base_name: str = BASE_NAME


def write_tasks(folder: Path, seed: int, grammar: Grammar = DEMO) -> None:
    """Write one JSON file per task, one record to a line.

    Args:
        folder: Where to write; made if it is not there.
        seed: Seed of the world.
        grammar: Its words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TASK_NAMES:
        task = make_task(name, seed, grammar)
        splits = []
        for split in ("dev", "test"):
            records = ",\n".join(json.dumps(record, ensure_ascii=False) for record in task[split])
            splits.append(f'"{split}": [\n{records}\n]')
        (folder / f"{name}.json").write_text(f'{{"dataset": "{name}",\n' + ",\n".join(splits) + "}\n", "utf-8")


def make_world(folder: Path, settings: WorldSettings) -> None:
    """Run the whole recipe.

    Args:
        folder: Gets `base/`, `experts/`, `models/` and `tasks/`.
        settings: Sizes, lengths and the seed.
    """
    started = time.perf_counter()

    def report(what: str) -> None:
        print(f"{time.perf_counter() - started:6.0f} s  {what}", flush=True)

    grammar = settings.grammar
    write_tasks(folder / "tasks", settings.seed, grammar)
    report(f"{len(TASK_NAMES)} tasks")
    documents = islice(corpus(settings.pretrain.mixture, 0, grammar), 20_000)
    texts = [document.prompt + document.reply for document in documents]
    texts += 2 * all_words(settings.seed, grammar)
    tokenizer = train_tokenizer(texts)
    model = pretrain(settings.pretrain, tokenizer, settings.seed, grammar)
    model.save_pretrained(folder / "base")
    save_tokenizer(tokenizer, folder / "base")
    report(f"language model with {model.num_parameters():,} weights")
    questions = training_questions(settings.seed, grammar)
    for name, lessons in settings.lessons.items():
        read = study(lessons, questions, settings.seed)
        place = folder / "experts" / name
        make_expert(model, tokenizer, read, lessons, settings.expert, settings.seed, place, settings.base_name)
        report(f"expert {name}")
    for name, other in settings.models.items():
        made = make_model(other, questions, texts, settings.seed, folder / "models" / name)
        report(f"{type(made).__name__} {name} with {made.num_parameters():,} weights")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and make the world.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.

    Raises:
        SystemExit: If the folder holds something and may not be overwritten.
    """
    parser = argparse.ArgumentParser(prog="python -m swarm_lightning.demo.make", description="Make the demo world.")
    parser.add_argument("--out", type=Path, default=WORLD, help="folder to write to (default: the packaged world)")
    parser.add_argument("--overwrite", action="store_true", help="replace what the folder holds")
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the world (default: {SEED})")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    chosen = parser.parse_args(arguments)
    if chosen.out.exists() and any(chosen.out.iterdir()):
        if not chosen.overwrite:
            parser.error(f"Expected an empty or new folder, but '{chosen.out}' holds files. Add --overwrite.")
        for part in ("base", "experts", "models", "tasks"):
            shutil.rmtree(chosen.out / part, ignore_errors=True)
    torch.set_num_threads(chosen.threads)
    make_world(chosen.out, WorldSettings(seed=chosen.seed))


if __name__ == "__main__":
    main()
