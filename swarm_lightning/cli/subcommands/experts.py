"""`swarm experts`: fine-tunes one LoRA expert per domain, several in a row, into a folder that `swarm fit` takes.

Everything is read and checked before anything is written. The same command goes on after an interruption, and several
processes of it share the experts among themselves. One more adapter can be fine-tuned on the data of all domains: what
`swarm compare` calls the data merge.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from swarm_lightning.errors import InputError
from swarm_lightning.experts.finding import LOGS
from swarm_lightning.shown import say
from swarm_lightning.tuning.settings import LoraSettings, TextSettings, TrainingSettings

if TYPE_CHECKING:
    from swarm_lightning.cli.parsing.parser import SwarmParser
    from swarm_lightning.data.notices import Notice
    from swarm_lightning.data.tables import Source
    from swarm_lightning.tuning.conversations import Conversation
    from swarm_lightning.tuning.fine_tune import ExpertMaker, ExpertPlan

    Read = tuple[list[Conversation], str, list[Notice]]

DESCRIPTION = "Fine-tune LoRA experts from instruction data, one per domain: a folder that `swarm fit` takes."
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
# What the training itself decides.
NOT_THE_USERS = {
    "max_epochs", "max_steps", "min_epochs", "min_steps", "max_time", "limit_train_batches", "overfit_batches",
    "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps", "enable_checkpointing", "fast_dev_run",
    "enable_model_summary", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm",
    "inference_mode", "use_distributed_sampler", "reload_dataloaders_every_n_epochs", "default_root_dir",
    "sync_batchnorm", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "barebones",
    "model_registry", "enable_autolog_hparams", "strategy", "num_nodes",
}  # fmt: skip


@dataclass(frozen=True)
class Domain:
    """The data of one expert.

    Attributes:
        dataset: File (.jsonl, .json, .csv, .tsv, .parquet), folder, or id of a dataset of the Hugging Face hub;
            `demo:lessons/<name>` is what an expert of the demo world studied.
        subset: Configuration of a dataset that has several.
        split: Name of the split; null for the only one, or `train`.
        columns: Which column holds what: `messages`, or `prompt` (one or several), `response` and `system`.
        size: Number of examples to draw by the seed; null for all.
    """

    dataset: str
    subset: str | None = None
    split: str | None = None
    columns: dict[str, str | list[str] | None] | None = None
    size: int | None = None


def add_arguments(parser: "SwarmParser") -> "SwarmParser":
    """Give a parser the settings of `swarm experts`."""
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="Path to a config in YAML or JSON.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of the first weights, the order, dropout.")
    parser.add_argument("--base", type=str, help="Folder or hub id of the base model; demo:base ships.")
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Folder that gets a folder for each expert; null where only data_merge is wanted.",
    )
    parser.add_argument(
        "--data_merge",
        type=str | None,
        default=None,
        help="Folder for one more adapter, fine-tuned on the data of all domains, for `compare.data_merge`; null: "
        "none. With training.steps it takes that many for each domain.",
    )
    parser.add_argument(
        "--domains",
        type=dict[str, str | Domain],
        help="Name of each expert, with its data: the path or id of a dataset, or `dataset`, `subset`, `split`, "
        "`columns` and `size`.",
    )
    parser.add_class_arguments(LoraSettings, "lora")
    parser.add_class_arguments(TextSettings, "text")
    parser.add_class_arguments(TrainingSettings, "training")
    parser.add_argument("--dtype", type=str, default="auto", help="Data type of the base: auto, float32, bfloat16.")
    parser.add_argument("--trust_remote_code", type=bool, default=False, help="Whether the base's own code may run.")
    parser.add_class_arguments(L.Trainer, "trainer", instantiate=False, fail_untyped=False, skip=NOT_THE_USERS)
    parser.set_defaults({"trainer.devices": 1, "trainer.log_every_n_steps": 1})
    return parser


def make_experts(arguments: Sequence[str]) -> None:
    """Run `swarm experts`.

    Args:
        arguments: What stands behind it on the command line.

    Raises:
        InputError: If something the user gave can't be used; nothing has been written then.
    """
    from swarm_lightning.cli.parsing.parser import SwarmParser

    parser = add_arguments(SwarmParser(prog="swarm experts", description=DESCRIPTION))
    config = parser.parse_args(list(arguments))
    domains = _domains(config)
    read = {name: _read(domain, config.seed_everything) for name, domain in domains.items()}
    settings = parser.instantiate_classes(config)
    # What is wrong with them comes up now.
    _trainer_settings(parser, config, Path(config.output or config.data_merge) / next(iter(domains)))
    L.seed_everything(config.seed_everything, verbose=False)
    jobs = _jobs(config, _maker(settings), read)
    made = {folder: maker.is_made(plan, folder) for maker, plan, folder in jobs}
    for _, plan, _ in jobs:
        _report(plan.notices)
    for maker, plan, folder in jobs:
        if made[folder]:
            say(f"{plan.name}: already there, made from the same inputs.")
            continue
        try:
            there = maker.make(plan, folder, _trainer_settings(parser, config, folder))
        except (SystemExit, SIGTERMException):  # Lightning's answer to Ctrl-C, and to SIGTERM
            say("Interrupted. Run the same command again to resume from the last checkpoint.")
            raise
        if there:
            _tell(plan, folder)
        else:
            say(f"{plan.name}: another process is making it.")
    if config.output:
        say(f"Experts: {config.output} (swarm fit --model.base {config.base} --model.experts {config.output} ...)")
    if config.text.template is None:
        say(
            "Trained with the tokenizer's chat template: set chat: true in the objective's settings, so that it is "
            "used there too."
        )
    if config.data_merge:
        say(f"Data merge: {config.data_merge} (swarm compare --compare.data_merge {config.data_merge} ...)")


def _jobs(
    config: Namespace, maker: "ExpertMaker", read: "Mapping[str, Read]"
) -> "list[tuple[ExpertMaker, ExpertPlan, Path]]":
    """Return what is to be made, by whom, and where."""
    jobs = []
    if config.output:
        output = Path(config.output).expanduser()
        jobs = [(maker, maker.plan(name, *read[name]), output / name) for name in read]
    if config.data_merge:
        folder = Path(config.data_merge).expanduser()
        together = [conversation for conversations, _, _ in read.values() for conversation in conversations]
        notices = [] if config.output else [notice for *_, noticed in read.values() for notice in noticed]
        everything = maker.for_domains(len(read))
        jobs.append((everything, everything.plan(folder.name, together, " and ".join(read), notices), folder))
    return jobs


def _domains(config: Namespace) -> dict[str, Domain]:
    for name in ("base", "domains", *(() if config.data_merge else ("output",))):
        if not config.get(name):
            raise InputError(f"Expected {name}, but it is not set. Name it in the config, or as --{name}.")
    if config.output and config.data_merge:
        output, merge = (Path(place).expanduser().resolve() for place in (config.output, config.data_merge))
        if merge == output or output in merge.parents:
            raise InputError(
                f"Expected data_merge to lie outside of output, where a search would take it for an expert, but got "
                f"{config.data_merge!r} and {config.output!r}. Choose another folder for it."
            )
    domains = {}
    for name, given in config.domains.items():
        if not NAME.fullmatch(name) or name == LOGS:
            raise InputError(
                f"Expected the names of domains to be plain names of folders other than {LOGS!r}, but got {name!r}."
            )
        settings = {"dataset": given} if isinstance(given, str) else vars(given)
        domains[name] = Domain(**settings)
    return domains


def _read(domain: Domain, seed: int) -> "Read":
    from swarm_lightning.data.sampling import draw
    from swarm_lightning.tuning.conversations import read_conversations

    conversations, notices = read_conversations(_open(domain), domain.split, domain.columns)
    if domain.size is not None:
        conversations = [conversations[place] for place in draw(len(conversations), domain.size, seed, "size")]
    return conversations, domain.dataset, notices


def _open(domain: Domain) -> "Source":
    from swarm_lightning.data.sources import open_source
    from swarm_lightning.demo.lessons import PREFIX, open_lessons

    if domain.dataset.startswith(PREFIX):
        return open_lessons(domain.dataset)
    return open_source(domain.dataset, domain.subset)


def _maker(settings: Namespace) -> "ExpertMaker":
    from swarm_lightning.experts.resident.base_model import load_base
    from swarm_lightning.tuning.fine_tune import ExpertMaker

    base, tokenizer = load_base(settings.base, settings.dtype, trust_remote_code=settings.trust_remote_code)
    parts: tuple[LoraSettings, TextSettings, TrainingSettings] = (settings.lora, settings.text, settings.training)
    return ExpertMaker(base, tokenizer, settings.base, *parts, settings.seed_everything)


def _trainer_settings(parser: "SwarmParser", config: Namespace, expert: Path) -> dict[str, Any]:
    """Return the trainer's arguments for one expert, with loggers that write to a folder of its own beside it."""
    from lightning.pytorch.loggers import CSVLogger

    from swarm_lightning.tuning.fine_tune import checked

    folder = str(expert.parent / LOGS / expert.name)
    mine = copy.deepcopy(config)
    mine.trainer = _filled(mine.trainer, {"<run>": folder, "<expert>": expert.name})
    settings: dict[str, Any] = checked(vars(parser.instantiate_classes(mine).trainer))
    if settings.get("logger") in (None, True):
        settings["logger"] = CSVLogger(str(Path(folder).parent), name=expert.name)
    return settings


def _filled(value: Any, places: dict[str, str]) -> Any:
    """Replace placeholders wherever they stand in the trainer's settings."""
    if isinstance(value, str):
        for place, text in places.items():
            value = value.replace(place, text)
    elif isinstance(value, list):
        value = [_filled(entry, places) for entry in value]
    elif isinstance(value, Namespace):
        for name, entry in vars(value).items():
            setattr(value, name, _filled(entry, places))
    return value


def _report(notices: "Sequence[Notice]") -> None:
    for notice in notices:
        (rank_zero_warn if notice.severity == "warning" else rank_zero_info)(notice.message)


def _tell(plan: "ExpertPlan", folder: Path) -> None:
    import json

    from swarm_lightning.tuning.folder import RECORD_FILE

    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    held_out = record["validation_loss"]
    measured = "" if held_out is None else f", {held_out:.4f} on {record['held_out']} held out"
    say(
        f"{plan.name}: {record['steps']} steps on {record['examples']} examples of {plan.data}, loss "
        f"{record['loss']:.4f}{measured}. {folder}"
    )
