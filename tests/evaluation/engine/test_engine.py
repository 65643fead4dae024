"""What the engine remembers, and what it does where memory runs out; the reference is plain peft, prompt by prompt."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives.protocol import GenerationSettings
from tests.evaluation.plain_peft import PlainPeft

if TYPE_CHECKING:
    pass

from tests.evaluation.resident_rows import OWNERS, forward_hook, rows_of


@pytest.fixture(scope="module")
def prompts(many_prompts: list[str]) -> list[str]:
    return many_prompts[: len(OWNERS)]


def test_prompts_are_tokenised_once(engine: Engine, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = rows_of(engine, pool, [0, 1])
    first = model.generate(["fox", "bear"], GenerationSettings(3))
    likelihood = model.loglikelihood(["fox", "fox"], [[" a"], [" b"]])
    monkeypatch.setattr(type(engine.tokenizer), "__call__", None)
    assert model.generate(["fox", "bear"], GenerationSettings(3)) == first
    assert model.loglikelihood(["fox", "fox"], [[" a"], [" b"]]) == likelihood
    with pytest.raises(TypeError):
        model.generate(["fox", "town"], GenerationSettings(3))


@contextmanager
def memory_for(adapted: AdaptedModel, rows: int) -> Iterator[list[int]]:
    """Let a batch of more rows ask for more memory than any machine has; gives the rows of all passes."""
    seen: list[int] = []

    def look(ids: torch.Tensor) -> None:
        seen.append(len(ids))
        if len(ids) > rows:
            torch.empty(2**60, dtype=torch.uint8)

    with forward_hook(adapted, look):
        yield seen


@pytest.mark.parametrize("kind", ["replies", "likelihoods"])
def test_where_memory_runs_out_the_batch_is_halved_and_the_answers_are_right(
    kind: str, engine: Engine, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, prompts: list[str]
) -> None:
    engine.settings = EngineSettings(rows=16)
    model = rows_of(engine, pool, prefix=[9] * 20)
    expected = [plain.reply(owner, prompt, 6) for owner, prompt in zip(OWNERS, prompts, strict=True)]
    with memory_for(adapted, 3) as seen, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if kind == "replies":
            assert model.generate(prompts, GenerationSettings(6)) == expected
        else:
            found = model.loglikelihood(prompts, [[" A"]] * len(prompts))
            assert [row[0].logarithm for row in found] == pytest.approx(
                [plain.loglikelihood(owner, prompt, " A")[0] for owner, prompt in zip(OWNERS, prompts, strict=True)],
                rel=1e-5,
            )
        # From 16 rows to 8, to 4 (one row of each of 4 particles), and to 2.
        limits = [re.findall(r"Memory ran out: continuing with at most (\d+) rows", str(one.message)) for one in warned]
        assert limits == [["8"], ["4"], ["2"]]
        failed = sum(rows > 3 for rows in seen)
        model.generate(prompts, GenerationSettings(2))
        assert sum(rows > 3 for rows in seen) == failed, "what memory holds is remembered"
    assert engine.rows(10) == 2


def test_a_row_that_does_not_fit_into_memory_is_refused(
    engine: Engine, adapted: AdaptedModel, pool: ExpertPool, prompts: list[str]
) -> None:
    engine.settings = EngineSettings(rows=2)
    with (
        memory_for(adapted, 0) as seen,
        pytest.warns(UserWarning, match="Memory ran out"),
        pytest.raises(InputError, match="enough memory for one row of one particle"),
    ):
        rows_of(engine, pool).generate(prompts, GenerationSettings(6))
    assert seen[-1] == 1


def test_another_failure_is_not_tried_again(engine: Engine, adapted: AdaptedModel, pool: ExpertPool) -> None:
    calls: list[int] = []

    def fail(ids: torch.Tensor) -> None:
        calls.append(len(ids))
        raise RuntimeError("shape mismatch")

    hook = adapted.model.register_forward_pre_hook(lambda *_: fail(torch.zeros(1)))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        rows_of(engine, pool, [0]).generate(["fox"], GenerationSettings(3))
    hook.remove()
    assert len(calls) == 1
