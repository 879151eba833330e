"""Folders of results: other files are never replaced, no results are lost, and obstacles are reported before a run."""

import json
import os
import signal
import subprocess
import sys

import pytest

from bayesgmm.cli.folders import DIGESTS, first_free, require_undamaged, whole_folder
from bayesgmm.files import digest_of, publish_file

HDF5 = b"\x89HDF\r\n\x1a\n"
ONLY_RESULTS = "because --force replaces only a folder of earlier results, and never the working directory"
# a run in a separate process: it begins, says so, writes its draws, and waits for a line
RUN = """
import sys
from pathlib import Path
from bayesgmm.cli.folders import whole_folder
with whole_folder(Path(sys.argv[1]), len(sys.argv) > 3, print) as results:
    print("begun", flush=True)
    (results.folder / "posterior.nc").write_text(sys.argv[2])
    sys.stdin.readline()
print(results.place, flush=True)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(out, force=False, meanwhile=lambda: None, **files):
    """Write results; returns their place and what was said."""
    said = []
    with whole_folder(out, force, said.append) as results:
        for name, text in ({"posterior": "draws"} | files).items():
            (results.folder / f"{name}.nc").write_text(text)
        meanwhile()
    return results.place, said


def begun(*arguments):
    run = subprocess.Popen([sys.executable, "-c", RUN, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "begun\n"
    return run


def test_a_folder_is_there_whole_or_not_at_all(folder):
    def nothing_yet():
        assert not (folder / "results").exists()

    assert write(folder / "results", meanwhile=nothing_yet) == (folder / "results", [])
    assert sorted(os.listdir()) == ["results"]
    listed = json.loads((folder / "results" / DIGESTS).read_text())
    assert listed["sha256"] == {"posterior.nc": digest_of(folder / "results" / "posterior.nc")}


@pytest.mark.parametrize("force", [[], ["force"]])
def test_two_runs_of_one_name_both_survive(folder, force):
    runs = [begun("results", each, *force) for each in ("first", "second")]
    said = [run.communicate("\n", timeout=60)[0].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert said == [
        ["results"],
        ["the name results has been taken meanwhile: the results are in results-2", "results-2"],
    ]
    assert (folder / "results" / "posterior.nc").read_text() == "first"
    assert (folder / "results-2" / "posterior.nc").read_text() == "second"
    assert sorted(os.listdir()) == ["results", "results-2"]


def test_two_runs_that_replace_the_same_results_both_survive(folder):
    write(folder / "results", posterior="old")
    runs = [begun("results", each, "force") for each in ("first", "second")]
    for run in runs:
        run.communicate("\n", timeout=60)
    assert (folder / "results" / "posterior.nc").read_text() == "first"
    assert (folder / "results-2" / "posterior.nc").read_text() == "second"
    assert sorted(os.listdir()) == ["results", "results-2"]


def some_file(place):
    place.write_text("precious")


def an_empty_folder(place):
    place.mkdir()


def a_folder_with_a_verdict(place):
    place.mkdir()
    (place / "verdict.txt").write_text("precious")


def a_dangling_link(place):
    place.symlink_to("nowhere")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("appears", [some_file, an_empty_folder, a_folder_with_a_verdict, a_dangling_link])
def test_what_appears_during_the_run_is_not_replaced(folder, appears, force):
    out = folder / "results"
    place, said = write(out, force, meanwhile=lambda: appears(out))
    assert place == folder / "results-2"
    assert said == [f"the name {out} has been taken meanwhile: the results are in {place}"]
    assert (place / "posterior.nc").read_text() == "draws"
    before = folder / "expected"
    appears(before)
    assert out.is_symlink() == before.is_symlink()
    if before.is_file():
        assert out.read_text() == "precious"
    elif before.is_dir():
        assert sorted(os.listdir(out)) == sorted(os.listdir(before))


@pytest.mark.parametrize("listed", [True, False])
def test_force_removes_what_bayesgmm_wrote_and_nothing_else(folder, listed):
    out = folder / "results"
    with whole_folder(out) as results:
        for name in ("posterior.nc", "verdict.txt", "fit.png", "k1/posterior.nc", "k1/verdict.txt", "k2/posterior.nc"):
            (results.folder / name).parent.mkdir(exist_ok=True)
            (results.folder / name).write_bytes(HDF5)
    if not listed:  # as in folders older than digests
        (out / DIGESTS).unlink()
    foreign = ["notes.txt", "k1/notes.txt", "own/thesis.tex", "fits_mine.png"]
    for name in foreign:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(name)
    (out / "empty").mkdir()
    (out / "link").symlink_to("notes.txt")
    place, said = write(out, force=True)
    assert place == out
    assert said == [f"kept, because they are not part of the earlier results: {', '.join(f'results/{each}' for each in ('empty', 'fits_mine.png', 'k1', 'link', 'notes.txt', 'own'))}"]  # fmt: skip
    left = {str(each.relative_to(out)) for each in out.rglob("*") if each.is_file()}
    assert left == {"posterior.nc", DIGESTS, "link", *foreign}
    assert all((out / name).read_text() == name for name in foreign)
    assert (out / "posterior.nc").read_text() == "draws"
    assert (out / "empty").is_dir()
    assert sorted(os.listdir()) == ["results"]


@pytest.mark.parametrize("content", [{"verdict.txt": b"a jury's"}, {"posterior.nc": HDF5}, {"verdict.txt": b"", "posterior.nc": b"mine"}, {DIGESTS: b"{}"}])  # fmt: skip
def test_a_folder_that_only_looks_like_results_is_not_replaced(folder, content):
    (folder / "results").mkdir()
    for name, each in content.items():
        (folder / "results" / name).write_bytes(each)
    with pytest.raises(FileExistsError, match=ONLY_RESULTS):
        write(folder / "results", force=True)
    assert sorted(os.listdir("results")) == sorted(content)


def test_a_list_of_files_reaches_no_other_folder(folder):
    (folder / "precious").write_text("")
    write(folder / "results")
    listed = json.loads((folder / "results" / DIGESTS).read_text())
    listed["sha256"]["../precious"] = "0"
    (folder / "results" / DIGESTS).write_text(json.dumps(listed))
    write(folder / "results", force=True)
    assert (folder / "precious").exists()


def test_force_follows_a_link_to_earlier_results(folder):
    write(folder / "run", posterior="old")
    (folder / "latest").symlink_to("run")
    with pytest.raises(FileExistsError, match="latest exists"):
        write(folder / "latest")
    write(folder / "latest", force=True)
    assert (folder / "latest").is_symlink()
    assert (folder / "run" / "posterior.nc").read_text() == "draws"


def test_an_error_keeps_draws_and_leaves_nothing_else(folder):
    def failing():
        raise RuntimeError("zero-size array")

    with pytest.raises(RuntimeError) as caught:
        write(folder / "results", meanwhile=failing)
    assert caught.value.__notes__ == [f"what had been finished is in {folder / 'results'}"]
    assert sorted(os.listdir("results")) == [DIGESTS, "posterior.nc"]
    with pytest.raises(FileNotFoundError), whole_folder(folder / "others") as results:
        (results.folder / ".part-posterior.nc").rename(results.folder / "posterior.nc")
    assert sorted(os.listdir()) == ["results"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("dangling", "dangling is a broken symbolic link; repair it, or choose another --out"),
        ("loop", "loop is a broken symbolic link; repair it, or choose another --out"),
        ("dangling/results", "dangling is a broken symbolic link"),
        ("..", r"--out must name a folder of its own, got \.\.; add a name, such as \.\./results"),
        (".", r"--out must name a folder of its own, got \.; add a name, such as results"),
        ("", "--out must name a folder of its own"),
        ("/", "--out must name a folder of its own"),
        ("a" * 250, "cannot be written: File name too long; choose another --out"),
        ("ä" * 125, "cannot be written: File name too long; choose another --out"),
        ("a" * 300, "cannot be written: File name too long; choose another --out"),
        ("file/results", "file is a file, not a folder; choose another --out"),
        ("here", f"here exists; choose another --out, {ONLY_RESULTS}"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_names_that_cannot_be_given_are_refused_beforehand(folder, out, message, force):
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "file").touch()
    (folder / "here").symlink_to(folder)
    before = sorted(os.listdir())
    message = message if force else message.replace(ONLY_RESULTS, "or replace")
    with pytest.raises((OSError, ValueError), match=message), whole_folder(type(folder)(out), force):
        pytest.fail("it began")
    assert sorted(os.listdir()) == before


def test_a_place_that_cannot_be_written_is_refused_beforehand(folder):
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0o500)
    before = os.geteuid()
    if before == 0:  # root may write anywhere
        os.seteuid(65534)
    try:
        with (
            pytest.raises(
                PermissionError, match="locked/results cannot be written: Permission denied; choose another --out"
            ),
            whole_folder(type(folder)("locked/results")),
        ):
            pytest.fail("it began")
    finally:
        os.seteuid(before)


def test_what_a_killed_run_left_is_named_and_what_another_writes_is_not(folder):
    killed, alive = begun("results", "draws"), begun("results", "other draws")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = [name for name in os.listdir() if name.startswith(".results-")]
    assert len(left) == 2
    _, said = write(type(folder)("results"))
    named = [each for each in left if any(each in sentence for sentence in said)]
    assert len(named) == 1
    assert said == [f"{named[0]} was left by a run that was killed: draws are in {named[0]}/posterior.nc; delete it when you no longer need it"]  # fmt: skip
    assert (folder / named[0] / "posterior.nc").read_text() == "draws"
    alive.communicate("\n", timeout=60)
    assert (folder / "results-2" / "posterior.nc").read_text() == "other draws"
    assert sorted(os.listdir()) == sorted([*named, "results", "results-2"])


def test_results_that_cannot_be_named_are_left_where_they_are(folder, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    def meanwhile():
        monkeypatch.setattr("bayesgmm.cli.folders._rename", refused)

    place, said = write(folder / "results", meanwhile=meanwhile)
    assert said == [f"the results are in {place}: it cannot be renamed to {folder / 'results'} (Permission denied)"]
    assert (place / "posterior.nc").read_text() == "draws"


def test_a_file_takes_no_name_that_has_been_taken(folder):
    (folder / "part").write_text("new")
    (folder / "file").write_text("precious")
    with pytest.raises(FileExistsError):
        publish_file(folder / "part", folder / "file", force=False)
    assert (folder / "file").read_text() == "precious"
    publish_file(folder / "part", folder / "other", force=False)
    assert (folder / "other").read_text() == "new"


def test_the_next_free_name_counts_links(folder):
    (folder / "results").symlink_to("nowhere")
    assert first_free(folder / "results") == folder / "results-2"


def test_a_changed_file_is_noticed_wherever_it_lies_in_the_results(folder):
    with whole_folder(folder / "results") as results:
        (results.folder / "k1").mkdir()
        (results.folder / "k1" / "posterior.nc").write_bytes(b"0123456789")
    file = folder / "results" / "k1" / "posterior.nc"
    require_undamaged(file)
    file.write_bytes(b"0123456788")
    with pytest.raises(ValueError, match=r"k1/posterior\.nc has been damaged or changed since it was written"):
        require_undamaged(file)
    (folder / "results" / DIGESTS).unlink()
    require_undamaged(file)
