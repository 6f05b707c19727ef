"""Files that torch would read though a number in them is not the one that was written."""

import zipfile
from pathlib import Path

import pytest
import torch

from ncourse import features
from ncourse.files import check_zip
from ncourse.training.checkpoints import _read_state

NUMBERS = torch.full((5, 2), 1.2345)


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """Saved tensors, whole in all but one number."""
    path = tmp_path / "state.pt"
    torch.save({"model": {}, "features": NUMBERS, "labels": torch.zeros(5).long()}, path)
    check_zip(path)
    content = path.read_bytes()
    number = NUMBERS.numpy().tobytes()
    assert content.count(number) == 1
    path.write_bytes(content.replace(number, b"\0" + number[1:]))
    assert not torch.equal(torch.load(path, weights_only=True)["features"], NUMBERS)
    return path


def test_an_altered_number_is_found_by_each_reader(altered):
    with pytest.raises(ValueError, match=r"data/0 in it is not what was written"):
        check_zip(altered)
    with pytest.raises(ValueError, match=r"state\.pt cannot be read: .* not what was written"):
        features.load(altered)
    with pytest.raises(ValueError, match=r"state\.pt is no checkpoint of .* not what was written"):
        _read_state(altered)


def test_what_is_no_zip_file_is_said_so(tmp_path):
    (tmp_path / "a").write_text("a")
    with pytest.raises(zipfile.BadZipFile):
        check_zip(tmp_path / "a")
