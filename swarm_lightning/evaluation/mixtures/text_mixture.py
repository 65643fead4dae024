"""Rows of mixtures of experts whose vocabularies differ: what objectives talk to there.

Likelihoods are mixed by texts. Every expert says, in its own tokens, how likely a whole continuation is, once; a mean
of probabilities is the mean of these, which is exact for the mixture that draws an expert by its weight and lets it
write the whole text. A weighted sum of their logarithms can't be normalised over all texts: it ranks the continuations
of one prompt, and a prompt with a single continuation is refused. With one expert alone, both are its own numbers; with
several, and texts of more than one token, they are not those of a mixture token by token.

Approximate is that a text counts as cut in the way of the expert's tokenizer only; and where that joins the end of a
prompt with a continuation, for all continuations of the prompt alike, the joined token counts for them too.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenDecoding, TokenReplies
from swarm_lightning.evaluation.engine.likelihood import loglikelihoods
from swarm_lightning.evaluation.engine.row_stops import StopCheck, cut
from swarm_lightning.evaluation.engine.text_rows import Different, OwnedRows, Sums, Tables
from swarm_lightning.evaluation.engine.tokens import encode_continuations, encode_prompts, padding_id
from swarm_lightning.evaluation.lengths import check_room
from swarm_lightning.evaluation.mixtures.mixture import Averaged, mix_logarithms, weighted_sum
from swarm_lightning.evaluation.mixtures.model_groups import ModelGroup, Shelf
from swarm_lightning.evaluation.mixtures.text_generation import END, MixedTexts, Speller, TextVocabulary, generate_texts
from swarm_lightning.evaluation.sampling import RowNoise, Sampler
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.protocol import GenerationSettings, RowDecided

# A prompt, the texts that may follow, and whether special tokens are added.
AskedText = tuple[str, tuple[str, ...], bool]


class TextExperts:
    """Experts whose vocabularies differ, and what is known of them.

    Attributes:
        shelf: The models.
        averaged: What is averaged.
        kept: What every expert says of given texts: log-probabilities, and which of them are greedy [n, C] each.
    """

    def __init__(self, shelf: Shelf, averaged: Averaged) -> None:
        """Match the vocabularies.

        Args:
            shelf: The models.
            averaged: What is averaged.

        Raises:
            InputError: If the tokens of one can't be told by what they add to a text.
        """
        self.shelf, self.averaged = shelf, averaged
        self.spellers = [Speller(group) for group in shelf.groups]
        self.kept: dict[AskedText, tuple[Tensor, Tensor]] = {}

    def ask(self, asked: Sequence[AskedText]) -> None:
        """Ask every expert once what is not known.

        Args:
            asked: Prompts with their continuations.

        Raises:
            InputError: If a text is too long for a model.
        """
        new = [one for one in dict.fromkeys(asked) if one not in self.kept]
        new.sort(key=lambda one: not one[2])  # those with special tokens first
        if not new:
            return
        sizes = [len(texts) for _, texts, _ in new]
        logarithms = torch.full((self.shelf.count, sum(sizes)), torch.nan, dtype=torch.float64)
        greedy = torch.zeros(self.shelf.count, sum(sizes), dtype=torch.bool)
        for group in self.shelf.groups:
            found = self._ask(group, new)
            for place, expert in enumerate(group.places):
                part = found[place * sum(sizes) : (place + 1) * sum(sizes)]
                logarithms[expert] = torch.tensor([value for value, _ in part], dtype=torch.float64)
                greedy[expert] = torch.tensor([is_greedy for _, is_greedy in part])
        parts = zip(logarithms.split(sizes, dim=1), greedy.split(sizes, dim=1), strict=True)
        self.kept.update(zip(new, parts, strict=True))

    def asking(self, engine: Engine, asked: Different, add_special_tokens: bool) -> Callable[[Tensor], Likelihoods]:
        """Return what tells the likelihoods of texts under any mixtures, by their weights [P, n].

        Args:
            engine: Of the base, whose tokenizer counts tokens.
            asked: Prompts with their continuations.
            add_special_tokens: Whether tokenizers add their special tokens to prompts.
        """
        form = asked.form(asked.encoded(engine, add_special_tokens))
        return lambda weights: form.of(self.tables(weights, asked, add_special_tokens))

    def tables(self, weights: Tensor, asked: Different, add_special_tokens: bool) -> Tables:
        """Mix the likelihoods of texts.

        Args:
            weights: Of the experts in every mixture [P, n].
            asked: Prompts with C continuations in all.
            add_special_tokens: Whether tokenizers add their special tokens to prompts.

        Raises:
            InputError: If a sum of log-probabilities is to be told of a text by itself, or a text is too long.
        """
        if self.averaged == "logits" and any(len(texts) == 1 for _, texts in asked.rows):
            raise InputError(
                "Expected model.mixture to be probabilities where the likelihood of a text by itself is asked of "
                "models of different vocabularies, but got log_probabilities: their weighted sum has no scale over all "
                "texts, and only ranks the choices of one prompt. Set it to probabilities, or take an objective that "
                "compares choices."
            )
        keys = [(prompt, texts, add_special_tokens) for prompt, texts in asked.rows]
        self.ask(keys)
        said = [self.kept[one] for one in keys]
        logarithms = torch.cat([one for one, _ in said], dim=1)[:, None].expand(-1, len(weights), -1)
        if self.averaged == "logits":
            mixed = weighted_sum(logarithms, weights)
        else:
            mixed = mix_logarithms(logarithms, weights, self.averaged)

        def greedy() -> Tensor:
            shares = weights.clamp_min(0)
            found = torch.cat([two for _, two in said], dim=1).to(shares)
            return shares @ found > 0.5 * shares.sum(dim=1, keepdim=True)

        return Tables(mixed.where(mixed.isfinite(), torch.nan), greedy)

    def _ask(self, group: ModelGroup, new: Sequence[AskedText]) -> list[tuple[float, bool]]:
        """Ask the experts of one model, one after the other about all texts."""
        flat = []
        for special in (True, False):  # as `new` is ordered
            some = [(prompt, texts) for prompt, texts, adds in new if adds is special]
            rows = encode_continuations(group.tokenizer, [one for one, _ in some], [two for _, two in some], special)
            flat += [one for row in rows for one in row]
        texts = [prompt + text for prompt, row, _ in new for text in row]
        check_room(group.positions, [one.ids[:-1] for one in flat], texts, 0, group.name)
        count = len(group.places)
        owners = [particle for particle in range(count) for _ in flat]
        engine, crowd = self.shelf.engine(group), self.shelf.crowd(group)
        heard = self.shelf.base.meter.count

        def work(slots: int, _: int) -> list[tuple[float, bool]]:
            padding = padding_id(group.tokenizer)
            return loglikelihoods(crowd, owners, flat * count, slots, padding, heard=lambda _, read: heard(0, read))

        return engine.run(work, max(len(one.ids) for one in flat))


class TextMixtureRows(OwnedRows):
    """Mixtures as a language model, row by row; follows the protocol `Rows`."""

    def __init__(
        self,
        engine: Engine,
        experts: TextExperts,
        weights: Tensor,
        owners: Sequence[int],
        whole_replies: bool,
        noise: RowNoise,
    ) -> None:
        """Say which mixture answers which row.

        Args:
            engine: Of the base.
            experts: What is mixed.
            weights: Of the experts in every mixture [P, n].
            owners: The mixture of every row.
            whole_replies: Whether replies go on when their score is settled.
            noise: Where replies are sampled, what seeds the draws of every row.
        """
        super().__init__(engine, owners, whole_replies, noise)
        self._experts, self._weights = experts, weights

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt; see `LanguageModel.generate`."""
        self._prompt_rows(prompts, add_special_tokens)
        experts, shelf = self._experts, self._experts.shelf
        by_model = []
        for group in shelf.groups:
            different = list(dict.fromkeys(prompts))
            known = dict(zip(different, encode_prompts(group.tokenizer, different, add_special_tokens), strict=True))
            by_model.append([known[prompt] for prompt in prompts])
            check_room(group.positions, by_model[-1], prompts, settings.max_new_tokens, group.name)
        vocabulary = TextVocabulary()
        check = StopCheck(vocabulary, settings.stop, decided if self._row_stops else None)  # type: ignore[arg-type]
        keys = self._keys() if settings.sampled else None
        self._turns += 1
        longest = max((len(ids) for one in by_model for ids in one), default=0) + settings.max_new_tokens
        mixed = MixedTexts(shelf, experts.averaged, experts.spellers, vocabulary)
        weights = self._weights[list(self.owners)]

        def work(slots: int, _: int) -> TokenReplies:
            decoding = TokenDecoding(
                limit=settings.max_new_tokens,
                ends=frozenset([END]),
                padding=0,
                slots=min(slots, shelf.rows(longest)),
                over=check if check.needed else None,
                choose=None if keys is None else Sampler(settings, keys),
                stop=settings.stop,
                heard=self._engine.meter.count,
            )
            return generate_texts(mixed, list(zip(*by_model, strict=True)), weights, decoding.slots, decoding)

        replies = shelf.base.run(work, longest)
        self.broken.update(self._rows[row] for row in replies.broken)
        self._engine.generated += replies.generated
        return [cut(text, settings.stop) for text in vocabulary.batch_decode(replies.tokens)]

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> Likelihoods:
        """Measure how likely the continuations of every prompt are; see `LanguageModel.loglikelihood`.

        A likelihood counts tokens as the base's tokenizer does; it is greedy where experts with more than half of the
        weight find it so.

        Raises:
            InputError: If a sum of log-probabilities is to be told of a text by itself.
        """
        self._prompt_rows(prompts, add_special_tokens)
        asked = Different(prompts, continuations)
        tables = self._experts.tables(self._weights, asked, add_special_tokens)
        counts, places = asked.laid_out()
        owners = torch.tensor(self.owners, dtype=torch.long).repeat_interleave(counts)
        sums = Sums(tables.logarithms[owners, places], lambda: tables.greedy()[owners, places])
        found = asked.likelihoods(asked.encoded(self._engine, add_special_tokens), sums)
        self.broken.update(self._rows[row] for row in found.broken())
        return found
