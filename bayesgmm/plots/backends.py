"""Plotting libraries: matplotlib, or plotly for figures that show values under the pointer and can be zoomed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from bayesgmm.arguments import FloatArray, read_choice
from bayesgmm.plots.canvas import mark_of
from bayesgmm.words import about

Backend = Literal["matplotlib", "plotly"]

_PIXELS = 96.0  # per inch
_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_SYMBOLS = {"o": "circle", "s": "square", "v": "triangle-down", "x": "x-thin-open", "|": "line-ns-open", "_": "line-ew-open"}
_AXIS, _COLORBAR = "#8b95a1", "<colorbar>"


def read_backend(backend: Any, ax: Axes | None = None) -> Backend:
    """Check ``backend``: plotly must be installed, and cannot draw into an axis of matplotlib."""
    chosen = read_choice(backend, Backend, "backend")
    if chosen == "plotly" and ax is not None:
        raise ValueError(about("ax", "belongs to matplotlib, got it with backend='plotly'; leave one of them out"))
    if chosen == "plotly" and find_spec("plotly") is None:
        raise ImportError("backend='plotly' needs plotly, which is not installed; install it, or bayesgmm[plotly]")
    return chosen  # type: ignore[return-value]


def drawn_by(backend: Backend, figure: Figure) -> Any:
    """The figure of matplotlib, or its conversion to plotly."""
    if backend == "matplotlib":
        return figure
    try:
        return _as_plotly(figure)
    finally:
        plt.close(figure)


def _as_plotly(figure: Figure) -> Any:
    """The figure as one of plotly: panels, lines, bands, bars, points, texts and legend."""
    from plotly import graph_objects as go

    figure.draw_without_rendering()  # computes the layout
    result = go.Figure()
    width, height = _PIXELS * figure.get_size_inches()
    panels = [ax for ax in figure.axes if ax.axison and ax.get_label() != _COLORBAR]  # plotly adds colour bars itself
    for place, ax in enumerate(panels, start=1):
        axes = {"xaxis": f"x{_number(place)}", "yaxis": f"y{_number(place)}"}
        for trace in _traces(ax, go):
            result.add_trace(trace.update(axes, showlegend=False))
        _lay_out(result, ax, place, panels)
    for label, style in _legend(figure):
        result.add_trace(go.Scatter(x=[None], y=[None], name=label, **style))
    for text in (*figure.texts, getattr(figure, "_supxlabel", None)):
        if text is not None:
            _write(result, text, figure)
    return result.update_layout(
        width=width,
        height=height,
        template="plotly_white",
        hovermode="closest",
        font={"size": 11},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
    )


def _lay_out(result: Any, ax: Axes, place: int, panels: list[Axes]) -> None:
    """Set the place of a panel, and its axes. Panels that share an axis in matplotlib also do so in plotly."""
    box, of = ax.get_position(), _number(place)
    for name, low, high, axis, (begin, end), scale, label in (
        ("x", box.x0, box.x1, ax.xaxis, ax.get_xlim(), ax.get_xscale(), ax.get_xlabel()),
        ("y", box.y0, box.y1, ax.yaxis, ax.get_ylim(), ax.get_yscale(), ax.get_ylabel()),
    ):
        logarithmic = scale == "log"
        ends = np.log10([begin, end]) if logarithmic else [begin, end]
        told = {
            "domain": [max(0.0, low), min(1.0, high)],
            "range": [float(each) for each in ends],
            "type": "log" if logarithmic else "linear",
            "anchor": f"{'y' if name == 'x' else 'x'}{of}",
            "title": {"text": label, "standoff": 3},
            "exponentformat": "power",
            "showgrid": False,
            "zeroline": False,
            "showline": True,
            "linecolor": _AXIS,
            "ticks": "outside" if len(axis.get_ticklocs()) else "",
            "showticklabels": bool(len(axis.get_ticklocs()))
            and axis.get_tick_params().get("labelleft" if name == "y" else "labelbottom", True),
        }
        if isinstance(axis.get_major_locator(), FixedLocator):
            told["tickvals"] = [float(each) for each in axis.get_ticklocs()]
        group = ax.get_shared_x_axes() if name == "x" else ax.get_shared_y_axes()
        first = next(number for number, each in enumerate(panels, start=1) if each is ax or group.joined(ax, each))
        if first != place:
            told["matches"] = f"{name}{_number(first)}"
        result.layout[f"{name}axis{of}"] = told
    for text in (ax.title, ax._left_title, *ax.texts):  # type: ignore[attr-defined]
        _write(result, text, ax.figure)


def _write(result: Any, text: Any, figure: Any) -> None:
    """Add a text at its place."""
    if text.get_text():
        x, y = figure.transFigure.inverted().transform(text.get_transform().transform(text.get_position()))
        anchors = {
            "xanchor": text.get_ha(),
            "yanchor": {"baseline": "bottom", "center": "middle"}.get(text.get_va(), text.get_va()),
        }
        at = {"x": float(x), "y": float(y), "xref": "paper", "yref": "paper"} | anchors
        result.add_annotation(text=text.get_text().replace("\n", "<br>"), showarrow=False, **at)


def _number(place: int) -> str:
    """Suffix in plotly's name of an axis; the first axis has none."""
    return "" if place == 1 else str(place)


