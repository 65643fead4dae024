"""What all tests share: where the optional data lies, and a small real model with four real experts.

The model and the experts are made once per run by plain `transformers` and `peft` from fixed seeds, in about a second:
nothing of this package takes part, so they are an independent reference for it.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from tests.forked_ranks import ForkedRanks
from tests.hub_server import TOKEN as HUB_TOKEN
from tests.hub_server import HubServer, running_hub
from tests.objectives.perspective_server import KEY, PerspectiveServer, running_server
from tests.shares_of_files import FEWEST_TESTS, grown, lines_about, seconds_of_files

# The tiny models' matrices gain nothing from a second thread, and lose much where another process wants it. Set before
# torch is imported, so that it holds for the subprocesses that tests start as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test needs the network, and one that asked the hub for what is not there would wait for it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# What is imported and collected stays to the end. Looking again and again for what could be let go of it takes a fifth
# of the time of collecting thousands of tests.
gc.disable()

# The same examples in every run, as many as take a second or two, and no time is measured. HYPOTHESIS_EXAMPLES asks for
# more of them, others in every run.
MORE = os.environ.get("HYPOTHESIS_EXAMPLES")
hypothesis_settings.register_profile(
    "tests", max_examples=int(MORE or 60), deadline=None, derandomize=not MORE, database=None
)
hypothesis_settings.load_profile("tests")

# A few lines are enough for a byte-level tokenizer: what it has not seen becomes bytes, so any text can be encoded.
TOKENIZER_LINES = (
    "Question: What is 12 plus 7?\nAnswer: 19",
    "Question: Which of these is a colour?\nA: red\nB: seven\nC: stone\nD: river\nThe answer is A",
    "Question: What is the capital of France?\nAnswer: Paris",
    "user: Tell me a story about a fox and a bear.\nassistant: Once upon a time there was a small fox.",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
EXPERT_NAMES = ("colours", "numbers", "stories", "towns")
# Adapters that differ in everything that makes their ranks, scalings and targets.
MIXED: dict[str, dict[str, Any]] = {
    "common": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},  # scaling 2
    "few": {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj"], "layers_to_transform": [1]},
    "loud": {"r": 2, "lora_alpha": 7.5, "target_modules": "all-linear"},  # 3.75, the only one with o_proj
    "narrow": {"r": 1, "lora_alpha": 0.3, "target_modules": r".*\.(q|v|up)_proj"},
    "patterned": {
        "r": 3,
        "lora_alpha": 6,
        "target_modules": ["q_proj", "down_proj"],
        "rank_pattern": {"layers.0.self_attn.q_proj": 6},
        "alpha_pattern": {"down_proj": 1},
    },
    "rank-stabilised": {"r": 5, "lora_alpha": 3, "use_rslora": True, "target_modules": ["q_proj", "gate_proj"]},
}


def pytest_collection_finish() -> None:
    """Let garbage be collected from here on, and leave out what was there before."""
    gc.freeze()
    gc.enable()


def reports_of_a_whole_run(config: pytest.Config) -> list[object]:
    """Return what the tests of this run reported; nothing where only some were chosen."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or len(terminal.stats.get("passed", [])) < FEWEST_TESTS:
        return []
    return [report for reports in terminal.stats.values() for report in reports]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a whole run in which a test file has grown beyond its share."""
    if session.exitstatus == pytest.ExitCode.OK and grown(seconds_of_files(reports_of_a_whole_run(session.config))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show which test files took longest in a whole run."""
    seconds = seconds_of_files(reports_of_a_whole_run(config))
    if seconds:
        terminalreporter.section("test files by time")
        terminalreporter.write_line("\n".join(lines_about(seconds)))


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder with public datasets and a small real model, beside the repository; skips where it is absent."""
    folder = Path(os.environ.get("SWARM_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session")
def forked_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedRanks]:
    """Real processes for the tests of several ranks, without the seconds that their imports take."""
    ranks = ForkedRanks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.close()


@pytest.fixture
def perspective_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PerspectiveServer]:
    """A server on this machine that speaks the Perspective API's protocol; its key stands in the environment."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    with running_server() as server:
        yield server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A server on this machine that speaks the hub's endpoints, and the one that this process knows."""
    from huggingface_hub import constants

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with running_hub() as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
        monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
        monkeypatch.setenv("HF_XET_XORB_COMPRESSION_POLICY", "none")  # what the server can read
        yield server


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised Llama (2 layers, hidden 32, float32) with a byte-level tokenizer and a chat template.

    The weights are larger than a fresh model's, so that greedy replies differ between prompts and do not repeat one
    token for ever; some end early with `</s>`. The tokenizer puts `<s>` before a text, as Llama's does.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TOKENIZER_LINES,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=512
    )
    fast.chat_template = CHAT_TEMPLATE

    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=fast.pad_token_id,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).float()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.normal_(std=1.0 if "embed" in name else 0.3)
            model.lm_head.weight[[fast.pad_token_id, fast.bos_token_id]] = 0  # are never said
            model.lm_head.weight[fast.eos_token_id] *= 2  # so that replies end, at different lengths
    folder = tmp_path_factory.mktemp("tiny") / "base"
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_experts_folder(tiny_base_folder: Path) -> Path:
    """Four LoRA adapters (rank 4, alpha 8; attention and MLP targets) on the tiny base, made by plain `peft`."""
    folder = tiny_base_folder.parent / "experts"
    targets = ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]
    for seed, name in enumerate(EXPERT_NAMES, start=1):
        settings = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "target_modules": targets}
        save_adapter(tiny_base_folder, folder / name, seed, **settings)
    return folder


@pytest.fixture(scope="session")
def mixed_experts_folder(tiny_base_folder: Path) -> Path:
    """Six LoRA adapters on the tiny base that differ in ranks, scalings and targets (`MIXED`), made by plain `peft`."""
    folder = tiny_base_folder.parent / "mixed"
    for seed, (name, settings) in enumerate(MIXED.items(), start=11):
        save_adapter(tiny_base_folder, folder / name, seed, **settings)
    return folder


def save_adapter(base_folder: Path, folder: Path, seed: int, **settings: Any) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(base_folder)
        adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for parameter_name, parameter in adapted.named_parameters():
                if "lora_B" in parameter_name:
                    parameter.normal_(std=0.15)
        adapted.save_pretrained(str(folder))
