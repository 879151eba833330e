"""Tables in many layouts: read if they are unambiguous, else refused with the option that decides."""

import bz2
import gzip
import io
import itertools
import lzma
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest

from bayesgmm.analysis.impropriety import look_at
from bayesgmm.cli.layout import TextOptions, column_names
from bayesgmm.cli.messages import in_shell
from bayesgmm.cli.options import Output, Source, spread_out
from bayesgmm.cli.reading import read_observations
from bayesgmm.data.observations import Observations
from bayesgmm.priors import HierarchicalPrior

NAN = np.nan


def read(tmp_path, content, columns=None, name="data.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text = TextOptions(**{each: options.pop(each) for each in list(options) if each in TextOptions.__dataclass_fields__})
    return read_observations(str(path), columns, text=text, **options)


@pytest.mark.parametrize(
    ("content", "column", "values"),
    [
        pytest.param("x\n1.5\n2.5\n\n\n \n", None, [1.5, 2.5], id="blank lines at the end"),
        pytest.param("x\r\n1.5\r\n2.5\r\n\x1a", None, [1.5, 2.5], id="end of file as DOS marks it"),
        pytest.param("x\r1.5\r2.5\r", None, [1.5, 2.5], id="line ends of old"),
        pytest.param("x,y\n1,2\n3,4\n,\n,\n", "y", [2, 4], id="empty rows of a workbook"),
        pytest.param("x,y\n1,2\n\n3,4\n", "x", [1, 3], id="blank line between rows"),
        pytest.param("x,\n1,\n2,\n", None, [1, 2], id="trailing commas"),
        pytest.param("x,y\n1,2,\n3,4,\n", "y", [2, 4], id="trailing commas but in the header line"),
        pytest.param('"x";\n"1";5;\n"2";7;\n', None, [5, 7], id="trailing semicolons and row names"),
        pytest.param("x\n26'138\n1'637\n", None, [26138, 1637], id="thousands apart in one column"),
        pytest.param("x,y,\n1,2\n3,4\n", "y", [2, 4], id="trailing comma in the header line"),
        pytest.param("x\n1\n2,\n", None, [1, 2], id="a trailing comma"),
        pytest.param("x|y\n1|2\n3|4\n", "y", [2, 4], id="bars"),
        pytest.param("x\ty\n1\t2\n3\t4\n", "y", [2, 4], id="tabs"),
        pytest.param("#\nx y\n1 2\n3 4\n", "y", [2, 4], id="an empty comment"),
        pytest.param("x;y\n1;2\n3;4\n", "y", [2, 4], id="semicolons"),
        pytest.param("x y\n1  2\n30 4\n", "y", [2, 4], id="blanks"),
        pytest.param("   x     y\n 1.5   2\n30.0\t4\n", "x", [1.5, 30], id="columns in line"),
        pytest.param('"x" "y z"\n"1" 5 6\n"2" 7 8\n', "y z", [6, 8], id="write.table"),
        pytest.param('"x"\n"1" 5\n"2" 7\n', None, [5, 7], id="write.table of one column"),
        pytest.param("x y\na 5 6\nb 7 8\n", "x", [5, 7], id="write.table without quotes"),
        pytest.param("x y\n17 5 6\n4 7 8\n", "x", [5, 7], id="write.table of some rows"),
        pytest.param('"x","y"\n"1",5,6\n"2",7,8\n', "y", [6, 8], id="row names and commas"),
        pytest.param("x,y\n1,5.5,6\n2,7.5,8\n", "y", [6, 8], id="numbers of rows and commas"),
        pytest.param('"","x"\n"1",5\n"2",7\n', "x", [5, 7], id="write.csv"),
        pytest.param("sep=;\nx;y\n1;2\n3;4\n", "y", [2, 4], id="sep="),
        pytest.param("sep=,\nx,y;z\n1,2\n3,4\n", "y;z", [2, 4], id="sep= against the header"),
        pytest.param("# made by\n# a, b\nx,y\n1,2\n3,4\n", "y", [2, 4], id="comments"),
        pytest.param("x,y\n1,2\n# half\n3,4\n", "y", [2, 4], id="a comment between rows"),
        pytest.param("# x y\n1 2\n3 4\n", "y", [2, 4], id="savetxt"),
        pytest.param("id,x\n#1,5\n#2,6\n", "x", [5, 6], id="comment sign in names of rows"),
        pytest.param("x;y\n1,5;2\n3,25;4\n", "x", [1.5, 3.25], id="decimal commas"),
        pytest.param("x\n1,5\n3,25\n12\n", None, [1.5, 3.25, 12], id="decimal commas in one column"),
        pytest.param('x,y\n"1,5",2\n"3,25",4\n', "x", [1.5, 3.25], id="decimal commas in quotes"),
        pytest.param("x;y\n1.234,5;2\n3.000,25;4\n", "x", [1234.5, 3000.25], id="decimal commas and points"),
        pytest.param('x,y\n"1,234.5",2\n"999",4\n', "x", [1234.5, 999], id="commas between thousands"),
        pytest.param('x,y\n"1,234,567",2\n"1,000",4\n', "x", [1234567, 1000], id="millions"),
        pytest.param("x;y\n18 823;2\n326;4\n", "x", [18823, 326], id="blanks between thousands"),
        pytest.param("x;y\n18\u00a0823,5;2\n326;4\n", "x", [18823.5, 326], id="unbreakable blanks"),
        pytest.param("x,y\n18'823,2\n326,4\n", "x", [18823, 326], id="as the Swiss"),
        pytest.param("x;y\n0,123;2\n0,5;4\n", "x", [0.123, 0.5], id="no thousands behind 0"),
        pytest.param("x;y\n7.5;2\n1.001;4\n", "x", [7.5, 1.001], id="semicolons and points"),
        pytest.param("x, y\n1, 2\n3, 4\n", "y", [2, 4], id="blanks behind commas"),
        pytest.param("\n\nx,y\n1,2\n3,4\n", "y", [2, 4], id="blank lines before"),
    ],
)
def test_what_cannot_be_mistaken_is_read(tmp_path, content, column, values):
    read_one = read(tmp_path, content, None if column is None else [column], missing="drop").x
    np.testing.assert_array_equal(read_one.iloc[:, 0], values)
    assert column is None or list(read_one) == [column]


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ('x,y\n"1,234",2\n"5,678",4\n', "x", r"column x of .* must not be ambiguous, got '1,234' \(line 2\).*--decimal , or --thousands ,"),
        ("x;y\n1.234;2\n5.678;4\n", "x", r"got '1.234' \(line 2\).*--decimal \. or --thousands \."),
        ("x;y\n1,5;1.234\n2,5;5.678\n", "y", r"got '1.234' \(line 2\).*--decimal \. or --thousands \."),
        ("x\n1,5\n2,7\n", None, "say --separator , or --decimal ,"),
        ("x,y\n1,5,2\n2,5,3\n3,5,9\n", "x", "line 2 has 3 fields, the header line has 2; if the first field names the row, say --separator"),
        ("x\n1 500\n2 700\n", None, "say --separator space or --thousands ' '"),
        ("v\n4 982,1\n", None, "say --separator space or --thousands ' '"),
        ("v,\n100,1.5,\n93,2.5,\n", "v", "line 2 has 3 fields"),
        ("a,b;c\n1,2;3\n4,5;6\n", "c", "may be separated by , or by ;; say which with --separator"),
        ("#id,x\na,1\nb,2\n", "x", "may be a comment or the header line; say --comment"),
        ("# x,y\nid,2019\na,1\n", "2019", "may be a comment or the header line; say --comment"),
        ("x,y\n1,2\n#3,4\n", "y", "may be comments or data; say --comment"),
        ("x,y\n1,.\n3,4\n", "y", r"got '\.' \(line 2\); if that is a missing value, say --missing-values '\.'"),
        ("x,y\n1,na\n3,4\n", "y", "--missing-values 'na'"),
        ("x,y\n1,-\n3,4\n", "y", "--missing-values '-'"),
        ("% by hand\nx,y\n1,2\n", "x", "a comment, or its columns are separated otherwise, say --comment or --separator"),
        ("x:y\n1:2\n", "x", "--separator"),
        ("x:y\n1:2\n", None, "--separator"),
        ("x,y\n1,2\n3,4,5\n", "x", "line 3 has 3 fields, the header line has 2"),
        ("x,y\n1,2\n3,4,5\n", "y", "line 3 has 3 fields, the header line has 2"),
        ("# on top\nx,y\n1,2\n\n# within\n3,4,5\n", "y", "line 6 has 3 fields"),
        ("x y\n1 2\n3 4 5\n", "x", "line 3 has 3 fields, the header line has 2"),
        ("# on top\nx,y\n1,2\n\n# within\n3,\n", "y", r"1 of 2 observations with missing or infinite values \(line 6\)"),
        ("x\n1.5\n\n2.5\n\n", None, r"1 of 3 observations with missing or infinite values \(line 3\)"),
        ("1,5;2,5\n2,5;3,5\n", "x", "must begin with a header line of column names, got the numbers 1,5;2,5"),
        ("x\0y\n", "x", "characters that do not occur in text; give its encoding with --encoding"),
        ("x,y\n1,2\n".encode("utf-16-le"), "x", "give its encoding with --encoding"),
        (b"PK\x03\x04 and so on", "x", "got a workbook or a zip archive; save the table as CSV"),
        ("", "x", "is empty"),
        ("\n\n", "x", "is empty"),
        ("# nothing\n", None, "must hold at least one observation under its header line"),
        ("#\n#\n", None, "must hold a header line, got only lines that begin with #"),
        ("#\n1 2\n3 4\n", "x", "must begin with a header line of column names, got the numbers 1 2"),
        ("x\n1\nnan \n2\n", None, r"1 of 3 observations with missing or infinite values \(line 3\)"),
    ],
)  # fmt: skip
def test_what_can_be_mistaken_is_refused(tmp_path, content, column, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content, None if column is None else [column])


