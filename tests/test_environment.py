"""Versions and machine, told without importing anything heavy."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys

from scssl import environment


def test_versions_match_the_modules():
    import numpy as np

    found = environment.versions()
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment.installed_version("no-such-package") is None


def test_extras_say_what_is_missing(monkeypatch):
    lines = ["torch>=2", "a>=1; extra == 'one'", "b[x]<2; extra == 'two'", "scssl[one]; extra == 'two'"]
    monkeypatch.setattr(environment, "requires", lambda _: lines)
    monkeypatch.setattr(environment, "installed_version", lambda name: "1" if name == "b" else None)
    assert environment.extras() == {"one": ["a"], "two": ["a"]}


def test_machine_is_plausible_and_names_nobody():
    machine = environment.machine()
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > machine["memory_free_gib"] > 0
    text = json.dumps(machine)
    assert socket.gethostname() not in text
    assert getpass.getuser() not in text


def test_container_limits_count(monkeypatch, tmp_path):
    files = {"memory.max": str(2 * 2**30)}
    text = environment._text
    monkeypatch.setattr(environment, "_text", lambda path: files.get(path.name, text(path)))
    assert environment.memory_gib()[0] == 2


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from scssl.environment import *; versions(); machine(); extras();"
        "print([m for m in ('torch', 'anndata', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    # The package's __init__ imports pandas; only the heavy ones matter.
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "anndata", "matplotlib"} & set(eval(out))
