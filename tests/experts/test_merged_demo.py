"""The demo world's experts as full checkpoints, against the adapters in the hands of plain `peft`."""

from pathlib import Path

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.experts.kinds import load_experts
from swarm_lightning.experts.merged_demo import demo_checkpoints
from swarm_lightning.paths import locate


def test_merged_experts_say_what_the_adapters_say_and_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = Path(demo_checkpoints("demo:checkpoints/smith"))
    made = folder.stat().st_mtime_ns
    pool = load_experts("demo:checkpoints")
    assert pool.names == tuple(sorted(path.name for path in Path(locate("demo:experts")).iterdir()))
    assert demo_checkpoints("demo:checkpoints/smith") == str(folder)
    assert folder.stat().st_mtime_ns == made
    base = AutoModelForCausalLM.from_pretrained(locate("demo:base"))
    adapted = PeftModel.from_pretrained(base, locate("demo:experts/smith")).eval()
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
        torch.testing.assert_close(merged, adapted(tokens).logits, rtol=1e-3, atol=1e-3)
    assert [path.name for path in (tmp_path / "swarm-lightning").iterdir()] == [folder.parent.name]


def test_an_expert_that_the_demo_world_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="Expected one of farmer, .* but got 'demo:checkpoints/smth'"):
        demo_checkpoints("demo:checkpoints/smth")
