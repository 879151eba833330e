"""Matplotlib's figures as SVG for a page: text stays text, and colours follow the page's theme."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayesgmm.plots.canvas import CLUSTERS, DATA, EM, POSTERIOR, Mark, marks

_INK, _AXIS = "#1b2430", "#8b95a1"
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a feature may have any name
    "svg.fonttype": "none",
    "svg.hashsalt": "bayesgmm",
    "path.simplify_threshold": 0.2,
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"), _INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), _AXIS),
    "axes.titlesize": 10.5,
    "legend.frameon": False,
}
# colours that the style sheet defines for both themes, by its names; all others stay as they are
_THEMED = {_INK: "ink", _AXIS: "axis", "#000000": "ink", "#555555": "muted", "#666666": "muted", "#ffffff": "paper"}
_THEMED |= {DATA: "data", POSTERIOR: "posterior", EM: "em"} | {each: f"cluster-{j}" for j, each in enumerate(CLUSTERS)}
_TONES = (-0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45)  # shares of black, or of white
_MOST_VERTICES = 30_000  # of a figure; if it has more, its heavy parts are rasterised
_HEAVY = 400  # vertices above which a part is heavy
_FAINT = 0.2  # opacity up to which a part is heavy
_ALIGNED = 1e-3  # tolerance for the alignment of panels, as a share of the figure
_NAMESPACES = {"svg": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}


def drawn(name: str, draw: Callable[[], Figure], description: str) -> Markup:
    """The figure that ``draw`` makes, as an SVG element with a description; the same input gives the same bytes.

    If drawing fails, the result is a sentence that says so.
    """
    file = BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # text stays text, and browsers have fonts
        before = plt.get_fignums()
        try:
            figure = draw()
            _lighten(figure)
            marked = {f"mark-{place}": mark for place, (artist, mark) in enumerate(marks(figure)) if _called(artist, place)}
            figure.savefig(file, format="svg", transparent=True, dpi=150, metadata={"Date": None, "Creator": None})
            places = [panel for ax in figure.axes if ax.axison for panel in _panel(figure, ax)]
        except Exception as error:  # the rest of the report is still useful
            return Markup("<p>This picture is left out, because it cannot be drawn: {}</p>").format(error)
        finally:
            for number in set(plt.get_fignums()) - set(before):
                plt.close(number)
    return Markup(_for_a_page(file.getvalue(), name, description, marked, places))


def shaded(colour: str, chain: int, n_chains: int) -> str:
    """The colour of a cluster in a chain: dark for the first chain, light for the last."""
    return _mixed(colour, _TONES[round((len(_TONES) - 1) * (chain / (n_chains - 1) if n_chains > 1 else 0.5))])


def _mixed(colour: str, share: float) -> str:
    other = float(share > 0)
    parts = np.array(to_rgb(colour)) * (1 - abs(share)) + other * abs(share)
    return to_hex(parts.tolist())


def _lighten(figure: Figure) -> None:
    """Rasterise the heavy parts of a figure that has too many vertices."""
    parts: list[Any] = [part for ax in figure.axes for part in (*ax.lines, *ax.collections)]
    if sum(map(_vertices, parts)) <= _MOST_VERTICES:
        return
    for part in parts:
        is_band = isinstance(part, Collection) and np.size(part.get_offsets()) <= 2 and len(part.get_paths()) <= 1
        if not is_band and (_vertices(part) > _HEAVY or (part.get_alpha() or 1) <= _FAINT):
            part.set_rasterized(True)


def _vertices(part: Line2D | Collection) -> int:
    if isinstance(part, Line2D):
        return np.size(part.get_xydata()) // 2
    return max(np.size(part.get_offsets()) // 2, sum(np.size(path.vertices) // 2 for path in part.get_paths()))


def _called(artist: Any, place: int) -> bool:
    """Give an artist an id that identifies it in the SVG, unless it is rasterised."""
    if artist.get_rasterized():
        return False
    artist.set_gid(f"mark-{place}")
    return True


def _panel(figure: Figure, ax: Axes) -> list[dict[str, Any]]:
    """Place of an axes in the picture, and its limits in data units; empty unless both scales are linear."""
    if {ax.get_xscale(), ax.get_yscale()} != {"linear"}:
        return []
    width, height = 72 * figure.get_figwidth(), 72 * figure.get_figheight()
    box, (left, right), (bottom, top) = ax.get_position(), ax.get_xlim(), ax.get_ylim()
    at = (box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height)
    same = [(each, each.get_position()) for each in figure.axes if each.axison]  # panels of a row or column share a label
    x = [ax.get_xlabel(), *(each.get_xlabel() for each, other in same if abs(other.x0 - box.x0) < _ALIGNED), "x"]
    y = [ax.get_ylabel(), *(each.get_ylabel() for each, other in same if abs(other.y0 - box.y0) < _ALIGNED), "y"]
    ends, names = (left, right, bottom, top), [next(filter(None, each)) for each in (x, y)]
    return [{"at": [round(each, 1) for each in at], "ends": [float(f"{each:.6g}") for each in ends], "names": names}]


def _show(element: ElementTree.Element, mark: Mark) -> None:
    """Record in an element, or in its parts, which cluster or observation they show."""
    if mark.cluster is not None:
        element.set("data-cluster", str(mark.cluster))
        if mark.names:
            element.set("data-name", mark.names[mark.cluster])
        return
    assert mark.obs is not None
    aside = {part for each in element.iter(f"{{{_NAMESPACES['svg']}}}defs") for part in each.iter()}
    parts = [part for part in element.iter() if part.tag.endswith(("}path", "}use")) and part not in aside]
    if len(parts) != len(mark.obs):  # some points lie outside the axes
        return
    for place, part in enumerate(parts):
        part.set("data-obs", str(mark.obs[place]))
        if mark.of_obs is not None:
            part.set("data-cluster", str(mark.of_obs[place]))


def _for_a_page(source: bytes, name: str, description: str, marked: dict[str, Mark], places: list[dict[str, Any]]) -> str:
    for prefix, address in _NAMESPACES.items():
        ElementTree.register_namespace("" if prefix == "svg" else prefix, address)
    svg, xlink = (f"{{{address}}}" for address in _NAMESPACES.values())
    root = ElementTree.fromstring(source)
    for metadata in root.findall(f"{svg}metadata"):
        root.remove(metadata)
    for element in root.iter():
        link = element.attrib.pop(f"{xlink}href", None)
        if link is not None:
            element.set("href", link)
        if element.get("id") in marked:
            _show(element, marked[element.attrib.pop("id")])
    text = " ".join(value for element in root.iter() for value in element.attrib.values() if len(value) < 1_000)
    used = set(re.findall(r"#([\w-]+)", text))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if not value.startswith("data:"):
                element.set(key, _rewritten(key, value, name))
    width, height = (float(root.get(each, "0").removesuffix("pt")) for each in ("width", "height"))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("viewBox", f"0 0 {width:g} {height:g}")
    root.set("style", f"--width:{width / 72:.3g}")
    root.set("role", "img")
    if places:
        root.set("data-panels", json.dumps(places, separators=(",", ":")))
    root.set("aria-labelledby", f"{name}-title")
    title = ElementTree.Element(f"{svg}title", {"id": f"{name}-title"})
    title.text = description
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def _rewritten(key: str, value: str, name: str) -> str:
    """An attribute with ids that are unique to the figure, with the page's colours, and with at most two decimals."""
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"url\(#([\w-]+)\)", rf"url(#{name}-\1)", value)
    if key == "href":
        return re.sub(r"^#", f"#{name}-", value)
    if key == "style":
        value = re.sub(r"(font: [^;]*?px) [^;]+", r"\1 inherit", value)
        value = re.sub(r"font: ([\d.]+px) inherit", r"font-size: \1", value)
        return re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), value)
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", value)


_VARIABLES = {
    _mixed(colour, share): (
        f"color-mix(in srgb, var(--{name}) {100 - 100 * abs(share):.0f}%, {'white' if share > 0 else 'black'})"
    )
    for colour, name in _THEMED.items()
    if name.startswith("cluster-")
    for share in _TONES
    if share
} | {colour: f"var(--{name})" for colour, name in _THEMED.items()}
