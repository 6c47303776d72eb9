import os
import stat

import pytest

from scssl.files import usual_permissions, whole


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
