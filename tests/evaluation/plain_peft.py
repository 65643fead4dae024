"""The independent reference: what plain `peft` and `generate` say, one particle and one prompt at a time.

There is no batch and no padding here, and nothing of the package. Answers are remembered, because many tests ask the
same; greedy replies of fewer tokens are the beginnings of longer ones.
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


class PlainPeft:
    """Experts on a base, each in a model of its own; particle None is the base without any."""

    def __init__(self, base: Any, expert_folders: Sequence[str], tokenizer: Any) -> None:
        self.base = base
        self.expert_folders = expert_folders
        self.tokenizer = tokenizer
        self.ends = {int(tokenizer.eos_token_id)}
        self._models: dict[int | None, Any] = {}
        self._replies: dict[tuple[int | None, tuple[int, ...]], tuple[int, list[int]]] = {}

    def model(self, particle: int | None) -> Any:
        if particle not in self._models:
            from peft import PeftModel

            model = copy.deepcopy(self.base)
            if particle is not None:
                model = PeftModel.from_pretrained(model, self.expert_folders[particle])
            self._models[particle] = model.eval()
        return self._models[particle]

    def ids(self, prompt: str) -> list[int]:
        return list(self.tokenizer(prompt)["input_ids"])

    def reply_ids(self, particle: int | None, ids: Sequence[int], new_tokens: int) -> list[int]:
        """New tokens after a prompt's, without the one that ends the text."""
        key = (particle, tuple(ids))
        known, reply = self._replies.get(key, (0, []))
        if known < new_tokens:
            tokens = torch.tensor([list(ids)])
            with torch.no_grad():
                output = self.model(particle).generate(
                    input_ids=tokens,
                    attention_mask=torch.ones_like(tokens),
                    do_sample=False,
                    max_new_tokens=new_tokens,
                    eos_token_id=sorted(self.ends),
                    pad_token_id=self.tokenizer.eos_token_id,
                )
            reply = output[0, len(ids) :].tolist()
            self._replies[key] = (new_tokens, reply)
        reply = reply[:new_tokens]
        return reply[:-1] if reply[-1] in self.ends else reply

    def reply(self, particle: int | None, prompt: str, new_tokens: int) -> str:
        return str(
            self.tokenizer.decode(self.reply_ids(particle, self.ids(prompt), new_tokens), skip_special_tokens=True)
        )

    def replies(self, particle: int | None, prompts: Sequence[str], new_tokens: int) -> list[str]:
        return [self.reply(particle, prompt, new_tokens) for prompt in prompts]

    def logits(self, particle: int | None, ids: Sequence[int]) -> Tensor:
        """Logits [T, vocabulary] of one full pass."""
        with torch.no_grad():
            return cast("Tensor", self.model(particle)(input_ids=torch.tensor([list(ids)])).logits[0])

    def loglikelihood(self, particle: int | None, prompt: str, continuation: str) -> tuple[float, int]:
        """Log-probability of a continuation and the number of its tokens."""
        before, ids = len(self.ids(prompt.rstrip())), self.ids(prompt + continuation)
        table = self.logits(particle, ids).double().log_softmax(dim=-1)
        return sum(float(table[place - 1, ids[place]]) for place in range(before, len(ids))), len(ids) - before
