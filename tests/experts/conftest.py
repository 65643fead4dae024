"""Copies of the tiny experts that a test may break, and the parts that most tests here start from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from swarm_lightning.experts.pool import ExpertPool, load_pool


@pytest.fixture
def experts(tiny_experts_folder: Path, tmp_path: Path) -> Path:
    """A copy of the four tiny experts (colours, numbers, stories, towns)."""
    return Path(shutil.copytree(tiny_experts_folder, tmp_path / "experts"))


@pytest.fixture
def pool(tiny_experts_folder: Path) -> ExpertPool:
    return load_pool(str(tiny_experts_folder))


@pytest.fixture
def change_config() -> Callable[..., None]:
    """Sets keys in an adapter's config."""

    def change(folder: Path, **settings: Any) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


@pytest.fixture
def change_tensors() -> Callable[[Path, Callable[[dict[str, Tensor]], dict[str, Tensor]]], None]:
    """Rewrites an adapter's tensors."""
    from safetensors.torch import load_file, save_file

    def change(folder: Path, function: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        path = folder / "adapter_model.safetensors"
        save_file(function(dict(load_file(path))), path, metadata={"format": "pt"})

    return change
