"""Tasks of one's own: known by import, or by an entry point of their package."""

import sys
import types

import pytest

from scssl.errors import SettingsError
from scssl.pretext import base
from scssl.pretext.none import NoPretraining


def test_a_task_of_another_package_is_found(monkeypatch):
    class Point:
        def load(self):
            record = base.PretextRecord(**{**vars(NoPretraining.record), "name": "mine"})
            base.register(type("Mine", (NoPretraining,), {"record": record}))

    monkeypatch.setattr(base, "_TASKS", dict(base._TASKS))
    with pytest.raises(SettingsError, match=r"entry point of the group scssl\.pretext"):
        base.get_task("mine")
    monkeypatch.setattr(base, "entry_points", lambda group: [Point()] if group == "scssl.pretext" else [])
    assert base.get_task("mine").record.name == "mine"
    assert "mine" in [record.name for record in base.list_tasks()]


def test_the_task_of_the_docs_trains(monkeypatch):
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "tasks" / "own.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.setattr(base, "_TASKS", dict(base._TASKS))
    module = types.ModuleType("own_task")
    monkeypatch.setitem(sys.modules, "own_task", module)
    exec(compile(code, "own.md", "exec"), vars(module))
    assert module.model.embed(module.scssl.datasets.simulate_atlas(500, 300)).shape == (500, 128)
