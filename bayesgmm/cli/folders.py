"""Folders of results: written under a temporary name, then renamed. Nothing else is overwritten, and no draws are lost."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bayesgmm.cli.messages import Tell, silence
from bayesgmm.files import FullDiskError, digest_of, is_of_full_disk, whole_file

try:
    import fcntl
except ImportError:  # without locks, no folder counts as abandoned
    fcntl = None  # type: ignore[assignment]

DIGESTS = "digests.json"  # of every file: they identify a folder of results, and reveal damage
_FIT = (
    *("verdict.txt", "summary.json", "posterior.nc", "parameters.csv", "check_against_em.csv", "clusters.csv", "fit.png"),
    *("pairs.png", "trace.png", "report.html"),
)
_COMPARISON = ("comparison.csv", "comparison.json", "loo.nc", "compare.png", "fits.png")


@dataclass
class ResultFolder:
    """A folder of results that is being written."""

    folder: Path  # temporary, for the files
    asked: Path  # final path, as the user gave it
    out: Path  # final path, resolved
    earlier: tuple[int, int] | None  # identity of the folder at the final path that may be replaced
    tell: Tell  # prints a message
    place: Path  # path for messages: the final one, or where the folder is instead

    def publish(self) -> None:
        """Rename the folder to its final path. If that is taken, rename it to the next free one, and print a message."""
        self._close()
        aside = None
        try:
            aside = self._set_aside()
            taken = _take_first_free(self.folder, self.out)
        except OSError as error:
            self.place = self.folder
            self.tell(f"the results are in {self.folder}: it cannot be renamed to {self.asked} ({error.strerror})")
            if aside is not None:
                self.tell(f"the earlier results are in {aside}")
            return
        if taken != self.out:
            self.place = self.asked.with_name(taken.name) if self.asked.name == self.out.name else taken
            self.tell(f"the name {self.asked} has been taken meanwhile: the results are in {self.place}")
        if aside is not None:
            self._bring_over(aside, taken)

    def publish_unfinished(self) -> str:
        """Publish an incomplete folder, and return a message that says where it is."""
        self.publish()
        return f"what had been finished is in {self.place}"

    def _close(self) -> None:
        """Remove incomplete files, and record the digests of the others."""
        for begun in list(self.folder.rglob(".*")):
            shutil.rmtree(begun, ignore_errors=True) if begun.is_dir() else begun.unlink(missing_ok=True)
        names = sorted(each.relative_to(self.folder).as_posix() for each in self.folder.rglob("*") if each.is_file())
        listed = {"written_by": f"bayesgmm {version('bayesgmm')}", "sha256": {}}
        listed["sha256"] = {name: digest_of(self.folder / name) for name in names if name != DIGESTS}
        with suppress(OSError), whole_file(self.folder / DIGESTS) as file:  # a full disk must not lose results
            file.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
        self.folder.chmod(0o755)

    def _set_aside(self) -> Path | None:
        """Move the earlier results aside, if they are still at the final path."""
        if self.earlier is None or _identity(self.out) != self.earlier:
            return None
        aside = Path(tempfile.mkdtemp(prefix=f".{self.out.name}-", dir=self.out.parent)) / self.out.name
        self.out.rename(aside)
        if _identity(aside) == self.earlier:
            return aside
        _take_first_free(aside, self.out)  # another run published its results in between
        aside.parent.rmdir()
        return None

    def _bring_over(self, aside: Path, taken: Path) -> None:
        """Remove the earlier results, and move all other files beside them into the new folder."""
        try:
            files = _files_of(aside)
            for file in files:
                file.unlink()
            _remove_empty(*sorted({file.parent for file in files} - {aside}, reverse=True))
            stayed = _moved(aside, taken)
            _remove_empty(aside, aside.parent)
        except OSError as error:
            self.tell(f"the earlier results could not be removed, {error.strerror}: what is left of them is in {aside}")
            return
        if stayed:
            self.tell(f"kept, because they are not part of the earlier results: {', '.join(stayed)}")


@contextmanager
def whole_folder(out: Path, force: bool = False, tell: Tell = silence) -> Iterator[ResultFolder]:
    """Write into a temporary folder beside ``out``, which is renamed to ``out`` at the end.

    The path is checked first. If an error or an interrupt ends the writing, a folder that holds draws is renamed all the
    same, and a folder without draws is removed. ``force`` replaces earlier results; other files in their folder are kept.
    """
    making = _begun(out, force, tell)
    with _locked(making.folder):
        try:
            yield making
            making.publish()
        except BaseException as error:
            kept = making.publish_unfinished() if _draws_in(making.folder) else ""
            if making.folder != making.place:
                shutil.rmtree(making.folder, ignore_errors=True)
            if isinstance(error, KeyboardInterrupt) and kept:
                raise KeyboardInterrupt(kept) from None
            if isinstance(error, Exception) and is_of_full_disk(error):
                remedy = f"; {kept}" if kept else "; free some, or choose another --out"
                raise FullDiskError(f"{out} could not be written: there is no space left on its disk{remedy}") from None
            if kept:
                error.add_note(kept)
            raise


def keep_input(file: str | Path, out: Path | None) -> None:
    """Refuse to replace a folder of results that contains the data."""
    of_results = out is not None and any((out / name).is_file() for name in ("verdict.txt", DIGESTS))
    if out is not None and of_results and Path(file).resolve().is_relative_to(out.resolve()):
        raise FileExistsError(f"{out} holds the data {file}; choose another --out")


def first_free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist."""
    return next(each for each in _names(folder) if not os.path.lexists(each))