def _traces(ax: Axes, go: Any) -> Iterator[Any]:
    for image in ax.images:
        scale = [[share, to_hex(image.cmap(share))] for share in np.linspace(0, 1, 9)]
        title = image.colorbar.ax.get_ylabel() if image.colorbar is not None else ""
        ends = {"zmin": image.norm.vmin, "zmax": image.norm.vmax}
        yield go.Heatmap(
            z=np.asarray(image.get_array()), colorscale=scale, colorbar={"title": {"text": title, "side": "right"}}, **ends
        )
    for container in ax.containers:
        if isinstance(container, BarContainer):
            boxes = [each.get_bbox() for each in container.patches]
            face, edge = container.patches[0].get_facecolor(), container.patches[0].get_edgecolor()
            yield go.Bar(
                x=[(each.x0 + each.x1) / 2 for each in boxes],
                y=[each.height for each in boxes],
                width=[each.width for each in boxes],
                marker={"color": _rgba(face), "line": {"color": _rgba(edge), "width": container.patches[0].get_linewidth()}},
            )
    for collection in ax.collections:
        yield from _of_collection(collection, ax, go)
    for line in ax.lines:
        x, y = _in_data(line.get_transform(), line.get_xydata(), ax).T
        if np.isfinite(x).any():
            yield go.Scatter(x=x, y=y, **_style_of(line), **_told(line))


def _of_collection(collection: Any, ax: Axes, go: Any) -> Iterator[Any]:
    """Traces of a collection: bands, segments, or points."""
    drawn: Any = collection
    if isinstance(collection, LineCollection):
        pieces = [_in_data(collection.get_transform(), each, ax) for each in collection.get_segments()]
        if pieces:
            x, y = np.concatenate([np.vstack([each, [np.nan, np.nan]]) for each in pieces]).T
            colour, width = drawn.get_colors()[0], drawn.get_linewidths()[0]
            yield go.Scatter(x=x, y=y, mode="lines", hoverinfo="skip", line={"color": _rgba(colour), "width": width})
    elif isinstance(collection, PathCollection):
        points = _in_data(collection.get_offset_transform(), np.ma.getdata(collection.get_offsets()), ax)
        if len(points):
            yield go.Scatter(
                x=points[:, 0], y=points[:, 1], mode="markers", marker=_markers(collection), **_told(collection)
            )
    else:
        for path in collection.get_paths():
            x, y = path.vertices.T
            fill = _rgba(collection.get_facecolors()[0])
            yield go.Scatter(x=x, y=y, mode="lines", line={"width": 0}, fill="toself", fillcolor=fill, hoverinfo="skip")


