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
from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.mixed_rows import MixedRows, mixture_scores

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
        bench.check_shared_pass()
        evaluator, experts = bench.module.evaluator, bench.experts

        def weigh(rows: MixedRows, prompts: Sequence[str], sequences: Sequence[Sequence[int]]) -> Tensor:
            return weights_of(rows.mean_loglikelihoods(sequences))

        def scores(examples: Sequence[Example]) -> Tensor:
            return mixture_scores(evaluator, experts, weigh, "logits", examples)

        return Composition(bench.worth(scores(bench.examples)), f"{len(experts)} experts by perplexity", scores=scores)
