"""A resident model that reads a text and gives numbers: what `Safety` and `RewardModel` score with.

Loading and checking is that of a base model: safetensors only, and no code from the model's folder unless asked for.
What the numbers mean is the objectives'.
"""

import difflib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.checks import check_at_least_one

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_LIMIT = 1_000_000  # tokenizers say 10^30 where nobody knows
_LEAST_OUTPUTS = 16


class SequenceClassifier:
    """A model with a few outputs for a whole text.

    A text's numbers depend on nothing but the text: a forward pass has always `batch_size` rows, and a length that
    follows from the text's own, so that the same kernels run whatever else is scored. Rows that are not needed repeat
    the first. The products of heads with few outputs are as wide as those of others (`_widen_narrow_layers`).

    Attributes:
        tokenizer: The model's own.
        labels: Names of the outputs, in order.
        multi_label: Whether the outputs are independent of each other rather than shares of one whole.
        limit: The most tokens of a text.
        fingerprint: Tells this model from any other.
    """

    def __init__(
        self,
        source: str,
        what: str,
        dtype: str = "auto",
        batch_size: int = 16,
        max_tokens: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Load the model onto the CPU; it moves at the first use.

        Args:
            source: Folder or hub id.
            what: What it is, for messages: "a reward model".
            dtype: `auto` as stored, `float32`, `bfloat16` or `float16`.
            batch_size: Texts of one forward pass.
            max_tokens: The most tokens of a text; as many as the model can read if None.
            trust_remote_code: Whether Python code that comes with the model may run.

        Raises:
            InputError: If there is no such model, or it is no sequence classifier.
        """
        from swarm_lightning.experts.resident.base_model import base_fingerprint

        check_at_least_one("batch_size", batch_size)
        self._model, self.tokenizer = _load(source, what, dtype, trust_remote_code)
        self._rows = batch_size
        config = self._model.config
        names = cast("dict[int, str]", config.id2label)
        self.labels = tuple(str(names[place]) for place in sorted(names))
        self.multi_label = config.problem_type == "multi_label_classification"
        self.limit = min(max_tokens or NO_LIMIT, _readable_tokens(self._model, self.tokenizer))
        self.fingerprint = base_fingerprint(self._model)
        _widen_narrow_layers(self._model)

    def place_of(self, label: str, setting: str) -> int:
        """Return which output bears a name; upper and lower case are the same.

        Args:
            label: The name.
            setting: What the user calls it.

        Raises:
            InputError: If none or several do.
        """
        exact = [place for place, name in enumerate(self.labels) if name == label]
        alike = exact or [place for place, name in enumerate(self.labels) if name.casefold() == label.casefold()]
        if len(alike) == 1:
            return alike[0]
        close = difflib.get_close_matches(label, self.labels, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"Expected {setting} to be the name of one of the model's outputs ({', '.join(self.labels)}), but got "
            f"{label!r}.{hint} The names stand in its config.json (id2label)."
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts, cut at the limit, with the special tokens that the model's tokenizer puts around them."""
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.limit, padding=False)
        return cast("list[list[int]]", encoded["input_ids"])

    def move(self, device: "torch.device | str") -> None:
        """Put the model onto a device, where it stays."""
        import torch

        torch.nn.Module.to(self._model, device)

    def outputs(self, sequences: Sequence[Sequence[int]]) -> "Tensor":
        """Return the model's numbers for every text, before any softmax.

        Args:
            sequences: Token ids of B texts, one or more each and no more than `limit`.

        Returns:
            [B, labels], float32 on the CPU.
        """
        import torch

        found = torch.empty(len(sequences), len(self.labels))
        lengths: dict[int, list[int]] = {}
        for place, ids in enumerate(sequences):
            lengths.setdefault(min(padded_length(len(ids)), max(self.limit, len(ids))), []).append(place)
        for length, places in lengths.items():
            start = 0
            while start < len(places):
                chunk = places[start : start + self._rows]
                try:
                    found[chunk] = self._forward([sequences[place] for place in chunk], length)
                except torch.OutOfMemoryError as error:
                    if self._rows == 1:
                        raise InputError(
                            "Expected enough memory for one text of the model that scores, but it has run out. Give "
                            "it another device (device: cpu), or use shorter prompts and replies."
                        ) from error
                    self._rows //= 2
                    torch.cuda.empty_cache()
                    warnings.warn(f"Memory ran out: continuing with {self._rows} texts at a time.", stacklevel=2)
                    continue
                start += len(chunk)
        return found

    def _forward(self, sequences: Sequence[Sequence[int]], length: int) -> "Tensor":
        import torch

        config = self._model.config.get_text_config()
        padding = config.pad_token_id
        if padding is None:  # decoders look for the last token that is not padding: any that does not occur will do
            used = {token for ids in sequences for token in ids}
            padding = next(token for token in range(len(used) + 1) if token not in used)
        tokens = torch.full((self._rows, length), padding)
        mask = torch.zeros_like(tokens)
        for row in range(self._rows):
            ids = sequences[row] if row < len(sequences) else sequences[0]
            tokens[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        device, own = self._model.device, config.pad_token_id
        config.pad_token_id = padding
        try:
            with torch.inference_mode():
                logits = self._model(input_ids=tokens.to(device), attention_mask=mask.to(device)).logits
        finally:
            config.pad_token_id = own
        return logits[: len(sequences)].float().cpu()


def padded_length(tokens: int) -> int:
    """Return the length that a text is padded to: a few lengths for all texts, at most an eighth more from 128 on.

    >>> [padded_length(tokens) for tokens in (1, 16, 17, 130, 300)]
    [16, 16, 32, 144, 320]
    """
    step = max(16, 1 << max(tokens.bit_length() - 4, 0))
    return -(-tokens // step) * step


def _widen_narrow_layers(model: "PreTrainedModel") -> None:
    """Fill linear layers of a few outputs with zeros up to `_LEAST_OUTPUTS`, and cut these off again.

    MKL has kernels for products of one to three columns whose last bits depend on the row that a text stands in.
    """
    import torch

    for layer in [module for module in model.modules() if isinstance(module, torch.nn.Linear)]:
        outputs = layer.out_features
        if outputs >= _LEAST_OUTPUTS:
            continue
        for name, values in list(layer.named_parameters(recurse=False)):
            wide = values.new_zeros(_LEAST_OUTPUTS, *values.shape[1:])
            wide[:outputs] = values
            setattr(layer, name, torch.nn.Parameter(wide, requires_grad=False))
        layer.register_forward_hook(lambda _layer, _inputs, found, outputs=outputs: found[..., :outputs])


def _load(
    source: str, what: str, dtype: str, trust_remote_code: bool
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    from swarm_lightning.experts.resident.base_model import DTYPES, check_model_folder, load_message, load_tokenizer
    from swarm_lightning.experts.sources import local_folder

    if dtype not in DTYPES:
        raise InputError(f"Expected dtype to be one of {', '.join(DTYPES)}, but got {dtype!r}.")
    folder = local_folder(source, what, bare_names=True)
    if folder is not None:
        check_model_folder(folder, what, trust_remote_code)
    place, from_hub = (source, True) if folder is None else (str(folder), False)
    try:
        loaded = AutoModelForSequenceClassification.from_pretrained(
            place,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as cause:
        raise InputError(load_message(place, what, cause, from_hub)) from cause
    model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)
    missing = sorted(report["missing_keys"])
    if missing:  # transformers fills them with random numbers
        raise InputError(
            f"Expected {what} at {source!r}, but its file is not that of a sequence classifier: {len(missing)} tensors "
            f"of {type(model).__name__} are missing, first {missing[0]!r}. Name a model that was trained to classify "
            "or to rate texts (AutoModelForSequenceClassification)."
        )
    return model.requires_grad_(False).eval(), load_tokenizer(place, trust_remote_code, from_hub)


def _readable_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return how many tokens of a text a model can read."""
    from swarm_lightning.doors.transformers_config import most_encoder_positions

    return min(most_encoder_positions(model) or NO_LIMIT, tokenizer.model_max_length, NO_LIMIT)
