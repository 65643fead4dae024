"""Particles served by vLLM: one engine per rank, one LoRA request per particle.

vLLM documents no way to hand adapters over in memory. So each is written to a folder in RAM, read at once and removed;
one lies there at a time. Text, lengths, stop strings and seeds are those of `TextRows`. A reply goes on to its end or
to a stop string: `row_stops` has no part in it, which by its contract changes no score.
"""

import itertools
import math
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.doors import vllm as door
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenReplies
from swarm_lightning.evaluation.engine.memory import free_bytes
from swarm_lightning.evaluation.engine.text_rows import DecodingOf, PromptRows, Sums, TextRows
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.evaluation.runners.resident import EngineRunner
from swarm_lightning.evaluation.sampling import RowNoise, Sampler
from swarm_lightning.experts.export.adapter import write_adapter
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.sources import local_folder
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams

RAM = Path("/dev/shm")
MOST_SLOTS = 16
SLOTS_SHARE = 0.1  # of the free memory, for adapters
CACHE_BYTES = 1 << 30  # keys and values on a CPU; VLLM_CPU_KVCACHE_SPACE says otherwise, in GiB


class VllmRunner(EngineRunner):
    """Runs particles of adapters by vLLM; follows the protocol `Runner`.

    Attributes:
        tokenizer: The base model's.
        settings: How candidates are evaluated.
        at_once: None: more particles than slots wait for each other in the engine's own order.
        engine: The base in this process, which says how long texts are; it answers nothing.
        llm: vLLM's engine; it ends with this object, or with the process.
        slots: Adapters that the engine holds at once.
    """

    at_once: int | None = None

    def __init__(self, loaded: Loaded) -> None:
        """Start the engine and have an expert answer: some layers and shapes fail only there.

        Args:
            loaded: What a search has loaded.

        Raises:
            InputError: If vLLM is not installed or can't serve these experts.
        """
        adapted = _served(loaded)
        super().__init__(Engine(adapted, loaded.tokenizer, loaded.settings))
        self._layout, self._config = adapted.layout, dict(loaded.pool.config)  # type: ignore[attr-defined]
        self._numbers = itertools.count(1)
        rank = next(rank for rank in door.RANKS if rank >= _rank(adapted))
        model = adapted.model
        bytes_of_one = 4 * adapted.layout.size * rank // _rank(adapted)
        fitting = max(1, int(SLOTS_SHARE * free_bytes(model.device) / bytes_of_one))
        self.slots = min(loaded.settings.particles or MOST_SLOTS, fitting)
        on_cpu = model.device.type == "cpu"
        folder = local_folder(loaded.base, "a base model", bare_names=True)
        targets = sorted({layer.name.rpartition(".")[2] for layer in adapted.layers})
        try:
            self.llm = door.start(
                str(folder or loaded.base),
                targets,
                dtype=str(model.dtype).removeprefix("torch."),
                max_loras=self.slots,
                max_lora_rank=rank,
                enforce_eager=on_cpu,
                kv_cache_memory_bytes=CACHE_BYTES if on_cpu else free_bytes(model.device) // 2,
                tensor_parallel_size=loaded.settings.tensor_parallel,
                trust_remote_code=loaded.trust_remote_code,
            )
        except (RuntimeError, ValueError) as cause:
            raise InputError(_refusal(loaded.base, cause)) from cause
        self._end = weakref.finalize(self, door.stop, self.llm)
        try:
            with self.session(loaded.pool.vectors[:1], {}) as session:
                session.model.loglikelihoods(PromptRows((0,), [""], True), [[Continuation((0, 0), 1)]])
        except Exception as cause:  # the engine's processes raise what they like
            self.close()
            raise InputError(_refusal(loaded.base, cause)) from cause

    def close(self) -> None:
        """End the engine and its processes; once is enough."""
        self._end()

    @contextmanager
    def session(self, candidates: Vectors | None, prompts: Mapping[str, Sequence[str]]) -> Iterator["VllmSession"]:
        """Take up particles; see `Runner.session`."""
        count = 0 if candidates is None else len(candidates)
        numbers = [next(self._numbers) for _ in range(count)]
        model = Served(self.llm, self.slots, numbers, self._write if candidates is not None else None, candidates)
        try:
            yield VllmSession(self.engine, model)
        finally:
            model.forget()

    def _write(self, folder: Path, vector: Any) -> None:
        tensors = self._layout.unflatten(vector.detach().to("cpu", torch.float32))
        write_adapter(folder, tensors, self._config, "")


