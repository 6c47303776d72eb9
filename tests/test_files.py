import os
import stat

import pytest

from scssl.files import usual_permissions


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
