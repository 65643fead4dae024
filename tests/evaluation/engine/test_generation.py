"""The reference is `generate(do_sample=False)` of plain peft, one particle and one prompt at a time."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.generation import TokenDecoding, generate_tokens
from swarm_lightning.evaluation.engine.row_cache import RowCache
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from tests.evaluation.plain_peft import PlainPeft

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = tuple[int, list[int]]  # particle and prompt


@pytest.fixture(scope="module")
def ragged_rows(plain: PlainPeft, many_prompts: list[str]) -> list[Row]:
    """Particle 0 has 3 rows, 1 has 20, 2 has 1 and 3 has 12, all mixed up."""
    rows = [
        (particle, plain.ids(prompt))
        for particle, count in enumerate((3, 20, 1, 12))
        for prompt in many_prompts[particle * 11 : particle * 11 + count]
    ]
    return rows[::2] + rows[1::2][::-1]


def greedy(limit: int, slots: int) -> TokenDecoding:
    return TokenDecoding(limit, ends=frozenset([2]), padding=0, slots=slots)  # 2 is </s>


def replies(
    adapted: AdaptedModel, pool: ExpertPool, rows: Sequence[Row], decoding: TokenDecoding, prefix: Sequence[int] = ()
) -> list[list[int]]:
    crowd = Crowd(adapted, pool.vectors, prefix)
    return generate_tokens(crowd, [particle for particle, _ in rows], [ids for _, ids in rows], decoding).tokens


class Passes:
    """Rows and columns of every forward pass within a `with` block."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.shapes: list[tuple[int, int]] = []
        self._model = model

    def __enter__(self) -> "Passes":
        def note(_: object, __: object, arguments: dict[str, Any]) -> None:
            self.shapes.append(tuple(arguments["input_ids"].shape))

        self._hook = self._model.register_forward_pre_hook(note, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


@pytest.mark.parametrize("slots", [1, 4, 7, 64])
def test_replies_are_those_of_plain_peft_whatever_shares_the_batch(
    slots: int, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, ragged_rows: list[Row]
) -> None:
    expected = [plain.reply_ids(particle, ids, 40) for particle, ids in ragged_rows]
    lengths = {len(reply) for reply in expected}
    assert min(lengths) <= 1
    assert max(lengths) == 40
    assert len(lengths) > 8
    assert replies(adapted, pool, ragged_rows, greedy(40, slots)) == expected


@pytest.mark.parametrize("slots", [1, 5, 100])
def test_one_particle_alone_and_the_base_alone(
    slots: int, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    rows = [(2, plain.ids(prompt)) for prompt in many_prompts[:12]]
    assert replies(adapted, pool, rows, greedy(12, slots)) == [plain.reply_ids(2, ids, 12) for _, ids in rows]
    with adapted.base_only():
        base = generate_tokens(Crowd(adapted, None), [0] * 12, [ids for _, ids in rows], greedy(12, slots))
    assert base.tokens == [plain.reply_ids(None, ids, 12) for _, ids in rows]


def test_with_fewer_slots_than_particles_each_has_one_row(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    rows = [(particle, plain.ids(prompt)) for prompt in many_prompts[:3] for particle in range(4)]
    with Passes(adapted.model) as passes:
        found = replies(adapted, pool, rows, greedy(6, 2))
    assert found == [plain.reply_ids(particle, ids, 6) for particle, ids in rows]
    assert max(count for count, _ in passes.shapes) == 4


@pytest.mark.slow
def test_long_replies_are_those_of_plain_peft(
    adapted: AdaptedModel,
    pool: ExpertPool,
    plain: PlainPeft,
    many_prompts: list[str],
    tiny_model: "PreTrainedModel",
    tiny_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    endless = PlainPeft(tiny_model, pool.sources, tiny_tokenizer)
    endless.ends = {0}  # <pad>, which the tiny model never says
    rows = [(particle, plain.ids(many_prompts[place])) for place, particle in enumerate((3, 0, 3, 1))]
    expected = [endless.reply_ids(particle, ids, 200) for particle, ids in rows]
    assert [len(reply) for reply in expected] == [200] * 4
    for slots in (1, 3, 4):
        decoding = replace(greedy(200, slots), ends=frozenset([0]))
        assert replies(adapted, pool, rows, decoding) == expected


def test_rows_that_come_late_are_served_when_the_columns_have_been_moved_to_the_left(
    adapted: AdaptedModel,
    pool: ExpertPool,
    plain: PlainPeft,
    many_prompts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[int] = []
    move_left = RowCache.move_left

    def noted(self: RowCache, by: int) -> None:
        moved.append(by)
        move_left(self, by)

    monkeypatch.setattr(RowCache, "move_left", noted)
    rows = [(place % 2, plain.ids(prompt)) for place, prompt in enumerate(many_prompts)]
    assert replies(adapted, pool, rows, greedy(5, 2)) == [plain.reply_ids(particle, ids, 5) for particle, ids in rows]
    assert len(moved) > 2
    assert min(moved) > 0


def test_finished_rows_leave_and_waiting_ones_take_their_place(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    rows = [(1, plain.ids(prompt)) for prompt in many_prompts[:48]]
    expected = [plain.reply_ids(1, ids, 40) for _, ids in rows]
    with Passes(adapted.model) as passes:
        assert replies(adapted, pool, rows, greedy(40, 8)) == expected
    steps = [count for count, columns in passes.shapes if columns == 1]
    # At least half of the slots are in use in every step, down to a batch of one row. A reply of n tokens needs n steps
    # after the pass over its prompt, the last of which says </s>, or n - 1 where the limit ends it.
    needed = sum(min(len(reply), 39) for reply in expected)
    assert needed <= sum(steps) <= 2 * needed
    assert steps[-1] == 1
    assert max(steps) == 8
    # Every prompt is read once.
    assert sum(count for count, columns in passes.shapes if columns > 1) == 48


def test_particles_that_are_done_leave_the_batch(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    rows = [(particle, plain.ids(prompt)) for particle in range(4) for prompt in many_prompts[:2]]
    lengths = [len(plain.reply_ids(particle, ids, 40)) for particle, ids in rows]
    longest = rows[lengths.index(max(lengths))]
    others = [row for row, length in zip(rows, lengths, strict=True) if row[0] != longest[0] and length < 5]
    with Passes(adapted.model) as passes:
        replies(adapted, pool, [*others, longest], greedy(40, 64))
    assert len({particle for particle, _ in others}) > 1
    assert passes.shapes[-1] == (1, 1)
    assert len(passes.shapes) == min(max(lengths) + 1, 40)


def test_computed_tokens_are_counted_with_those_that_end_a_text(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, ragged_rows: list[Row]
) -> None:
    expected = [plain.reply_ids(particle, ids, 40) for particle, ids in ragged_rows]
    crowd = Crowd(adapted, pool.vectors)
    owners, prompts = [particle for particle, _ in ragged_rows], [ids for _, ids in ragged_rows]
    found = generate_tokens(crowd, owners, prompts, greedy(40, 16))
    assert found.generated == sum(min(len(reply) + 1, 40) for reply in expected)


@pytest.mark.parametrize("slots", [1, 5, 64])
def test_a_row_ends_with_the_token_after_which_it_is_over(
    slots: int, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, ragged_rows: list[Row]
) -> None:
    decoding = replace(
        greedy(40, slots),
        over=lambda rows, tokens: [len(new) > row % 5 for row, new in zip(rows, tokens, strict=True)],
    )
    expected = [plain.reply_ids(particle, ids, 40)[: row % 5 + 1] for row, (particle, ids) in enumerate(ragged_rows)]
    assert replies(adapted, pool, ragged_rows, decoding) == expected


def test_every_end_of_text_ends_a_reply_and_is_no_part_of_it(
    adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, ragged_rows: list[Row]
) -> None:
    before = [plain.reply_ids(particle, ids, 12) for particle, ids in ragged_rows]
    ends = {next(reply[place] for reply in before if len(reply) == 12) for place in (3, 7)}
    expected = [
        reply[: min((reply.index(end) for end in ends if end in reply), default=len(reply))] for reply in before
    ]
    assert sum(len(short) < len(long) for short, long in zip(expected, before, strict=True)) > 2
    assert replies(adapted, pool, ragged_rows, replace(greedy(12, 9), ends=frozenset({2, *ends}))) == expected


@pytest.mark.parametrize("slots", [1, 6, 64])
def test_a_shared_prefix_is_fed_once_per_particle_and_changes_no_reply(
    slots: int, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    prefix = plain.ids("Tell me a story about a fox and a bear.")
    rows = [
        (particle, [*prefix, *plain.ids(prompt)[1:]])
        for particle in (0, 2, 3)
        for prompt in many_prompts[:8][particle:]
    ]
    expected = [plain.reply_ids(particle, ids, 20) for particle, ids in rows]
    with Passes(adapted.model) as passes:
        assert replies(adapted, pool, rows, replace(greedy(20, slots), skip=len(prefix)), prefix) == expected
    assert passes.shapes[0] == (3, len(prefix))
    assert max(columns for _, columns in passes.shapes[1:]) == max(len(ids) for _, ids in rows) - len(prefix)
    assert replies(adapted, pool, rows, greedy(20, slots), prefix) == expected


def test_numbers_that_overflow_do_not_spoil_the_row_that_takes_their_slot(
    pool: ExpertPool,
    many_prompts: list[str],
    tiny_model: "PreTrainedModel",
    tiny_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    base = copy.deepcopy(tiny_model)
    embeddings = base.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    with torch.no_grad():
        embeddings.weight[77] = torch.inf
    plain = PlainPeft(base, pool.sources, tiny_tokenizer)
    overflowing = AdaptedModel(copy.deepcopy(base), pool)
    broken = [[1, *[77] * length] for length in (30, 28)]
    whole = [plain.ids(prompt) for prompt in many_prompts[:8]]
    expected = [plain.reply_ids(1, ids, 12) for ids in whole]
    assert len({tuple(reply) for reply in expected}) > 3
    for slots in (1, 2, 4):
        found = replies(overflowing, pool, [(1, ids) for ids in broken + whole], greedy(12, slots))
        assert found[2:] == expected


def test_no_prompts_give_no_replies(adapted: AdaptedModel, pool: ExpertPool) -> None:
    assert replies(adapted, pool, [], greedy(5, 4)) == []


@pytest.mark.shared
def test_a_trained_model_replies_as_generate_does(shared_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from swarm_lightning.experts.pool import load_pool

    folder = shared_folder / "models" / "stories260k"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        get_peft_model(model, settings).save_pretrained(str(tmp_path / name))
    pool = load_pool(str(tmp_path))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain = PlainPeft(base, pool.sources, tokenizer)
    starts = ["Once upon a time", "Tom and Lily", "The end.", "One day, a big", "A", "Mom said"]
    prompts = [f"{start}{' the dog ran and ran' * (place % 5)}" for place, start in enumerate(starts * 5)]
    rows = [(particle, plain.ids(prompt)) for prompt in prompts for particle in range(2)]
    expected = [plain.reply_ids(particle, ids, 8) for particle, ids in rows]
    adapted = AdaptedModel(copy.deepcopy(base), pool)
    for slots in (1, 7, 64):
        decoding = TokenDecoding(8, frozenset([tokenizer.eos_token_id]), 0, slots)
        assert replies(adapted, pool, rows, decoding) == expected
