"""The reference is one full forward pass of plain peft per continuation, without batch, padding or kept columns."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from swarm_lightning.evaluation.engine import likelihood
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.likelihood import loglikelihoods
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from tests.evaluation.plain_peft import PlainPeft

TEXTS = [" A", " red fox", " the capital of a town, seven", "\nB"]


def continuation(plain: PlainPeft, prompt: str, text: str, prefix: Sequence[int] = ()) -> Continuation:
    ids = [*prefix, *plain.ids(prompt + text)[bool(prefix) :]]
    return Continuation(tuple(ids), len(ids) - len(plain.ids(prompt + text)) + len(plain.ids(prompt)))


def expected(plain: PlainPeft, particle: int | None, one: Continuation) -> float:
    table = plain.logits(particle, one.ids).double().log_softmax(dim=-1)
    return sum(float(table[place - 1, one.ids[place]]) for place in range(one.split, len(one.ids)))


@pytest.fixture(scope="module")
def rows(plain: PlainPeft, many_prompts: list[str]) -> list[tuple[int, Continuation]]:
    """Particle 0 has few continuations, particle 3 many; mixed up."""
    return [
        (particle, continuation(plain, prompt, text))
        for place, prompt in enumerate(many_prompts[:12])
        for particle in range(place % 4, 4)
        for text in TEXTS[: 1 + place % 4]
    ]


@pytest.mark.smoke
@pytest.mark.parametrize("slots", [1, 7, 64])
def test_likelihoods_are_those_of_single_passes_whatever_shares_the_batch(
    slots: int, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, rows: list[tuple[int, Continuation]]
) -> None:
    owners, continuations = [particle for particle, _ in rows], [one for _, one in rows]
    found = loglikelihoods(Crowd(adapted, pool.vectors), owners, continuations, slots, 0)
    assert [logarithm for logarithm, _ in found] == pytest.approx(
        [expected(plain, particle, one) for particle, one in rows], rel=1e-5
    )


def test_the_base_alone_has_its_own(adapted: AdaptedModel, plain: PlainPeft) -> None:
    one = continuation(plain, "fox", " red bear")
    with adapted.base_only():
        found = loglikelihoods(Crowd(adapted, None), [0], [one], 4, 0)
    assert found[0][0] == pytest.approx(expected(plain, None, one), rel=1e-5)


def test_equal_continuations_are_exactly_equally_likely(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft
) -> None:
    one, other = continuation(plain, "fox", " red bear"), continuation(plain, "fox", " a")
    found = loglikelihoods(Crowd(adapted, pool.vectors), [1, 1, 1, 2], [one, other, one, one], 2, 0)
    assert found[0] == found[2] != found[3]


def test_a_continuation_is_greedy_where_a_greedy_reply_would_begin_with_it(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    owners, continuations, greedy = [], [], []
    for number, prompt in enumerate(many_prompts[:16]):
        particle, ids = number % 4, plain.ids(prompt)
        reply = plain.reply_ids(particle, ids, 3)
        if len(reply) < 3:  # it has ended
            continue
        for tokens in (reply, reply[:1], [reply[0], reply[1] + 1, reply[2]], [*reply[:2], reply[2] - 1]):
            owners.append(particle)
            continuations.append(Continuation((*ids, *tokens), len(ids)))
            greedy.append(tokens == reply[: len(tokens)])
    found = loglikelihoods(Crowd(adapted, pool.vectors), owners, continuations, 5, 0)
    assert [likeliest for _, likeliest in found] == greedy
    assert greedy[:8] == [True, True, False, False] * 2


def passes_of(adapted: AdaptedModel, pool: ExpertPool, owners: list[int], continuations: list[Continuation]) -> Any:
    """Return for every pass how many rows are fed, and for how many places logits are made."""
    passes: list[tuple[int, int]] = []

    def note(_: object, __: object, arguments: dict[str, torch.Tensor], output: Any) -> None:
        passes.append((len(arguments["input_ids"]), output.logits[..., 0].numel()))

    hook = adapted.model.register_forward_hook(note, with_kwargs=True)
    loglikelihoods(Crowd(adapted, pool.vectors), owners, continuations, 64, 0)
    hook.remove()
    return passes


def test_choices_of_one_token_share_one_row(adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft) -> None:
    letters = [continuation(plain, prompt, letter) for prompt in ("fox:", "a town:") for letter in "ABC"]
    assert all(len(one.ids) == one.split + 1 for one in letters)
    assert passes_of(adapted, pool, [0] * 6 + [3] * 6, letters * 2) == [(4, 4)]


def test_logits_are_made_for_the_continuations_only(adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft) -> None:
    long, short = continuation(plain, "fox " * 50, " bear town story"), continuation(plain, "red", "s")
    tokens = sum(len(one.ids) - one.split for one in (long, short))
    assert len(long.ids) - long.split > len(short.ids) - short.split
    assert passes_of(adapted, pool, [0, 0], [long, short]) == [(2, tokens)]


@pytest.mark.parametrize("slots", [1, 5, 64])
def test_a_shared_prefix_changes_no_likelihood_and_is_not_fed_again(
    slots: int, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    prefix = plain.ids("Tell me a story about a fox and a bear.")
    assert len(prefix) >= 16
    rows = [
        (particle, continuation(plain, prompt, text, prefix))
        for prompt in many_prompts[:4]
        for particle in (0, 3)
        for text in TEXTS[: 2 + particle]
    ]
    columns: list[int] = []

    def note(_: object, __: object, arguments: dict[str, torch.Tensor]) -> None:
        columns.append(arguments["input_ids"].shape[1])

    crowd = Crowd(adapted, pool.vectors, prefix)
    hook = adapted.model.register_forward_pre_hook(note, with_kwargs=True)
    owners, continuations = [particle for particle, _ in rows], [one for _, one in rows]
    found = loglikelihoods(crowd, owners, continuations, slots, 0, skip=len(prefix))
    hook.remove()
    assert [logarithm for logarithm, _ in found] == pytest.approx(
        [expected(plain, particle, one) for particle, one in rows], rel=1e-5
    )
    assert columns.count(len(prefix)) <= 2
    assert max(columns) <= max(len(prefix), max(len(one.ids) for one in continuations) - 1 - len(prefix))


def shapes_of(adapted: AdaptedModel, crowd: Crowd, rows: list[tuple[int, Continuation]], **settings: Any) -> Any:
    """Return what is found, and rows and columns of every pass."""
    shapes: list[tuple[int, ...]] = []

    def note(_: object, __: object, arguments: dict[str, torch.Tensor]) -> None:
        shapes.append(tuple(arguments["input_ids"].shape))

    hook = adapted.model.register_forward_pre_hook(note, with_kwargs=True)
    owners, continuations = [particle for particle, _ in rows], [one for _, one in rows]
    found = loglikelihoods(crowd, owners, continuations, padding=0, **{"slots": 64, **settings})
    hook.remove()
    return found, shapes


QUESTION = "Tell me a story about a fox and a bear in a town, and which of them is red"


@pytest.mark.parametrize("slots", [1, 5, 64])
@pytest.mark.parametrize("shared", [False, True])
def test_a_prompt_is_fed_once_for_all_its_choices(
    slots: int, shared: bool, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    """Prompts of several lengths, one too short to be worth it; unlike numbers of choices; behind a prefix or not."""
    prefix = plain.ids("Answer with one of the choices that are given below.") if shared else []
    prompts = [f"{QUESTION}: {prompt}" for prompt in many_prompts[:3]] + ["fox"]
    rows = [
        (particle, continuation(plain, prompt, text, prefix))
        for particle in (0, 2, 3)
        for place, prompt in enumerate(prompts[particle // 2 :])
        for text in TEXTS[: 4 - (place + particle) % 3]
    ]
    crowd = Crowd(adapted, pool.vectors, prefix)
    assert bool(crowd.prefix) == shared
    found, shapes = shapes_of(adapted, crowd, rows, slots=slots, skip=len(prefix))
    wanted = [expected(plain, particle, one) for particle, one in rows]
    assert [logarithm for logarithm, _ in found] == pytest.approx(wanted, rel=1e-5)
    alone, _ = shapes_of(adapted, Crowd(adapted, pool.vectors), rows, slots=slots)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in alone]
    if slots == 64:  # prefix, prompts (of particle 0 three long ones, and the short one four times), choices
        prompt, tail = (max(one.split for _, one in rows), max(len(one.ids) - one.split for _, one in rows) - 1)
        assert len(shapes) == 2 + shared
        assert shapes[-2] == (3 * (3 + 4), prompt - len(prefix))
        assert shapes[-1][1] <= tail < 20


def test_a_prompt_with_one_choice_needs_no_second_pass(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft
) -> None:
    one = continuation(plain, QUESTION, " red bear")
    found, shapes = shapes_of(adapted, Crowd(adapted, pool.vectors), [(1, one), (1, one), (2, one)])
    assert shapes == [(2, len(one.ids) - 1)]
    assert found[0] == found[1] != found[2]


def test_letters_need_the_prompt_alone(adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft) -> None:
    rows = [(particle, continuation(plain, f"{QUESTION}:", letter)) for particle in (0, 3) for letter in "ABC"]
    assert all(len(one.ids) == one.split + 1 for _, one in rows)
    found, shapes = shapes_of(adapted, Crowd(adapted, pool.vectors), rows)
    assert shapes == [(2, rows[0][1].split)]
    wanted = [expected(plain, particle, one) for particle, one in rows]
    assert [logarithm for logarithm, _ in found] == pytest.approx(wanted, rel=1e-5)


def test_equal_choices_of_one_prompt_are_exactly_equally_likely(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft
) -> None:
    rows = [(1, continuation(plain, QUESTION, text)) for text in (" red bear", " a town", " red bear")]
    found, shapes = shapes_of(adapted, Crowd(adapted, pool.vectors), rows)
    assert len(shapes) == 2
    assert found[0] == found[2] != found[1]


def test_the_sum_of_exponentials_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = logits.double().exp().sum(dim=-1).log().float()
    for rows in (1, 3, 100):
        monkeypatch.setattr(likelihood, "CHUNK_BYTES", rows * 4 * 11)
        torch.testing.assert_close(likelihood.log_sum_exp(logits), expected)


def test_nothing_gives_nothing(adapted: AdaptedModel, pool: ExpertPool) -> None:
    assert loglikelihoods(Crowd(adapted, pool.vectors), [], [], 4, 0) == []
