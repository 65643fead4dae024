"""Matrices that were decoded by hand, and what holds of any graph."""

from math import log

import pytest
import torch

from swarm_lightning.swarm.graphs import Decoding, Graph, chain, decode, star

Matrix = list[list[float]]
CHAIN: Matrix = [[0, 0.6, 0.2, 0.1], [0.2, 0, 0.8, 0.3], [0.5, 0.5, 0, 0.9], [0.1, 0.1, 0.1, 0]]
STAR: Matrix = [[0, 0.1, 0.1, 0.9], [0.1, 0, 0.1, 0.8], [0.2, 0.1, 0, 0.6], [0.1, 0.1, 0.1, 0]]
# Softmax of logarithms is a share of plain numbers: the end is 0 or 1 by softmax(log 3, log 6) = 1/3, 2/3.
TWO: Matrix = [[0, 1 / log(3)], [1 / log(6), 0]]
# The end is 2 (1 / 0.001 leaves nothing to the others). Out-degrees log 4 and log 6: node 0 by 2/5, node 1 by 3/5. What
# is placed second may go to both that are placed: 0 to 1 by 1/5 and to 2 by 4/5, 1 to 0 by 3/5 and to 2 by 2/5.
THREE: Matrix = [[0, 0, log(4)], [log(3), 0, log(2)], [0.0005, 0.0005, 0]]

DECODED: dict[str, tuple[Matrix, tuple[tuple[int, ...], ...]]] = {
    # Out-degrees 1.1, 0.4, 0.7: the end is 1; then 0 to 1; then 2, which has 0.3 for 0 and 0.4 for 1.
    "both to the middle": ([[0, 0.9, 0.2], [0.1, 0, 0.3], [0.3, 0.4, 0]], ((1,), (), (1,))),
    "two nodes, the second ends": ([[0, 0.6], [0.4, 0]], ((1,), ())),
    "two nodes, the first ends": ([[0, 0.2], [0.7, 0]], ((), (0,))),
    # 0.2, 1.3, 0.8: the end is 0; 1 to 0; 2 has 0.2 for 0 and 0.6 for 1.
    "a chain backwards": ([[0, 0.1, 0.1], [0.8, 0, 0.5], [0.2, 0.6, 0]], ((), (0,), (1,))),
    # 0.2, 1.0, 0.9: 1 comes before 2, so that it can't go there, whatever its 0.9 says.
    "not to a node that is placed later": ([[0, 0.1, 0.1], [0.1, 0, 0.9], [0.5, 0.4, 0]], ((), (0,), (0,))),
    # -0.2, 0.3, 0.9 with inverses -5, 3.3, 1.1: the end is 1. Then 2 to 1; 0 has -0.3 for 1 and 0.1 for 2.
    "a negative out-degree is no end": ([[0, -0.3, 0.1], [0.2, 0, 0.1], [0.5, 0.4, 0]], ((2,), (), (1,))),
    # -0.2, -0.5, -1 with inverses -5, -2, -1: the end is 2. Then 0 to 2; 1 has -0.3 for 0 and -0.2 for 2.
    "negative only": ([[0, -0.1, -0.1], [-0.3, 0, -0.2], [-0.4, -0.6, 0]], ((2,), (2,), ())),
    # 0, 0.1, 0.9: the inverse of 0 is above all others. Then 2 to 0; 1 has 0.04 for 0 and 0.06 for 2.
    "an out-degree of 0 is the end": ([[0, 0.5, -0.5], [0.04, 0, 0.06], [0.2, 0.7, 0]], ((), (2,), (0,))),
    # Without the diagonal 0.2 and 0.3.
    "the diagonal counts as 0": ([[5, 0.2], [0.3, 9]], ((), (0,))),
    # 1.1, 1.0, 0.9, 0.3: the end is 3; 0 to 3; 1 has 0.1 for 0 and 0.8 for 3; 2 has 0.2, 0.1 and 0.6.
    "a star": (STAR, ((3,), (3,), (3,), ())),
    # 0.9, 1.3, 1.9, 0.3: the end is 3; 2 to 3; 1 has 0.8 for 2 and 0.3 for 3; 0 has 0.6, 0.2 and 0.1.
    "a chain": (CHAIN, ((1,), (2,), (3,), ())),
    # 1.1, 0.2, 0.96, 1.3: the end is 1; 3 to 1; 0 has 0.3 for 1 and 0.6 for 3; 2 has 0.9 for 0.
    "a tree": (
        [[0, 0.3, 0.2, 0.6], [0.1, 0, 0, 0.1], [0.9, 0.05, 0, 0.01], [0.2, 0.7, 0.4, 0]],
        ((3,), (), (0,), (1,)),
    ),
    # All out-degrees are 1: the first node each time.
    "of equals the first": ([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], ((), (0,), (0,))),
    # 2001, 4000, 0.0002, whose inverse 5000 has no exponential in float64: the end is 2; 1 to 2; 0 has 2000 for 1.
    "numbers too large for an exponential": ([[0, 2000, 1], [1000, 0, 3000], [1e-4, 1e-4, 0]], ((1,), (2,), ())),
}


