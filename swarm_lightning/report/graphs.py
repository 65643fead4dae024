"""The part of a page on models that answer together: who answers whom, what each adds, how replies change on the way.

Source: arXiv:2502.04510, whose analyses of roles these are.
"""

from typing import TYPE_CHECKING

from swarm_lightning.experts.export.exported_file import GRAPH_FILE
from swarm_lightning.experts.export.graph_picture import picture
from swarm_lightning.experts.export.system import SystemFile, named, read_system
from swarm_lightning.report.examples import asked, filters
from swarm_lightning.report.figure import BLUE, Figure, lines_of, records, spec_of
from swarm_lightning.report.run import Run
from swarm_lightning.report.tables import counted, shortened, table_of, text_cell

if TYPE_CHECKING:
    import pandas

MODEL = "model_utility/model_"  # what the columns of the models' utilities begin with
# What becomes of an example on the way: its class, and how it is called.
KINDS = {
    "emerged": "mended on the way",  # the answer scores better than some reply before it, and as well as all
    "lost": "spoiled on the way",  # some reply before it scores better
    "differ": "other replies, same score",
    "same": "all reply the same",
}


def system_of(run: Run) -> SystemFile | None:
    """Return the best system of a search of graphs; None for other searches, and before there is one.

    Raises:
        InputError: If its file is damaged.
    """
    folder = run.best
    return read_system(folder) if folder is not None and (folder / GRAPH_FILE).is_file() else None


def who_answers_whom(run: Run) -> str:
    """Return the picture of the best system's graph, and a table of its nodes in the order in which they answer."""
    system = system_of(run)
    if system is None:
        return ""
    graph, names = system.graph, system.experts
    rows = []
    for node in graph.order:
        reads, told = named(graph.sources(node), names), named(graph.readers[node], names)
        rows.append([str(node), names[node], reads or "the question only", told or "nobody: this is the answer"])
    table = table_of(["node", "model", "reads the replies of", "is read by"], rows)
    note = '<p class="note">Replies flow along the arrows; the yellow node answers finally.</p>'
    return f'<h2>Who answers whom</h2>\n{note}<div class="scroll">{picture(graph, names)}</div>\n{table}'


def contributions(run: Run) -> Figure | None:
    """Draw every model's contribution over the iterations: the mean utility of the assignments that it took part in."""
    names = [str(name) for name in run.swarm.columns if str(name).startswith(MODEL)]
    experts = run.experts
    if not names or not run.swarm[names].notna().any(axis=None):
        return None
    data = run.swarm.melt(id_vars="iteration", value_vars=names, var_name="model", value_name="utility")
    places = data.model.str.removeprefix(MODEL).astype(int)
    data["model"] = [experts[place] if place < len(experts) else f"model {place}" for place in places]
    data = data[data.utility.notna()]
    spec = lines_of(data, "model", "contribution", legend={"columns": 5})
    note = (
        "The mean validation utility of the drawn assignments that a model took part in, weighted by how many nodes it "
        "had: what the search moves the models' weights by. Click the legend to choose."
    )
    return Figure("contributions", "Each model's contribution", note, data, spec)


def on_the_way(run: Run) -> Figure | None:
    """Draw what the replies of every node would have scored, in the order in which nodes answer."""
    nodes = run.nodes
    if nodes.empty or not nodes.score.notna().all():
        return None
    found = nodes.groupby(["level", "node"]).agg(score=("score", "mean"), model=("expert", "first")).reset_index()
    found = found.assign(name=[f"{row.node} {row.model}" for row in found.itertuples()], examples=nodes.id.nunique())
    y = {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 220}}
    spec = spec_of(
        data={"values": records(found)},
        mark={"type": "bar", "color": BLUE},
        height=24 * len(found) + 10,
        encoding={
            "y": y,
            "x": {"field": "score", "type": "quantitative", "title": "mean score of the node's own reply"},
            "tooltip": [{"field": name} for name in ("node", "model", "level", "score", "examples")],
        },
    )
    note = (
        f"Every node's reply, scored as if it were the answer, in the order in which nodes answer, on "
        f"{counted(int(nodes.id.nunique()), 'example')}. The last one is the answer."
    )
    return Figure("on_the_way", "How replies change on the way", note, found, spec)


def changed_replies(run: Run, room: int) -> str:
    """Return the replies of all nodes to the examples that were kept, those that changed on the way first.

    Args:
        run: A search of graphs.
        room: Characters that there is room for.
    """
    nodes = run.nodes
    if nodes.empty:
        return ""
    order = nodes[["level", "node", "expert"]].drop_duplicates().sort_values(["level", "node"])
    rows: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for _, own in nodes.groupby("id", sort=False):
        own = own.sort_values(["level", "node"])
        kind = _kind(own)
        first = own.iloc[0].to_dict()
        cells = [text_cell(asked(first)), *(text_cell(reply) for reply in own.reply), text_cell(first["gold"])]
        rows[kind].append(f'<tr class="{kind}"><td>{KINDS[kind]}</td>{"".join(cells)}</tr>')
    shown, used = list[str](), 0
    for text in (text for of_kind in rows.values() for text in of_kind):
        used += len(text)
        if used > room:
            break
        shown.append(text)
    heads = ["", "question", *(f"{row.node} {shortened(row.expert)}" for row in order.itertuples()), "gold"]
    head = "".join(f"<th>{name}</th>" for name in heads)
    boxes = filters({name: (kind, len(rows[kind])) for kind, name in KINDS.items() if rows[kind]}, (), "differ")
    return (
        f'{boxes}<div class="scroll"><table class="examples"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(shown)}</tbody></table></div>"
    )


OF_GRAPHS = (contributions, on_the_way)


def _kind(own: "pandas.DataFrame") -> str:
    """Say how the answer, the last of an example's replies, stands to those before it."""
    last, before = own.score.iloc[-1], own.score.iloc[:-1]
    if own.score.notna().all() and len(before):
        if last < before.max():
            return "lost"
        if last > before.min():
            return "emerged"
    return "differ" if own.reply.nunique() > 1 else "same"
