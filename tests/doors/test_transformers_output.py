"""Logits of wanted places against logits of all places, over families that scale or cap them, and other layers."""

import random
from typing import Any

import pytest
import torch

from swarm_lightning.doors import transformers_output
from swarm_lightning.doors.transformers_cache import growing_cache
from swarm_lightning.doors.transformers_forward import ForwardPass
from swarm_lightning.doors.transformers_output import OutputLayer, Places
from tests.doors.contract import changed
from tests.doors.tiny_models import VOCABULARY, make

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("error")]
FAMILIES = ["llama", "gpt2", "bloom", "mpt", "gemma2", "granite", "cohere", "opt", "granitemoe"]
DOOR = "transformers_output.py"


def inputs(rows: int = 4, columns: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.randint(3, VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(1))
    return tokens, torch.ones_like(tokens), torch.arange(columns).repeat(rows, 1)


def gathered(
    forward: ForwardPass, places: Places, together: int = 1, cache: Any = None
) -> tuple[torch.Tensor, list[int]]:
    found, sizes = torch.full((len(places.rows), VOCABULARY), torch.nan), []
    with torch.inference_mode():
        for wanted, logits in forward.at(places, *inputs(), cache, together):
            assert wanted.tolist() == sorted(wanted.tolist())
            found[wanted] = logits.float()
            sizes.append(len(wanted))
    return found, sizes


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of at most five places."""
    monkeypatch.setattr(transformers_output, "PIECE_BYTES", 5 * 4 * VOCABULARY)


# Wanted in no order, some rows more often than others, one place twice, and one row not at all.
PLACES = Places([2, 0, 0, 2, 2, 1, 2, 0, 2, 2], [6, 0, 6, 3, 5, 1, 2, 4, 6, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_wanted_places_are_those_of_all_places(family: str, small_pieces: None) -> None:
    model = make(family)
    forward = ForwardPass(model)
    with torch.inference_mode():
        whole = model(inputs()[0]).logits
    cache = growing_cache()
    found, sizes = gathered(forward, PLACES, cache=cache)
    message = changed("transformers", f"how {type(model).__name__} calls its output layer or its base model", DOOR)
    assert sizes == [5, 5], message
    torch.testing.assert_close(found, whole[PLACES.rows, PLACES.columns], rtol=1e-5, atol=1e-5, msg=message)
    assert cache.get_seq_length() == 7, "the base model should run once, however many pieces there are"
    with torch.inference_mode():
        torch.testing.assert_close(forward(*inputs()), whole[:, -1], rtol=1e-5, atol=1e-5, msg=message)


def test_the_output_layer_is_given_the_wanted_hidden_states_side_by_side() -> None:
    model = make("llama")
    forward = ForwardPass(model)
    shapes: list[tuple[list[int], bool]] = []

    def note(_: object, arguments: tuple[torch.Tensor], __: object) -> None:
        shapes.append((list(arguments[0].shape), arguments[0].is_contiguous()))

    hook = model.lm_head.register_forward_hook(note)
    gathered(forward, PLACES)
    with torch.inference_mode():
        forward(*inputs())
    hook.remove()
    assert shapes == [([1, 10, 32], True), ([4, 1, 32], True)], changed("transformers", "hooks before a layer", DOOR)


class Doubled(torch.nn.Module):
    """An output layer that treats the rows of a batch differently, as one with adapters of several particles does."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * torch.arange(1, len(x) + 1, dtype=x.dtype)[:, None, None]


def test_an_output_layer_that_is_not_linear_sees_every_row_equally_often(small_pieces: None) -> None:
    model = make("llama")
    model.lm_head = Doubled(model.lm_head)
    with torch.inference_mode():
        whole = model(inputs()[0]).logits
    found, sizes = gathered(ForwardPass(model), PLACES)
    torch.testing.assert_close(found, whole[PLACES.rows, PLACES.columns], rtol=1e-5, atol=1e-5)
    assert len(sizes) == 6, "row 2 is wanted in six places, and a piece holds one place of every row"


def test_places_that_belong_together_stay_together(small_pieces: None) -> None:
    rows, columns = [place % 3 for place in range(12)], [place // 3 for place in range(12)]
    for layer in ("linear", "other"):
        model = make("llama")
        if layer == "other":
            model.lm_head = Doubled(model.lm_head)
        _, sizes = gathered(ForwardPass(model), Places(rows, columns), together=3)
        assert sizes == [3, 3, 3, 3]


def by_weight_alone() -> Any:
    """A model that uses nothing but the weight of its output layer, so that no hook of the layer runs."""
    from transformers import LlamaForCausalLM
    from transformers.modeling_outputs import CausalLMOutput

    class ByWeightAlone(LlamaForCausalLM):
        def forward(
            self,
            input_ids: torch.Tensor | None = None,
            attention_mask: torch.Tensor | None = None,
            position_ids: torch.Tensor | None = None,
            **_: Any,
        ) -> Any:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)[0]
            return CausalLMOutput(logits=hidden @ self.lm_head.weight.T)

    return make("llama", ByWeightAlone)


@pytest.mark.filterwarnings("default")
def test_a_model_that_does_not_call_its_output_layer_is_read_by_all_its_logits(small_pieces: None) -> None:
    model = by_weight_alone()
    with torch.inference_mode():
        whole = model(inputs()[0]).logits
    with pytest.warns(UserWarning, match="makes logits of every token, also .* because its output layer"):
        forward = ForwardPass(model)
    found, _ = gathered(forward, PLACES)
    assert torch.equal(found, whole[PLACES.rows, PLACES.columns])
    with torch.inference_mode():
        assert torch.equal(forward(*inputs()), whole[:, -1])


def test_logits_that_depend_on_their_neighbours_are_made_all_at_once() -> None:
    """Post-processing along time: what the model says of a place changes with the places beside it."""
    model = make("llama")

    def smooth(_: object, __: object, output: Any) -> Any:
        output.logits = output.logits.cumsum(dim=1)
        return output

    model.register_forward_hook(smooth)
    with torch.inference_mode():
        whole = model(inputs()[0]).logits
    with pytest.warns(UserWarning, match="because its logits then differ by"):
        forward = ForwardPass(model)
    assert torch.equal(gathered(forward, PLACES)[0], whole[PLACES.rows, PLACES.columns])


def test_random_wishes_are_met_in_both_forms(small_pieces: None) -> None:
    draw = random.Random(0)
    plain, rowwise = make("gemma2"), make("gemma2")
    rowwise.lm_head = Doubled(rowwise.lm_head)
    for model in (plain, rowwise):
        forward = ForwardPass(model)
        with torch.inference_mode():
            whole = model(inputs()[0]).logits
        for _ in range(5):
            count = draw.randint(1, 20)
            places = Places(draw.choices(range(4), k=count), draw.choices(range(7), k=count))
            found, _ = gathered(forward, places)
            torch.testing.assert_close(found, whole[places.rows, places.columns], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "other"])