def _markers(points: Any) -> dict[str, Any]:
    """Style of markers: sizes in pixels, colours, and rings for points without a face colour."""
    path = points.get_paths()[0]
    across, down = np.ptp(path.vertices, axis=0)
    symbol = "line-ns-open" if across == 0 else "line-ew-open" if down == 0 else "circle"
    faces, edges = points.get_facecolors(), points.get_edgecolors()
    size = np.sqrt(points.get_sizes()) * _PIXELS / 72
    hollow = not len(faces)
    colours = [_rgba(each) for each in (edges if hollow else faces)]
    ring = {"symbol": "circle-open"} if hollow else {"symbol": symbol}
    return {
        "size": size if len(size) > 1 else size[0],
        "color": colours if len(colours) > 1 else colours[0],
        **ring,
        "opacity": 1,
    }


def _style_of(line: Any) -> dict[str, Any]:
    dash, symbol = _DASHES.get(line.get_linestyle()), _SYMBOLS.get(str(line.get_marker()))
    colour = _rgba(line.get_color(), line.get_alpha())
    style: dict[str, Any] = {"mode": "+".join([*(["lines"] if dash else []), *(["markers"] if symbol else [])]) or "none"}
    if dash:
        style["line"] = {"color": colour, "width": line.get_linewidth(), "dash": dash}
    if symbol:
        hollow = str(line.get_markerfacecolor()).lower() == "none"
        edge = _rgba(line.get_markeredgecolor(), line.get_alpha()) if hollow else colour
        style["marker"] = {"color": edge, "size": line.get_markersize(), "symbol": f"{symbol}-open" if hollow else symbol}
    return style


def _legend(figure: Figure) -> Iterator[tuple[str, dict[str, Any]]]:
    """Labels and styles of all legends."""
    legends = [*figure.legends, *(each for ax in figure.axes if (each := ax.get_legend()) is not None)]
    for legend in legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if isinstance(handle, Line2D):
                yield text.get_text(), _style_of(handle)
            elif isinstance(handle, PathCollection):
                yield text.get_text(), {"mode": "markers", "marker": _markers(handle)}
            else:  # bands and bars
                face = handle.get_facecolor() if handle is not None else "none"  # type: ignore[attr-defined]
                yield text.get_text(), {"mode": "markers", "marker": {"symbol": "square", "size": 12, "color": _rgba(face)}}


def _told(artist: Any) -> dict[str, Any]:
    """Text under the pointer: coordinates, and the cluster or the observation."""
    shown = mark_of(artist)
    if shown is None:
        return {}
    if shown.obs is None:
        name = shown.names[shown.cluster] if shown.names and shown.cluster is not None else f"cluster {shown.cluster}"
        return {"hovertemplate": f"%{{x}}, %{{y}}<extra>{name}</extra>"}
    clusters = [""] * len(shown.obs)
    if shown.of_obs is not None:
        clusters = [f", {shown.names[each] if shown.names else f'cluster {each}'}" for each in shown.of_obs]
    said = [f"observation {position}{cluster}" for position, cluster in zip(shown.obs, clusters, strict=True)]
    points = artist.get_xydata() if isinstance(artist, Line2D) else np.ma.getdata(artist.get_offsets())
    whole = np.isfinite(points).all(axis=1)
    texts = iter(said)
    return {"text": [next(texts) if each else "" for each in whole], "hovertemplate": "%{x}, %{y}<extra>%{text}</extra>"}


def _in_data(transform: Any, points: Any, ax: Axes) -> FloatArray:
    """Points (n, 2) of an artist, transformed to data coordinates."""
    points = np.asarray(points, dtype=float).reshape(-1, 2)
    return (
        points if transform is ax.transData else np.asarray(ax.transData.inverted().transform(transform.transform(points)))
    )


def _rgba(colour: Any, alpha: float | None = None) -> str:
    first: Any = np.ravel(colour)[:4] if isinstance(colour, np.ndarray) else colour
    red, green, blue, opacity = to_rgba(first, alpha)
    return f"rgba({255 * red:.0f}, {255 * green:.0f}, {255 * blue:.0f}, {opacity:.3g})"