class VllmSession:
    """Particles of one evaluation; follows the protocol `Session`."""

    models = 1

    def __init__(self, engine: Engine, model: "Served") -> None:
        """Take particles.

        Args:
            engine: How texts become tokens.
            model: The particles.
        """
        self._engine, self.model = engine, model

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> TextRows:
        """Lend particles for one call; see `Session.rows`."""
        return TextRows(self._engine, self.model, candidates, whole_replies, noise)

    def forget(self) -> None:
        """Have the engine forget the adapters; they are handed over again where needed."""
        self.model.forget()


class Served:
    """Particles that vLLM answers for; follows the protocol `TokenModel`."""

    def __init__(self, llm: "LLM", slots: int, numbers: Sequence[int], write: Any, vectors: Vectors | None) -> None:
        """Take particles.

        Args:
            llm: vLLM's engine.
            slots: Adapters it holds at once.
            numbers: What the engine calls each; none for the plain base.
            write: Writes a vector as an adapter folder.
            vectors: Weights [P, D], or P vectors; None for the plain base.
        """
        self._llm, self._slots, self._numbers, self._write, self._vectors = llm, slots, numbers, write, vectors

    def take_up(self, particles: Sequence[int]) -> dict[int, Any]:
        """Have the engine hold particles, `slots` of them at most; returns the request for each."""
        from vllm.lora.request import LoRARequest

        if self._vectors is None:
            return dict.fromkeys(particles)
        wanted = {particle: self._numbers[particle] for particle in particles}
        held, found = self._made_room(set(wanted.values())), {}
        for particle, number in wanted.items():
            with tempfile.TemporaryDirectory(prefix="swarm-", dir=RAM if os.access(RAM, os.W_OK) else None) as place:
                found[particle] = LoRARequest(f"particle-{number}", number, f"{place}/adapter")
                if number not in held:
                    self._write(Path(place) / "adapter", self._vectors[particle][:])
                door.take_up(self._llm, found[particle])
        return found

    def _made_room(self, wanted: set[int]) -> set[int]:
        """Have the engine forget as many particles as the wanted ones need slots; returns the numbers it still holds.

        Left to itself, every device of the engine forgets the one that was longest not asked, and they do not agree
        which: each notes those of a batch in the order of a set of texts, which differs from process to process.
        """
        held = door.carried(self._llm)
        leaving = sorted(held - wanted)[: max(0, len(held | wanted) - self._slots)]
        for number in leaving:
            door.let_go(self._llm, number)
        return held - set(leaving)

    def forget(self) -> None:
        """Have the engine forget the particles."""
        for number in door.carried(self._llm) & set(self._numbers):
            door.let_go(self._llm, number)

    def generate(
        self, prompts: PromptRows, tokens: Sequence[Sequence[int]], limit: int, decoding: DecodingOf
    ) -> TokenReplies:
        """Choose tokens after prompts; see `TokenModel.generate`."""
        from vllm import SamplingParams

        how = decoding(range(len(tokens)), max(1, len(tokens)), 0)
        sampler = how.choose if isinstance(how.choose, Sampler) else None
        if sampler is not None and sampler.settings.temperature > 2:
            raise InputError(
                f"Expected a temperature of 2 at most, vLLM's limit, but got {sampler.settings.temperature}. Lower it, "
                "or set model.engine.backend to torch."
            )
        params = [
            SamplingParams(
                max_tokens=limit,
                temperature=0.0 if sampler is None else sampler.settings.temperature,
                top_p=1.0 if sampler is None else sampler.settings.top_p,
                top_k=0 if sampler is None else sampler.settings.top_k or 0,
                seed=None if sampler is None else int(sampler.keys[row]) & (2**63 - 1),
                stop=list(how.stop),
                stop_token_ids=sorted(how.ends),
                ignore_eos=True,  # what ends a reply is said by the line above
                logprobs=0,  # of the tokens that were chosen: they tell where the model broke
            )
            for row in range(len(tokens))
        ]
        replies = TokenReplies([])
        for row, answer in enumerate(self._ask(prompts.owners, tokens, params)):
            (output,) = answer.outputs
            chosen = list(output.token_ids)
            replies.generated += len(chosen)
            if not math.isfinite(output.cumulative_logprob):
                replies.broken.add(row)
            replies.tokens.append(chosen[:-1] if chosen and chosen[-1] in how.ends else chosen)
        return replies

    def loglikelihoods(self, prompts: PromptRows, continuations: Sequence[Sequence[Continuation]]) -> Sums:
        """Sum the log-probabilities of continuations; see `TokenModel.loglikelihoods`."""
        from vllm import SamplingParams

        flat = [one for row in continuations for one in row]
        owners = [owner for owner, row in zip(prompts.owners, continuations, strict=True) for _ in row]
        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        answers = iter(self._ask(owners, [one.ids for one in flat], [params] * len(flat)))
        return Sums.of([_loglikelihood(next(answers).prompt_logprobs, one) for row in continuations for one in row])

    def _ask(
        self, owners: Sequence[int], tokens: Sequence[Sequence[int]], params: Sequence["SamplingParams"]
    ) -> list[Any]:
        """Ask rows of as many particles at a time as there are slots; returns answers by the rows' order."""
        present = sorted(set(owners))
        found: dict[int, Any] = {}
        for start in range(0, len(present), self._slots):
            requests = self.take_up(present[start : start + self._slots])
            places = [place for place, owner in enumerate(owners) if owner in requests]
            answers = self._llm.generate(
                [{"prompt_token_ids": list(tokens[place])} for place in places],
                [params[place] for place in places],
                lora_request=[requests[owners[place]] for place in places],
                use_tqdm=False,
            )
            found.update(zip(places, answers, strict=True))
        return [found[place] for place in range(len(owners))]


