"""The direction of dependence, read from the imports; what a bare import loads; and the public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bayesgmm

ROOT = Path(bayesgmm.__file__).parent
DOORS = {"__init__", "__main__", "cli", "fitting", "counting", "many", "estimators"}  # which may import everything
SMALL = {
    "arguments": {"choices", "words"}, "choices": set(), "exceptions": set(), "digits": set(),
    "families": {"arguments", "kernels"}, "files": set(), "pool": set(), "priors": {"model"}, "words": set(),
}  # fmt: skip
PYMC_MAY = {"model", "engines", "fitting"}
SKLEARN_MAY = {"estimators"}


def warnings_of(path):
    """Line and category of a file's warnings. A conditional expression gives both; a variable is resolved first."""
    tree = ast.parse(path.read_text())
    given = {
        target.id: node.value
        for node in ast.walk(tree) if isinstance(node, ast.Assign)
        for target in node.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "warn"):
            category = node.args[1] if len(node.args) > 1 else None
            if isinstance(category, ast.Name):
                category = given.get(category.id, category)
            for each in [category.body, category.orelse] if isinstance(category, ast.IfExp) else [category]:
                yield node.lineno, each.id if isinstance(each, ast.Name) else None


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "bayesgmm":
                yield from (f"bayesgmm.{name.name}" for name in node.names)
            else:
                yield node.module


def packages():
    return sorted(path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in DOORS)


def sentence_of(package):
    """What a package's docstring says of its imports."""
    said = ast.get_docstring(ast.parse((package / "__init__.py").read_text())).splitlines()[-1]
    assert said.startswith("It imports ")
    assert said.endswith(".")
    return set(said.removeprefix("It imports ").removesuffix(".").split(", "))


def imported_by(paths):
    names = {imported for path in paths for imported in imports_of(path)}
    return {name.split(".")[1] for name in names if name.startswith("bayesgmm.")}


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.name)
def test_a_package_imports_what_it_says(package):
    assert imported_by(package.rglob("*.py")) - {package.name} == sentence_of(package)


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in DOORS))
def test_a_module_outside_the_packages_imports_little(name):
    assert imported_by([ROOT / f"{name}.py"]) <= SMALL[name]


def test_dependence_has_one_direction():
    """No package imports itself, not even through others."""
    reached = {package.name: sentence_of(package) for package in packages()}
    for _ in reached:
        reached = {name: seen | set().union(*(reached.get(each, set()) for each in seen)) for name, seen in reached.items()}
    assert [name for name, seen in reached.items() if name in seen] == []


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_pymc_has_its_doors(path):
    foreign = {imported.split(".")[0] for imported in imports_of(path)}
    assert path.relative_to(ROOT).with_suffix("").parts[0] in PYMC_MAY or not foreign & {"pymc", "pytensor", "nutpie"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_scikit_learn_has_one_door(path):
    foreign = {imported.split(".")[0] for imported in imports_of(path)}
    assert "sklearn" not in foreign or path.relative_to(ROOT).parts[0] in SKLEARN_MAY


@pytest.mark.parametrize(
    "path",
    sorted(set(ROOT.rglob("*.py")) - {ROOT / "exceptions.py"}),  # whose function ``warn`` all others call
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_warning_has_a_category_of_the_package(path):
    own = {
        name for name, value in vars(bayesgmm.exceptions).items() if isinstance(value, type) and issubclass(value, Warning)
    }
    assert all(category in own for _, category in warnings_of(path)), list(warnings_of(path))


def test_a_warning_without_a_category_is_noticed(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "kind = A if x else B\nwarnings.warn('1', kind)\nwarnings.warn('2')\nwarnings.warn('3', C, stacklevel=2)\n"
    )
    assert list(warnings_of(path)) == [(2, "A"), (2, "B"), (3, None), (4, "C")]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_legend_has_its_place(path):
    """Without a place, matplotlib searches for one, and warns that this is slow if observations are many."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "legend":
            assert "loc" in {keyword.arg for keyword in node.keywords}, f"line {node.lineno}"


def loaded_after(code):
    program = f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_bare_import_is_light():
    heavy = {"pymc", "pytensor", "arviz", "arviz_stats", "matplotlib", "nutpie", "pandas", "sklearn", "xarray"}
    assert not loaded_after("import bayesgmm") & heavy
    em = "import bayesgmm as b; x = b.datasets.two_gaussians(n=50).x; b.fit_em(x, 2, random_seed=1)"
    assert not loaded_after(em) & heavy


@pytest.mark.parametrize("command", [[], ["fit"], ["compare"], ["fit-many"], ["simulate"], ["demo"], ["report"]])
def test_help_waits_for_no_library_of_numbers(command):
    program = f"""
import contextlib, sys
sys.argv = ["bayesgmm", *{command}, "--help"]
from bayesgmm.cli import main
with contextlib.suppress(SystemExit):
    main()
print("LOADED", *sys.modules)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said, loaded = done.stdout.split("LOADED")
    assert "Usage" in said
    assert not set(loaded.split()) & {"numpy", "pandas", "numba", "scipy"}


@pytest.mark.slow
def test_the_compiled_engine_needs_no_pymc():
    program = (
        "import warnings; warnings.simplefilter('ignore'); import bayesgmm as b; x = b.datasets.galaxies(); "
        "[b.fit(x, 2, method=method, draws=100, random_seed=1, progressbar=False) for method in ('nuts', 'advi')]"
    )
    assert not loaded_after(program) & {"pymc", "pytensor"}


@pytest.mark.slow
def test_without_scikit_learn_everything_else_is_there():
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from bayesgmm import *\n"
        "import bayesgmm\n"
        "assert 'BayesianGMM' not in dir(bayesgmm) and 'fit' in dir(bayesgmm)\n"
        "try: bayesgmm.BayesianGMM\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        done.stdout == "BayesianGMM and BayesianGMMRegressor need scikit-learn 1.6 or newer, which is not installed; "
        "install it, or bayesgmm[sklearn]\n"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").glob("*.py")), ids=lambda path: path.stem)
def test_compiled_code_has_a_test_of_its_own_for_finite_numbers(path):
    """Numba tests value - value, which is optimised to zero if sums may be reordered. Infinity then counts as finite."""
    compiled = [
        each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef) and is_compiled(each)
    ]
    called = {each.attr for function in compiled for each in ast.walk(function) if isinstance(each, ast.Attribute)}
    assert not called & {"isfinite", "isnan", "isinf"}


def is_compiled(function):
    return any("compiled" in ast.unparse(each) for each in function.decorator_list)


def test_public_names_are_there_and_described():
    for name in bayesgmm.__all__:
        assert getattr(bayesgmm, name).__doc__
    assert set(bayesgmm.__all__) == set(dir(bayesgmm))
    with pytest.raises(AttributeError, match="module 'bayesgmm' has no attribute 'fitt'"):
        bayesgmm.fitt


def test_no_public_function_shares_its_name_with_a_module():
    """Importing ``bayesgmm.NAME`` as a module would put it in the function's place."""
    modules_here = {path.stem for path in ROOT.iterdir()}
    assert set(bayesgmm.__all__) & modules_here == {"datasets", "exceptions", "plots", "priors"}
