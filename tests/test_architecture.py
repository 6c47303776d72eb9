"""What holds for the whole package: imports go one way, heavy packages load late, public names are documented."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import scssl
from scssl.cli.app import COMMANDS, CORPUS_COMMANDS, MODELS_COMMANDS

ROOT = Path(scssl.__file__).parent
REPOSITORY = ROOT.parent.parent
BASE = (
    "compiled",
    "cores",
    "environment",
    "errors",
    "fetch",
    "files",
    "interruption",
    "keys",
    "launch",
    "log",
    "ranks",
    "words",
    "__init__",
)
ROOMS = [
    "genes",
    "ontology",
    "corpus",
    "nn",
    "pretext",
    "metrics",
    "training",
    "model",
    "pretraining",
    "tasks",
    "study",
    "report",
    "datasets",
    "cli",
]
HEAVY = ("torch", "anndata", "scanpy", "lightning")
TORCH_FREE = ("genes", "ontology", "corpus/build", "corpus/format", "corpus/sources", "corpus/store.py")
FILES = sorted(ROOT.rglob("*.py"))


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(["scssl", *parts]).removesuffix(".__init__")


def room(module):
    """Rank of a module's room."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    if name in BASE:
        return -1
    return ROOMS.index(name)


def imports(file):
    """Yield the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            if node.module == "scssl":
                # Public names stand for the module that they are loaded from.
                names = [alias.name for alias in node.names if alias.name != "__version__"]
                yield from (scssl._LAZY.get(name, f"scssl.{name}").partition(":")[0] for name in names)


def names_of_package(file):
    return [name for name in imports(file) if name == "scssl" or name.startswith("scssl.")]


@pytest.mark.parametrize("file", [f for f in FILES if f != ROOT / "__init__.py"], ids=module_of)
def test_imports_go_one_way(file):
    own = room(module_of(file))
    for name in names_of_package(file):
        assert room(name) <= own, f"{module_of(file)} imports {name}, which comes later in: {' '.join(ROOMS)}"


def test_every_module_is_in_a_room():
    tops = {module_of(file).split(".")[1] for file in FILES if file != ROOT / "__init__.py"}
    assert {name for name in tops - set(BASE) if not name.startswith("model_")} <= set(ROOMS)


def loaded(code):
    """Run code in a fresh interpreter and return which heavy packages it loaded."""
    ask = f"import sys\n{code}\nprint('loaded:', *[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.rpartition("loaded:")[2].split()


def test_the_probe_sees_what_is_loaded():
    assert loaded("import torch") == ["torch"]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["corpus", "--help"]]
    + [[name, "--help"] for name in COMMANDS]
    + [["corpus", name, "--help"] for name in CORPUS_COMMANDS]
    + [["models", name, "--help"] for name in MODELS_COMMANDS],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(words):
    assert loaded(f"from scssl.cli.app import main\nassert main({words}) == 0") == []


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import scssl\ndir(scssl)") == []


def test_command_modules_load_nothing_heavy():
    modules = [module_of(file) for file in FILES if file.parent == ROOT / "cli"]
    assert loaded("\n".join(f"import {name}" for name in modules)) == []


def test_genes_and_corpus_building_never_load_torch():
    files = [f for f in FILES if any(f.is_relative_to(ROOT / place) for place in TORCH_FREE)]
    assert all(any(f.is_relative_to(ROOT / place) for f in files) for place in TORCH_FREE)
    for file in files:
        assert not [name for name in imports(file) if name.split(".")[0] in {"torch", "lightning"}], file
    assert "torch" not in loaded("\n".join(f"import {module_of(file)}" for file in files))


def test_public_names_resolve():
    for name in scssl.__all__:
        assert getattr(scssl, name) is not None
    assert dir(scssl) == sorted(scssl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = scssl.nonsense


def public_callables():
    """Yield (name, callable) for everything exported by the package and its rooms, methods included."""
    seen = set()
    for module in (
        "scssl",
        *(f"scssl.{name}" for name in ROOMS if (ROOT / name / "__init__.py").is_file() or name == "model"),
    ):
        if module == "scssl.cli":
            continue
        loaded_module = import_module(module)
        exported = getattr(loaded_module, "__all__", None)
        if exported is None:
            exported = [
                n
                for n, v in vars(loaded_module).items()
                if not n.startswith("_") and getattr(v, "__module__", "") == module
            ]
        for name in exported:
            value = getattr(loaded_module, name)
            if not callable(value) or id(value) in seen or not getattr(value, "__module__", "").startswith("scssl"):
                continue
            seen.add(id(value))
            yield f"{module}.{name}", value
            if inspect.isclass(value):
                for method, raw in vars(value).items():
                    function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
                    if not method.startswith("_") and inspect.isfunction(function):
                        yield f"{module}.{name}.{method}", function


CALLABLES = dict(public_callables())
FUNCTIONS = {name: value for name, value in CALLABLES.items() if inspect.isfunction(value)}
# Pairs that belong together and that everyone passes by position, in this order.
PAIRS = {
    ("data", "labels"),
    ("files", "out"),
    ("n_cells", "n_genes"),
    ("path", "panel"),
    ("points", "colours"),
    ("reference", "query"),
    ("spec", "panel"),
    ("truth", "predicted"),
    ("truth", "probabilities"),
    ("var", "panel"),
    ("x", "y"),
}
# Tensors in, tensors out: called by torch and Lightning by position; the class says what they mean.
INSIDE = re.compile(r"scssl\.(nn|pretext|training)\.")


def parameters(function):
    return [p for p in inspect.signature(function).parameters.values() if p.name not in {"self", "cls"}]


def test_something_is_public():
    assert len(FUNCTIONS) > 20


@pytest.mark.parametrize("name", CALLABLES)
def test_public_names_are_documented(name):
    text = CALLABLES[name].__doc__
    assert text, f"{name} has no docstring"
    # A dataclass without a docstring gets its signature as one.
    assert not text.startswith(name.split(".")[-1] + "("), f"{name} has no docstring"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_are_documented_and_annotated(name):
    function = FUNCTIONS[name]
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty, f"{name}: no return annotation"
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, flags=re.DOTALL | re.MULTILINE)
    named = (
        set(re.split(r"[,\s]+", " ".join(re.findall(r"^\*{0,2}(\w.*)$", section[1], flags=re.MULTILINE))))
        if section
        else set()
    )
    for parameter in parameters(function):
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter.name} is not annotated"
        if INSIDE.match(name):
            continue
        assert parameter.name in named, f"{name}: {parameter.name} is not in the docstring's Parameters"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not INSIDE.match(name)])
def test_arguments_after_the_first_are_keyword_only(name):
    by_position = [
        p
        for p in parameters(FUNCTIONS[name])
        if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL}
    ]
    names = tuple(p.name for p in by_position)
    assert len(names) <= 1 or names in PAIRS, f"{name}{names}: keyword-only after the first argument"
    for parameter in by_position:
        assert parameter.annotation not in {"bool", bool}, f"{name}: {parameter.name} is a positional boolean"
        assert not isinstance(parameter.default, bool), f"{name}: {parameter.name} is a positional boolean"


def test_files_stay_short():
    folders = [ROOT, *(REPOSITORY / name for name in ("tests", "scripts", "examples", "benchmarks"))]
    for folder in folders:
        for file in folder.rglob("*.py"):
            n_lines = file.read_text(encoding="utf-8").count("\n")
            assert n_lines <= 400, f"{file.relative_to(REPOSITORY)} has {n_lines} lines"


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_files_say_what_they_are(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    if file.name == "__init__.py":
        return
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert futures, "no `from __future__ import annotations`"
