"""Entry point: many small data sets, each fitted by itself, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from bayesgmm.arguments import (
    Covariance,
    FamilyName,
    Method,
    Missing,
    Noise,
    Rounding,
    read_choice,
    read_count,
    read_seed,
)
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.exceptions import InterruptedWarning, warn
from bayesgmm.fitting import fit
from bayesgmm.fitting.asked import read_asked
from bayesgmm.many.keyed import Keyed, batches, read_keyed
from bayesgmm.many.one import Criterion, How, fitted
from bayesgmm.many.result import ManyFits
from bayesgmm.many.table import Finished, read_finished, read_table_path, seed_in, taken_over
from bayesgmm.model.priors import Prior
from bayesgmm.pool import Pool
from bayesgmm.words import Argument, Words, about

__all__ = ["ManyFits", "fit_many"]

_ENOUGH = 20  # fits that are worth starting a process, which takes some seconds
_AUTO = range(1, 6)  # k = "auto"
_TOGETHER = 8  # largest number of keys in a task, which takes about a second
_TASKS = 4  # tasks for each worker, at least, if there are enough keys
_FEWEST_DRAWS = 1_000  # of all chains, from which convergence can be judged
_DRAWS = 500  # in each chain
_STARTS = 4  # of EM; split-merge moves then look for better solutions
_OF_FIT = (  # further options, which fit checks
    "n_init", "tune", "thin", "target_accept", "target_ess", "max_draws", "approximation", "max_iter",
)  # fmt: skip


def fit_many(
    table: Any,
    k: int | Literal["auto"] | Iterable[int] = "auto",
    *,
    by: Any = None,
    columns: Any = None,
    method: Method | None = None,
    criterion: Criterion = "bic",
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int = _DRAWS,
    chains: int = 4,
    random_seed: int | np.random.Generator | None = None,
    path: str | Path | None = None,
    workers: Any = None,
    progressbar: bool = True,
    missing: Missing = "raise",
    noise: Noise = False,
    rounding: Rounding = "auto",
    family: FamilyName = "gaussian",
    **options: Any,
) -> ManyFits:
    """Fit a mixture to each group of a table, or to each column of a matrix, and summarise the posteriors in one table.

    Each fit is a :func:`bayesgmm.fit` of its own: nothing is shared between keys. Fits run in several processes. A key that
    cannot be fitted has a row that says why, and does not stop the others.

    Parameters
    ----------
    table : DataFrame, (n, p) array-like, or mapping
        With ``by``: a table with a row for each observation. Without: each column is fitted by itself. A mapping from keys
        to (n,) or (n, D) arrays is fitted value by value; the arrays may differ in length.
    k : int, "auto", or iterable of int
        Number of components. With several numbers the ``criterion`` chooses one for each key; "auto" tries 1 to 5.
    by : str, or (n,) array-like, optional
        The column of the keys, or the key of each row.
    columns : str or sequence of str, optional
        With ``by``: the features to fit together. Without: the columns to fit, each by itself. Default: all others.
    method : {"nuts", "gibbs", "advi", "laplace"}, optional
        The engine, as in :func:`bayesgmm.fit`. Default: "laplace"; where it does not represent the posterior, short Gibbs
        runs, then longer ones until the draws have converged, then "nuts".
    criterion : {"bic", "evidence"}
        What chooses k, if there are several: the BIC of EM's estimate, or the evidence (:func:`bayesgmm.log_evidence`) of a
        posterior for each k. The evidence takes a fit for each k. BIC ignores solutions with a component that has collapsed
        or holds hardly more than one observation.
    draws, chains : int
        Draws kept in each chain, and number of chains; at least 1000 draws in all.
    random_seed : int, Generator or None
        A key's result depends on this seed, its key, and its data alone. It depends neither on the other keys and their
        order, nor on the number of processes. The column ``seed`` holds the seed that gives the same draws with
        :func:`bayesgmm.fit`.
    path : path, optional
        A file in ``.csv`` or ``.parquet`` that keeps the table of finished fits. It is replaced, as a whole, every few
        seconds and at the end. If it exists, fits in it are not repeated: the same call goes on where it was interrupted.
        Other settings or data are refused.
    workers : int or dask.distributed.Client, optional
        Number of processes; 1 fits in this process. Default: one for each core, if there are at least 20 keys for each. Or a
        Dask client, whose workers make the fits.
    progressbar : bool
        Whether to announce phases and show progress on standard error.
    prior, covariance, missing, noise, rounding, family
        As in :func:`bayesgmm.fit`, the same for every key. The default prior is scaled to the data of each key. ``noise`` is
        a truth value or one log density.
    **options
        Further options of :func:`bayesgmm.fit`: ``n_init`` (here 4 by default), ``tune``, ``thin``, ``target_accept``,
        ``target_ess``, ``max_draws``, ``approximation``, ``max_iter``.

    Returns
    -------
    ManyFits
        Prints as a summary; ``.table`` has a row for each key, ``.failed`` says why keys could not be fitted.

    Warns
    -----
    InterruptedWarning
        If interrupted; the result holds the fits made by then.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule, or a file at ``path`` with other settings or data; the message names the rule.
    ChildProcessError
        If a process was ended from outside, for example because memory ran out. Finished fits are kept in ``path``.

    Notes
    -----
    The result is a table of summaries, not a tree: the draws of ten thousand fits take gigabytes, have different k, and are
    made again in a fraction of a second by :func:`bayesgmm.fit` with the seed of the row. A key that converged by "gibbs" is
    repeated with its ``tune`` and ``thin``.

    Tested properties: a row equals the summary of :func:`bayesgmm.fit` with the same engine and seed; several processes give
    the same table as one, and an interrupted run that goes on the same table as an uninterrupted one, to the last bit; 90 %
    intervals contain nine in ten true parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import fit_many
    >>> rng = np.random.default_rng(1)
    >>> x = np.concatenate([rng.normal(0, 1, (80, 2)), rng.normal([5, 8], 1, (120, 2))])
    >>> fits = fit_many(x, 2, random_seed=1, progressbar=False)
    >>> fits.table["mu[1]"].round(0).tolist()
    [5.0, 8.0]
    """
    return fits_of(**{name: value for name, value in locals().items() if name != "options"}, **options)


def fits_of(
    table: Any,
    k: Any,
    *,
    by: Any,
    columns: Any,
    path: Any,
    workers: Any,
    progressbar: bool,
    speak: Callable[[object], str] = str,
    **asked: Any,
) -> ManyFits:
    """See :func:`fit_many`, whose arguments these are. ``speak`` writes messages for Python, or for the shell."""
    place, ks = read_table_path(path), _read_ks(k)
    keyed = read_keyed(table, by, columns, asked["missing"])
    stored = read_finished(place)
    if asked["random_seed"] is None and stored is not None:
        asked["random_seed"] = seed_in(stored)
    how = _read_how(keyed, ks, **asked)
    finished = Finished(keyed, place, _record(how), speak)
    if stored is not None:
        finished = taken_over(finished, stored)
    todo = [key for key in keyed.labels if key not in finished.rows]
    pool, phases = _read_pool(workers, len(todo)), Phases(announce=progressbar)
    left = f", {len(finished.rows)} are finished" if finished.rows else ""
    with phases("fits", f"{len(todo)} fits {pool.in_words}{left}"):
        interrupted = _run(finished, todo, how, pool, progressbar=progressbar)
    if interrupted:
        kept = Words(f" and kept in {place}: the same call goes on from there") if place else Words("")
        text = Words(f"interrupted: {len(finished.rows)} of {len(keyed.labels)} fits are finished", kept)
        if not finished.rows:
            raise KeyboardInterrupt
        warn(text, InterruptedWarning)
    found = finished.table()
    found.index = found.index.map(keyed.labels).set_names(found.index.name)
    return ManyFits(found, how.seed, interrupted)


def _run(finished: Finished, todo: list[str], how: How, pool: Pool, *, progressbar: bool) -> bool:
    """Make all fits and keep them; returns whether the run was interrupted."""
    values = finished.keyed.values
    size = int(np.clip(len(todo) // (_TASKS * pool.many), 1, _TOGETHER))
    tasks = ((keys, [values[key] for key in keys], how) for keys in batches(todo, size))
    try:
        with (
            Progress(console=Console(stderr=True), disable=not progressbar) as bar,
            DeferredInterrupt(raise_at_end=False) as interrupt,
        ):
            task = bar.add_task("fits", total=len(todo))
            for rows in pool.results(fitted, takewhile(lambda _: not interrupt.requested, tasks)):
                finished.add(rows)
                bar.update(task, advance=len(rows))
        return len(finished.rows) < len(values)
    except KeyboardInterrupt:
        return True
    finally:
        finished.save()


def _read_pool(workers: Any, fits: int) -> Pool:
    """Where the fits run. Default: a process for each core, if there are enough fits."""
    if hasattr(workers, "get_executor") and hasattr(workers, "nthreads"):
        return Pool(max(1, sum(workers.nthreads().values())), workers)
    if workers is None:
        return Pool(max(1, min(os.cpu_count() or 1, fits // _ENOUGH)))
    try:
        return Pool(read_count(workers, "workers"))
    except TypeError as error:
        raise TypeError(about("workers", str(error).removeprefix("workers "), "; or pass a Dask client")) from None


def _read_ks(k: Any) -> tuple[int, ...]:
    """The numbers of components to try."""
    if isinstance(k, str):
        if k != "auto":
            raise ValueError(about("k", f'must be an integer, several, or "auto", got {k!r}'))
        return tuple(_AUTO)
    if not isinstance(k, Iterable) or (isinstance(k, np.ndarray) and k.ndim == 0):
        return (read_count(k, "k"),)
    ks = tuple(sorted({read_count(each, "every k") for each in k}))
    if not ks:
        raise ValueError(about("k", "must hold at least one number of components, got none"))
    return ks


def _read_how(
    keyed: Keyed, ks: tuple[int, ...], *, random_seed: Any, criterion: Any, noise: Any, draws: Any, chains: Any, **asked: Any
) -> How:
    """Check all options on data that break no rule, so that only what concerns a single key is found later."""
    known = {"method", "prior", "covariance", "missing", "rounding", "family", *_OF_FIT}
    for name in sorted(asked.keys() - known):
        raise TypeError(f"fit_many() got an unexpected keyword argument {name!r}")
    read_choice(criterion, Criterion, "criterion")
    if np.ndim(noise) > 0:
        rule = "must be True, False, or one log density for all observations of all keys"
        raise ValueError(about("noise", f"{rule}, got {np.size(noise)}"))
    if read_count(draws, "draws") * read_count(chains, "chains") < _FEWEST_DRAWS:
        rule = f"draws x chains must be at least {_FEWEST_DRAWS}, so that convergence can be judged"
        raise ValueError(Words(rule, f", got {draws} x {chains}; raise ", Argument("draws")))
    defaults = dict(fit.__kwdefaults__ or {})
    options = {name: asked.get(name, defaults[name]) for name in known} | {"n_init": asked.get("n_init", _STARTS)}
    options |= {"noise": noise, "draws": draws, "chains": chains}
    read_count(options["n_init"], "n_init")
    d = keyed.n_features
    sound = np.random.default_rng(0).standard_normal((20 * (d + 1), d))
    read_asked(sound, 1, None, **(defaults | options | {"rounding": None}))
    return How(ks, criterion, read_seed(random_seed), keyed.features, options)


def _record(how: How) -> dict[str, Any]:
    """All that the fits depend on, except their data: k, seed, version, and options that differ from the defaults."""
    from importlib.metadata import version

    usual = dict(fit.__kwdefaults__ or {}) | {"n_init": _STARTS, "draws": _DRAWS}
    record: dict[str, Any] = {"k": how.ks[0] if len(how.ks) == 1 else list(how.ks), "seed": how.seed}
    record |= {"criterion": how.criterion} if len(how.ks) > 1 else {}
    given = {name: _plain(value) for name, value in sorted(how.options.items())}
    return record | {name: value for name, value in given.items() if value != usual[name]} | {"version": version("bayesgmm")}


def _plain(value: Any) -> Any:
    """A setting as JSON holds it."""
    if hasattr(value, "to_json") and hasattr(value, "alpha"):  # a prior
        return value.to_json()
    return np.asarray(value).tolist() if hasattr(value, "__array__") or isinstance(value, list | tuple) else value
