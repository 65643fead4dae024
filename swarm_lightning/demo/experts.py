"""Fine-tuning of the demo world's experts: one LoRA adapter for each set of lessons, as `swarm experts` makes them.

All start from the same random lora_A, as adapters trained by one script with one seed do. That keeps them in one
region of weight space, where sums of adapters make sense element by element.
"""

from dataclasses import dataclass
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from swarm_lightning.demo import BASE_NAME
from swarm_lightning.demo.curricula import Document, Lessons
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
        batch_size: Documents per step.
        learning_rate: Largest value of the schedule, a cosine after a warm-up.
    """

    rank: int = 6
    alpha: int = 12
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    batch_size: int = 48
    learning_rate: float = 8e-3


def make_expert(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[Document],
    lessons: Lessons,
    settings: ExpertSettings,
    seed: int,
    folder: Path,
) -> None:
    """Train one adapter and write its folder; the loss covers the replies only.

    The adapters that ship were trained by an earlier script, with another schedule and another order of the documents;
    they stay as they are, so that what was measured with them can be measured again.

    Args:
        model: The pretrained model; it is as before afterwards.
        tokenizer: The world's tokenizer.
        documents: What to study.
        lessons: Gives the number of steps.
        settings: Shape of the adapter.
        seed: Seed of lora_A and of the order of the documents.
        folder: Where to write; must not exist.
    """
    maker = ExpertMaker(
        model,
        tokenizer,
        BASE_NAME,
        LoraSettings(settings.rank, settings.alpha, target_modules=list(settings.targets)),
        TextSettings(template="{prompt}{response}"),
        TrainingSettings(
            steps=lessons.steps,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            betas=(0.9, 0.98),
            checkpoint_steps=lessons.steps + 1,
        ),
        seed,
    )
    said = [
        Conversation(str(number), (Turn("user", document.prompt), Turn("assistant", document.reply)))
        for number, document in enumerate(documents)
    ]
    plan = maker.plan(folder.name, said, f"demo:lessons/{folder.name}")
    maker.make(plan, folder, {"accelerator": "cpu", "enable_progress_bar": False})
