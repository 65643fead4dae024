"""Models of three architectures and three vocabularies that each answer alone, against `transformers` one by one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.evaluation.runners.any_models import AnyModelsRunner
from swarm_lightning.evaluation.runners.graphs import GraphRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.experts.model_pool import load_models
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives.protocol import GenerationSettings
from swarm_lightning.paths import locate
from swarm_lightning.swarm.graphs import System, chain
from tests.evaluation.any_models import plain_model, save_families

PROMPTS = ["Question: Which fox?\nAnswer:", "user: What is 12 plus 7?\nassistant:"]
# The adapter and the model that it stands on share a pass; the others are models of their own.
OWNERS = [3, 1, 2, 0, 3, 1, 0, 2]
ASKED = PROMPTS * 4


@pytest.fixture(scope="module")
def sources(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = save_families(tiny_base_folder, tmp_path_factory.mktemp("families"), ("gpt2",))
    return [str(tiny_experts_folder / "towns"), str(folder / "gpt2"), "demo:models/almanac", str(tiny_base_folder)]


def runner_of(sources: list[str], **settings: Any) -> AnyModelsRunner:
    pool = load_models(sources, sources[3], None)
    model, tokenizer = load_base(sources[3])
    engine = EngineSettings(**settings)
    return AnyModelsRunner(Loaded(pool.resident(model, sources[3]), tokenizer, engine, pool, sources[3], False))


@pytest.fixture(scope="module")
def runner(sources: list[str]) -> AnyModelsRunner:
    return runner_of(sources)


def rows_of(runner: AnyModelsRunner, owners: list[int], prompts: list[str], seed: int = 0) -> Any:
    examples = tuple(Example(prompt) for prompt in prompts)
    with runner.session(torch.eye(4), {}) as session:
        return session.rows(owners, examples, RowNoise(seed, tuple(owners), examples), True)


def plain_reply(sources: list[str], expert: int, prompt: str) -> str:
    """Let `transformers` and `peft` answer alone."""
    from transformers import AutoTokenizer

    place = {0: sources[3], 2: str(locate(sources[2]))}.get(expert, sources[expert])
    model, tokenizer = plain_model(Path(place)), AutoTokenizer.from_pretrained(place)
    if expert == 0:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, sources[0]).eval()
    encoded = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        ids = model.generate(**encoded, do_sample=False, max_new_tokens=6)
    return str(tokenizer.decode(ids[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))


def test_every_row_is_answered_by_its_own_model_in_its_own_tokens(runner: AnyModelsRunner, sources: list[str]) -> None:
    before = runner.generated
    found = rows_of(runner, OWNERS, ASKED).generate(ASKED, GenerationSettings(6))
    assert found == [plain_reply(sources, owner, prompt) for owner, prompt in zip(OWNERS, ASKED, strict=True)]
    assert len(set(found)) > 5
    assert runner.vocabulary is None
    assert len(ASKED) < runner.generated - before <= 6 * len(ASKED)  # of all models


def test_models_that_take_turns_say_the_same(runner: AnyModelsRunner, sources: list[str]) -> None:
    short = runner_of(sources, models=1)
    texts = [[" A", " Paris is the capital"]] * len(ASKED)
    for settings in (GenerationSettings(6), GenerationSettings(6, temperature=1.0)):
        found, expected = (rows_of(one, OWNERS, ASKED).generate(ASKED, settings) for one in (short, runner))
        assert found == expected
    found, expected = (rows_of(one, OWNERS, ASKED).loglikelihood(ASKED, texts) for one in (short, runner))
    assert found == expected
    assert short.shelf.loads > 2


def test_sampled_replies_belong_to_a_row_and_its_turn(runner: AnyModelsRunner) -> None:
    settings = GenerationSettings(6, temperature=1.0)
    rows = rows_of(runner, OWNERS, ASKED, seed=3)
    first, second = rows.generate(ASKED, settings), rows.generate(ASKED, settings)
    assert first != second
    some = rows_of(runner, OWNERS, ASKED, seed=3).select([5, 2])
    assert some.generate([ASKED[5], ASKED[2]], settings) == [first[5], first[2]]


def test_they_answer_each_other_along_a_graph(runner: AnyModelsRunner, sources: list[str]) -> None:
    tell = Instructions("", "", "", "{reply}")
    question = "Which fox?"
    with GraphRunner(runner, tell).session([System(chain(4), (1, 2, 0, 3), torch.eye(4))], {}) as session:
        example = (Example(question),)
        (found,) = session.rows([0], example, RowNoise(0, (0,), example), True).generate(
            [question], GenerationSettings(6)
        )
    reply = ""
    for expert in (1, 2, 0, 3):
        said = " ".join(reply.split("\n")).strip()
        reply = plain_reply(sources, expert, f"{said}\n{question}" if expert != 1 else question)
    assert found == reply


def test_a_vector_that_names_no_single_expert_is_refused(runner: AnyModelsRunner) -> None:
    with pytest.raises(ValueError, match="Expected 1 for one of 4 experts"), runner.session(torch.ones(1, 4), {}):
        pass
