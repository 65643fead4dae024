"""A reader that goes away ends nothing but the printing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Run
from tests.search.tiny_search import World

PROGRAM = """
import logging, sys
logging.basicConfig(stream=sys.stderr)
from swarm_lightning.cli.printing import outliving_readers
with outliving_readers():
    for number in range(20000):
        print(number)
        print(number, file=sys.stderr)
        logging.error(number)
    with open(sys.argv[1], "w") as file:
        file.write("done")
    sys.exit(7)
"""


def read_one_line(command: list[str], both: bool, **settings: Any) -> int:
    """Run a command, read one line of what it prints, and go away; return its exit code."""
    stderr = subprocess.STDOUT if both else subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, **settings) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        return process.wait(300)


@pytest.mark.parametrize("both", [False, True])
def test_a_program_goes_on_to_its_end_and_its_exit_code(tmp_path: Path, both: bool) -> None:
    assert read_one_line([sys.executable, "-c", PROGRAM, str(tmp_path / "end")], both) == 7
    assert (tmp_path / "end").read_text() == "done"


def test_all_is_printed_where_it_is_read(tmp_path: Path) -> None:
    program = PROGRAM.replace("range(20000)", "range(3)")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "end")], capture_output=True, text=True)
    assert done.stdout == "0\n1\n2\n"
    assert done.stderr == "".join(f"{number}\nERROR:root:{number}\n" for number in range(3))


def test_an_error_of_another_kind_is_none_of_a_reader_that_is_gone(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "end")], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode not in (0, 7)
    assert not (tmp_path / "end").exists()
    assert "No space left" in done.stderr


def test_a_search_without_readers_is_the_same_search(world: World, run: Run, tmp_path: Path) -> None:
    config = {**run.config, "trainer": {**run.config["trainer"], "enable_progress_bar": True}}
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "swarm_lightning", "fit", "--config", str(path)]
    assert read_one_line(command, True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) == 0
    first, second = (run.root / f"version_{k}" / "best_expert" / "adapter_model.safetensors" for k in (0, 1))
    assert first.read_bytes() == second.read_bytes()
    assert (run.root / "version_1" / "summary.json").is_file()