@pytest.mark.parametrize(
    ("content", "column", "options", "values"),
    [
        ('x,y\n"1,234",2\n"5,678",4\n', "x", {"decimal": ","}, [1.234, 5.678]),
        ('x,y\n"1,234",2\n"5,678",4\n', "x", {"thousands": ","}, [1234, 5678]),
        ("x;y\n1.234;2\n5.678;4\n", "x", {"decimal": "."}, [1.234, 5.678]),
        ("x;y\n1.234;2\n5.678;4\n", "x", {"thousands": "."}, [1234, 5678]),
        ("x\n1,5\n2,7\n", None, {"decimal": ","}, [1.5, 2.7]),
        ("x\n1,5\n2,7\n", None, {"separator": ","}, [5, 7]),
        ("x,y\n1,5,2\n2,5,3\n3,5,9\n", "x", {"separator": ","}, [5, 5, 5]),
        ("x\n1 500\n2 700\n", None, {"thousands": " "}, [1500, 2700]),
        ("x\n1 500\n2 700\n", None, {"separator": "space"}, [500, 700]),
        ("a,b;c\n1,2;3\n4,5;6\n", "c", {"separator": ";"}, [3, 6]),
        ("x:y\n1:2\n3:4\n", "y", {"separator": ":"}, [2, 4]),
        ("x,y\n1,2\n#3,4\n", "y", {"comment": "#"}, [2]),
        ("x,y\n1,2\n#3,4\n", "y", {"comment": ""}, [2, 4]),
        ("#id,x\na,1\nb,2\n", "x", {"comment": ""}, [1, 2]),
        ("#id,x\na,1\nb,2\n", "1", {"comment": "#"}, [2]),
        ("% by hand\nx,y\n1,2\n% and so on\n3,4\n", "y", {"comment": "%"}, [2, 4]),
        ("größe,y\n1,2\n3,4\n".encode("latin-1"), "größe", {"encoding": "latin-1"}, [1, 3]),
        ("x,y\n1,2\n3,4\n".encode("utf-16-le"), "y", {"encoding": "utf-16-le"}, [2, 4]),
        ("x,y\n1,-99\n3,4\n5,-99.0\n7,.\n9,na\n", "y", {"missing_values": ["-99", ".", "na"]}, [NAN, 4, NAN, NAN, NAN]),
        ("x,y\n1,-999\n3,4\n", "y", {"missing_values": ["-999"]}, [NAN, 4]),
        ("x;y\n1;-\n3;4,5\n", "y", {"missing_values": ["-"]}, [NAN, 4.5]),
    ],
)
def test_options_decide(tmp_path, content, column, options, values):
    read_one = read(tmp_path, content, None if column is None else [column], missing="drop", **options).x
    np.testing.assert_array_equal(read_one.iloc[:, 0], values)


