"""What answers questions for the evaluator: a runner takes up candidates and lends each of them as a language model.

The evaluator decides which candidate is asked which example and when; the objective, what is asked and how a reply is
scored. A runner knows what a candidate is, owns the model or models behind it, and makes batches. So the journal, the
exact stop, lots, ranks and sampling work with any runner. Those of this package are in `runners/`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.mixtures.mixture import MixtureKind
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings, GraphSettings
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.products.division import GroupedProducts
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.objectives.protocol import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Loaded:
    """What a runner of particles is made from.

    Attributes:
        resident: The base as the model that becomes particles: by adapters, or by all of its weights. What it takes up
            is what candidates of the experts' form are.
        tokenizer: The base's.
        settings: How candidates are evaluated.
        pool: The experts.
        base: Folder or hub id of the base.
        trust_remote_code: Whether code that comes with the base may run.
        dtype: Data type that models are loaded in.
        weighed: The products of adapters of which candidates are coefficients; None where they are none.
        mixture: What mixing numbers multiply; None where nothing is mixed.
        graphs: How models answer along graphs; None where they answer alone.
    """

    resident: ResidentModel
    tokenizer: "PreTrainedTokenizerBase"
    settings: EngineSettings
    pool: Pool
    base: str
    trust_remote_code: bool
    dtype: str = "auto"
    weighed: GroupedProducts | None = None
    mixture: MixtureKind | None = None
    graphs: GraphSettings | None = None


class Rows(LanguageModel, Protocol):
    """Candidates as a language model, row by row.

    Attributes:
        broken: Rows whose numbers were NaN or infinite, which breaks their candidates.
    """

    broken: set[int]

    def select(self, places: Sequence[int]) -> "Rows":
        """Return the same candidates for some of the rows; what breaks there is noted here, by this model's row."""
        ...


class Session(Protocol):
    """Candidates that a runner has taken up for one evaluation.

    Attributes:
        models: How many models answer one row: as many (particle, example) pairs a row counts.
    """

    models: int

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> Rows:
        """Lend candidates to an objective for one call.

        Args:
            candidates: The candidate of every row, by its place among those that were taken up.
            examples: The example of every row; of one task, unless no prompts were given.
            noise: Where replies are sampled, what seeds the draws of every row.
            whole_replies: Whether replies go on when their score is settled.
        """
        ...

    def forget(self) -> None:
        """Let go of what was kept for further calls; it is computed again where needed."""
        ...


class Runner(Protocol):
    """Anything with these members can be evaluated.

    Attributes:
        tokenizer: What objectives render their prompts with.
        settings: How candidates are evaluated: of these the evaluator reads the exact stop, lots and chunks.
        at_once: How many candidates share a forward pass; None for any number.
        positions: Tokens that a prompt and its reply may have together; None where nothing limits them.
        generated: Tokens generated so far.
    """

    tokenizer: "PreTrainedTokenizerBase"
    settings: EngineSettings

    @property
    def at_once(self) -> int | None:
        """A plain attribute will do, here and below."""
        ...

    @property
    def positions(self) -> int | None:
        """See above."""
        ...

    @property
    def generated(self) -> int:
        """See above."""
        ...

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return how long every prompt is in tokens: prompts of similar lengths are asked together."""
        ...

    def rows_at_once(self, tokens: int) -> int:
        """Return how many rows share a forward pass, each of so many tokens."""
        ...

    def session(self, candidates: Any, prompts: Mapping[str, Sequence[str]]) -> AbstractContextManager[Session]:
        """Take up candidates for the length of a `with` block, and let go of them behind it.

        Args:
            candidates: P of them, in the form that this runner takes; None for the plain base, as one candidate.
            prompts: The prompts that will be asked first, by task: what they have in common may be computed once.

        Raises:
            ValueError: If these are no candidates.
        """
        ...


@runtime_checkable
class CountsPasses(Protocol):
    """A runner that counts how often its models are called; optional."""

    @property
    def passes(self) -> int | None:
        """Forward passes so far, each a call of a model, whatever the batch; None where nobody can count them."""
        ...


def passes_of(runner: Runner) -> int | None:
    """Return the forward passes that a runner's models have done so far; None where nobody can count them."""
    return runner.passes if isinstance(runner, CountsPasses) else None


@contextmanager
def rows_of_one(runner: Runner, candidates: Any, examples: Sequence[Example], seed: int) -> Iterator[Rows]:
    """Lend a single candidate for all examples, outside of any search: its replies go on to their end.

    Args:
        runner: What runs it.
        candidates: It alone, as the runner takes candidates.
        examples: What it is asked, one row each.
        seed: Of sampled replies.
    """
    owners, asked = [0] * len(examples), tuple(examples)
    with torch.inference_mode(), runner.session(candidates, {}) as session:
        yield session.rows(owners, asked, RowNoise(seed, tuple(owners), asked), True)
