"""The weights of cBTM and of Pack of LLMs, and the texts that cBTM reads."""

import json
import math
from pathlib import Path

import pytest
import torch

from swarm_lightning.baselines import cbtm, pack_of_llms
from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runners.mixture import MixtureRunner
from swarm_lightning.search import ModelSwarm
from tests.baselines.test_methods import EXAMPLES, EXPERTS, examples_of


def test_a_prompt_that_is_twice_as_likely_per_token_weighs_twice_as_much() -> None:
    weights = pack_of_llms.weights_of(torch.tensor([[-2.0, -2.0 + math.log(2.0)]]))
    assert weights[0].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_weights_fall_with_the_squared_distance() -> None:
    # Squared distances 0.1 and 0.2 in units of T = 0.1: e^-1 and e^-2.
    centres = torch.tensor([[math.sqrt(0.1), 0.0], [0.0, math.sqrt(0.2)]], dtype=torch.float64)
    weights = cbtm.weights_of(torch.zeros(1, 2, dtype=torch.float64), centres)
    assert weights[0].tolist() == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


def test_texts_are_read_from_a_folder_or_from_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a fox\n\na bear\n")
    record = {"messages": [{"role": "user", "content": "Sum?"}, {"role": "assistant", "content": "Three."}]}
    (tmp_path / "two.jsonl").write_text(json.dumps(record) + "\n" + json.dumps({"prompt": "P", "response": "R"}) + "\n")
    expected = [["a fox", "a bear"], ["Sum? Three.", "P R"]]
    assert cbtm.read_domain_texts(str(tmp_path), ["one", "two"]) == expected
    (tmp_path / "two.jsonl").write_text((tmp_path / "two.jsonl").read_text(), encoding="utf-8-sig")
    files = {"two": str(tmp_path / "two.jsonl"), "one": str(tmp_path / "one.txt")}
    assert cbtm.read_domain_texts(files, ["one", "two"]) == expected


def test_an_expert_without_texts_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a fox\n")
    with pytest.raises(InputError, match=r"none for two. Add two.txt"):
        cbtm.read_domain_texts(str(tmp_path), ["one", "two"])
    (tmp_path / "two.txt").write_text("\n")
    with pytest.raises(InputError, match="there are none"):
        cbtm.read_domain_texts(str(tmp_path), ["one", "two"])


def test_cbtm_follows_the_expert_that_has_read_the_prompts(
    opened: ModelSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(cbtm, "AT_ONCE", 3)  # of eight prompts
    # All prompts are sums. Two experts have read just these, and weigh the same; the others nothing of the kind: at a
    # squared distance of about 2 from every prompt, they weigh less than e^-10 of these.
    readers = [opened.pool.names.index(name) for name in ("numbers", "towns")]
    sums = [example.question for example in examples_of(opened)]
    for place, name in enumerate(opened.pool.names):
        texts = sums if place in readers else ["zebra yonder xylophone"]
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    bench = Bench(opened, examples_of(opened))
    composition = cbtm.CBTM(str(tmp_path)).compose(bench)
    assert bench.spent == EXPERTS * EXAMPLES
    assert composition.vector is None
    assert composition.scores is not None

    runner = MixtureRunner(opened.evaluator.runner, bench.experts[readers], "probabilities")
    expected = opened.evaluator.on(runner).evaluate(torch.tensor([[0.5, 0.5]]), bench.examples).scores[0]
    assert composition.scores(bench.examples).equal(expected)


def test_a_pack_costs_all_experts_at_every_question(opened: ModelSwarm) -> None:
    bench = Bench(opened, examples_of(opened))
    composition = pack_of_llms.PackOfLLMs().compose(bench)
    assert bench.spent == EXPERTS * EXAMPLES
    assert composition.scores is not None
    assert float(composition.scores(bench.examples).mean()) == pytest.approx(composition.utility)


def test_cbtm_is_absent_without_texts(opened: ModelSwarm, tmp_path: Path) -> None:
    bench = Bench(opened, examples_of(opened))
    with pytest.raises(Absent, match="no texts of the experts' domains given"):
        cbtm.CBTM(None).compose(bench)
    with pytest.raises(Absent, match="none for colours, numbers, stories, towns"):
        cbtm.CBTM(str(tmp_path)).compose(bench)


def test_cbtm_is_absent_where_texts_hold_no_words(opened: ModelSwarm, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    for name in opened.pool.names:
        (tmp_path / f"{name}.txt").write_text("1 + 2 = 3\na\n")
    with pytest.raises(Absent, match="hold no words"):
        cbtm.CBTM(str(tmp_path)).compose(Bench(opened, examples_of(opened)))