@pytest.mark.parametrize(
    "options",
    [
        {"separator": "::"},
        {"separator": "a"},
        {"decimal": ";"},
        {"thousands": "000"},
        {"thousands": ",", "decimal": ","},
        {"encoding": "klingon"},
        {"encoding": "rot13"},
    ],
)
def test_options_that_cannot_be(options):
    with pytest.raises(ValueError, match=f"^--{next(iter(options))} must"):
        TextOptions(**options)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x,y\n1,2\n3,4\n", None),
        ("x\ty\n1\t2\n", None),
        ("x;y\n1,5;2\n3,25;4\n", "decimal commas in x"),
        ("# by hand\nx,y\n1,2\n", "lines that begin with # left out"),
        ("# x y\n1 2\n", "the header line is the one that begins with #"),
        ('"x"\n"1" 5\n"2" 7\n', "the first column names the rows"),
        ("x,größe\n1,2\n".encode("latin-1"), "Windows-1252"),
        (b"x,place\n1,a\n" + b"2,here\n" * 60_000 + "3,Köln\n".encode("latin-1"), "Windows-1252"),
    ],
)
def test_what_is_assumed_is_said_in_a_line(tmp_path, capsys, content, said):
    read(tmp_path, content, ["x"])
    err = capsys.readouterr().err
    assert (err == "") if said is None else (said in err and err.count("\n") == 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_every_encoding_gives_the_same(tmp_path, encoding):
    content = "größe,y\n1.5,2\n3.5,4\n".encode(encoding)
    np.testing.assert_array_equal(read(tmp_path, content, ["größe"]).x["größe"], [1.5, 3.5])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.gz", "data.txt"])
def test_compressed_under_any_name(tmp_path, compress, name):
    np.testing.assert_array_equal(read(tmp_path, compress(b"x\n1.5\n2.5\n"), name=name).x["x"], [1.5, 2.5])


def test_what_is_not_compressed_though_it_is_called_so(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, "x\n1.5\n2.5\n", name="data.csv.gz").x["x"], [1.5, 2.5])


