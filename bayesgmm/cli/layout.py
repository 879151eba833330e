"""The layout of a text file: its encoding, its separator, and which lines are data.

An ambiguous layout is refused with a message that names the option to use.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bayesgmm.cli.inputs import TEXT, Input
from bayesgmm.cli.messages import silence
from bayesgmm.cli.numerals import Style, is_numeral

WHITESPACE = r"\s+"  # as pandas calls it
ROW_NAMES = "row.names"  # as R calls them
FALLBACK = "cp1252"  # encoding of text that is not in UTF-8
IN_FALLBACK = "Windows-1252, which includes latin-1, because it is not in UTF-8 (if that is wrong, say --encoding)"
_DELIMITERS = "\t,;|"
_NO_SEPARATOR = "\x1f"  # for a single column
_CALLED = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_CALLED |= dict.fromkeys((" ", "space", "whitespace", WHITESPACE), WHITESPACE)
_SHOWN = {"\t": "tab", WHITESPACE: "space"}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # first, because it begins with the next mark
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HASH = "#"
_COMMAS, _COMMAS_APART = Style(","), Style(".", ",")
_HEAD = 2**18  # bytes that are examined, or more if they hold too few lines
_LONGEST = 2**28  # bytes of a line
_LEAST, _MOST = 3, 1000  # lines that are examined
csv.field_size_limit(_LONGEST)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a"))


@dataclass(frozen=True)
class TextOptions:
    """Options for a text file. Those that are None are detected."""

    separator: str | None = None  # one character, or "tab" or "space"; stored under pandas' name
    decimal: str | None = None  # decimal mark
    thousands: str | None = None  # thousands separator
    encoding: str | None = None  # Python's name
    comment: str | None = None  # mark that begins comment lines; empty if there are none

    def __post_init__(self) -> None:
        if self.separator is not None:
            separator = _CALLED.get(self.separator.lower(), self.separator)
            if separator != WHITESPACE and (len(separator) != 1 or separator.isalnum() or separator in "\"'.\n\r"):
                raise ValueError(f"--separator must be a character such as , or ; or |, or tab or space, got {separator!r}")
            object.__setattr__(self, "separator", separator)
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"--decimal must be a point or a comma, got {self.decimal!r}")
        if self.thousands is not None and (len(self.thousands) > 1 or self.thousands.isalnum()):
            raise ValueError(f"--thousands must be a character such as , or . or ' or a blank, got {self.thousands!r}")
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(f"--thousands must differ from --decimal, got {self.thousands!r} for both")
        if self.encoding is not None:
            try:
                io.TextIOWrapper(io.BytesIO(), encoding=self.encoding)
            except LookupError:
                rule = "--encoding must be one such as utf-8, latin-1 or utf-16"
                raise ValueError(f"{rule}, got {self.encoding!r}") from None
            if codecs.lookup(self.encoding).name == "utf-8":
                object.__setattr__(self, "encoding", "utf-8-sig")


@dataclass(frozen=True)
class Layout:
    """The layout of a text file."""

    separator: str
    names: list[str]  # one for each column
    width: int  # fields in a line of data: one more than names if lines end with a separator
    has_row_names: bool = False  # whether the first column has no name in the header line
    encoding: str = "utf-8-sig"
    begin: int = 1  # lines before the data
    comment: str = ""  # mark that begins comment lines; empty if there are none
    commas: bool = False  # whether numbers may have decimal commas
    assumed: tuple[str, ...] = ()  # assumptions that are reported to the user

    def assuming(self, *what: str) -> Layout:
        """The layout with further assumptions."""
        return replace(self, assumed=(*self.assumed, *what))


def layout_of(source: Input, kind: str, options: TextOptions) -> Layout:
    """Detect the layout of a text from its first lines. Refuse text that is not a table, or is ambiguous.

    ``kind`` is "csv", "tsv" or "text", by the file's extension or the user's choice.
    """
    encoding, lines = _first_lines(source, options)
    begin = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    if begin < len(lines) and (found := re.fullmatch(r'"?sep=(.)"?', lines[begin], re.IGNORECASE)):
        said = _CALLED.get(found[1], found[1])
        options, begin = replace(options, separator=options.separator or said), begin + 1
    if begin == len(lines):
        raise ValueError(f"{source.name} is empty; it must hold a header line and observations")
    layout = _Finder(source.name, "\t" if kind == "tsv" else "", options).layout(lines[begin:])
    if encoding == FALLBACK and not options.encoding:
        layout = layout.assuming(IN_FALLBACK)
    return replace(layout, encoding=encoding, begin=begin + layout.begin, names=_distinct(layout.names))


def column_names(file: str) -> list[str]:
    """Column names of a text file; empty for other files."""
    source = Input(file, silence)
    kind = TEXT.get(source.ending)
    return [] if source.is_stream or kind is None else layout_of(source, kind, TextOptions()).names


def _first_lines(source: Input, options: TextOptions) -> tuple[str, list[str]]:
    """The encoding, and the lines to examine, without line ends."""
    size, content = _HEAD, b""
    with source.opened() as file:
        while True:
            content += file.read(size - len(content))
            encoding, text = _decoded(source.name, content, options)
            whole = len(content) < size
            if whole or text.count("\n") + text.count("\r") >= _LEAST:
                break
            if size >= _LONGEST:
                raise ValueError(f"{source.name} must consist of lines, got none that ends within {size / 1e6:.0f} MB")
            size *= 2
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    return encoding, lines[:_MOST] if whole or len(lines) > _MOST else lines[:-1] or lines


def _decoded(name: str, content: bytes, options: TextOptions) -> tuple[str, str]:
    """The encoding, and the text up to its last complete character."""
    marked = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    wrong = ""
    for encoding in [options.encoding] if options.encoding else [marked, "utf-8-sig"]:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(content).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            wrong = f"the byte 0x{error.object[error.start]:02x}"
        else:
            if not {"\0", "\ufeff"} & set(text):
                return encoding, text
            wrong = "characters that do not occur in text"
    if not options.encoding and len(content.translate(None, _CONTROL)) == len(content):
        return FALLBACK, content.decode(FALLBACK, errors="replace")
    asked = options.encoding or "UTF-8"
    raise ValueError(
        f"{name} must be text in {asked}, got {wrong}; "
        "give its encoding with --encoding (such as utf-16-le), or its format with --format"
    )


class _Finder:
    """Detection of the layout from the lines of a text."""

    def __init__(self, name: str, preferred: str, options: TextOptions) -> None:
        self._name, self._preferred, self._options = name, preferred, options

    def layout(self, lines: list[str]) -> Layout:
        at, header, assumed = self._header(lines)
        if all(map(is_numeral, _words(header))):
            raise ValueError(f"{self._name} must begin with a header line of column names, got the numbers {header.strip()}")
        following = [line for line in lines[at + 1 :] if line.strip()]
        mark = _HASH if self._options.comment is None else self._options.comment
        commented = [line for line in following if mark and line.lstrip().startswith(mark)]
        data = [line for line in following if not (mark and line.lstrip().startswith(mark))]
        if not data and self._options.comment is None:
            data, commented = following, []
        layout = self._columns(header, data)
        if commented and self._options.comment is None:
            if layout.width > 1 and any(len(row) == layout.width for row in fields_of(commented, layout.separator)):
                raise ValueError(
                    f"{self._name} has lines such as {commented[0][:40]!r}, which may be comments or data; "
                    f"say --comment {_HASH!r} or --comment ''"
                )
            assumed = (*assumed, _left_out(mark))
        comment = mark if commented or self._options.comment else ""
        cells = [cell for row in fields_of(data, layout.separator) for cell in row if "," in cell]
        commas = layout.separator == ";" or any(_COMMAS.fits(cell) and not _COMMAS_APART.fits(cell) for cell in cells)
        return replace(layout, begin=at + 1, comment=comment, commas=commas).assuming(*assumed)

    def _header(self, lines: list[str]) -> tuple[int, str, tuple[str, ...]]:
        """Index and text of the header line, and the assumptions made."""
        mark = self._options.comment
        if mark == "":
            return 0, lines[0], ()
        leading = [line.lstrip().startswith(mark or _HASH) or not line.strip() for line in lines]
        at = leading.index(False) if False in leading else len(lines)
        last = max((i for i in range(at) if lines[i].strip()), default=0)
        named = lines[last].lstrip()[1:].strip()
        if at == 0 or mark is not None or not named:
            if at == len(lines):
                raise ValueError(f"{self._name} must hold a header line, got only lines that begin with {mark or _HASH}")
            return at, lines[at], ()
        numbers = [is_numeral(word) for word in _words(lines[at])] if at < len(lines) else []
        if all(numbers):
            return last, named, (f"the header line is the one that begins with {_HASH}",)
        separators = [self._options.separator] if self._options.separator else [*_DELIMITERS, WHITESPACE]
        cells = (fields_of([named, lines[at]], each) for each in separators) if any(numbers) else ()
        if any(len(one) == len(two) > 1 for one, two in cells):
            raise ValueError(
                f"{self._name} begins with {lines[last]!r}, which may be a comment or the header line; "
                f"say --comment {_HASH!r} or --comment ''"
            )
        return at, lines[at], (_left_out(_HASH),)

    def _columns(self, header: str, data: list[str]) -> Layout:
        wanted = self._options.separator
        if wanted:
            return self._fit(wanted, header, data, asked=True) or _ragged(wanted, header)
        marks = {self._options.decimal, self._options.thousands} - {None, ""}
        among = [each for each in _DELIMITERS if each in header or each not in marks]
        fits = [fit for each in among if (fit := self._fit(each, header, data)) and fit.width > 1]
        fits = [fit for fit in fits if fit.separator == self._preferred] or fits
        fits = [fit for fit in fits if not fit.has_row_names] or fits
        if fits and fits[0].has_row_names and (fit := self._fit(WHITESPACE, header, data)) and fit.has_row_names:
            fits.append(fit)
        if len(fits) > 1:
            one, other = (_SHOWN.get(fit.separator, fit.separator) for fit in fits[:2])
            raise ValueError(
                f"the columns of {self._name} may be separated by {one} or by {other}; say which with --separator"
            )
        if fits:
            return fits[0]
        parted = [each for each in _DELIMITERS if each in header]
        if parted:  # the lines differ from the header line in their number of fields
            return _ragged(max(parted, key=header.count), header)
        return self._by_whitespace(header, data) or self._one_column(header, data)

    def _fit(self, separator: str, header: str, data: list[str], *, asked: bool = False) -> Layout | None:
        """The layout with this separator; None if it does not fit."""
        (names,), rows = fields_of([header], separator), fields_of(data, separator)
        if {len(row) for row in rows} <= {len(names)} and not (names[-1] == "" and all(row[-1] == "" for row in rows)):
            return Layout(separator, names, len(names))
        names = names[:-1] if len(names) > 1 and names[-1] == "" else names
        m = len(names)
        if all(len(row) == m or (len(row) == m + 1 and row[-1] == "") for row in rows):
            return Layout(separator, names, m + 1)
        width = max(map(len, rows))
        rows = [row[:-1] for row in rows] if width == m + 2 and all(row[-1] == "" for row in rows) else rows
        if {len(row) for row in rows} == {m + 1} and (asked or self._are_row_names(separator, m, data, rows)):
            named = Layout(separator, [ROW_NAMES, *names], width, has_row_names=True)
            return named.assuming("the first column names the rows")
        return None

    @staticmethod
    def _are_row_names(separator: str, m: int, data: list[str], rows: list[list[str]]) -> bool:
        """Whether lines have one field more because of row names. Decimal commas also add a field to a line."""
        names = [row[0] for row in rows]
        quoted = re.compile(rf'\s*"[^"]*"\s*{re.escape(separator) if separator != WHITESPACE else ""}')
        if all(map(quoted.match, data)) or not any(map(is_numeral, names)):
            return True
        if separator == ",":
            return m > 1 and _count_up(names) and any("." in cell for row in rows for cell in row)
        return len(set(names)) == len(names) and all(name.isdigit() for name in names)

    def _by_whitespace(self, header: str, data: list[str]) -> Layout | None:
        layout = self._fit(WHITESPACE, header, data)
        if layout is None and min(len(row) for row in fields_of([header, *data], WHITESPACE)) > 1:
            return _ragged(WHITESPACE, header)
        if layout is None or layout.width == 1:
            return None
        may_be_one, thousands = len(layout.names) == 2 and layout.has_row_names, self._options.thousands
        as_one = all(Style(".", " ").fits(line.strip()) or Style(",", " ").fits(line.strip()) for line in data)
        if may_be_one and thousands is None and as_one:
            raise ValueError(
                f"lines of {self._name} such as {data[0].strip()!r} may hold a row's name and a number, or one number; "
                "say --separator space or --thousands ' '"
            )
        return None if may_be_one and thousands == " " else layout

    def _one_column(self, header: str, data: list[str]) -> Layout:
        rows = fields_of(data, ",")
        pairs = bool(rows) and {len(row) for row in rows} == {2} and _count_up([row[0] for row in rows])
        if pairs and self._options.decimal is None and self._options.thousands is None:
            raise ValueError(
                f"lines of {self._name} such as {data[0]!r} may hold a row's name and a number, or one number; "
                "say --separator , or --decimal ,"
            )
        if any("," in line and not re.fullmatch(r"[-+\d.,'eE\s\"]+", line) for line in data):
            return _ragged(",", header)
        return Layout(_NO_SEPARATOR, fields_of([header], _NO_SEPARATOR)[0], 1)


def _ragged(separator: str, header: str) -> Layout:
    names = fields_of([header], separator)[0]
    names = names[:-1] if len(names) > 1 and names[-1] == "" else names
    return Layout(separator, names, len(names))


def fields_of(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The fields of each line that is not blank."""
    if separator == WHITESPACE:
        lines = [line.strip().replace("\t", " ") for line in lines]
    delimiter = " " if separator == WHITESPACE else separator
    return [[field.strip() for field in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if row]


def _words(line: str) -> list[str]:
    """Parts of a line between separators of any kind."""
    return [each.strip("\"'") for each in re.split(r"[\s,;|]+", line.strip())]


def _left_out(mark: str) -> str:
    return f"lines that begin with {mark} left out"


def _count_up(names: Sequence[str]) -> bool:
    return list(names) == [str(i + 1) for i in range(len(names))]


def _distinct(names: Sequence[str]) -> list[str]:
    """Distinct column names. Missing and repeated names are replaced as pandas replaces them."""
    result: dict[str, None] = {}
    for position, given in enumerate(names):
        name = given or f"Unnamed: {position}"
        number = 0
        while name in result:
            number += 1
            name = f"{given}.{number}"
        result[name] = None
    return list(result)
