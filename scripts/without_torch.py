"""Tests of what needs no PyTorch, on a Python for which there is none: `make without-torch OTHER=python3.13`.

As a program it prints what to install; as a plugin of pytest it skips what only PyTorch's absence keeps from running.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

LEFT_OUT = ("torch", "lightning", "scssl")
EXTRAS = ("census", "compare", "dask", "demo", "download", "mudata", "ontology", "report")
MISSING = re.compile(r"No module named '(torch|lightning)['.]")


def requirements():
    """Return what scssl and the tests depend on, without PyTorch and what is built on it."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["test"]
    for extra in EXTRAS:
        wanted += project["project"]["optional-dependencies"][extra]
    return [line for line in wanted if re.match(r"[\w-]+", line).group() not in LEFT_OUT]


def _lacks_torch(error):
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and MISSING.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Skip a test that needs PyTorch."""
    report = yield
    if report.failed and call.excinfo is not None and _lacks_torch(call.excinfo.value):
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, "needs PyTorch")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Skip a file of tests that loads PyTorch."""
    report = yield
    if report.failed and MISSING.search(str(report.longrepr)):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, "needs PyTorch")
    return report


if __name__ == "__main__":
    print("\n".join(requirements()))
