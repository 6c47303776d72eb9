"""The reference has every public name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
PUBLIC = [
    "scssl", "scssl.corpus", "scssl.genes", "scssl.ontology", "scssl.datasets", "scssl.metrics", "scssl.pretext",
    "scssl.tasks", "scssl.study", "scssl.report", "scssl.model.hub",
]  # fmt: skip


def place(thing):
    """Where a class or function is defined; None for constants, which their modules document."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{name}" if module and name and module.startswith("scssl") else None


def of(thing, module):
    """Whether a public class or function is defined in a module that does not list its names."""
    return getattr(thing, "__module__", None) == module and not thing.__name__.startswith("_")


def documented():
    found = set()
    for page in REFERENCE.glob("*.md"):
        for path in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            thing = resolve(path)
            if isinstance(thing, ModuleType):
                names = getattr(thing, "__all__", [n for n, item in vars(thing).items() if of(item, path)])
                found |= {place(getattr(thing, name)) for name in names}
            else:
                found.add(place(thing))
    return found


def resolve(path):
    try:
        return importlib.import_module(path)
    except ImportError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def public():
    for package in PUBLIC:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", [n for n, thing in vars(module).items() if of(thing, package)]):
            thing = getattr(module, name)
            if not isinstance(thing, ModuleType) and place(thing) is not None:
                yield pytest.param(place(thing), id=f"{package}.{name}")


@pytest.fixture(scope="module")
def pages():
    return documented()


@pytest.mark.parametrize("where", list(public()))
def test_public_names_are_in_the_reference(where, pages):
    assert where in pages
