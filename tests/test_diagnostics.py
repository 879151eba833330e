"""The verdicts must be good for sound draws, and bad for spoilt ones for the right reason."""

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm import check_against_em, diagnose
from bayesgmm.analysis.quantities import entries, have_reached, summarise
from tests.conftest import first_chain_turned, make_tree, one_chain_elsewhere, slow
from tests.statistics import rng


def kinds(diagnosis):
    return {finding.kind for finding in diagnosis.findings}


def test_says_yes_where_all_is_well(good):
    diagnosis = diagnose(good)
    assert diagnosis.ok, diagnosis
    assert diagnosis.converged


def test_follows_as_many_quantities_whatever_the_offset(two_small):
    assert len(diagnose(make_tree(two_small)).invariants) == 12
    assert len(diagnose(make_tree(two_small + 1e9)).invariants) == 12


def test_one_component_is_dull():
    tree = make_tree(bg.datasets.galaxies(), 1)
    assert check_against_em(tree).ok
    assert diagnose(tree).ok
    assert list(check_against_em(tree).table.index) == ["mu[0]", "sigma[0]"]  # the weight is constant


def test_label_switching_alone_leaves_the_density_converged(two_small):
    diagnosis = diagnose(make_tree(two_small, change=first_chain_turned))
    assert diagnosis.converged
    assert kinds(diagnosis) == {"labels"}
    assert "in 25% another numbering is nearly as plausible" in diagnosis.findings[0].problem
    assert "bayesgmm.relabel" in diagnosis.findings[0].remedy
    assert diagnose(bg.relabel(make_tree(two_small, change=first_chain_turned))).ok


@pytest.mark.parametrize(("change", "kind"), [(one_chain_elsewhere, "solutions"), (slow, "r_hat")])
def test_chains_that_disagree_have_not_converged(two_small, change, kind):
    diagnosis = diagnose(make_tree(two_small, change=change))
    assert not diagnosis.converged
    assert kind in kinds(diagnosis)
    assert all(finding.remedy for finding in diagnosis.findings)


def test_few_chains_and_few_draws(two_small):
    assert kinds(diagnose(make_tree(two_small, chains=1, draws=1000))) == {"chains"}
    short = diagnose(make_tree(two_small, chains=2, draws=3))
    assert kinds(short) == {"draws"}
    assert not short.converged
    assert kinds(diagnose(make_tree(two_small, chains=4, draws=60))) >= {"ess_bulk"}


def with_stats(tree, **stats):
    changed = tree["sample_stats"].to_dataset().assign({name: (("chain", "draw"), value) for name, value in stats.items()})
    result = tree.copy()
    result["sample_stats"] = xr.DataTree(changed)
    return result


def test_sampler_trouble_is_named(good):
    shape = good["posterior"]["w"].shape[:2]
    diverging = np.zeros(shape, dtype=bool)
    diverging[0, :3] = True
    found = diagnose(with_stats(good, diverging=diverging))
    assert kinds(found) == {"divergences"}
    assert found.findings[0].problem.startswith("3 divergent transitions")
    assert found.converged
    energy = np.cumsum(rng(1).standard_normal(shape), axis=1)
    assert kinds(diagnose(with_stats(good, energy=energy))) == {"energy"}
    assert diagnose(with_stats(good, energy=rng(1).standard_normal(shape))).ok
    deep = np.zeros(shape, dtype=bool)
    deep[:, ::10] = True
    assert kinds(diagnose(with_stats(good, reached_max_treedepth=deep))) == {"tree depth"}


def test_reached_means_all_of_them_have():
    values = {str(i): rng(i).normal(size=(4, 500)) for i in range(8)} | {"constant": np.ones((4, 500))}
    table = summarise(iter(values.items()))
    ess, r_hat = table["ess_bulk"].min(), table["r_hat"].max()
    assert have_reached(iter(values.items()), ess, r_hat)
    assert not have_reached(iter(values.items()), ess + 1, r_hat)
    assert not have_reached(iter(values.items()), ess, r_hat - 1e-6)


def test_an_interrupt_is_named(good):
    cut = good.isel(draw=slice(200), missing_dims="ignore")
    cut.attrs = {**good.attrs, "interrupted": 1}
    found = diagnose(cut)
    assert kinds(found) == {"interrupted"}
    assert found.findings[0].problem == "the run was interrupted; 4 x 200 draws were kept"
    assert found.converged
    assert check_against_em(cut).ok


def test_advi_is_judged_by_its_approximation(good):
    def advi(**attrs):
        tree = good.copy()
        tree.attrs = {**good.attrs, "method": "advi"}
        tree["approximation"] = xr.DataTree(
            xr.Dataset(attrs={"pareto_k": 0.3, "importance_efficiency": 0.9, "converged": 1, **attrs})
        )
        return tree

    assert diagnose(advi()).ok
    assert kinds(diagnose(advi(pareto_k=0.9))) == {"k_hat"}
    assert kinds(diagnose(advi(pareto_k=np.nan))) == {"k_hat"}
    assert kinds(diagnose(advi(converged=0))) == {"elbo"}
    assert not check_against_em(advi(pareto_k=0.9)).ok
    bare = good.copy()
    bare.attrs = {"method": "advi"}
    with pytest.raises(ValueError, match="tree must have a group approximation"):
        diagnose(bare)


def test_both_print_as_tables(good):
    assert "sigma[1]" in repr(check_against_em(good))
    text = repr(diagnose(good))
    assert text.index("label-invariant") < text.index("labelled parameters")
    assert "log posterior" in text


def test_of_symmetric_matrices_each_entry_is_named_once():
    dims, labels = ("cluster", "feature", "feature_bis"), [[0], ["a", "b"], ["a", "b"]]
    assert [name for _, name in entries("cov", dims, labels)] == ["cov[0, a, a]", "cov[0, a, b]", "cov[0, b, b]"]
    assert len(list(entries("of the user's own", dims, labels))) == 4