@pytest.mark.parametrize("name", DECODED)
def test_the_likeliest_graph_of_a_matrix(name: str) -> None:
    matrix, readers = DECODED[name]
    assert decode(torch.tensor(matrix, dtype=torch.float64)).readers == readers


@pytest.mark.parametrize(
    ("matrix", "edges", "readers"),
    [
        # 2 finds 3 placed only; 1 has 0.8 for 2 and 0.3 for 3; 0 has 0.6 for 1 and 0.2 for 2.
        (CHAIN, 2, ((1, 2), (2, 3), (3,), ())),
        # 0 finds 3 only; 1 has 0.8 for 3 and 0.1 for 0; 2 has 0.6 for 3, 0.2 for 0 and 0.1 for 1.
        (STAR, 3, ((3,), (3, 0), (3, 0, 1), ())),
    ],
)
def test_several_edges_go_to_the_likeliest_placed_nodes(
    matrix: Matrix, edges: int, readers: tuple[tuple[int, ...], ...]
) -> None:
    assert decode(torch.tensor(matrix), edges=edges).readers == readers


@pytest.mark.parametrize(
    ("matrix", "top_p", "edges", "numbers", "readers"),
    [
        # The likeliest comes first: node 1 up to 2/3, node 0 above.
        (TWO, 1.0, 1, [0.5, 0, 0], ((1,), ())),
        (TWO, 1.0, 1, [0.7, 0, 0], ((), (0,))),
        # 2/3 is above 0.6: node 1 alone is left to draw.
        (TWO, 0.6, 1, [0.99, 0, 0], ((1,), ())),
        # 0.65 is above 3/5, so node 0 comes before 1; for 1, node 0 up to 3/5 and node 2 above.
        (THREE, 1.0, 1, [0.5, 0.65, 0, 0.3, 0.59], ((2,), (0,), ())),
        (THREE, 1.0, 1, [0.5, 0.65, 0, 0.3, 0.61], ((2,), (2,), ())),
        # The second edge goes to what is left.
        (THREE, 1.0, 2, [0.5, 0.65, 0, 0.3, 0.59, 0], ((2,), (0, 2), ())),
        (THREE, 1.0, 2, [0.5, 0.65, 0, 0.3, 0.61, 0], ((2,), (2, 0), ())),
        # 3/5 is above 0.55, so 1 comes first whatever is drawn; then 4/5 for 2.
        (THREE, 0.55, 1, [0.99, 0.99, 0.99, 0.99, 0.99], ((2,), (2,), ())),
    ],
)
def test_above_top_p_0_the_likeliest_nodes_are_drawn_by_their_shares(
    matrix: Matrix, top_p: float, edges: int, numbers: list[float], readers: tuple[tuple[int, ...], ...]
) -> None:
    assert decode(torch.tensor(matrix, dtype=torch.float64), top_p, edges, numbers).readers == readers


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(edges=2), Decoding(top_p=0.7), Decoding(1.0, 3)])
def test_any_matrix_makes_a_graph_that_flows_into_one_end(decoding: Decoding) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        matrix = torch.randn(6, 6, generator=generator)
        numbers = torch.rand(decoding.numbers(6), generator=generator).tolist()
        graph = decoding.graph(matrix, numbers)
        assert [node for node, readers in enumerate(graph.readers) if not readers] == [graph.end]
        place = {node: level for level, nodes in enumerate(graph.levels) for node in nodes}
        assert sorted(place) == list(range(6))
        assert all(place[node] < place[reader] for node in place for reader in graph.readers[node])
        assert graph.levels[-1] == (graph.end,)
        assert all(len(set(readers)) == len(readers) <= decoding.edges for readers in graph.readers)


def test_a_node_reads_in_the_order_of_the_nodes() -> None:
    graph = Graph(((3,), (0, 3), (1,), ()))
    assert graph.sources(3) == (0, 1)
    assert graph.levels == ((2,), (1,), (0,), (3,))


def test_fixed_graphs_ask_nothing_of_a_matrix() -> None:
    matrix = torch.rand(4, 4)
    assert Decoding(fixed="chain").graph(matrix) == chain(4) == Graph(((1,), (2,), (3,), ()))
    assert Decoding(fixed="star").graph(matrix) == star(4) == Graph(((3,), (3,), (3,), ()))


def test_what_is_no_matrix_of_nodes_is_refused() -> None:
    for matrix, named in ((torch.zeros(1, 1), r"\[1, 1\]"), (torch.zeros(2, 3), r"\[2, 3\]")):
        with pytest.raises(ValueError, match=named):
            decode(matrix)
    with pytest.raises(ValueError, match="finite"):
        decode(torch.tensor([[0, torch.nan], [1.0, 0]]))


@pytest.mark.parametrize(
    ("setting", "value"), [("top_p", 1.5), ("top_p", -0.1), ("edges", 0), ("edges", True), ("fixed", "ring")]
)
def test_settings_that_can_not_be_meant_are_refused(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"graphs.decoding.{setting}"):
        Decoding(**{setting: value})  # type: ignore[arg-type]
