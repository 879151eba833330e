"""How the site is built: ``uv run --extra docs sphinx-build -W -b html docs docs/_build/html``, without the network."""

import base64
import json
import re
import shutil
from importlib.metadata import version as version_of
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

HERE = Path(__file__).parent
ROOT = HERE.parent

_HERE = {"benchmarks": "benchmarks", "notebooks": "gallery"}  # where parts of the repository are in the site

project = "bayesgmm"
author = "the bayesgmm maintainers"
release = version = version_of("bayesgmm")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # they are executed, and compared with their sources, by the tests

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give shapes, which types do not
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_math_renderer = "mathml"  # which browsers draw by themselves; MathJax would be loaded from elsewhere
html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}
html_title = "bayesgmm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = html_show_sourcelink = False
html_sidebars = {"index": [], "start": [], "changelog": [], "references": [], "gallery/index": []}
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "MIT licence"


def cards(notebooks):
    """The gallery's page: of each notebook its title, its question, and its first picture of a fit."""
    lines = ["# Gallery", "", "One question each, on data that the package carries. Every notebook runs from top to bottom."]
    lines += ["", "::::{grid} 1 2 2 3", ":gutter: 3", ""]
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        text = "".join(cells[0]["source"])
        title = text.split("\n", 1)[0].lstrip("# ")
        question = text.split("**Question.**", 1)[1].split("\n\n", 1)[0].replace("\n", " ").strip()
        drawn = [
            ("bg.plots." in "".join(cell["source"]), output["data"]["image/png"])
            for cell in cells if cell["cell_type"] == "code" and "plot_em_history" not in "".join(cell["source"])
            for output in cell["outputs"] if "image/png" in output.get("data", {})
        ]  # fmt: skip
        picture = max(drawn, key=lambda each: each[0])[1]  # the first of them
        (path.parent / f"{path.stem}.png").write_bytes(base64.b64decode(picture))
        lines += [f":::{{grid-item-card}} {title}", f":link: {path.stem}", ":link-type: doc", f":img-top: {path.stem}.png"]
        lines += [f":img-alt: A figure of the notebook: {title}", "", question, ":::", ""]
    names = [path.stem for path in notebooks]
    return "\n".join([*lines, "::::", "", ":::{toctree}", ":hidden:", "", *names, ":::", ""])


def bring_together(app):
    """Put beside the pages what stands elsewhere in the repository; nothing of it is kept in git."""
    gallery, benchmarks = HERE / "gallery", HERE / "benchmarks"
    for folder in (gallery, benchmarks):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "notebooks/galaxies.png"]:
        shutil.copy(path, gallery)
    (gallery / "index.md").write_text(cards(sorted(gallery.glob("*.ipynb"))))
    for path in (ROOT / "benchmarks").glob("*.md"):
        shutil.copy(path, benchmarks / ("index.md" if path.name == "README.md" else path.name))
    others = sorted(path.stem for path in benchmarks.glob("*.md") if path.stem != "index")
    with (benchmarks / "index.md").open("a") as index:
        index.write("\n".join(["", ":::{toctree}", ":hidden:", "", *others, ":::", ""]))


def for_the_site(app, docname, source):
    """No empty line after an example, which only doctest needs; links to notebooks and benchmarks stay in the site."""
    text = re.sub(r"\n\n```$", "\n```", source[0], flags=re.MULTILINE)
    text = re.sub(r"\]\((?:\.\./)+benchmarks/README\.md", "](/benchmarks/index.md", text)
    source[0] = re.sub(r"\]\((?:\.\./)+(benchmarks|notebooks)/", lambda found: f"](/{_HERE[found[1]]}/", text)


def draw(translator, node):
    """A formula as MathML."""
    display = "block" if node.tagname == "math_block" else "inline"
    formula = convert(node.astext(), display=display).replace("<mi>&#x0007E;</mi>", "<mo>&#x223C;</mo>")
    translator.body.append(f'<div class="math">{formula}</div>' if display == "block" else formula)
    raise SkipNode


def setup(app):
    """Called by Sphinx."""
    app.connect("builder-inited", bring_together)
    app.connect("source-read", for_the_site)
    app.add_html_math_renderer("mathml", inline_renderers=(draw, None), block_renderers=(draw, None))
