"""Names of features in pictures, unchanged and with any letters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.text import Text

from bayesgmm.arguments import spoken
from bayesgmm.exceptions import DataWarning, warn

_LAST_RESORT = "Last Resort"  # matplotlib's fallback font: a box for every letter
_TITLE = 70  # letters in a line of a title
_USUAL = (400, "normal", "regular")  # weights
_GLYPH = "Glyph .* missing from"


def name_axes(ax: Axes, *, x: Any = None, y: Any = None, before: str = "") -> None:
    """Label axes with names of features, after the words ``before``.

    Names are not parsed as mathematics. Fonts are chosen that have the letters.
    """
    for name, label in ((x, ax.xaxis.label), (y, ax.yaxis.label)):
        if name is not None:
            _write(label, spoken(name), before)


def name_title(ax: Axes, text: str, *, before: str = "") -> None:
    """Give axes a title with names of features, broken into lines, after the words ``before``."""
    ax.set_title("", fontsize="medium")
    _write(ax.title, fill(text, _TITLE), before)


def name_legend(legend: Legend) -> None:
    """Write the texts of a legend, in which clusters may have names, as they are: see :func:`name_axes`."""
    for text in legend.get_texts():
        _write(text, text.get_text(), "")


@contextmanager
def drawable(names: Iterable[Any]) -> Iterator[None]:
    """Context in which any function can draw these names: no mathematics is parsed, and missing glyphs do not warn."""
    fonts = fonts_for("".join(map(str, names)))
    style: dict[Any, Any] = {"text.parse_math": False} | ({"font.family": fonts} if fonts else {})
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", _GLYPH, UserWarning)
        yield


def fonts_for(text: str) -> list[str] | None:
    """The current font, and installed fonts with the letters that it lacks.

    The result is empty if the current font has all letters, and None if some letter is in no font.
    """
    given: dict[Any, Any] = dict(mpl.rcParams)
    families = [each for family in given["font.family"] for each in given.get(f"font.{family}", [family])]
    used = next(((family, path) for family in families if (path := _found(family))), None)
    letters = {ord(each) for each in text if each.isprintable()} - (_letters(used[1]) if used else set())
    if not letters:
        return []
    chosen = [used[0]] if used else []
    for name, path in _installed():
        if have := letters & _letters(path):
            chosen.append(name)
            letters -= have
        if not letters:
            return chosen
    return None


def _write(label: Text, name: str, before: str) -> None:
    label.set_parse_math(False)
    fonts = fonts_for(name)
    if fonts is None and mpl.rcParams["svg.fonttype"] != "none":  # else the viewer's fonts are used
        drawn = "".join(each if fonts_for(each) is not None else "?" for each in name)
        label.set_text(f"{before}{drawn}")
        warn(
            f"no installed font has all letters of the name {name!r}, so that it is drawn as {drawn!r}; install a font that "
            "has them, such as Noto Sans CJK",
            DataWarning,
        )
        return
    label.set_text(f"{before}{name}")
    if fonts:
        label.set_fontfamily(fonts)


@cache
def _found(family: str) -> str | None:
    try:
        return str(font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False))
    except ValueError:
        return None


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # the file is not a font
        return frozenset()


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Names and files of upright fonts that are not bold; regular weights first, then sans-serif fonts first."""
    fonts = {
        (each.weight not in _USUAL, "Sans" not in each.name, each.name): each.fname
        for each in font_manager.fontManager.ttflist
        if each.style == "normal" and each.weight in (*_USUAL, 500, "medium") and not each.name.startswith(_LAST_RESORT)
    }
    return tuple((name, fonts[order, serifs, name]) for order, serifs, name in sorted(fonts))