def test_binary_tables_under_another_name(tmp_path):
    frame = pd.DataFrame({"x": [1.5, 2.5]})
    frame.to_parquet(tmp_path / "one.csv")
    frame.to_xarray().to_netcdf(tmp_path / "other.csv")
    for name in ("one.csv", "other.csv"):
        np.testing.assert_array_equal(read_observations(str(tmp_path / name), ["x"]).x["x"], frame["x"])


def test_every_layout_of_a_table_gives_the_same(tmp_path, faithful):
    """Whatever pandas writes is read as what was written."""
    for sep, decimal in itertools.product(",;|\t ", ".,"):
        if sep == decimal:
            continue
        text = faithful.to_csv(index=False, sep=sep, decimal=decimal)
        found = read(tmp_path, text, ["waiting", "eruptions"], name="data.txt").x
        np.testing.assert_array_equal(
            found.to_numpy(), faithful[["waiting", "eruptions"]].to_numpy(), err_msg=repr((sep, decimal))
        )


def written(rng):
    """A table in the style of some country and program, the name of its last column, and the numbers in it."""
    n, m = rng.integers(1, 8), rng.integers(1, 4)
    sep, decimal = rng.choice([",", ";", "\t", "|", " "]), rng.choice([".", ","])
    digits, thousands = rng.integers(0, 4), rng.choice(["", "", " ", "'", ".", ","])
    if thousands in (decimal, sep) or (
        thousands == "." and digits == 0 and sep != ";"
    ):  # all programs take these for decimals
        thousands = ""
    quote = '"' if sep in (decimal, thousands) or rng.random() < 0.3 else ""
    values = np.round(rng.normal(0, 1, (n, m)) * 10.0 ** rng.integers(0, 6), digits)
    rows = {
        "": None,
        "counted": range(1, n + 1),
        "quoted": [f'"{i}"' for i in range(n)],
        "named": "abcdefgh",
        "some": range(100, 0, -7),
    }
    names, trailing = rows[rng.choice(list(rows))], sep if sep != " " and rng.random() < 0.2 else ""
    lines = [sep.join(f"v{j}" for j in range(m)) + trailing]
    for i, row in enumerate(values):
        marks = str.maketrans({",": thousands, ".": decimal})
        cells = [f"{quote}{f'{value:,.{digits}f}'.translate(marks)}{quote}" for value in row]
        lines.append(sep.join([*([] if names is None else [str(names[i])]), *cells]) + trailing)
    comment = "# made by me, here\n" if rng.random() < 0.2 else ""
    return comment + "\n".join(lines) + "\n" * rng.integers(0, 4), f"v{m - 1}", values[:, -1]


