"""Folders of results: complete before they have their name, never in the place of anything else, and never lost."""

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
except ImportError:  # where there is none, no folder counts as left behind
    fcntl = None  # type: ignore[assignment]

DIGESTS = "digests.json"  # of every file of a folder of results: it is recognised by them, and damage is found
_FIT = (
    *("verdict.txt", "summary.json", "posterior.nc", "parameters.csv", "check_against_em.csv", "clusters.csv", "fit.png"),
    *("pairs.png", "trace.png", "report.html"),
)
_COMPARISON = ("comparison.csv", "comparison.json", "loo.nc", "compare.png", "fits.png")


@dataclass
class ResultFolder:
    """A folder of results in the making."""

    folder: Path  # where the files are written
    asked: Path  # the name it is to have, as it was given
    out: Path  # the same in full
    earlier: tuple[int, int] | None  # which folder of that name may be replaced
    tell: Tell  # takes what must be said
    place: Path  # the name it has been given, as people write it

    def publish(self) -> None:
        """Give the folder its name, or the next one that is free if something else has taken that; says which."""
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
        """The same before everything has been written; says that."""
        self.publish()
        return f"what had been finished is in {self.place}"

    def _close(self) -> None:
        """Remove what has only been begun, and list the rest."""
        for begun in list(self.folder.rglob(".*")):
            shutil.rmtree(begun, ignore_errors=True) if begun.is_dir() else begun.unlink(missing_ok=True)
        names = sorted(each.relative_to(self.folder).as_posix() for each in self.folder.rglob("*") if each.is_file())
        listed = {"written_by": f"bayesgmm {version('bayesgmm')}", "sha256": {}}
        listed["sha256"] = {name: digest_of(self.folder / name) for name in names if name != DIGESTS}
        with suppress(OSError), whole_file(self.folder / DIGESTS) as file:  # of a full disk the results stay all the same
            file.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
        self.folder.chmod(0o755)

    def _set_aside(self) -> Path | None:
        """Move the earlier results out of the way, if they still are what has their name."""
        if self.earlier is None or _identity(self.out) != self.earlier:
            return None
        aside = Path(tempfile.mkdtemp(prefix=f".{self.out.name}-", dir=self.out.parent)) / self.out.name
        self.out.rename(aside)
        if _identity(aside) == self.earlier:
            return aside
        _take_first_free(aside, self.out)  # another run's, which came in between
        aside.parent.rmdir()
        return None

    def _bring_over(self, aside: Path, taken: Path) -> None:
        """Remove the earlier results, but not what others have put there, which is moved into the new ones."""
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
    """Write into a folder beside ``out`` that takes its name when everything has been written.

    Whether that will be possible is found out first. Draws are never lost: if an error or an interrupt ends the writing, the
    folder takes the name with what had been finished. Without draws an error leaves nothing. With ``force`` earlier results
    are replaced: files that are not of them stay.
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
    """Refuse to replace a folder that the data lie in."""
    of_results = out is not None and any((out / name).is_file() for name in ("verdict.txt", DIGESTS))
    if out is not None and of_results and Path(file).resolve().is_relative_to(out.resolve()):
        raise FileExistsError(f"{out} holds the data {file}; choose another --out")


def first_free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist."""
    return next(each for each in _names(folder) if not os.path.lexists(each))


def require_undamaged(file: Path) -> None:
    """Refuse a file of a folder of results that is no longer what was written; without a digest nothing is known."""
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
    """A folder in the making, if its name can be given to it."""
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
    """Name what runs that were killed left beside the folder they had been writing for."""
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
    """Hold a lock on the folder, which ends with this process however that ends."""
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
    """Whether a process that is alive writes into the folder, or it is someone else's."""
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
    """Which folder it is, whatever it is called; none if there is none."""
    with suppress(OSError):
        found = folder.lstat()
        return found.st_dev, found.st_ino
    return None


def _names(folder: Path) -> Iterator[Path]:
    return itertools.chain([folder], (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2)))


def _take_first_free(folder: Path, out: Path) -> Path:
    """Give the folder the first name that nothing has."""
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
    """Rename without replacing: the system replaces an empty folder at the most, which is then the one made here."""
    if os.name == "posix":
        place.mkdir()
    folder.rename(place)


def _is_of_results(folder: Path) -> bool:
    """Whether ``bayesgmm`` wrote the folder: it lists its files, or holds draws beside a verdict, as it did before."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if _listed(folder) is not None:
        return True
    from h5py import is_hdf5

    draws = [folder / "posterior.nc", *folder.glob("k[0-9]*/posterior.nc")]
    return (folder / "verdict.txt").is_file() and any(map(is_hdf5, draws))


def _listed(folder: Path) -> dict[str, str] | None:
    """Digests of the folder's files, by their names in it; none if there is no list."""
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
    return [each for each in found if each.parent.resolve().is_relative_to(folder.resolve())]  # where no link leads away


def _is_folder(each: Path) -> bool:
    return each.is_dir() and not each.is_symlink()


def _draws_in(folder: Path) -> list[Path]:
    """Files of draws that were written whole."""
    return sorted(each for each in folder.rglob("*.nc") if not each.name.startswith("."))


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):  # it holds something
            folder.rmdir()


def _moved(source: Path, target: Path) -> list[str]:
    """Move what a folder holds into another one; where there is something of that name it stays where it is."""
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