def test_what_is_summed_over_pieces_has_the_gradients_of_the_whole(family: str, small_pieces: None) -> None:
    """The base model runs once; a piece holds one place, and is run again on the way back."""
    model = make("llama" if family == "other" else family)
    if family == "other":
        model.lm_head = Doubled(model.lm_head)
    model.requires_grad_(True)
    labels = torch.tensor([(7 * place) % VOCABULARY for place in range(len(PLACES.rows))])
    whole = model(inputs()[0]).logits[PLACES.rows, PLACES.columns]
    torch.nn.functional.cross_entropy(whole, labels, reduction="sum").backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    output, calls, sizes = OutputLayer(model), [], []

    def call(_: int | None) -> Any:
        return model(input_ids=inputs()[0])

    def loss(which: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        sizes.append(len(which))
        return torch.nn.functional.cross_entropy(logits, labels[which], reduction="sum")

    with torch.no_grad():
        output.try_out(call, (4, 7), 1e-4)
    hook = model.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    total = output.summed(call, (4, 7), PLACES, loss, torch.device("cpu"))
    total.backward()
    hook.remove()
    assert len(calls) == 1
    assert max(sizes) <= (3 if family == "other" else 1)
    assert sum(sizes) == 2 * len(PLACES.rows), "every piece is made twice"
    torch.testing.assert_close(total, torch.nn.functional.cross_entropy(whole, labels, reduction="sum"))
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_few_places_are_summed_in_one_pass() -> None:
    model = make("llama")
    forward, calls = OutputLayer(model), []
    with torch.no_grad():
        forward.try_out(lambda _: model(input_ids=inputs()[0]), (4, 7), 1e-4)
        whole = model(inputs()[0]).logits[PLACES.rows, PLACES.columns]

    def call(_: int | None) -> Any:
        calls.append(1)
        return model(input_ids=inputs()[0])

    total = forward.summed(call, (4, 7), PLACES, lambda _, logits: logits.sum(), torch.device("cpu"))
    assert len(calls) == 1
    torch.testing.assert_close(total, whole.sum(), rtol=1e-4, atol=1e-4)