@pytest.mark.slow
def test_nothing_is_misread_in_any_style(tmp_path):
    right = 0
    for seed in range(500):
        text, column, values = written(np.random.default_rng(seed))
        try:
            found = read(tmp_path, text, [column]).x[column].to_numpy()
        except ValueError:  # ambiguous
            continue
        np.testing.assert_allclose(found, values, err_msg=f"seed {seed}: {text}")
        right += 1
    assert right > 250


def test_ids_are_kept_as_they_stand(tmp_path):
    found = read(tmp_path, "who,x\n007,1.5\nNA,2.5\nBø,3.5\n", ["x"], id="who")
    assert found.ids.name == "who"
    assert found.ids.tolist() == ["007", "NA", "Bø"]
    assert read(tmp_path, '"x"\n"Rome" 5\n"Oslo" 7\n', id="row.names").ids.tolist() == ["Rome", "Oslo"]


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("whom", "--id must name one of 'who', 'x', 'cluster', got 'whom'; did you mean 'who'?"),
        ("x", "--id must name a column that is not fitted, got 'x', which is among --columns"),
        (
            "cluster",
            "--id must not have the name of a column that clusters.csv has already, got 'cluster'; rename it in the file",
        ),
    ],
)
def test_an_id_is_another_column(tmp_path, id, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        read(tmp_path, "who,x,cluster\na,1,0\nb,2,1\n", ["x"], id=id)


def test_the_nearest_names_are_suggested(tmp_path):
    with pytest.raises(ValueError, match=r"got 'Erruptions', 'WAITING'; did you mean 'eruptions' and 'waiting'\?$"):
        read(tmp_path, "eruptions,waiting\n1,2\n3,4\n", ["Erruptions", "WAITING"])
    with pytest.raises(ValueError, match=r"got 'z'$"):
        read(tmp_path, "eruptions,waiting\n1,2\n3,4\n", ["z"])


def test_a_column_without_a_name_is_not_quoted_as_nothing(tmp_path):
    pd.DataFrame({"": ["a", "b"], "x": [1.5, 2.5]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match=r"one or several of '' \(a column without a name\), 'x', got none"):
        read_observations(str(tmp_path / "data.parquet"))
    with pytest.raises(ValueError, match=r"column \(without a name\) of .* must hold numbers"):
        read_observations(str(tmp_path / "data.parquet"), [""])


def test_columns_that_are_not_named_are_not_read(tmp_path):
    """One of 100 000 columns is read without the others. Reading all would take pandas a minute."""
    n = 100_000
    lines = [[f"c{i}" for i in range(n)], *([f"{row}.{i}" for i in range(n)] for row in (1, 2))]
    found = read(tmp_path, "".join(f"{','.join(line)}\n" for line in lines), ["c7"]).x
    assert found.to_dict("list") == {"c7": [1.7, 2.7]}


def test_completion_knows_the_same_columns(tmp_path):
    (tmp_path / "data.txt").write_text("# by hand\n'x' y\n1 2\n")
    assert column_names(str(tmp_path / "data.txt")) == ["'x'", "y"]


class Endless(io.RawIOBase):
    """A stream that begins with some bytes and repeats others for ever."""

    def __init__(self, begin, repeated):
        self.begin, self.repeated, self.given = begin, repeated * (2**16 // len(repeated)), 0

    def readable(self):
        return True

    def readinto(self, buffer):
        part, self.begin = (self.begin or self.repeated)[: len(buffer)], self.begin[len(buffer) :]
        buffer[: len(part)] = part
        self.given += len(part)
        return len(part)


@pytest.mark.parametrize(
    ("begin", "repeated", "columns", "error", "message", "most"),
    [
        (b"", b"1\n", None, ValueError, "must begin with a header line of column names, got the numbers 1", 2e6),
        (b"", b"\0", None, ValueError, "characters that do not occur in text", 2e6),
        (b"x\n", b"1\n", ["y"], ValueError, "got 'y'", 2e6),
        (
            b"x\n",
            b"1\n",
            None,
            MemoryError,
            "fewer observations",
            1e8,
        ),
        (b"x\n", b"1", None, MemoryError, "standard input holds more than .* GB, .* give a file", 1e8),
        (b"x\n", b"\n", None, MemoryError, "standard input holds more than", 1e8),
        (b"PAR1\x15", b"1", None, MemoryError, "standard input holds more than", 1e8),
        (b"CDF\x01", b"1", None, MemoryError, "standard input holds more than", 1e8),
    ],
)
def test_endless_input_ends_with_a_sentence(monkeypatch, begin, repeated, columns, error, message, most):
    endless, told = Endless(begin, repeated), []
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(endless), isatty=lambda: False))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1e7))
    with pytest.raises(error, match=message):
        read_observations("-", columns, announce=told.append)
    assert endless.given < most
    assert told[0] == "reading standard input ..."


