"""Examples and the fingerprint of splits."""

import subprocess
import sys
from dataclasses import replace

import pytest

from swarm_lightning.data.examples import Example, ExampleSplits

EXAMPLE = Example("Which?", "A", {"A": "this", "B": "that"}, "7", "Solve.", {"domain": "easy"})
SPLITS = ExampleSplits("set", (EXAMPLE,), (Example("Other?", "yes"),))


@pytest.mark.parametrize(
    "changed",
    [
        replace(EXAMPLE, question="which?"),
        replace(EXAMPLE, answer="B"),
        replace(EXAMPLE, choices={"B": "that", "A": "this"}),
        replace(EXAMPLE, identifier="8"),
        replace(EXAMPLE, in_context_prompt=""),
        replace(EXAMPLE, extras={"domain": "hard"}),
    ],
)
def test_the_fingerprint_changes_with_every_part_of_an_example(changed: Example) -> None:
    assert replace(SPLITS, validation=(changed,)).fingerprint != SPLITS.fingerprint


def test_the_fingerprint_ignores_the_name() -> None:
    assert replace(SPLITS, name="another").fingerprint == SPLITS.fingerprint


def test_the_fingerprint_of_an_example_that_changes_splits_is_another() -> None:
    one = ExampleSplits("set", (EXAMPLE, EXAMPLE), (EXAMPLE,))
    assert one.fingerprint != ExampleSplits("set", (EXAMPLE,), (EXAMPLE, EXAMPLE)).fingerprint


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from swarm_lightning.data.examples import Example, ExampleSplits\n"
        "odd = Example('q', extras={'thing': type('Thing', (), {})(), 'set': b'ab'})\n"
        "print(ExampleSplits('s', (odd,), (odd,)).fingerprint)\n"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def test_examples_readers_and_checks_import_neither_torch_nor_the_heavy_libraries() -> None:
    code = (
        "import sys, swarm_lightning.data.readers, swarm_lightning.data.checks, swarm_lightning.data.prompts\n"
        "print([name for name in ('torch', 'lightning', 'datasets', 'pandas', 'pyarrow') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
