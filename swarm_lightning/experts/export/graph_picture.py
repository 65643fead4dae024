"""A picture of a graph of models as SVG: nodes of a level stand below each other, and arrows go to their readers."""

from collections.abc import Sequence
from html import escape

from swarm_lightning.swarm.graphs import Graph

WIDTH, HEIGHT, RADIUS, MARGIN = 150, 64, 16, 24
LONGEST = 20  # characters of a name


def picture(graph: Graph, names: Sequence[str]) -> str:
    """Return a graph as SVG.

    Args:
        graph: Who answers whom.
        names: What stands below every node.

    >>> picture(Graph(((1,), ())), ["scribe", "a < b"]).count("<circle"), "a &lt; b" in picture(
    ...     Graph(((1,), ())), ["scribe", "a < b"]
    ... )
    (2, True)
    """
    levels = graph.levels
    tallest = max(map(len, levels))
    places = {}
    for column, nodes in enumerate(levels):
        top = (tallest - len(nodes)) / 2
        for row, node in enumerate(nodes):
            places[node] = (MARGIN + WIDTH * (column + 0.5), MARGIN + HEIGHT * (top + row + 0.4))
    arrows = [_arrow(places[node], places[reader]) for node, readers in enumerate(graph.readers) for reader in readers]
    circles = [_node(node, place, names[node], node == graph.end) for node, place in sorted(places.items())]
    width, height = 2 * MARGIN + WIDTH * len(levels), 2 * MARGIN + HEIGHT * tallest
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" text-anchor="middle">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>\n' + "\n".join([*arrows, *circles]) + "\n</svg>\n"
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    across, down = end[0] - start[0], end[1] - start[1]
    share = RADIUS / (across**2 + down**2) ** 0.5
    x1, y1, x2, y2 = start[0] + share * across, start[1] + share * down, end[0] - share * across, end[1] - share * down
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#666" marker-end="url(#tip)"/>'


def _node(node: int, place: tuple[float, float], name: str, end: bool) -> str:
    x, y = place
    shown = escape(name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}...")
    fill = "#f4c95d" if end else "#dce6f2"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" fill="{fill}" stroke="#666"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}">{node}</text>'
        f'<text x="{x:.1f}" y="{y + RADIUS + 13:.1f}" fill="currentColor">{shown}</text>'
    )