def test_a_stream_ends_but_once(monkeypatch):
    """Input typed at a terminal ends with one Ctrl-D. A second one must not be needed."""

    class Typed(io.BytesIO):
        ends = 0

        def read1(self, size=-1):
            part = super().read1(size)
            self.ends += not part
            return part

    typed = Typed(b"x;who\n1,5;a\n2,5;b\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=typed, isatty=lambda: True))
    found = read_observations("-", ["x"], id="who")
    assert (found.x["x"].tolist(), found.ids.tolist(), typed.ends) == ([1.5, 2.5], ["a", "b"], 1)


def test_a_file_whose_columns_do_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1e5))
    with pytest.raises(MemoryError, match="1 columns of 100000 observations"):
        read(tmp_path, "x\n" + "1\n" * 100_000)


def test_rounded_columns_are_spread_again_on_request(tmp_path):
    """--jitter spreads what is rounded over its interval, the same in every run, and leaves continuous columns as they are."""
    file, ids = tmp_path / "rounded.csv", np.random.default_rng(0).normal(size=8)
    whole = [1, 1, 1, 2, 2, 4, 4, 5]
    file.write_text("a,b\n" + "".join(f"{a},{b!r}\n" for a, b in zip(whole, ids.tolist(), strict=True)))
    quiet = Output(quiet=True)
    spread, again = (Source(str(file), ["a", "b"], jitter=True).read(quiet).x for _ in range(2))
    assert spread["a"].is_unique
    assert spread["a"].round().tolist() == whole
    assert spread["b"].tolist() == ids.tolist()
    assert spread.equals(again)
    assert Source(str(file), ["a", "b"]).read(quiet).x["a"].tolist() == whole


def test_remedies_for_ties_and_strays_are_options_in_the_shell():
    x = np.append(np.repeat([1.0, 2.0, 3.0], 40), 50.0)
    found = look_at(Observations.read(x), [2], HierarchicalPrior().scaled_to(x), "full")[2]
    assert "jitter them: --jitter, or use --covariance tied" in in_shell(found.improper.sentence)
    assert in_shell(found.strays[0].sentence).endswith(
        "leave them out of the file, treat them as noise (--noise), or scale the prior to the others (--prior-scale core)"
    )


def of_errors(tmp_path, content, **options):
    return read(tmp_path, content, ["x", "y"], error=["ex", "ey"], **options)


