"""Adapters with random weights on a model of Llama's shape, made and saved by plain `peft`."""

from pathlib import Path

import torch


def save_experts(base: Path, folder: Path, count: int) -> Path:
    """Save adapters of rank 4 on attention and MLP of a base, each from its own seed."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number in range(count):
        torch.manual_seed(number)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
        model.save_pretrained(str(folder / f"expert_{number}"))
    return folder
