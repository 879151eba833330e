"""Every notebook's source runs to the end, and its last cell checks the numbers in its text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.notebook
@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_runs(source):
    """Run in a separate process, as Jupyter does: one notebook limits the memory of its process."""
    environment = os.environ | {"MPLBACKEND": "agg"}
    run = subprocess.run([sys.executable, source], env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr[-5_000:]


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_executed_notebook_stands_beside_its_source(source):
    cells = json.loads(source.with_suffix(".ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    blocks = source.read_text().split("# %%")[1:]
    assert len(cells) == len(blocks)
    for cell in code:
        assert "".join(cell["source"]).rstrip(";").rstrip() in source.read_text()
        assert not any(output["output_type"] == "error" for output in cell["outputs"])