def test_errors_are_read_beside_what_they_are_of(tmp_path):
    content = "x,y,ex,ey,c\n1,2,0.1,0,1\n3,,0.2,,2\n5,7,0.3,0.4,1\n"
    observed = of_errors(tmp_path, content, weight="c", missing="at_random").observations("at_random")
    np.testing.assert_array_equal(observed.x, [[1, 2], [3, NAN], [5, 7]])
    np.testing.assert_array_equal(observed.known.error, [[0.1, 0], [0.2, 0], [0.3, 0.4]])
    np.testing.assert_array_equal(observed.known.weight, [1, 2, 1])
    assert observed.names == ("x", "y")
    both = read(tmp_path, content, ["x", "y"], error=["ex", "ex"], missing="at_random")
    np.testing.assert_array_equal(both.error, [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]])


def test_a_row_without_an_error_is_left_out_on_request(tmp_path):
    content = "x,y,ex,ey\n1,2,0.1,\n3,4,0.2,1\n5,6,0.3,-9\n7,,1,1\n"
    observed = of_errors(tmp_path, content, missing="drop", missing_values=["-9"]).observations("drop")
    np.testing.assert_array_equal(observed.positions, [1])
    np.testing.assert_array_equal(observed.known.error, [[0.2, 1]])


@pytest.mark.parametrize(
    ("rows", "missing", "message"),
    [
        ("1,2,1,\n3,4,1,1\n", "raise", r"ex, ey of .* must have an error for every value, got 1 of 2 .* error \(line 2\).*--missing drop"),
        ("1,2,1,1\n3,4,inf,1\n", "at_random", r"ex, ey of .* must have an error for every value, got 1 of 2 .* \(line 3\); 0 says"),
        ("1,2,1,-1\n3,4,1,1\n", "raise", r"ex, ey of .* must be standard deviations, got 1 of 2 .* negative error \(line 2\); 0 says"),
        ("1,2,1,1\n3,4,-1,1\n", "drop", r"must be standard deviations, got 1 of 2 .* negative error \(line 3\)"),
        ("1,,1,1\n3,4,1,1\n", "raise", r"x, y of .* must have no gaps, got 1 of 2 .* \(line 2\).*--missing drop; --missing at_random"),
        ("1,2,1,1\n,,1,1\n3,4,1,1\n", "at_random", r"x, y of .* must have a value in every row, got 1 of 3 .* \(line 3\); leave"),
        ("1,2,1,1\n3,inf,1,1\n", "at_random", r"x, y of .* must be finite, got 1 of 2 .* infinite values \(line 3\); replace"),
    ],
)  # fmt: skip
def test_errors_that_cannot_be_are_refused_with_their_rows(tmp_path, rows, missing, message):
    with pytest.raises(ValueError, match=message):
        of_errors(tmp_path, f"x,y,ex,ey\n{rows}", missing=missing)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (["ex"], r"--error must name one column .* for each of --columns, in their order, got 1 for 2 \(x, y\)"),
        (["ex", "ey", "ex"], r"got 3 for 2 \(x, y\)"),
        (["ex", "e"], "--error must name one of .* got 'e'"),
        (["ex", "x"], "--error must name a column that is not fitted, got 'x'"),
    ],
)
def test_columns_of_errors_that_do_not_fit_are_refused(tmp_path, error, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "x,y,ex,ey\n1,2,1,1\n", ["x", "y"], error=error)


def test_a_weight_that_is_missing_is_no_value_missing_at_random(tmp_path):
    with pytest.raises(ValueError, match=r"c of .* must have no gaps, got 1 of 2 .* \(line 3\)"):
        read(tmp_path, "x,y,c\n1,2,1\n3,4,\n", ["x", "y"], weight="c", missing="at_random")


def test_both_lists_of_columns_end_at_the_next_option():
    given = ["fit", "--columns", "a", "b", "--error", "ea", "eb", "d.csv", "--error=ec", "ed", "-k", "2"]
    lists = (["--columns", "a", "--columns", "b", "--error", "ea", "--error", "eb"], ["--error", "ec", "--error", "ed"])
    assert spread_out(given) == ["fit", *lists[0], "d.csv", *lists[1], "-k", "2"]
