"""vLLM answers as the model in memory does; what it can't serve is refused before it is started.

One engine serves all tests that need one: its start takes a minute or more.
"""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.doors import vllm as door
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Loaded, Rows, Runner, Session
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.runners.vllm import RAM, VllmRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.checkpoint_pool import load_checkpoints
from swarm_lightning.experts.kinds import load_experts
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.products.products import Groups, Products
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.experts.resident.whole_model import WholeModel
from swarm_lightning.objectives.protocol import GenerationSettings
from tests.conftest import save_adapter
from tests.full_models import NAMES, make_base, save_copies
from tests.search.tiny_search import leaves, load_checkpoint, read_rows, run_swarm

NEEDS_VLLM = [pytest.mark.vllm, pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")]
EXAMPLES = 24  # of a search
PROMPTS = [
    f"{question} {number}" for number in range(3) for question in ("Question: What is", "the fox", "Answer: the town")
]
ROWS = [(particle, prompt) for particle in range(4) for prompt in PROMPTS]
SAMPLED = GenerationSettings(max_new_tokens=6, temperature=0.8, top_p=0.9, top_k=20)


def loaded_of(base: str, experts: str, devices: int = 1) -> Loaded:
    model, tokenizer = load_base(base, "float32")
    pool = load_pool(experts)
    # Fewer slots than particles.
    settings = EngineSettings(backend="vllm", particles=3, tensor_parallel=devices)
    return Loaded(pool.resident(model, base), tokenizer, settings, pool, base, False)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return loaded_of("demo:base", "demo:experts")  # vLLM has no kernel for the tiny base's heads of 8


@pytest.fixture(scope="module")
def runner(loaded: Loaded) -> Iterator[VllmRunner]:
    found = VllmRunner(loaded)
    yield found
    found.close()


@pytest.fixture(scope="module")
def ours(loaded: Loaded) -> ResidentRunner:
    return ResidentRunner(loaded.resident, loaded.tokenizer, loaded.settings)


def replies(runner: Runner, loaded: Loaded, settings: GenerationSettings, seed: int = 0) -> list[str]:
    with runner.session(loaded.pool.vectors, {}) as session:
        return lent(session, seed).generate([prompt for _, prompt in ROWS], settings)


def lent(session: Session, seed: int = 0) -> Rows:
    examples = [Example(identifier=str(place), question=prompt, answer="") for place, (_, prompt) in enumerate(ROWS)]
    owners = [particle for particle, _ in ROWS]
    return session.rows(owners, examples, RowNoise(seed, tuple(owners), tuple(examples)), True)


def state_of(checkpoint: dict[str, Any], name: str) -> torch.Tensor:
    (value,) = (leaf for path, leaf in leaves(checkpoint).items() if path.endswith(f"/{name}"))
    return value


def search_config(root: Path, backend: str, iterations: int) -> dict[str, Any]:
    """Return the config of a search on the demo world."""
    return {
        "model": {
            "base": "demo:base",
            "experts": "demo:experts",
            "dtype": "float32",
            "particles": 10,
            "engine": {"backend": backend, "particles": 3},
            "objective": {
                "class_path": "swarm_lightning.objectives.MultipleChoice",
                "init_args": {"max_new_tokens": 3},
            },
        },
        "data": {"dataset": "demo:tasks/neighbours.json", "validation_size": EXAMPLES, "test_size": 8},
        "page": {"every_seconds": None},
        "trainer": {"max_steps": iterations, "default_root_dir": str(root), "enable_progress_bar": False},
    }


@pytest.fixture(scope="module")
def runs(runner: VllmRunner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of a search by each backend, and of one that is stopped and resumed."""
    folder = tmp_path_factory.mktemp("runs")

    def started(*_: object, **__: object) -> object:
        runner.llm.reset_prefix_cache()  # a further runner numbers its particles from 1 again
        return runner.llm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "start", started)
        patch.setattr(door, "stop", lambda engine: None)
        for name, backend in (("torch", "torch"), ("vllm", "vllm")):
            run_swarm(search_config(folder / name, backend, 2), "fit", folder)
        run_swarm(search_config(folder / "stopped", "vllm", 1), "fit", folder)
        run_swarm(search_config(folder / "stopped", "vllm", 2), "fit", folder, "--ckpt_path", "last")
    return folder


class TestSearches:
    """Whole searches by the engine of this module, whose start alone is left out, beside one by the model in memory."""

    pytestmark = NEEDS_VLLM

    def test_a_resumed_search_ends_as_one_that_was_never_stopped(self, runs: Path) -> None:
        whole, resumed = (load_checkpoint(runs / name / "version_0") for name in ("vllm", "stopped"))
        for name in ("positions", "personal_bests", "global_best", "personal_best_utilities"):
            assert torch.equal(state_of(whole, name), state_of(resumed, name))

    def test_a_search_scores_its_first_positions_as_one_by_the_model_in_memory(self, runs: Path) -> None:
        ours, theirs = (read_rows(runs / name / "version_0" / "history.csv")[0] for name in ("torch", "vllm"))
        utilities = [name for name in ours if name.startswith("utility/")]
        assert len(utilities) == 10
        for name in utilities:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1.5 / EXAMPLES)


class TestServed:
    pytestmark = NEEDS_VLLM

    def test_greedy_replies_are_ours(self, runner: VllmRunner, ours: ResidentRunner, loaded: Loaded) -> None:
        settings = GenerationSettings(max_new_tokens=8)
        found, expected = replies(runner, loaded, settings), replies(ours, loaded, settings)
        assert len(set(expected)) > 10
        equal = sum(one == other for one, other in zip(found, expected, strict=True))
        print(f"{equal} of {len(ROWS)} greedy replies are equal")
        assert equal >= 0.9 * len(ROWS)

    def test_a_reply_is_cut_at_a_stop_string(self, runner: VllmRunner, ours: ResidentRunner, loaded: Loaded) -> None:
        whole = replies(ours, loaded, GenerationSettings(max_new_tokens=8))
        stop = next(reply[2:3] for reply in whole if len(reply) > 3 and reply[2:3].isascii())
        settings = GenerationSettings(max_new_tokens=8, stop=(stop,))
        found, expected = replies(runner, loaded, settings), replies(ours, loaded, settings)
        assert not any(stop in reply for reply in found)
        assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 0.9 * len(ROWS)

    def test_likelihoods_are_ours(self, runner: VllmRunner, ours: ResidentRunner, loaded: Loaded) -> None:
        rows = []
        for one in (runner, ours):
            with one.session(loaded.pool.vectors, {}) as session:
                texts = [[" red", " seven rivers"]] * len(ROWS)
                rows.append(lent(session).loglikelihood([prompt for _, prompt in ROWS], texts))
        for found, expected in zip(*(chain.from_iterable(found) for found in rows), strict=True):
            assert found.logarithm == pytest.approx(expected.logarithm, abs=1e-3)
            assert found.tokens == expected.tokens

    def test_the_same_seed_gives_the_same_replies(self, runner: VllmRunner, loaded: Loaded) -> None:
        first = replies(runner, loaded, SAMPLED)
        assert replies(runner, loaded, SAMPLED) == first
        assert replies(runner, loaded, SAMPLED, seed=1) != first

    def test_no_adapter_stays_in_memory_or_in_the_engine(self, runner: VllmRunner, loaded: Loaded) -> None:
        before = set(RAM.glob("swarm-*"))
        replies(runner, loaded, GenerationSettings(max_new_tokens=1))
        assert set(RAM.glob("swarm-*")) == before
        assert set(runner.llm.llm_engine.list_loras()) == set()

    def test_the_engines_processes_end_with_it(self, runner: VllmRunner) -> None:
        """The last test here: it ends the engine of the others."""
        children = psutil.Process().children(recursive=True)
        engines = [child for child in children if "VLLM" in " ".join(child.cmdline())]
        assert engines
        runner.close()
        _, alive = psutil.wait_procs(engines, timeout=60)
        assert alive == []


class TestSeveralDevices:
    pytestmark = NEEDS_VLLM

    def test_two_devices_of_one_engine_answer_as_one(self, ours: ResidentRunner) -> None:
        """They hold the same adapters also after some have given way to others, again and again."""
        shared = loaded_of("demo:base", "demo:experts", devices=2)
        runner = VllmRunner(shared)
        settings = GenerationSettings(max_new_tokens=4)
        try:
            for _ in range(2):
                found, expected = replies(runner, shared, settings), replies(ours, shared, settings)
                assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 0.9 * len(ROWS)
            assert door.carried(runner.llm) == set()
        finally:
            runner.close()

    def test_heads_that_devices_cannot_share_out_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"attention heads .* divisible by tensor parallel size"):
            VllmRunner(loaded_of("demo:base", "demo:experts", devices=3))


def test_adapters_of_the_output_layer_are_refused(tiny_base_folder: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two"), start=1):
        save_adapter(tiny_base_folder, tmp_path / name, seed, r=2, target_modules=["q_proj", "lm_head"])
    with pytest.raises(InputError, match=r"leave the output layer as it is .* the experts adapt 'lm_head'"):
        VllmRunner(loaded_of(str(tiny_base_folder), str(tmp_path)))


def test_weighted_sums_of_products_are_refused(tiny_base_folder: Path, tiny_experts_folder: Path) -> None:
    plain = loaded_of(str(tiny_base_folder), str(tiny_experts_folder))
    assert isinstance(plain.pool, ExpertPool)
    assert isinstance(plain.resident, AdaptedModel)
    products = Products.of(plain.pool.adapters())
    weighed = ProductModel(plain.resident, products, Groups.of(products, "expert"))
    with pytest.raises(InputError, match=r"got ProductModel: vLLM serves .* \(model.coefficients\)"):
        VllmRunner(replace(plain, resident=weighed))


def test_a_base_without_experts_is_refused(tiny_base_folder: Path) -> None:
    plain, pool = load_base(str(tiny_base_folder), "float32"), load_experts([], least=0)
    alone = pool.resident(plain[0], str(tiny_base_folder))
    with pytest.raises(InputError, match="score the base alone with model.engine.backend torch"):
        VllmRunner(Loaded(alone, plain[1], EngineSettings(), pool, str(tiny_base_folder), False))


def test_full_checkpoints_are_refused(tiny_base_folder: Path, tmp_path: Path) -> None:
    experts = save_copies(make_base(tiny_base_folder, "llama"), tiny_base_folder, tmp_path)
    pool = load_checkpoints([str(experts / name) for name in NAMES])
    model, tokenizer = load_base(pool.base)
    resident = WholeModel(model, pool.architecture, pool.vector(0))
    with pytest.raises(InputError, match="vLLM serves neither full checkpoints nor weighted sums"):
        VllmRunner(Loaded(resident, tokenizer, EngineSettings(), pool, pool.base, False))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_a_missing_vllm_is_named_with_its_extra(loaded: Loaded) -> None:
    with pytest.raises(InputError, match=r"not installed. Install the extra, `pip install 'swarm-lightning\[vllm\]'`"):
        VllmRunner(loaded)
