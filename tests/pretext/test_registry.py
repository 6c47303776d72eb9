"""Tasks of one's own: known by import, or by an entry point of their package."""

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