def _loglikelihood(logprobs: Sequence[Any], one: Continuation) -> tuple[float, bool]:
    scored = [logprobs[place][one.ids[place]] for place in range(one.split, len(one.ids))]
    total = math.fsum(token.logprob for token in scored) if all(map(_is_finite, scored)) else math.nan
    return total, all(token.rank == 1 for token in scored)


def _is_finite(token: Any) -> bool:
    return math.isfinite(token.logprob)


def _rank(adapted: AdaptedModel) -> int:
    sizes = zip(adapted.layout.names, adapted.layout.shapes, strict=True)
    return max(shape[0] for name, shape in sizes if ".lora_A." in name)


def _served(loaded: Loaded) -> AdaptedModel:
    """Refuse what vLLM can't serve, before anything is started."""
    resident = loaded.resident
    if not isinstance(resident, AdaptedModel):
        raise InputError(
            "Expected LoRA adapters as particles with model.engine.backend vllm, but got "
            f"{type(resident).__name__}: vLLM serves neither full checkpoints nor weighted sums of products "
            "(model.coefficients). Set model.engine.backend to torch."
        )
    if not resident.layers:
        raise InputError(
            "Expected experts with model.engine.backend vllm, which is started for their adapters, but there are none. "
            "Name model.experts, or score the base alone with model.engine.backend torch."
        )
    if resident.model.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(
            f"Expected a base in float32, float16 or bfloat16 with model.engine.backend vllm, but got "
            f"{resident.model.dtype}. Set model.dtype, or model.engine.backend to torch."
        )
    head = next((layer.name for layer in resident.layers if layer is resident.model.get_output_embeddings()), None)
    if head is not None:
        raise InputError(
            f"Expected adapters that leave the output layer as it is with model.engine.backend vllm, but the experts "
            f"adapt {head!r}, with which vLLM can't give the log-probabilities of a prompt. Set model.engine.backend "
            "to torch."
        )
    if _rank(resident) > door.RANKS[-1]:
        raise InputError(
            f"Expected adapters of rank {door.RANKS[-1]} at most with model.engine.backend vllm, but got rank "
            f"{_rank(resident)}. Set model.engine.backend to torch."
        )
    if not door.is_installed():
        raise InputError(
            "Expected vLLM for model.engine.backend vllm, but it is not installed. Install the extra, "
            "`pip install 'swarm-lightning[vllm]'`, on a CPU as `.ci/vllm` does, or set model.engine.backend to torch."
        )
    return resident


def _refusal(base: str, cause: Exception) -> str:
    reason = " ".join(str(cause).split())[:400]
    return (
        f"Expected vLLM to serve {base!r} with these adapters, but: {reason}. Its own lines above say more; set "
        "model.engine.backend to torch if it does not know this model or these layers."
    )
