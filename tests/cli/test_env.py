"""`scssl env` prints what a bug report needs."""

from __future__ import annotations

import json

import torch

from scssl import __version__
from scssl.cli.app import main


def test_env_prints_versions_and_devices(capsys):
    assert main(["env"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["scssl"] == __version__
    assert lines["torch"] == torch.__version__
    assert {"python", "memory", "system"} <= lines.keys()


def test_env_as_json(capsys):
    assert main(["env", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["versions"]["torch"] == torch.__version__
    assert result["devices"]["cpu_threads"] >= 1
    assert result["extras_missing"]["report"] == []
    assert len(result["devices"]["cuda"]) == torch.cuda.device_count()


def test_missing_extras_are_listed(capsys, monkeypatch):
    monkeypatch.setattr("scssl.environment.extras", lambda: {"report": ["jinja2", "umap-learn"]})
    assert main(["env"]) == 0
    assert "extra report  missing jinja2, umap-learn" in " ".join(capsys.readouterr().out.split(" ")).replace(
        "   ", " "
    )


def test_a_torch_that_does_not_load_is_said(capsys, monkeypatch):
    """What such a report is often about."""

    def broken():
        message = "libcudart.so.13: cannot open shared object file"
        raise ImportError(message)

    monkeypatch.setattr("scssl.environment.devices", broken)
    assert main(["env"]) == 0
    said = capsys.readouterr().out
    assert "PyTorch cannot be loaded: libcudart.so.13" in said
    assert "memory" in said
    assert main(["env", "--json"]) == 0
    assert "libcudart" in json.loads(capsys.readouterr().out)["devices"]["problem"]
