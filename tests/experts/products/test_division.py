"""Experts divided into groups: the same names whatever they are, and only what there is."""

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.products.division import Division
from swarm_lightning.experts.products.products import GRANULARITIES, Granularity

NAMES = (
    "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.bias", "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "scale",
)  # fmt: skip
LAYOUT = Layout(NAMES, ((2,),) * len(NAMES))


@pytest.mark.parametrize(
    ("granularity", "names", "tensors"),
    [
        ("expert", ("all",), (0,) * 7),
        (
            "layer",
            ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "scale"),
            (0, 1, 1, 1, 2, 3, 4),
        ),
        (
            "module",
            (
                "model.embed_tokens", "model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj",
                "model.layers.1.mlp.up_proj", "model.norm", "scale",
            ),
            (0, 1, 1, 2, 3, 4, 5),
        ),
    ],
)  # fmt: skip
def test_tensors_of_a_module_and_modules_of_a_layer_go_together(
    granularity: Granularity, names: tuple[str, ...], tensors: tuple[int, ...]
) -> None:
    division = Division.of_tensors(LAYOUT, granularity)
    assert division.names == names
    assert division.tensors == tensors
    assert division.weighed is None


@pytest.mark.parametrize("granularity", ["half_block", "component"])
def test_whole_models_have_no_parts_of_products(granularity: Granularity) -> None:
    with pytest.raises(InputError, match=f"expert, layer, module for full checkpoints, but got '{granularity}'"):
        Division.of_tensors(LAYOUT, granularity)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_adapters_are_divided_as_their_products_are(pool: ExpertPool, granularity: Granularity) -> None:
    division = pool.divide(granularity)
    assert division.weighed is not None
    assert division.names == division.weighed.groups.names
    assert division.weighed.products.names == pool.names
    assert division.tensors == ()
