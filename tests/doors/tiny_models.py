"""Tiny random models of several families, and subclasses whose `forward` names an argument otherwise."""

from typing import Any, cast

import torch

VOCABULARY = 64
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GATED = {"intermediate_size": 64, "num_key_value_heads": 2}
SIZES: dict[str, dict[str, Any]] = {
    "llama": GATED | {"max_position_embeddings": 64},
    "gpt2": {"n_positions": 64},
    "bloom": {},  # ALiBi from the mask; takes no position ids
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "gemma2": GATED | {"head_dim": 8, "final_logit_softcapping": 2.0, "max_position_embeddings": 64},
    "granite": GATED | {"logits_scaling": 4.0, "max_position_embeddings": 64},
    "cohere": GATED | {"logit_scale": 0.25, "max_position_embeddings": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    "granitemoe": GATED | {"num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 64},
    "bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64},
    "roformer": {"is_decoder": True, "intermediate_size": 64, "max_position_embeddings": 64},
    "rwkv": {"attention_hidden_size": 32},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
}


def make(family: str, kind: type | None = None) -> Any:
    """Make a model of a family; of a subclass of its class where one is given."""
    from transformers import AutoConfig, AutoModelForCausalLM

    widths = {} if family in ("mpt", "bart", "xlnet") else WIDTHS
    config = AutoConfig.for_model(family, **(widths | TOKENS | SIZES[family]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config) if kind is None else kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() >= 2:
                    parameter.normal_(std=0.3)
    return model.float().eval()


def renamed(family: str, argument: str, name: str) -> Any:
    """Make a model whose `forward` takes one argument under another name, as a new release might."""
    from transformers import GPT2LMHeadModel, LlamaForCausalLM

    from swarm_lightning.doors.transformers_forward import CACHE_NAMES

    parent = cast("Any", {"llama": LlamaForCausalLM, "gpt2": GPT2LMHeadModel}[family])
    known = ["input_ids", "attention_mask", "position_ids", "cache", "use_cache", "logits_to_keep"]
    taken = [name if one == argument else one for one in known]
    # The parent may know the cache by the other name.
    hand_over = [
        f"**{{cache_name: {given}}}" if one == "cache" else f"{one}={given}"
        for one, given in zip(known, taken, strict=True)
    ]
    scope: dict[str, Any] = {"parent": parent}
    import inspect

    parameters = inspect.signature(parent.forward).parameters
    scope["cache_name"] = next(one for one in CACHE_NAMES if one in parameters)
    exec(  # a signature can't be written otherwise
        f"def forward(self, {', '.join(f'{one}=None' for one in taken[:-1])}, {taken[-1]}=0, **kwargs):\n"
        f"    return parent.forward(self, {', '.join(hand_over)}, **kwargs)\n",
        scope,
    )
    kind = type(f"Renamed{parent.__name__}", (parent,), {"forward": scope["forward"]})
    return make(family, kind)


def rows(lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Random token ids of rows."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]
