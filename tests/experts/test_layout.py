import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.experts.layout import Layout

TENSORS = {"b": torch.tensor([[3.0, 4.0], [5.0, 6.0]]), "a": torch.tensor([[1.0], [2.0]])}


def test_tensors_stand_in_the_order_of_their_names() -> None:
    layout = Layout.of(TENSORS)
    assert layout.names == ("a", "b")
    assert layout.shapes == ((2, 1), (2, 2))
    assert layout.size == 6
    assert layout.flatten(TENSORS).tolist() == [1, 2, 3, 4, 5, 6]


def test_unflatten_gives_back_what_was_flattened() -> None:
    layout = Layout.of(TENSORS)
    for name, tensor in layout.unflatten(layout.flatten(TENSORS)).items():
        assert torch.equal(tensor, TENSORS[name])


def test_unflattened_tensors_are_views_into_the_vector() -> None:
    vector = torch.zeros(6)
    Layout.of(TENSORS).unflatten(vector)["b"][0, 1] = 7
    assert vector.tolist() == [0, 0, 0, 7, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_exactly(dtype: torch.dtype) -> None:
    # 1 + 2**-7 is the finest step above 1 that bfloat16 holds; float16 holds it too.
    vector = Layout(("a",), ((2,),)).flatten({"a": torch.tensor([1.0078125, -3.0], dtype=dtype)})
    assert vector.dtype == torch.float32
    assert vector.tolist() == [1.0078125, -3.0]


def test_flatten_writes_into_the_given_vector() -> None:
    rows = torch.zeros(2, 6)
    Layout.of(TENSORS).flatten(TENSORS, out=rows[1])
    assert rows.tolist() == [[0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"a": TENSORS["a"]}, "missing.*'b'"),
        (TENSORS | {"c": torch.zeros(1)}, "more.*'c'"),
        (TENSORS | {"a": torch.zeros(1, 2)}, r"shape \[2, 1\] for 'a', but got \[1, 2\]"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tensors: dict[str, torch.Tensor], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Layout.of(TENSORS).flatten(tensors)


@pytest.mark.parametrize("shape", [(5,), (1, 6), ()])
def test_a_vector_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected a vector of shape \[6\]"):
        Layout.of(TENSORS).unflatten(torch.zeros(shape))


def test_unstacked_tensors_are_views_into_the_vectors_with_their_dimension_in_front() -> None:
    layout = Layout.of(TENSORS)
    vectors = torch.arange(18.0).view(3, 6)
    tensors = layout.unstack(vectors)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {"a": (3, 2, 1), "b": (3, 2, 2)}
    for particle in range(3):
        for name, tensor in layout.unflatten(vectors[particle]).items():
            assert torch.equal(tensors[name][particle], tensor)
    tensors["b"][2, 0, 1] = 99
    assert vectors[2].tolist() == [12, 13, 14, 99, 16, 17]


def test_rows_that_are_no_neighbours_are_unstacked_without_a_copy() -> None:
    vectors = torch.arange(24.0).view(4, 6)
    Layout.of(TENSORS).unstack(vectors[::2])["a"].zero_()
    assert vectors[:, :2].tolist() == [[0, 0], [6, 7], [0, 0], [18, 19]]


@pytest.mark.parametrize("shape", [(6,), (2, 5), (1, 2, 6), ()])
def test_vectors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected vectors of shape \[P, 6\]"):
        Layout.of(TENSORS).unstack(torch.zeros(shape))
