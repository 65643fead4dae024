"""The demo world's experts as full checkpoints: each adapter merged into the base, made at the first use.

They are kept in the user's cache folder, 4 MB each, in a folder that is named after what they were made from.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.paths import cache_folder, locate

DEMO_CHECKPOINTS = "demo:checkpoints"


def with_demo_checkpoints(sources: str | Sequence[str]) -> list[str]:
    """Return sources with the folders of those that are full checkpoints of the demo world.

    Args:
        sources: One or more.
    """
    listed = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    return [demo_checkpoints(one) if one.startswith(DEMO_CHECKPOINTS) else one for one in map(os.fspath, listed)]


def demo_checkpoints(source: str) -> str:
    """Return the folder of the demo world's experts as full checkpoints, made if it is not there.

    Args:
        source: `demo:checkpoints`, or `demo:checkpoints/<name>` for one of them.

    Raises:
        InputError: If there is no such expert, or the cache folder can't be written.
    """
    adapters = sorted(path for path in Path(locate("demo:experts")).iterdir() if path.is_dir())
    names = [path.name for path in adapters]
    wanted = source.removeprefix(DEMO_CHECKPOINTS).removeprefix("/")
    if wanted and wanted not in names:
        raise InputError(
            f"Expected one of {', '.join(names)} behind {DEMO_CHECKPOINTS}/, but got {source!r}. Name one of them, or "
            f"{DEMO_CHECKPOINTS} for all."
        )
    base = Path(locate("demo:base"))
    digest = hashlib.sha256()
    for path in sorted([*base.iterdir(), *(file for adapter in adapters for file in adapter.iterdir())]):
        digest.update(path.read_bytes())
    folder = cache_folder() / f"demo_checkpoints_{digest.hexdigest()[:12]}"
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            partial.mkdir(parents=True)
            merge_adapters(base, adapters, partial)
            os.rename(partial, folder)
        except OSError as cause:
            if not folder.is_dir():  # else another process was faster
                raise InputError(
                    f"Expected to write the demo world's full checkpoints to {str(folder)!r}, but: {cause}. Set "
                    "XDG_CACHE_HOME to a folder that can be written."
                ) from cause
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return str(folder / wanted) if wanted else str(folder)


def merge_adapters(base: Path, adapters: Sequence[Path], folder: Path) -> None:
    """Write full checkpoints, each a base with the weights of one adapter in it, into folders of the adapters' names.

    Args:
        base: Folder of the base model, in float32 as the adapters.
        adapters: Their folders.
        folder: Where the checkpoints go.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(base)
    for adapter in adapters:
        with torch.random.fork_rng(devices=[]):
            plain = AutoModelForCausalLM.from_pretrained(base)  # float32, as the adapters: there is nothing to cast
            model = PeftModel.from_pretrained(plain, str(adapter), autocast_adapter_dtype=False)
        model.merge_and_unload().save_pretrained(folder / adapter.name)
        tokenizer.save_pretrained(folder / adapter.name)
    if shown:
        logging.enable_progress_bar()
