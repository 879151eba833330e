"""Every notebook's source runs from beginning to end, and its last cell holds its prose to its numbers."""

import json
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.notebook
@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_runs(source):
    runpy.run_path(str(source), run_name="__main__")
    plt.close("all")


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
