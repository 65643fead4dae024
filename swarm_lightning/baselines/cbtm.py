"""cBTM: for every prompt, the experts' distributions are mixed by how close the prompt is to what each has read.

    weight_k ~ exp(-|h(prompt) - c_k|^2 / T),  T = 0.1;  p = weight_1 p_1 + ... + weight_n p_n

h is the tf-idf vector of a text, of length 1, and c_k the mean of those of the texts that are given for expert k. The
published method finds clusters first and trains an expert for each; here the experts are there, and the texts of each
are its cluster. Further departures: h keeps all words (published: no stop words and numbers, cut to 100 dimensions by
an SVD), the weights belong to the prompt (published: they follow every new token), and all experts are mixed
(published: also the nearest few only). Every question costs n experts, and no adapter comes out; the experts share the
engine's forward pass, which full checkpoints can't: for them the row is absent. Source: Gururangan et al.,
arXiv:2303.14177, sections 2.1 and 2.3, and for the temperature and the vectors github.com/kernelmachine/cbtm,
`metaseq/sequence_scorer_btm.py` and `metaseq/scripts/train_clusterer.py`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent, installed
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.data.json_values import parse_json
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runners.mixture import MixedExperts
from swarm_lightning.texts import read_text

TEMPERATURE = 0.1
AT_ONCE = 64


def weights_of(embedded: Tensor, centres: Tensor) -> Tensor:
    """Return the weights of experts.

    Args:
        embedded: The prompts' vectors [R, V].
        centres: The experts' [n, V].

    Returns:
        [R, n], those of a row summing to one.

    >>> weights_of(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.2]])).round(decimals=4)  # 0 and 0.04
    tensor([[0.5987, 0.4013]])
    """
    squares = torch.cdist(embedded, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-squares / TEMPERATURE).softmax(dim=1)


def read_domain_texts(source: str | Mapping[str, str], names: Sequence[str]) -> list[list[str]]:
    """Read the texts of every expert's domain.

    Args:
        source: A folder with `<expert>.txt` or `<expert>.jsonl` for every expert, or such a file by the expert's name.
        names: Names of the experts.

    Returns:
        The texts of every expert, one or more each.

    Raises:
        InputError: If a file is missing, holds no text, or can't be read.
    """
    files = dict(source) if isinstance(source, Mapping) else {}
    if isinstance(source, str):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise InputError(f"Expected a folder of texts in compare.domain_texts, but there is no folder {source!r}.")
        paths = {name: (folder / f"{name}.txt", folder / f"{name}.jsonl") for name in names}
        files = {name: str(path) for name, pair in paths.items() for path in pair if path.is_file()}
    missing = [name for name in names if name not in files]
    if missing:
        raise InputError(
            f"Expected texts of every expert's domain, but compare.domain_texts has none for {', '.join(missing)}. Add "
            f"{missing[0]}.txt with one text a line, or {missing[0]}.jsonl with one JSON record a line, of which all "
            "texts count, whatever their keys."
        )
    return [_read(Path(files[name]).expanduser()) for name in names]


def texts_of(record: Any) -> list[str]:
    """Return all texts in a record, however deep, but not the roles of a chat.

    >>> texts_of({"messages": [{"role": "user", "content": "Hello?"}], "number": 3})
    ['Hello?']
    """
    if isinstance(record, str):
        return [record]
    if isinstance(record, dict):
        return [text for name, value in record.items() if name != "role" for text in texts_of(value)]
    return [text for value in record for text in texts_of(value)] if isinstance(record, list) else []


def _read(path: Path) -> list[str]:
    try:
        text, records = read_text(path), path.suffix == ".jsonl"
        lines = [line for line in (text.split("\n") if records else text.splitlines()) if line.strip()]
        texts = [" ".join(texts_of(parse_json(line, str(path)))) for line in lines] if records else lines
    except json.JSONDecodeError as cause:
        raise InputError(f"Expected texts of an expert's domain in {str(path)!r}, but: {cause}.") from cause
    if not any(text.strip() for text in texts):
        raise InputError(f"Expected texts of an expert's domain in {str(path)!r}, but there are none.")
    return texts


class CBTM:
    """Mixes all experts anew for every prompt, by what they have read."""

    title = "cBTM"
    kind: Kind = "fixed"
    least = 2

    def __init__(self, domain_texts: str | Mapping[str, str] | None) -> None:
        """Take where the texts lie.

        Args:
            domain_texts: See `read_domain_texts`; None where there are none.
        """
        self.domain_texts = domain_texts

    def compose(self, bench: Bench) -> Composition:
        """Embed the texts, and ask the mixture the validation examples.

        Raises:
            Absent: If no texts are given, they can't be read or hold no words, scikit-learn is not installed, or the
                experts are full checkpoints.
        """
        bench.check_shared_pass()
        if self.domain_texts is None:
            raise Absent("no texts of the experts' domains given: name them in compare.domain_texts")
        try:
            texts = read_domain_texts(self.domain_texts, bench.names)
        except InputError as error:
            raise Absent(str(error)) from error
        vectorizer = installed("sklearn.feature_extraction.text").TfidfVectorizer()
        try:
            vectorizer.fit([text for group in texts for text in group])
        except ValueError as error:  # no word of two letters or more
            raise Absent(f"the texts of the experts' domains hold no words: {error}") from error
        # A vector has as many numbers as there are words, nearly all of them 0: few are written out at a time.
        means = [numpy.asarray(vectorizer.transform(group).mean(axis=0)).ravel() for group in texts]
        centres = torch.from_numpy(numpy.stack(means))

        def weigh(experts: MixedExperts, prompts: Sequence[str], sequences: Sequence[Sequence[int]]) -> Tensor:
            parts = [prompts[start : start + AT_ONCE] for start in range(0, len(prompts), AT_ONCE)]
            embedded = (torch.from_numpy(vectorizer.transform(part).toarray()) for part in parts)
            return torch.cat([weights_of(some, centres) for some in embedded])

        scores = bench.mixture(weigh, "probabilities")
        detail = f"{len(texts)} experts by tf-idf distance to {sum(map(len, texts))} texts"
        return Composition(bench.worth(scores(bench.examples)), detail, scores=scores)
