import os
import stat

import pytest

from scssl.files import take_place, usual_permissions, whole


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_gets_the_permissions_of_its_neighbours(tmp_path, umask):
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    usual_permissions(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_file_takes_its_place_only_when_complete(tmp_path):
    out = tmp_path / "not" / "there" / "table.csv.gz"
    with whole(out) as place:
        assert place.name.endswith(out.name)
        place.write_text("first")
        assert not out.exists()
    assert out.read_text() == "first"
    (tmp_path / "plain").touch()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def fails():
        with whole(out) as place:
            place.write_text("half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fails()
    assert out.read_text() == "first"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("stopped", [[1], [2], [2, 3], []])
def test_a_folder_that_is_replaced_is_never_lost(tmp_path, monkeypatch, stopped):
    """Ctrl-C at the first, second or third renaming; at the third, the old one is still beside its place."""
    path, new = tmp_path / "task", tmp_path / "new"
    for folder in (path, new):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    rename, calls = os.replace, []

    def stop(*places):
        calls.append(places)
        if len(calls) in stopped:
            raise KeyboardInterrupt
        rename(*places)

    monkeypatch.setattr(os, "replace", stop)
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            take_place(new, path)
    else:
        take_place(new, path)
    kept = [file.read_text() for file in tmp_path.rglob("name")]
    assert sorted(kept) == (["new", "task"] if stopped else ["new"])
    if stopped != [2, 3]:
        assert (path / "name").read_text() == ("task" if stopped else "new")
        assert {folder.name for folder in tmp_path.iterdir()} == ({"task", "new"} if stopped else {"task"})
