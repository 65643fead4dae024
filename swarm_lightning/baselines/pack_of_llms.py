"""Pack of LLMs: for every prompt, the experts' logits are mixed by how likely each finds the prompt.

    weight_k = softmax over k of (-log perplexity_k(prompt) / T),  T = 1
    logits = weight_1 logits_1 + ... + weight_n logits_n

The variant PackLLM-sim; all experts have one tokenizer here, so that none is aligned. Every question costs n experts,
and no adapter comes out; the experts share the engine's forward pass, which full checkpoints can't: for them the row is
absent. Source: Mavromatis et al., arXiv:2404.11531, section 3, and the authors' code, which averages logits
(github.com/cmavro/PackLLM, `modeling_llm_fusion.py`).
"""

from collections.abc import Sequence

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.evaluation.runners.mixture import MixedExperts

TEMPERATURE = 1.0


def weights_of(mean_loglikelihoods: Tensor) -> Tensor:
    """Return the weights of experts.

    Args:
        mean_loglikelihoods: Of the prompts' tokens, -log perplexity [R, n].

    Returns:
        [R, n], those of a row summing to one.

    >>> import torch
    >>> weights_of(torch.tensor([[1.0, 1.0], [1.0, 3.0]]).log().neg())  # perplexities 1 and 1, 1 and 3
    tensor([[0.5000, 0.5000],
            [0.7500, 0.2500]])
    """
    return (mean_loglikelihoods / TEMPERATURE).softmax(dim=1)


class PackOfLLMs:
    """Mixes all experts anew for every prompt."""

    title = "Pack of LLMs"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Ask the mixture the validation examples.

        Raises:
            Absent: If the experts are full checkpoints.
        """

        def weigh(experts: MixedExperts, prompts: Sequence[str], sequences: Sequence[Sequence[int]]) -> Tensor:
            return weights_of(experts.mean_loglikelihoods(sequences))

        scores, detail = bench.mixture(weigh, "logits"), f"{len(bench.names)} experts by perplexity"
        return Composition(bench.worth(scores(bench.examples)), detail, scores=scores)