def require_undamaged(file: Path) -> None:
    """Refuse a file of results that does not match its recorded digest. Files without a digest are accepted."""
    for folder in list(file.absolute().parents)[:3]:
        expected = (_listed(folder) or {}).get(file.absolute().relative_to(folder).as_posix())
        if expected is not None:
            if digest_of(file) != expected:
                raise ValueError(
                    f"{file} has been damaged or changed since it was written; run the command again, or delete "
                    f"{folder / DIGESTS} to read the file as it is"
                )
            return


def _begun(asked: Path, force: bool, tell: Tell) -> ResultFolder:
    """Check the final path, and create the temporary folder."""
    if asked.name in ("", ".."):
        raise ValueError(f"--out must name a folder of its own, got {asked}; add a name, such as {asked / 'results'}")
    try:
        for each in (asked, *asked.parents):
            if each.is_symlink() and not each.exists():
                raise FileNotFoundError(f"{each} is a broken symbolic link; repair it, or choose another --out")
            if each != asked and each.is_file():
                raise NotADirectoryError(f"{each} is a file, not a folder; choose another --out")
        out = asked.resolve()
        if os.path.lexists(out):
            _require_replaceable(asked, out, force)
        out.parent.mkdir(parents=True, exist_ok=True)
        _tell_of_left_behind(asked, out, tell)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{asked} cannot be written: {error.strerror}; choose another --out") from None
    return ResultFolder(folder, asked, out, _identity(out), tell, place=asked)


def _require_replaceable(asked: Path, out: Path, force: bool) -> None:
    if not force:
        raise FileExistsError(f"{asked} exists; choose another --out, or replace earlier results with --force")
    if not _is_of_results(out) or Path.cwd().is_relative_to(out):
        raise FileExistsError(
            f"{asked} exists; choose another --out, because --force replaces only a folder of earlier results, and never "
            "the working directory"
        )
    if not os.access(out, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{asked} cannot be replaced: you have no permission to remove its files; choose another --out"
        )


