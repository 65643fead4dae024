"""Settings of the engine that evaluates particles: they change how fast a search goes, never where it goes."""

from dataclasses import dataclass

from swarm_lightning.errors import InputError


@dataclass(frozen=True)
class EngineSettings:
    """How particles are evaluated; none of this changes what a search finds, but for the last digits of a backend.

    Attributes:
        rows: Rows of one forward pass at most, one row being one prompt of one particle; null: from the free memory.
        particles: Particles in one forward pass at most; null: all.
        exact_stop: Whether a particle's evaluation ends when the rest can't change what becomes of it: its personal
            best, and the global worst.
        row_stops: Whether a reply ends when the rest can't change its score.
        shared_prefix: Whether what all prompts begin with (an in-context prompt, a system prompt) is computed once per
            particle.
        lots: Pieces into which a round of questions is cut for the ranks, at most: each has 64 pairs of a particle and
            an example, or more. null: 4, or for more than 4 ranks the next power of two, and with many pairs so many
            that a lot has 8 forward passes at most. A rank beyond this number has nothing to do. Scores are kept lot by
            lot. With the same `rows` and `lots`, any number of ranks makes the same batches.
        chunk: With exact_stop, examples that a particle is asked at a time, at least; null: so many that all undecided
            particles together are asked 128. Fewer leave more unasked, in more and smaller batches.
        backend: What runs the model, by its name in the registry of runners: `torch` or `vllm`.
        models: Of a token swarm (`model.mixture`), models in memory beside the base at most; null: as many as fit. More
            take turns.
        tensor_parallel: With vllm, devices that share one engine of a rank.
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
