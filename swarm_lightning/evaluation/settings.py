"""Settings of what evaluates particles: of its engine, and of models that answer along graphs.

Those of the engine change how fast a search goes, never where it goes.
"""

from dataclasses import dataclass, field

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.swarm.graphs import Decoding


@dataclass(frozen=True)
class EngineSettings:
    """How particles are evaluated; none of this changes what a search finds, but for the last digits of a backend.

    Attributes:
        rows: Maximum number of rows per forward pass, a row being one prompt of one particle; null: derived from the
            free memory.
        particles: Maximum number of particles per forward pass; null: all.
        exact_stop: Whether a particle's evaluation ends as soon as the remaining examples can't affect its personal
            best or the global worst.
        row_stops: Whether a reply ends as soon as the remaining tokens can't change its score.
        shared_prefix: Whether a common beginning of all prompts (an in-context prompt, a system prompt) is computed
            only once per particle.
        lots: Maximum number of pieces (lots) into which a round of evaluations is divided among the ranks; each has at
            least 64 pairs of a particle and an example. null: 4, or the next power of two for more than 4 ranks, and
            more if a lot would exceed 8 forward passes. Ranks beyond this number are idle. Scores are saved lot by lot.
            With the same `rows` and `lots`, any number of ranks forms the same batches.
        chunk: With exact_stop, minimum number of examples that a particle is evaluated on at a time; null: enough for
            128 evaluations over all undecided particles. Smaller chunks skip more, but in more and smaller batches.
        backend: Which engine runs the model: `torch` or `vllm`.
        models: For a token swarm (`model.mixture`), maximum number of models in memory beside the base; null: as many
            as fit. The others take turns.
        tensor_parallel: With vllm, number of devices that share the engine of a rank.
    """

    rows: int | None = None
    particles: int | None = None
    exact_stop: bool = True
    row_stops: bool = True
    shared_prefix: bool = True
    lots: int | None = None
    chunk: int | None = None
    backend: str = "torch"
    models: int | None = None
    tensor_parallel: int = 1

    def __post_init__(self) -> None:
        """Refuse values that can't be meant."""
        for name in ("rows", "particles", "lots", "chunk", "models", "tensor_parallel"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"Expected engine.{name} to be a whole number of 1 or more, but got {value!r}.")
        if self.backend == "torch" and self.tensor_parallel > 1:
            raise InputError(
                f"Expected engine.tensor_parallel to be 1 with backend: torch, which runs on one device a rank, "
                f"but got {self.tensor_parallel}. Leave it out, or set model.engine.backend to vllm."
            )


@dataclass(frozen=True)
class GraphSettings:
    """How models answer together along a graph.

    Attributes:
        decoding: How a matrix becomes a graph.
        instructions: What nodes are told beside the question.
        any_models: Whether experts may be any causal language models: adapters and whole models alike, of any
            architecture and vocabulary. Their weights stay as they are, so the optimizer needs `moves: roles`.
    """

    decoding: Decoding = field(default_factory=Decoding)
    instructions: Instructions = field(default_factory=Instructions)
    any_models: bool = False
