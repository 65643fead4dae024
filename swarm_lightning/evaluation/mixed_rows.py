"""A mixture of particles as objectives see a model, and its scores on examples.

Every example costs as many (particle, example) pairs as particles are mixed, and the engine's counter says so.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.crowd import Crowd
from swarm_lightning.evaluation.engine import Engine, ParticleRows
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.generation import Decoding
from swarm_lightning.evaluation.likelihood import loglikelihoods
from swarm_lightning.evaluation.mixture import Space, generate_mixed, mixed_loglikelihoods
from swarm_lightning.evaluation.objective_call import ask
from swarm_lightning.evaluation.row_stops import StopCheck
from swarm_lightning.evaluation.sampling import RowNoise, Sampler
from swarm_lightning.evaluation.tokens import Continuation, check_lengths, end_of_text_ids, padding_id
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided


class MixedRows(ParticleRows):
    """A mixture of particles as a language model, row by row; follows the protocol `LanguageModel`."""

    def __init__(
        self,
        engine: Engine,
        crowd: Crowd,
        mixed: int,
        weigh: "Weigh",
        space: Space,
        noise: RowNoise | None = None,
        rows: int = 0,
    ) -> None:
        """Say what is mixed, and how.

        Args:
            engine: How batches are made.
            crowd: The particles on the resident model.
            mixed: How many of them are mixed, P: the first ones.
            weigh: Gives the weights of the particles for every prompt.
            space: What is averaged.
            noise: Where replies are sampled, what seeds the draws of every row.
            rows: How many rows its calls have.
        """
        super().__init__(engine, crowd, [0] * rows, noise=noise)
        self._crowd, self._mixed = crowd, mixed
        self._weigh, self._space = weigh, space

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt; see `LanguageModel.generate`."""
        engine, model = self._engine, self._engine.adapted.model
        sequences = self._sequences(prompts, settings, add_special_tokens)
        check = StopCheck(self.tokenizer, settings.stop, decided if self._row_stops else None)
        weights = self._weigh(self, prompts, sequences)
        ends, padding = frozenset(end_of_text_ids(model, self.tokenizer)), padding_id(self.tokenizer)
        choose = Sampler(settings, self._keys()) if settings.sampled else None
        self._turns += 1

        def work(rows: int, _: int) -> list[list[int]]:
            over = check if check.needed else None
            decoding = Decoding(settings.max_new_tokens, ends, padding, rows, over=over, choose=choose)
            replies = generate_mixed(self._crowd, self._mixed, sequences, weights, self._space, decoding)
            self.broken.update(self._rows[row] for row in replies.broken)
            engine.generated += replies.generated
            return replies.tokens

        longest = max((len(sequence) for sequence in sequences), default=0)
        tokens = engine.run(work, longest + settings.max_new_tokens)
        return self._texts(tokens, settings)

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        """Measure how likely the continuations of every prompt are; see `LanguageModel.loglikelihood`."""
        self._check_rows(prompts)
        engine = self._engine
        encoded = engine.encode_continuations(prompts, continuations, add_special_tokens)
        flat = [one for row in encoded for one in row]
        texts = [prompt + text for prompt, row in zip(prompts, continuations, strict=True) for text in row]
        check_lengths(engine.adapted.model, [one.ids[:-1] for one in flat], texts, room=0)
        weights = self._weigh(self, prompts, engine.encode(prompts, add_special_tokens))
        owners = [place for place, row in enumerate(encoded) for _ in row]
        padding = padding_id(self.tokenizer)

        def work(rows: int, _: int) -> list[tuple[float, bool]]:
            return mixed_loglikelihoods(self._crowd, self._mixed, flat, weights[owners], self._space, rows, padding)

        found = engine.run(work, max((len(one.ids) for one in flat), default=0))
        self.broken.update(
            self._rows[place] for place, (value, _) in zip(owners, found, strict=True) if math.isnan(value)
        )
        values = iter(found)
        results: list[list[Likelihood]] = []
        for row, row_texts in zip(encoded, continuations, strict=True):
            results.append([])
            for one, text in zip(row, row_texts, strict=True):
                value, greedy = next(values)
                results[-1].append(Likelihood(value, len(one.ids) - one.split, len(text.strip()), greedy))
        return results

    def mean_loglikelihoods(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Return how likely every particle by itself finds texts, per token.

        Args:
            sequences: Token ids of the texts, R of them.

        Returns:
            Mean natural logarithm over the tokens behind the first [R, P] float64; 0 for a text of one token.
        """
        engine, particles = self._engine, self._mixed
        asked = [(row, particle) for row, ids in enumerate(sequences) if len(ids) > 1 for particle in range(particles)]
        texts = [Continuation(tuple(sequences[row]), 1) for row, _ in asked]
        owners = [particle for _, particle in asked]
        padding = padding_id(self.tokenizer)

        def work(rows: int, _: int) -> list[tuple[float, bool]]:
            return loglikelihoods(self._crowd, owners, texts, rows, padding)

        found = torch.zeros(len(sequences), particles, dtype=torch.float64)
        if asked:
            sums = engine.run(work, max(len(one.ids) for one in texts))
            for (row, particle), (total, _) in zip(asked, sums, strict=True):
                found[row, particle] = total / (len(sequences[row]) - 1)
        return found


# Given the mixture, prompts and their token ids, the weights of the particles in every row [R, P].
Weigh = Callable[[MixedRows, Sequence[str], Sequence[Sequence[int]]], Tensor]


def mixture_scores(
    evaluator: Evaluator, vectors: Tensor, weigh: Weigh, space: Space, examples: Sequence[Example]
) -> Tensor:
    """Score a mixture of particles.

    Args:
        evaluator: Its engine, objective and ranks are used.
        vectors: Weights of the particles [P, D].
        weigh: Gives the weights of the particles for every prompt.
        space: What is averaged.
        examples: What to ask, M of them.

    Returns:
        Scores [M] float64.

    Raises:
        InputError: If the objective gives another number of outcomes than it was asked examples, or a score outside its
            bounds.
    """
    engine, ranks = evaluator.engine, evaluator.ranks
    table = torch.full((1, len(examples)), math.nan, dtype=torch.float64)
    try:
        with ranks.together():
            places = ranks.share(range(len(examples)))
            asked = [examples[place] for place in places]
            noise = RowNoise(evaluator.seed, (0,) * len(asked), tuple(asked))
            crowd = Crowd(engine.adapted, vectors)
            rows = MixedRows(engine, crowd, len(vectors), weigh, space, noise, len(asked))
            engine.adapted.model.eval()
            with torch.inference_mode():
                outcomes = ask(evaluator.objective, asked, [0] * len(asked), rows) if asked else []
            for place, outcome in zip(places, outcomes, strict=True):
                table[0, place] = outcome.score
    finally:
        engine.adapted.unload()
    evaluator.asked += len(vectors) * len(examples)
    return ranks.gather_scores(table)[0]
