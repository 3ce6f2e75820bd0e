"""An archive counts as there when it is whole: cut, damaged and other files of its name do not."""

import zipfile

import pytest

from camlib import datasets
from camlib.datasets import archives

NAME = "tiny-imagenet-200"


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / f"{NAME}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{NAME}/wnids.txt", "n01440764\n")
        archive.writestr(f"{NAME}/words.txt", "n01440764\ttench, Tinca tinca\n")
        archive.writestr(f"{NAME}/val/val_annotations.txt", "val_0.JPEG\tn01440764\t0\t32\t44\t62\n")
    return path


def flip(path):
    content = path.read_bytes()
    at = content.index(b"tench")
    path.write_bytes(content[:at] + b"trout" + content[at + 5 :])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is there, but not a whole zip file"),
        (lambda path: path.write_text("<html>not found</html>"), "is there, but not a whole zip file"),
        (lambda path: path.write_bytes(b""), "is there, but not a whole zip file"),
        (flip, f"is there, but damaged: its member {NAME}/words.txt has another checksum"),
    ],
)
def test_a_damaged_archive_is_not_there(packed, damage, reason):
    assert datasets.is_available(NAME, packed.parent)
    assert len(datasets.load(NAME, packed.parent)) == 1
    damage(packed)
    assert not datasets.is_available(NAME, packed.parent)
    assert f"{packed} {reason}" in datasets.describe_missing(NAME, packed.parent)
    with pytest.raises(ValueError, match=rf"{NAME}\.zip"):
        datasets.load(NAME, packed.parent)


def test_a_damaged_member_is_named_with_its_archive(packed):
    flip(packed)
    with pytest.raises(ValueError, match=rf"{packed}/{NAME}/words\.txt: can't be read \(Bad CRC-32"):
        datasets.load(NAME, packed.parent)


def test_a_whole_archive_is_read_once(packed, monkeypatch, own_cache):
    assert archives.find_damage(packed) == ""
    archives._find_damage.cache_clear()
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda archive: pytest.fail("it was read again"))
    assert archives.find_damage(packed) == ""
    assert len(list((own_cache / "cache" / "archives").iterdir())) == 1


def test_more_classes_than_there_are_is_an_error(packed):
    with pytest.raises(ValueError, match=r"classes is 2; .*wnids\.txt lists 1"):
        datasets.load(NAME, packed.parent, classes=2)
