"""Fine-tuning of the demo world's experts: one LoRA adapter for each set of lessons, as `swarm experts` makes them.

All start from the same random lora_A, as adapters trained by one script with one seed do. That keeps them in one
region of weight space, where sums of adapters make sense element by element.
"""

from dataclasses import dataclass
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from swarm_lightning.demo import BASE_NAME
from swarm_lightning.demo.curricula import Document, Lessons, in_order
from swarm_lightning.tuning.conversations import Conversation, Turn
from swarm_lightning.tuning.fine_tune import ExpertMaker
from swarm_lightning.tuning.settings import LoraSettings, TextSettings, TrainingSettings


@dataclass(frozen=True)
class ExpertSettings:
    """Shape of the adapters and how they are trained.

    Attributes:
        rank: Rank of every adapter matrix.
        alpha: LoRA alpha; the scale is alpha / rank.
        targets: Names of the adapted linear maps.
        learning_rate: Largest value of the schedule, of one cycle.
    """

    rank: int = 6
    alpha: int = 12
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    learning_rate: float = 8e-3


def make_expert(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[Document],
    lessons: Lessons,
    settings: ExpertSettings,
    seed: int,
    folder: Path,
    base_name: str = BASE_NAME,
) -> None:
    """Train one adapter and write its folder; the loss covers the replies only.

    Args:
        model: The pretrained model; it is as before afterwards.
        tokenizer: The world's tokenizer.
        documents: What to study.
        lessons: Gives the number of steps, and of documents of a step.
        settings: Shape of the adapter.
        seed: Seed of lora_A and of the order of the documents.
        folder: Where to write; must not exist.
        base_name: What the adapter calls its base.
    """
    read = in_order(documents, lessons, seed)
    maker = ExpertMaker(
        model,
        tokenizer,
        base_name,
        LoraSettings(settings.rank, settings.alpha, target_modules=list(settings.targets)),
        TextSettings(template="{prompt}{response}"),
        TrainingSettings(
            epochs=1,
            learning_rate=settings.learning_rate,
            schedule="one_cycle",
            shuffle=False,
            batch_size=len(read) // lessons.steps,
            betas=(0.9, 0.98),
            checkpoint_steps=lessons.steps + 1,
        ),
        seed,
    )
    said = [
        Conversation(str(number), (Turn("user", document.prompt), Turn("assistant", document.reply)))
        for number, document in enumerate(read)
    ]
    plan = maker.plan(folder.name, said, f"demo:lessons/{folder.name}")
    maker.make(plan, folder, {"accelerator": "cpu", "enable_progress_bar": False})
