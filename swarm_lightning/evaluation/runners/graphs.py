"""Systems of models that answer along a graph: each node reads the replies of others, and the end's reply counts.

The nodes of all systems and all examples that stand on the same level are asked together, by a runner of the models
themselves. What several systems would ask a model alike, such as a node that reads nothing, is asked once. Replies of
objectives that sample are drawn by noise of the system, the example and the node.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Runner, Session, passes_of
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.systems.messages import Instructions, Message, opening_of_user
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided
from swarm_lightning.swarm.graphs import System
from swarm_lightning.vectors import Vector, Vectors

NODES = 1 << 32  # noise of nodes has numbers that no particle has


class GraphRunner:
    """Runs systems of models; follows the protocol `Runner`.

    A candidate is a `System`; all of them are given as a list.

    Attributes:
        tokenizer: The base model's.
        settings: How batches are made.
        instructions: What nodes are told.
        at_once: None: any number of systems is asked together.
        replies: Replies of nodes that models were asked for so far; those that were known already do not count.
    """

    at_once: int | None = None

    def __init__(self, models: Runner, instructions: Instructions) -> None:
        """Say what answers.

        Args:
            models: Runs the models by their weights.
            instructions: What nodes are told.
        """
        self.tokenizer, self.settings, self.instructions = models.tokenizer, models.settings, instructions
        self.replies = 0
        self._models = models
        self._cut_before = False

    @property
    def positions(self) -> int | None:
        """Tokens that the base reads at most; None where its config does not say."""
        return self._models.positions

    @property
    def generated(self) -> int:
        """Tokens generated so far, by all nodes."""
        return self._models.generated

    @property
    def passes(self) -> int | None:
        """Forward passes so far, of all models; None where what runs them can't count."""
        return passes_of(self._models)

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens every prompt has with the longest instruction, before any replies."""
        return self._models.lengths([Message(self.instructions.longest, (), prompt).text for prompt in prompts])

    def rows_at_once(self, tokens: int) -> int:
        """Return how many rows of this many tokens are run together, each of one node."""
        return self._models.rows_at_once(tokens)

    @contextmanager
    def session(self, candidates: Sequence[System] | None, prompts: Mapping[str, Sequence[str]]) -> Iterator[Session]:
        """Take up systems; see `Runner.session`."""
        if candidates is None:
            with self._models.session(None, prompts) as base:
                yield base
            return
        for one in candidates:
            if not isinstance(one, System):
                raise ValueError(f"Expected systems of models, but got {type(one).__name__}.")
        weights, first = _together(candidates)
        beginnings = {
            task: [Message(self.instructions.first, (), text).text for text in texts] for task, texts in prompts.items()
        }
        with self._models.session(weights, beginnings) as session:
            yield GraphSession(self, session, candidates, first)

    def fitted(self, messages: Sequence[Message], settings: GenerationSettings) -> list[str]:
        """Return the texts of messages, with replies cut where the model has no room for them.

        Args:
            messages: What nodes are told.
            settings: How their own replies are generated.
        """
        texts = [message.text for message in messages]
        reading = [place for place, message in enumerate(messages) if message.replies]
        if self.positions is None or not reading:
            return texts
        room = self.positions - settings.max_new_tokens
        lengths = self._models.lengths([texts[place] for place in reading])
        for place, length in zip(reading, lengths, strict=True):
            if length > room:
                self._tell_of_cuts(settings)
                texts[place] = messages[place].cut(self.tokenizer, room, self._models.lengths).text
        return texts

    def _tell_of_cuts(self, settings: GenerationSettings) -> None:
        """Say once that replies are cut, and how."""
        if self._cut_before:
            return
        self._cut_before = True
        rank_zero_warn(
            f"Replies that a node reads do not fit into the model's {self.positions} positions with the question and "
            f"{settings.max_new_tokens} new tokens: they are cut to the same length each, and their ends kept. Lower "
            "max_new_tokens, or shorten model.graphs.instructions, to have them whole.",
            stacklevel=2,
        )


class GraphSession:
    """Systems of one evaluation; follows the protocol `Session`.

    Attributes:
        models: Nodes of the largest system.
    """

    def __init__(
        self, runner: GraphRunner, session: Session, systems: Sequence[System], first: Mapping[int, int]
    ) -> None:
        """Take systems.

        Args:
            runner: Whose session it is.
            session: Lends the models.
            systems: What answers.
            first: For weights of systems, by identity, where their first model stands in the session.
        """
        self.models = max((len(system.assignment) for system in systems), default=1)
        self.runner, self.session, self.systems = runner, session, systems
        self.device = session.rows([], [], RowNoise(0, (), ()), True).device
        # Replies by who was told what; and whether its numbers broke.
        self.known: dict[Any, tuple[str, bool]] = {}
        self._first = first

    def model(self, system: int, node: int) -> int:
        """Return where the model of a node stands in the session of models."""
        one = self.systems[system]
        return self._first[id(one.weights)] + one.assignment[node]

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> "GraphRows":
        """Lend systems for one call; see `Session.rows`."""
        return GraphRows(self, candidates, examples, noise, whole_replies)

    def forget(self) -> None:
        """Let go of what models keep between calls; replies are few bytes, and stay."""
        self.session.forget()


class GraphRows:
    """Systems as a language model, row by row; follows the protocol `Rows`.

    Attributes:
        tokenizer: The base model's.
        device: Where the base model computes.
        broken: Rows for which a node's model gave NaN or infinity.
        heard: For every row that was asked the replies of all nodes, by node, one mapping for each turn.
    """

    def __init__(
        self,
        session: GraphSession,
        owners: Sequence[int],
        examples: Sequence[Example],
        noise: RowNoise,
        whole_replies: bool,
    ) -> None:
        """Say which system answers which row; see `Session.rows`."""
        self.tokenizer, self.device = session.runner.tokenizer, session.device
        self.broken: set[int] = set()
        self.heard: dict[int, list[dict[int, str]]] = {}
        self._session, self._noise, self._whole = session, noise, whole_replies
        self._owners, self._examples = tuple(owners), tuple(examples)
        self._rows = tuple(range(len(owners)))
        self._turns = 0

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt along the graph of its row; see `LanguageModel.generate`."""
        if len(prompts) != len(self._owners):
            raise InputError(
                f"Expected one prompt for each of the {len(self._owners)} examples of the call, but the objective gave "
                f"{len(prompts)}. Prompt i must be that of example i."
            )
        self._turns += 1
        opening = "" if add_special_tokens else opening_of_user(self.tokenizer)
        graphs = [self._session.systems[owner].graph for owner in self._owners]
        levels = [graph.levels for graph in graphs]
        replies: list[dict[int, str]] = [{} for _ in graphs]
        for height in range(max(map(len, levels), default=0)):
            nodes = [(row, node) for row, own in enumerate(levels) if height < len(own) for node in own[height]]
            messages = [self._message(row, node, prompts[row], replies[row], opening) for row, node in nodes]
            told = self._session.runner.fitted(messages, settings)
            found = self._ask(nodes, told, settings, add_special_tokens, decided)
            for (row, node), reply in zip(nodes, found, strict=True):
                replies[row][node] = reply
        for own, given in zip(self._rows, replies, strict=True):
            self.heard.setdefault(own, []).append(given)
        return [given[graph.end] for graph, given in zip(graphs, replies, strict=True)]

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        """Refuse: nodes tell each other replies.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "Expected an objective whose models reply with text, because with model.graphs they read each other's "
            "replies, but this one asks for likelihoods. Use another objective, or method: generate."
        )

    def select(self, places: Sequence[int]) -> "GraphRows":
        """Return the same systems for some of the rows; what breaks there is noted here, by this model's row."""
        selected = copy.copy(self)
        selected._rows = tuple(self._rows[place] for place in places)
        selected._owners = tuple(self._owners[place] for place in places)
        selected._examples = tuple(self._examples[place] for place in places)
        selected._noise = self._noise.select(places)
        return selected

    def _message(self, row: int, node: int, prompt: str, replies: Mapping[int, str], opening: str) -> Message:
        """Return what a node is told; a model alone is asked as it is without any graph."""
        graph, texts = self._session.systems[self._owners[row]].graph, self._session.runner.instructions
        if len(graph.readers) == 1:
            return Message("", (), prompt)
        sources = graph.sources(node)
        instruction = texts.first if not sources else texts.inner if graph.readers[node] else texts.last
        return Message(instruction, tuple(replies[source] for source in sources), prompt, texts.response, opening)

    def _ask(
        self,
        nodes: Sequence[tuple[int, int]],
        told: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool,
        decided: RowDecided | None,
    ) -> list[str]:
        """Have nodes of one level reply, and each of those that are told alike once."""
        session = self._session
        keys = [
            self._key(row, node, text, settings, add_special_tokens, decided is not None)
            for (row, node), text in zip(nodes, told, strict=True)
        ]
        places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in session.known}
        asked = sorted(places.values())
        if asked:
            ends = [self._is_end(*nodes[place]) for place in asked]

            def settled(place: int, text: str) -> bool:
                assert decided is not None
                return ends[place] and decided(nodes[asked[place]][0], text)

            rows = [nodes[place][0] for place in asked]
            models = [session.model(self._owners[nodes[place][0]], nodes[place][1]) for place in asked]
            examples = tuple(self._examples[row] for row in rows)
            numbers = tuple(self._number(*nodes[place]) for place in asked)
            noise = RowNoise(self._noise.seed, numbers, examples)
            model = session.session.rows(models, examples, noise, self._whole)
            texts = [told[place] for place in asked]
            found = model.generate(texts, settings, add_special_tokens, None if decided is None else settled)
            session.runner.replies += len(asked)
            for row, (place, reply) in enumerate(zip(asked, found, strict=True)):
                session.known[keys[place]] = (reply, row in model.broken)
        self.broken.update(self._rows[row] for (row, _), key in zip(nodes, keys, strict=True) if session.known[key][1])
        return [session.known[key][0] for key in keys]

    def _key(
        self, row: int, node: int, text: str, settings: GenerationSettings, special: bool, ends_early: bool
    ) -> tuple[Any, ...]:
        """Return what a node's reply depends on."""
        key: tuple[Any, ...] = (self._session.model(self._owners[row], node), text, settings, special)
        if ends_early and not self._whole and self._is_end(row, node):  # by the example's own right answer
            key += (id(self._examples[row]),)
        return (*key, self._number(row, node), self._examples[row].fingerprint) if settings.sampled else key

    def _is_end(self, row: int, node: int) -> bool:
        return not self._session.systems[self._owners[row]].graph.readers[node]

    def _number(self, row: int, node: int) -> int:
        """Return the number of a node's noise: that of its particle where it stands alone, else one of its own."""
        nodes, number = len(self._session.systems[self._owners[row]].assignment), self._noise.particles[row]
        further = (self._turns - 1) * nodes + (node + 1 if nodes > 1 else 0)
        return number + NODES * further


def _together(systems: Sequence[System]) -> tuple[Vectors, dict[int, int]]:
    """Return the models of all systems, each once, and where the first one of each system's weights stands."""
    weights = {id(system.weights): system.weights for system in systems}
    if len(weights) == 1:
        ((key, only),) = weights.items()
        return only, {key: 0}
    vectors: list[Vector] = []
    first: dict[int, int] = {}
    for key, some in weights.items():
        first[key] = len(vectors)
        vectors += list(some)
    return vectors, first
