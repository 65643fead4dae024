"""Other architectures: all particles in one pass against plain peft with one adapter, one prompt at a time."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.batches import lay_out
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenDecoding, generate_tokens
from swarm_lightning.evaluation.engine.likelihood import loglikelihoods
from swarm_lightning.evaluation.engine.text_rows import TextRows
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.evaluation.runners.resident import Particles
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives.protocol import GenerationSettings
from tests.evaluation.all_logits import all_logits
from tests.evaluation.plain_peft import PlainPeft

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GATED = ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
GROUPED = {"intermediate_size": 64, "num_key_value_heads": 2}
SIZES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,  # with biases
    "gemma": {"intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 8},
    "mistral": GROUPED | {"sliding_window": 4},  # a window shorter than the prompts
    "gpt_neox": {"intermediate_size": 64},  # rotary positions on a part of each head
    "phi": {"intermediate_size": 64},  # attention and MLP side by side
    "gpt2": {"n_positions": 64},  # learned positions, transposed weights
    "bloom": {},  # ALiBi; takes no position ids
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},  # a window of its own making
    "mixtral": GROUPED | {"num_local_experts": 4},  # routes tokens, but has adapters on the attention only
    "qwen2_moe": GROUPED
    | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
}
TARGETS: dict[str, list[str]] = {
    "qwen2": [*GATED, "lm_head"],  # the output layer too, which sees only what is read
    "gpt_neox": FUSED,
    "phi": ["q_proj", "v_proj", "dense", "fc1", "fc2"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "bloom": FUSED,
    "gpt_neo": ["q_proj", "v_proj", "out_proj", "c_fc", "c_proj"],
    "mixtral": ["q_proj", "v_proj", "o_proj"],
    "qwen2_moe": ["q_proj", "v_proj", "shared_expert.up_proj"],
}
# Rotary positions, a sliding window, learned positions and ALiBi; the others are of these kinds.
QUICK = ("llama", "mistral", "gpt2", "bloom")
DENSE = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SIZES if name != "qwen2_moe"]
EXPERTS = 3
NEW_TOKENS = 8
# How rows are cut into passes depends on no family: one is asked in all of these ways, the others in two.
CUTS = (
    EngineSettings(),
    EngineSettings(rows=7, particles=2),
    EngineSettings(rows=1),
    EngineSettings(rows=4),
    EngineSettings(particles=1),
)


@dataclass(frozen=True)
class Family:
    """A tiny random model of one architecture, with three random experts of it."""

    base: Any
    pool: ExpertPool
    plain: PlainPeft

    def adapted(self, dtype: torch.dtype = torch.float32) -> AdaptedModel:
        return AdaptedModel(copy.deepcopy(self.base).to(dtype), self.pool)


@pytest.fixture(scope="module")
def family(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> Callable[[str], Family]:
    """Makes a family at its first use; weights are so large that replies differ between experts and prompts."""
    made: dict[str, Family] = {}

    def make(name: str) -> Family:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoConfig, AutoModelForCausalLM

        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            widths = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
            if name == "gpt_neo":
                widths = {"hidden_size": 32, "num_layers": 2, "num_heads": 4}
            tokens = {"vocab_size": 320, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                config = AutoConfig.for_model(name, **widths, **tokens, **SIZES[name])
                base = AutoModelForCausalLM.from_config(config).float().eval()
                with torch.no_grad():
                    for parameter in base.parameters():
                        if parameter.dim() >= 2:
                            parameter.normal_(std=0.4)
                for expert in range(EXPERTS):
                    settings = LoraConfig(
                        r=4,
                        lora_alpha=8,
                        target_modules=TARGETS.get(name, GATED),
                        fan_in_fan_out=name == "gpt2",
                        task_type="CAUSAL_LM",
                        init_lora_weights=False,
                    )
                    adapted = get_peft_model(copy.deepcopy(base), settings)
                    with torch.no_grad():
                        for parameter_name, parameter in adapted.named_parameters():
                            if "lora_B" in parameter_name:
                                parameter.normal_(std=0.15)
                    adapted.save_pretrained(str(folder / f"expert{expert}"), save_embedding_layers=False)
            pool = load_pool(str(folder))
            made[name] = Family(base, pool, PlainPeft(base, pool.sources, tiny_tokenizer))
        return made[name]

    return make


@pytest.mark.parametrize("name", DENSE)
def test_all_particles_in_one_pass_reply_as_each_does_alone(
    name: str, family: Callable[[str], Family], tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    one = family(name)
    adapted = one.adapted()
    prompts = many_prompts[:4]
    # Mixed, and ragged: the last particle has fewer rows.
    rows = [(particle, prompt) for prompt in prompts for particle in range(EXPERTS)][:-2]
    owners = [particle for particle, _ in rows]
    ids = [one.plain.ids(prompt) for _, prompt in rows]
    expected = [one.plain.reply_ids(particle, each, NEW_TOKENS) for particle, each in zip(owners, ids, strict=True)]
    assert len({tuple(reply) for reply in expected}) > len(expected) * 0.8, "replies should differ"
    texts = [str(text) for text in tiny_tokenizer.batch_decode(expected, skip_special_tokens=True)]

    shapes: list[int] = []
    hook = adapted.model.register_forward_pre_hook(
        lambda _, __, arguments: shapes.append(len(arguments["input_ids"])), with_kwargs=True
    )
    whole = generate_tokens(
        Crowd(adapted, one.pool.vectors), owners, ids, TokenDecoding(NEW_TOKENS, frozenset([2]), 0, 64)
    )
    hook.remove()
    assert whole.tokens == expected
    assert shapes[0] == EXPERTS * len(prompts), "all particles should share the first pass"
    for settings in CUTS if name == "llama" else CUTS[:2]:
        engine = Engine(adapted, tiny_tokenizer, settings)
        crowd = Crowd(adapted, one.pool.vectors)
        found = TextRows(engine, Particles(engine, crowd), owners).generate(
            [prompt for _, prompt in rows], GenerationSettings(NEW_TOKENS)
        )
        assert found == texts


@pytest.mark.parametrize("name", DENSE)
def test_likelihoods_of_all_particles_in_one_pass_are_those_of_each_alone(
    name: str, family: Callable[[str], Family], tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    one = family(name)
    adapted = one.adapted()
    rows = [(particle, prompt) for prompt in many_prompts[7:10] for particle in range(EXPERTS)]
    choices = [" A", " red fox", " a town"]
    expected = [[one.plain.loglikelihood(*row, text) for text in choices] for row in rows]
    for settings in (EngineSettings(), EngineSettings(rows=4, particles=2)):
        engine = Engine(adapted, tiny_tokenizer, settings)
        model = TextRows(
            engine, Particles(engine, Crowd(adapted, one.pool.vectors)), [particle for particle, _ in rows]
        )
        found = model.loglikelihood([prompt for _, prompt in rows], [choices] * len(rows))
        assert [[likelihood.tokens for likelihood in row] for row in found] == [
            [tokens for _, tokens in row] for row in expected
        ]
        torch.testing.assert_close(
            torch.tensor([[likelihood.logarithm for likelihood in row] for row in found]),
            torch.tensor([[logarithm for logarithm, _ in row] for row in expected]),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "gpt2",
        "bloom",
        "mistral",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt_neox", "gpt_neo")),
    ],
)
def test_a_prompt_is_fed_once_for_its_choices_where_the_model_allows_it(
    name: str, family: Callable[[str], Family], many_prompts: list[str]
) -> None:
    """Not with a window, and not where positions can't be told; against a float64 pass for every choice."""
    one = family(name)
    crowd = Crowd(one.adapted(), one.pool.vectors)
    prompts = sorted(many_prompts, key=len)[40:43]
    rows = [
        (particle, Continuation((*ids, *one.plain.ids(text)[1:]), len(ids)))
        for particle in range(EXPERTS)
        for ids in map(one.plain.ids, prompts[particle // 2 :])
        for text in ("red fox", "a town", "b", "seven bears")
    ]
    columns: list[int] = []
    hook = crowd._adapted.model.register_forward_pre_hook(
        lambda _, __, arguments: columns.append(arguments["input_ids"].shape[1]), with_kwargs=True
    )
    found = loglikelihoods(crowd, [particle for particle, _ in rows], [row for _, row in rows], 64, 0)
    hook.remove()
    assert len(columns) == (2 if name in ("llama", "gpt_neox", "gpt2") else 1)
    exact = PlainPeft(copy.deepcopy(one.base).double(), one.pool.sources, one.plain.tokenizer)
    for (logarithm, greedy), (particle, row) in zip(found, rows, strict=True):
        table = exact.logits(particle, row.ids).log_softmax(dim=-1)[row.split - 1 : -1]
        tokens = torch.tensor(row.ids[row.split :])
        assert logarithm == pytest.approx(float(table.gather(1, tokens[:, None]).sum()), rel=1e-5)
        assert greedy == bool((table.argmax(dim=-1) == tokens).all())


@pytest.mark.parametrize("name", DENSE)
def test_logits_in_bfloat16_are_those_of_plain_peft_within_its_precision(
    name: str, family: Callable[[str], Family], many_prompts: list[str]
) -> None:
    """Prompts of three lengths, so that two are padded; the greatest error seen was 1.4% of the greatest logit."""
    one = family(name)
    adapted = one.adapted(torch.bfloat16)
    plain = PlainPeft(copy.deepcopy(one.base).bfloat16(), one.pool.sources, one.plain.tokenizer)
    ids = [plain.ids(prompt) for prompt in many_prompts[:EXPERTS]]
    assert len({len(each) for each in ids}) == EXPERTS
    batch = lay_out({place: [place] for place in range(EXPERTS)}, ids, 0, 0, torch.device("cpu"))
    with torch.inference_mode():
        found = all_logits(Crowd(adapted, one.pool.vectors), batch)
    for particle, each in enumerate(ids):
        expected = plain.logits(particle, each).float()
        error = (found[particle, -len(each) :].float() - expected).abs().max() / expected.abs().max()
        assert error < 0.03


def test_a_free_slot_does_not_run_out_of_learned_positions(
    family: Callable[[str], Family], many_prompts: list[str]
) -> None:
    """The one row of particle 0 ends early, while particle 1 goes on for longer than GPT-2 has positions (64)."""
    one = family("gpt2")
    ids = [one.plain.ids(prompt) for prompt in many_prompts[:16]]
    owners = [0, *[1] * 15]
    decoding = TokenDecoding(NEW_TOKENS, frozenset([2]), 0, slots=2)
    found = generate_tokens(Crowd(one.adapted(), one.pool.vectors), owners, ids, decoding)
    assert found.tokens == [
        one.plain.reply_ids(particle, each, NEW_TOKENS) for particle, each in zip(owners, ids, strict=True)
    ]


@pytest.mark.parametrize("name", ["mistral", pytest.param("gpt_neo", marks=pytest.mark.slow), "bloom", "gpt2", "llama"])
def test_a_prefix_is_shared_where_the_model_allows_it(
    name: str, family: Callable[[str], Family], many_prompts: list[str]
) -> None:
    """Not with a sliding window, and not where positions can't be told; one row is much shorter than the others."""
    one = family(name)
    prefix = one.plain.ids("red fox and bear 1 2 3 4")
    assert len(prefix) >= 16
    crowd = Crowd(one.adapted(), one.pool.vectors, prefix)
    by_length = sorted(many_prompts, key=len)
    ids = [[*prefix, *one.plain.ids(prompt)[1:]] for prompt in (by_length[0], *by_length[20:23])]
    assert (crowd.shared(ids) > 0) == (name in ("gpt2", "llama"))
    owners = [0, 1, 2, 1]
    decoding = TokenDecoding(NEW_TOKENS, frozenset([2]), 0, slots=64, skip=crowd.shared(ids))
    assert generate_tokens(crowd, owners, ids, decoding).tokens == [
        one.plain.reply_ids(particle, each, NEW_TOKENS) for particle, each in zip(owners, ids, strict=True)
    ]


def test_layers_that_see_routed_tokens_carry_one_particle_at_a_time(
    family: Callable[[str], Family], tiny_tokenizer: "PreTrainedTokenizerBase", many_prompts: list[str]
) -> None:
    one = family("qwen2_moe")
    adapted = one.adapted()
    rows = [(particle, prompt) for prompt in many_prompts[:4] for particle in range(EXPERTS)]
    owners, prompts = [particle for particle, _ in rows], [prompt for _, prompt in rows]

    def replies(settings: EngineSettings) -> list[str]:
        engine = Engine(adapted, tiny_tokenizer, settings)
        model = TextRows(engine, Particles(engine, Crowd(adapted, one.pool.vectors)), owners)
        return model.generate(prompts, GenerationSettings(NEW_TOKENS))

    with pytest.raises(InputError, match=r"shared_expert.*Set model.engine.particles to 1"):
        replies(EngineSettings())
    expected = [one.plain.reply(particle, prompt, NEW_TOKENS) for particle, prompt in rows]
    assert replies(EngineSettings(particles=1)) == expected
    assert replies(EngineSettings(particles=1, rows=2)) == expected
