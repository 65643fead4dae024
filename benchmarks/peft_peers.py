"""What a careful user of `transformers` and `peft` would write: the peers that the benchmarks measure against.

Adapters are swapped one after the other (`set_peft_model_state_dict`), or ride in one batch (`adapter_names`); replies
come from `generate`, greedily, to the token limit or the end of the text. Knows nothing of this package.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from measuring import take_turns

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SWAPPED = "default"  # the one adapter whose weights are overwritten


@dataclass(frozen=True)
class Plan:
    """How rows are put into batches.

    Attributes:
        rows: Rows of one batch.
        by_length: Whether the rows are sorted by their number of tokens first, so that little is padded.
    """

    rows: int
    by_length: bool = False

    def __str__(self) -> str:
        """Name the plan in a table."""
        return f"{self.rows} rows{', sorted' if self.by_length else ''}"


def put_adapters(
    base: "PreTrainedModel", config: "LoraConfig", adapters: Mapping[str, Mapping[str, Tensor]]
) -> "PeftModel":
    """Put named LoRA adapters into a base model.

    Args:
        base: The base; it is changed in place.
        config: The settings of all adapters.
        adapters: Name -> tensors, as an adapter's file holds them.

    Returns:
        The model in eval mode; the first adapter is active.
    """
    from peft import PeftModel, set_peft_model_state_dict

    first, *others = adapters
    model = PeftModel(base, deepcopy(config), first)
    for name in others:
        model.add_adapter(name, deepcopy(config))
    for name, tensors in adapters.items():
        set_peft_model_state_dict(model, dict(tensors), adapter_name=name)
    return model.requires_grad_(False).eval()


def swapping(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    particles: Iterable[Mapping[str, Tensor]],
    prompts: Sequence[str],
    plan: Plan,
    new_tokens: int,
) -> list[list[str]]:
    """Load the weights of one particle after the other, and let each reply to all prompts.

    Args:
        model: A model with the one adapter `SWAPPED`.
        tokenizer: The base model's, which pads on the left.
        particles: The weights of N particles.
        prompts: M texts.
        plan: Rows of a batch and their order.
        new_tokens: The most tokens of a reply.

    Returns:
        Replies [N][M].
    """
    from peft import set_peft_model_state_dict

    replies = []
    for weights in particles:
        set_peft_model_state_dict(model, dict(weights), adapter_name=SWAPPED)
        replies.append(_reply(model, tokenizer, prompts, None, plan, new_tokens))
    return replies


def mixing(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    names: Sequence[str],
    prompts: Sequence[str],
    plan: Plan,
    new_tokens: int,
) -> list[list[str]]:
    """Let all particles reply side by side: every prompt stands once per particle, in rows next to each other.

    Args:
        model: A model with an adapter for every particle.
        tokenizer: The base model's, which pads on the left.
        names: The names of N adapters.
        prompts: M texts.
        plan: Rows of a batch and their order.
        new_tokens: The most tokens of a reply.

    Returns:
        Replies [N][M].
    """
    rows = [prompt for prompt in prompts for _ in names]
    replies = _reply(model, tokenizer, rows, list(names) * len(prompts), plan, new_tokens)
    return [replies[place :: len(names)] for place in range(len(names))]


@torch.inference_mode()
def choosing(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    particles: Iterable[Mapping[str, Tensor]],
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    plan: Plan,
) -> list[list[int]]:
    """Load the weights of one particle after the other, and let each find the likeliest choice after every prompt.

    Every choice is a row of its own, with the prompt before it.

    Args:
        model: A model with the one adapter `SWAPPED`.
        tokenizer: The base model's, which pads on the left.
        particles: The weights of N particles.
        prompts: M texts.
        choices: For every prompt, the texts that may follow behind a space.
        plan: Rows of a batch and their order.

    Returns:
        The place of the likeliest choice, the first of equals [N][M].
    """
    from peft import set_peft_model_state_dict

    rows = [f"{prompt} {text}" for prompt, texts in zip(prompts, choices, strict=True) for text in texts]
    before = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]
    lengths = [len(ids) for ids in tokenizer(rows)["input_ids"]]
    prompt_of = [place for place, texts in enumerate(choices) for _ in texts]
    new = [length - before[place] for length, place in zip(lengths, prompt_of, strict=True)]
    order = sorted(range(len(rows)), key=lambda row: -lengths[row]) if plan.by_length else list(range(len(rows)))
    chosen = []
    for weights in particles:
        set_peft_model_state_dict(model, dict(weights), adapter_name=SWAPPED)
        sums = [0.0] * len(rows)
        for start in range(0, len(order), plan.rows):
            places = order[start : start + plan.rows]
            inputs = tokenizer([rows[place] for place in places], return_tensors="pt", padding=True).to(model.device)
            longest = max(new[place] for place in places)
            logits = model(**inputs, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1]
            logarithms = logits.float().log_softmax(dim=-1)
            tokens = inputs["input_ids"][:, -longest:, None]
            found = logarithms.gather(-1, tokens)[..., 0]
            for row, place in enumerate(places):
                sums[place] = float(found[row, longest - new[place] :].double().sum())
        of_prompt = iter(sums)
        taken = [[next(of_prompt) for _ in texts] for texts in choices]
        chosen.append([max(range(len(row)), key=row.__getitem__) for row in taken])
    return chosen


def fastest(way: Callable[[Plan], object], plans: Sequence[Plan], tries: int = 2) -> tuple[Plan, dict[str, float]]:
    """Try every plan, turn about, after one run that is not counted; return the one with the smallest time.

    Args:
        way: What to run with a plan.
        plans: The plans to try.
        tries: How often each is tried; its smallest time counts, as other work on the machine only adds to it.

    Returns:
        The fastest plan, and the smallest seconds of every plan by its name.
    """
    way(plans[0])
    seconds, _ = take_turns({str(plan): partial(way, plan) for plan in plans}, tries, warm_up=False)
    smallest = {name: min(times) for name, times in seconds.items()}
    return min(plans, key=lambda plan: smallest[str(plan)]), smallest


@torch.inference_mode()
def _reply(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[str],
    adapters: Sequence[str] | None,
    plan: Plan,
    new_tokens: int,
) -> list[str]:
    """Generate a reply to every row; `adapters` names the adapter of each, where several ride in one batch."""
    order = list(range(len(rows)))
    if plan.by_length:
        lengths = [len(ids) for ids in tokenizer(list(rows))["input_ids"]]
        order.sort(key=lambda row: -lengths[row])
    replies = [""] * len(rows)
    for start in range(0, len(order), plan.rows):
        places = order[start : start + plan.rows]
        inputs = tokenizer([rows[place] for place in places], return_tensors="pt", padding=True).to(model.device)
        named = {} if adapters is None else {"adapter_names": [adapters[place] for place in places]}
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
            **named,
        )
        new = output[:, inputs["input_ids"].shape[1] :]
        for place, text in zip(places, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            replies[place] = text
    return replies
