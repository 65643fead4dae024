"""Writes and reads the folder of a system of models: `graph.json` with who answers whom, its picture, and the models.

Each model lies in a folder of its own, of the kind of the experts; models of any architecture, which no search moves,
stay where they are, and are named. What answers along the graph is `swarm_lightning.load`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_lightning.experts.adapters import CARD_FILE
from swarm_lightning.experts.export.adapter import new_folder
from swarm_lightning.experts.export.exported_file import GRAPH_FILE, lasting, read_description, write_description
from swarm_lightning.experts.export.graph_picture import picture
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.swarm.graphs import Graph, System
from swarm_lightning.vectors import Vector

PICTURE_FILE, MODELS = "graph.svg", "models"


@dataclass(frozen=True)
class SystemFile:
    """What the file of a system says.

    Attributes:
        base: Folder or hub id of the base.
        dtype: Its data type.
        models: The folder of every model, within that of the system; of any models the folder or hub id of each.
        fingerprint: Of any models when it was written; None where they are within the folder.
        assignment: The place among them of the model of every node.
        experts: Name of the expert that the model of every node began as.
        graph: Who answers whom.
        instructions: What nodes are told, by name.
        asking: How a question is put and a reply generated, by name; empty where the objective has its own way.
    """

    base: str
    dtype: str
    models: tuple[str, ...]
    fingerprint: str | None
    assignment: tuple[int, ...]
    experts: tuple[str, ...]
    graph: Graph
    instructions: Mapping[str, str]
    asking: Mapping[str, Any]


def names_of_nodes(system: System, pool: Pool) -> list[str]:
    """Return the name of the expert that each node's model began as.

    Args:
        system: What answers.
        pool: The experts.
    """
    return [pool.names[model] for model in system.assignment]


def named(nodes: Iterable[int], names: Sequence[str]) -> str:
    """Return nodes with the names of their models.

    Args:
        nodes: Which.
        names: One for each node of the graph.

    >>> named([2, 0], ["scribe", "fisher", "farmer"])
    '2 (farmer), 0 (scribe)'
    """
    return ", ".join(f"{node} ({names[node]})" for node in nodes)


def who_answers(system: System, pool: Pool) -> list[str]:
    """Say in a line for each node, in the order in which they answer, what it reads.

    Args:
        system: What answers.
        pool: The experts.
    """
    names, graph = names_of_nodes(system, pool), system.graph
    lines = []
    for node in graph.order:
        sources = named(graph.sources(node), names)
        reads = f"reads {sources}" if sources else "reads the question only"
        lines.append(f"{node} ({names[node]}): {reads}{', and answers finally' if node == graph.end else ''}")
    return lines


def export_system(
    folder: Path,
    system: System,
    pool: Pool,
    write_model: Callable[[Path, Vector, str], object],
    base: str,
    dtype: str,
    instructions: Mapping[str, str],
    asking: Mapping[str, Any],
    card: str,
    overwrite: bool = False,
) -> Path:
    """Write a system with the models that stand in it.

    Args:
        folder: Where it goes; its parents are made.
        system: What answers.
        pool: The experts that its models began as.
        write_model: Writes the weights of a model to a folder, and says of which expert it is.
        base: Folder or hub id of the base.
        dtype: Data type of the base.
        instructions: What nodes are told, by name.
        asking: How a question is put and a reply generated; empty where that can't be said.
        card: Content of README.md.
        overwrite: Whether an existing folder may be replaced. It stays as it was until the new one is complete.

    Returns:
        The folder.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
    """
    names, graph = names_of_nodes(system, pool), system.graph
    stay = bool(pool.standings)
    used = sorted(set(system.assignment))
    places = {model: lasting(pool.sources[model]) if stay else f"{MODELS}/{_folder_of(pool, model)}" for model in used}
    content = {
        "base": lasting(base),
        "dtype": dtype,
        "nodes": [
            {
                "node": node,
                "model": places[system.assignment[node]],
                "expert": names[node],
                "reads": list(graph.sources(node)),
                "read_by": list(graph.readers[node]),
            }
            for node in range(len(names))
        ],
        "end": graph.end,
        **({"fingerprint": pool.fingerprint} if stay else {}),
        "instructions": dict(instructions),
        "asking": dict(asking),
    }
    with new_folder(folder, overwrite, "system") as partial:
        for model in () if stay else used:
            write_model(partial / places[model], system.weights[model], pool.names[model])
        write_description(partial / GRAPH_FILE, folder, "heterogeneous swarm", content)
        (partial / PICTURE_FILE).write_text(picture(graph, names), encoding="utf-8")
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
    return folder


def read_system(folder: Path) -> SystemFile:
    """Read the file of a system.

    Args:
        folder: With `graph.json`.

    Raises:
        InputError: If it is not there, or not what `export_system` writes.
    """
    return read_description(folder / GRAPH_FILE, "system", "model.graphs", _read)


def _read(content: dict[str, Any]) -> SystemFile:
    nodes: list[dict[str, Any]] = content["nodes"]
    models = tuple(dict.fromkeys(str(node["model"]) for node in nodes))
    graph = Graph(tuple(tuple(int(reader) for reader in node["read_by"]) for node in nodes))
    if sum(not readers for readers in graph.readers) != 1 or len(graph.order) != len(nodes):
        raise ValueError("nodes that do not flow into one end")
    if not {reader for readers in graph.readers for reader in readers} <= set(range(len(nodes))):
        raise ValueError("nodes that are read by others than these")
    if [list(graph.sources(node)) for node in range(len(nodes))] != [node["reads"] for node in nodes]:
        raise ValueError("nodes whose reads and read_by differ")
    if graph.end != content["end"]:
        raise ValueError(f"the end {content['end']!r}, but nobody reads node {graph.end}")
    return SystemFile(
        str(content["base"]),
        str(content["dtype"]),
        models,
        content.get("fingerprint"),
        tuple(models.index(str(node["model"])) for node in nodes),
        tuple(str(node["expert"]) for node in nodes),
        graph,
        dict(content["instructions"]),
        dict(content["asking"]),
    )


def _folder_of(pool: Pool, model: int) -> str:
    """Return the name of a model's folder: its place first, because names may hold anything."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in pool.names[model])
    return f"{model:02d}_{plain}"[:60]
