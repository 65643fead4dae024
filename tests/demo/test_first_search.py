"""The notebook that ships with the package, in a real kernel, as nbconvert runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

import swarm_lightning

NOTEBOOK = Path(swarm_lightning.__file__).parent / "demo" / "first_search.ipynb"


def texts_of(cell: Any, kind: str) -> str:
    """Return what a cell shows of a MIME type."""
    return "".join(output.get("data", {}).get(kind, "") for output in cell["outputs"])


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_search_its_numbers_and_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vl_convert")
    import nbformat
    from nbconvert.preprocessors import ExecutePreprocessor

    monkeypatch.setenv("PYTHONPATH", str(Path(swarm_lightning.__file__).parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # A cell that fails raises here.
    ExecutePreprocessor(timeout=300).preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    search, shown, history, best, climb, files, replies, page = (
        cell for cell in notebook.cells if cell.cell_type == "code"
    )
    said = "".join(output["text"] for output in search["outputs"] if output["output_type"] == "stream")
    assert "search: 100%" in said
    assert "4/4" in said
    assert "\x1b[A" not in said, "notebooks know no way back to the line above"
    run = swarm_lightning.read_run(tmp_path / "runs" / "first_search" / "version_0")
    assert "best found expert" in texts_of(search, "text/html")
    assert "in 4 iterations" in texts_of(shown, "text/html")
    assert "personal_best" in texts_of(history, "text/html")
    assert f"{run.summary['validation'][1]['utility']:.6f}" in texts_of(best, "text/plain")
    assert "<svg" in texts_of(climb, "image/svg+xml")
    assert "adapter_model.safetensors" in texts_of(files, "text/plain")
    assert "best found expert" in texts_of(replies, "text/html")
    assert texts_of(page, "text/html").startswith("<iframe srcdoc=")