def _tell_of_left_behind(asked: Path, out: Path, tell: Tell) -> None:
    """Report the temporary folders that killed runs left beside the final path."""
    pattern = re.compile(rf"\.{re.escape(out.name)}-[a-z0-9_]{{8}}")
    for each in sorted(each for each in out.parent.iterdir() if pattern.fullmatch(each.name)):
        if not each.is_dir() or _is_in_use(each):
            continue
        place, draws = asked.parent / each.name, _draws_in(each)
        held = f"draws are in {asked.parent / draws[0].relative_to(out.parent)}" if draws else "it holds no draws"
        more = f" and {len(draws) - 1} more" if len(draws) > 1 else ""
        tell(f"{place} was left by a run that was killed: {held}{more}; delete it when you no longer need it")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder. The system releases it even if this process is killed."""
    if fcntl is None:
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _is_in_use(folder: Path) -> bool:
    """Whether a running process writes into the folder, or this one may not open it."""
    if fcntl is None:
        return True
    try:
        opened = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(opened)
    except OSError:
        return True
    return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode of a folder, which identify it under any name; None if it does not exist."""
    with suppress(OSError):
        found = folder.lstat()
        return found.st_dev, found.st_ino
    return None


def _names(folder: Path) -> Iterator[Path]:
    return itertools.chain([folder], (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2)))


def _take_first_free(folder: Path, out: Path) -> Path:
    """Rename the folder to the first free name."""
    for place in _names(out):
        try:
            _rename(folder, place)
        except OSError:
            if not os.path.lexists(place):
                raise
        else:
            return place
    raise AssertionError


def _rename(folder: Path, place: Path) -> None:
    """Rename without overwriting. POSIX lets a folder replace only an empty one, which is created here first."""
    if os.name == "posix":
        place.mkdir()
    folder.rename(place)


def _is_of_results(folder: Path) -> bool:
    """Whether ``bayesgmm`` wrote the folder: it has digests or, from earlier versions, draws and a verdict."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if _listed(folder) is not None:
        return True
    from h5py import is_hdf5

    draws = [folder / "posterior.nc", *folder.glob("k[0-9]*/posterior.nc")]
    return (folder / "verdict.txt").is_file() and any(map(is_hdf5, draws))


def _listed(folder: Path) -> dict[str, str] | None:
    """Recorded digests of the folder's files, by relative path; None if there are none."""
    try:
        listed: Any = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
        written_by, digests = listed["written_by"], listed["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    of_this = str(written_by).startswith("bayesgmm") and isinstance(digests, dict)
    return {str(name): str(each) for name, each in digests.items()} if of_this else None


def _files_of(folder: Path) -> list[Path]:
    """The files of a folder of results that ``bayesgmm`` wrote."""
    listed = _listed(folder)
    parts = [each for each in folder.glob("k[0-9]*") if listed is None and _is_folder(each)]
    names = [*_FIT, *_COMPARISON, DIGESTS, *(listed or ())]
    found = [folder / name for name in names] + [part / name for part in parts for name in _FIT]
    found = [each for each in dict.fromkeys(found) if os.path.lexists(each) and not _is_folder(each)]
    return [each for each in found if each.parent.resolve().is_relative_to(folder.resolve())]  # no links elsewhere


def _is_folder(each: Path) -> bool:
    return each.is_dir() and not each.is_symlink()


def _draws_in(folder: Path) -> list[Path]:
    """The complete files of draws in a folder."""
    return sorted(each for each in folder.rglob("*.nc") if not each.name.startswith("."))


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):  # it holds something
            folder.rmdir()


def _moved(source: Path, target: Path) -> list[str]:
    """Move a folder's content into another one, without overwriting, and return where each part is now."""
    stayed = []
    for each in sorted(source.iterdir()):
        new = target / each.name
        if _is_folder(each) and _is_folder(new):
            stayed += _moved(each, new)
            _remove_empty(each)
            continue
        if not os.path.lexists(new):
            each.rename(new)
            each = new
        stayed.append(os.path.relpath(each))
    return stayed
