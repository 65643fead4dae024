"""One forward pass of a causal language model, told tokens, mask, positions and cache by the model's own names.

Tested with transformers 5.0 to 5.24. Relied on:
- `forward` takes `input_ids`, `attention_mask`, `position_ids`, `use_cache` and `logits_to_keep`, and the cache as
  `cache` (from 5.24 on) or as `past_key_values` (before), and names what it takes in its signature; what falls into
  its `**kwargs` may be lost;
- keys stay in the cache as the layers left them.

No argument is left out in silence. The mask and the cache must have a home. Where `position_ids` has none (models that
place tokens by the mask or by their distance, and such as do neither), it is tried out whether padding and columns
that are cut off from a cache change anything. `use_cache` is implied by the cache where it has none: that the cache
was used is looked at. `logits_to_keep` only saves work, and is not needed where the output layer can be given what is
wanted.
"""

import inspect
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_config import most_positions, other_than_attention
from swarm_lightning.doors.transformers_output import OutputLayer, Places, difference, tolerance_of, trial_tokens
from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

CACHE_NAMES = ("cache", "past_key_values")
TESTED = "5.0 to 5.24"
TOKENS, PADDING = 8, 24  # of the rows that a model is tried out with


class ForwardPass:
    """Calls a causal language model.

    Attributes:
        takes_positions: Whether the model lets its caller say which position a token has.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        """Take over a model: read its signature, and try it out with a few tokens.

        Args:
            model: In eval mode, and without adapters that want a certain number of rows.

        Raises:
            InputError: If a layer keeps something else than keys and values, an argument has no home, or the padding of
                a row changes its logits.
        """
        kinds = other_than_attention(model)
        if kinds:
            raise InputError(
                f"Expected a causal language model whose layers all keep keys and values, but {type(model).__name__} "
                f"has layers of the kind {', '.join(kinds)}. Use another base model."
            )
        parameters = inspect.signature(model.forward).parameters
        self._model = model
        self._names = frozenset(parameters)
        # A wrapper that only hands arguments on has no names itself, and gets everything.
        self._hands_on = {parameter.kind for parameter in parameters.values()} == {
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        }
        self.takes_positions = self._takes("position_ids")
        self._cache_name = next((name for name in CACHE_NAMES if name in self._names), None)
        if self._hands_on:
            self._cache_name = _usual_cache_name()
        for name in ("input_ids", "attention_mask"):
            if not self._takes(name):
                raise self._homeless(name)
        self._output = OutputLayer(model)
        self._try_out()

    def __call__(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: "Cache | None" = None) -> Tensor:
        """Run the model and return what it says about the token behind every row.

        Args:
            tokens: New token ids [B, T].
            mask: Mask of the cached and the new tokens [B, cached + T].
            positions: Positions of the new tokens [B, T].
            cache: Where keys and values are kept, if they are.

        Returns:
            Logits of the last column [B, vocabulary].

        Raises:
            InputError: If the model keeps no keys and values although it should.
        """

        def call(keep: int | None) -> Any:
            return self._run(tokens, mask, positions, cache, keep)

        return self._output.last(call, (tokens.shape[0], tokens.shape[1]), tokens.device)

    def at(
        self,
        places: Places,
        tokens: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: "Cache | None" = None,
        together: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Run the model once and give logits of the wanted places, at most about 32 MB of them in float32 at a time.

        Args:
            places: What is wanted, W of them.
            tokens: New token ids [B, T].
            mask: Mask of the cached and the new tokens [B, cached + T].
            positions: Positions of the new tokens [B, T].
            cache: Where keys and values are kept, if they are.
            together: So many wanted places, one after the other, always stand in one piece; it divides W.

        Yields:
            Which of the wanted places these are, in ascending order [w], and their logits [w, vocabulary].

        Raises:
            InputError: If the model keeps no keys and values although it should.
        """

        def call(keep: int | None) -> Any:
            return self._run(tokens, mask, positions, cache, keep)

        shape = (tokens.shape[0], tokens.shape[1])
        yield from self._output.logits(call, shape, places, together, tokens.device)

    def _run(
        self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: "Cache | None" = None, keep: int | None = None
    ) -> Any:
        arguments: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask}
        if self.takes_positions:
            arguments["position_ids"] = positions
        if self._takes("use_cache"):
            arguments["use_cache"] = cache is not None
        if keep is not None and self._takes("logits_to_keep"):
            arguments["logits_to_keep"] = keep
        if cache is not None:
            if self._cache_name is None:
                raise self._homeless("cache", "past_key_values")
            arguments[self._cache_name] = cache
        output = self._model(**arguments)
        if cache is not None and not cache.layers:
            raise InputError(
                f"Expected a causal language model with a key-value cache, but {type(self._model).__name__} "
                f"(transformers {_version()}) keeps none in what it is given as {self._cache_name!r}. Use another base "
                "model."
            )
        return output

    def _takes(self, name: str) -> bool:
        return self._hands_on or name in self._names

    def _homeless(self, *names: str) -> InputError:
        known = ", ".join(sorted(self._names - {"self", "args", "kwargs"})) or "none by name"
        return InputError(
            f"Expected a causal language model that takes {' or '.join(map(repr, names))}, but forward of "
            f"{type(self._model).__name__} has no such argument in transformers {_version()}. It takes: {known}. "
            "Left out, it would make the scores wrong. Use another base model, or a version of transformers that this "
            f"package was tested with ({TESTED})."
        )

    @torch.no_grad()
    def _try_out(self) -> None:
        config, device = self._model.config.get_text_config(), self._model.device
        most = most_positions(config) or TOKENS + PADDING
        count = max(min(TOKENS, most), 2)
        tokens = trial_tokens(self._model, count)
        positions, mask = torch.arange(count, device=device).repeat(2, 1), torch.ones_like(tokens)
        if not self.takes_positions or self._hands_on:
            self._check_padding(tokens[:1], min(PADDING, max(most - count, 1)))

        def call(keep: int | None) -> Any:
            return self._run(tokens, mask, positions, None, keep)

        self._output.try_out(call, (2, count), tolerance_of(self._model.dtype))
        if self._output.reason is not None:
            warnings.warn(
                f"{type(self._model).__name__} makes logits of every token, also where none are read, because "
                f"{self._output.reason}. With a large vocabulary this takes time and memory.",
                stacklevel=3,
            )

    def _check_padding(self, tokens: Tensor, padding: int) -> None:
        """Refuse a model that says something else of a row with padding, or with columns cut off from its cache."""
        from swarm_lightning.doors.transformers_cache import drop_first_columns, growing_cache, keeps_keys_and_values

        count = tokens.shape[1]
        mask, positions = torch.ones_like(tokens), torch.arange(count, device=tokens.device)[None]
        alone = self._run(tokens, mask, positions).logits[0]
        padded, padded_mask, padded_positions = (
            torch.nn.functional.pad(part, (padding, 0)) for part in (tokens, mask, positions)
        )
        self._check_same(self._run(padded, padded_mask, padded_positions).logits[0, -count:], alone)
        if self._cache_name is None:
            return
        cache = growing_cache()
        self._run(padded[:, :-1], padded_mask[:, :-1], padded_positions[:, :-1], cache)
        if keeps_keys_and_values(cache):
            drop_first_columns(cache, padding)
            self._check_same(self._run(tokens[:, -1:], mask, positions[:, -1:], cache).logits[0, -1:], alone[-1:])

    def _check_same(self, logits: Tensor, alone: Tensor) -> None:
        error = difference(logits, alone)
        if error > tolerance_of(self._model.dtype):
            raise InputError(
                "Expected a causal language model that takes 'position_ids', or whose logits do not depend on padding, "
                f"but forward of {type(self._model).__name__} names no such argument in transformers {_version()}, and "
                f"padding on the left changes its logits by {error:.1%} of the largest. Use another base model, or a "
                f"version of transformers that this package was tested with ({TESTED})."
            )


def _usual_cache_name() -> str:
    from transformers import LlamaForCausalLM

    known = inspect.signature(LlamaForCausalLM.forward).parameters
    return next(name for name in CACHE_NAMES if name in known)


def _version() -> str:
    from transformers import __version__

    return __version__
