"""Unpacking: what archives hold comes out as it was; what would leave the folder, link, or never end is refused."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from camlib.datasets import archives
from camlib.datasets.archives import check_member, check_whole, read_note, unpack

KINDS = ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


def pack(path, members):
    """An archive of {name: bytes, or None for a folder}; a tar member may be a TarInfo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name if content is not None else f"{name}/", content or b"")
    else:
        mode = {"tar": "w", "tgz": "w:gz"}.get(path.suffix[1:], f"w:{path.suffix[1:]}")
        with tarfile.open(path, mode) as archive:
            for name, content in members:
                info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
                if content is None:
                    info.type = tarfile.DIRTYPE
                else:
                    info.size = len(content)
                archive.addfile(info, io.BytesIO(content or b""))
    return path


def read_tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refuse(path, root, message, to="birds"):
    """Unpacking is refused, and nothing is left of it anywhere."""
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(ValueError, match=message) as error:
        unpack(path, root, to)
    assert path.name in str(error.value)
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_all_comes_out_as_it_was_packed(tmp_path, kind):
    members = {"images/a b.jpg": b"1", "images/deep/er/c.jpg": bytes(3_000_000), "lists.txt": b"", "ä.txt": b"2"}
    path = pack(tmp_path / f"birds.{kind}", [("images", None), *members.items()])
    check_whole(path, path.name)
    assert unpack(path, tmp_path, "birds", {"archive": path.name, "check": "verified"}) == tmp_path / "birds"
    assert read_note(tmp_path / "birds") == {"archive": path.name, "check": "verified", "files": 4}
    (tmp_path / "birds" / archives.NOTE).unlink()
    assert read_tree(tmp_path / "birds") == members
    with pytest.raises(FileExistsError, match="birds is there; delete it"):
        unpack(path, tmp_path, "birds")


@pytest.mark.parametrize("inside", ["birds", "data/birds", "other"])
def test_a_folder_of_the_wanted_name_is_taken_without_what_lies_beside_it(tmp_path, inside):
    path = pack(tmp_path / "x.tar", [(f"{inside}/1.jpg", b"1"), ("attributes.txt", b"2")])
    unpack(path, tmp_path, "data/birds")
    whole = {"other/1.jpg": b"1", "attributes.txt": b"2"}
    assert read_tree(tmp_path / "data" / "birds") == (whole if inside == "other" else {"1.jpg": b"1"})


def test_archives_inside_become_folders_of_their_names(tmp_path):
    flat = pack(tmp_path / "in" / "n01440764.tar", [("n01440764_1.JPEG", b"1")]).read_bytes()
    named = pack(tmp_path / "in" / "101.tar.gz", [("101/ant/1.jpg", b"2")]).read_bytes()
    third = pack(tmp_path / "in" / "third.zip", [("third.tar", flat)]).read_bytes()
    path = pack(tmp_path / "train.tar", [("n01440764.tar", flat), ("101.tar.gz", named), ("a/third.zip", third)])
    unpack(path, tmp_path, "train")
    assert read_tree(tmp_path / "train") == {
        "n01440764/n01440764_1.JPEG": b"1", "101/ant/1.jpg": b"2", "a/third/third.tar": flat,
    }  # fmt: skip
    refuse(pack(tmp_path / "x.tar", [("101/a", b"1"), ("101.tar.gz", named)]), tmp_path, "'101.tar.gz' is there twice")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "..", "a/..", "C:evil", "c:/evil", "..\\evil", "a\\b", "//x/evil"]
)
def test_members_that_leave_the_folder_are_refused(tmp_path, kind, name):
    refuse(pack(tmp_path / f"x.{kind}", [("good.jpg", b"1"), (name, b"evil")]), tmp_path, "leaves the folder")


@pytest.mark.parametrize(
    "type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, type_):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = type_, "/etc"
    refuse(pack(tmp_path / "x.tar", [(info, b""), ("a/passwd", b"evil")]), tmp_path, "'a' is a link or a device")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("a")
    info.external_attr = (kind | 0o777) << 16
    refuse(pack(tmp_path / "x.zip", [(info, b"/etc")]), tmp_path, "'a' is a link or a device")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "./a"), ("b/a", "b//a"), ("a", "a/b"), ("a/b", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path, kind, one, other):
    refuse(pack(tmp_path / f"x.{kind}", [(one, b"1"), (other, b"2")]), tmp_path, "there twice")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("nested", [False, True])
def test_bombs_are_refused(tmp_path, monkeypatch, kind, nested):
    monkeypatch.setattr(archives, "HARMLESS", 2**16)
    zeros = pack(tmp_path / f"bomb.{kind}", [(f"{i}", bytes(2**20)) for i in range(20)])
    assert zeros.stat().st_size * archives.MOST_RATIO < 20 * 2**20
    path = pack(tmp_path / "outer.zip", [(zeros.name, zeros.read_bytes())]) if nested else zeros
    refuse(path, tmp_path, "a decompression bomb")


def test_a_zip_that_states_a_wrong_size_gives_no_more(tmp_path):
    path = pack(tmp_path / "x.zip", [("a", bytes(50_000))])
    content = path.read_bytes()
    assert content.count((50_000).to_bytes(4, "little")) == 2
    path.write_bytes(content.replace((50_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refuse(path, tmp_path, "refused")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    refuse(pack(tmp_path / "x.tar", [(f"{i}", b"") for i in range(4)]), tmp_path, "more than 3 members")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_was_cut_anywhere_is_refused(tmp_path, kind):
    members = [(f"{i}.jpg", os.urandom(700)) for i in range(3)]
    content = pack(tmp_path / f"whole.{kind}", members).read_bytes()
    ends = {512 * i for i in range(len(content) // 512)} if kind == "tar" else set(range(0, len(content), 97))
    for end in ends - {e for e in ends if kind == "tar" and e > 3 * 1536}:  # a tar is whole when its end is marked
        path = tmp_path / f"x.{kind}"
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=path.name):
            check_whole(path, path.name)
        refuse(path, tmp_path, "refused|not a whole zip")


@pytest.mark.parametrize("size", [5000, archives.BLOCK - 1536])  # then the tar's end is that of a block
def test_a_damaged_compressed_file_is_refused(tmp_path, size):
    path = pack(tmp_path / "x.tar.gz", [("a", os.urandom(size))])
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(gzip.BadGzipFile), gzip.open(path) as file:
        file.read()
    refuse(path, tmp_path, "refused")


def test_unpacking_that_was_killed_is_done_again(tmp_path, monkeypatch):
    path = pack(tmp_path / "x.tar", [("a", b"1"), ("b", b"2")])
    monkeypatch.setattr(archives.shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing
    monkeypatch.setattr(archives, "_find_named", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        unpack(path, tmp_path, "birds")
    monkeypatch.undo()
    assert (tmp_path / ".birds.unpacking" / "a").exists()
    assert not (tmp_path / "birds").exists()
    (tmp_path / ".birds.unpacking" / "half").touch()
    assert read_tree(unpack(path, tmp_path, "birds")) == {"a": b"1", "b": b"2"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["birds", "x.tar"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_space_is_looked_at_first(tmp_path, monkeypatch, kind):
    path = pack(tmp_path / f"x.{kind}", [("a", bytes(300_000))])
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000))
    with pytest.raises(OSError, match=r"takes 0\.00 GB, .* has 0\.00 GB left"):
        unpack(path, tmp_path, "birds")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


NAMES = st.text(st.sampled_from("ab./\\:C \0ä"), max_size=12) | st.text(max_size=8)


@settings(deadline=None)
@given(name=NAMES)
@example("a/./b//c")
@example("./")
def test_a_name_that_is_taken_stays_below_the_folder(name):
    try:
        clean = check_member(name)
    except ValueError:
        assert not name or name[0] == "/" or ".." in name.split("/") or set("\\\0:") & set(name)
        return
    joined = os.path.normpath(os.path.join("/target", clean))
    assert joined == "/target" or joined.startswith("/target/")
    assert joined == os.path.normpath(f"/target/{name}"), "it is the name that the archive states"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["zip", "tar"]), names=st.lists(NAMES.filter(lambda n: n and "\0" not in n), max_size=4))
def test_nothing_is_ever_written_outside(tmp_path_factory, kind, names):
    tmp_path = tmp_path_factory.mktemp("x")
    try:
        path = pack(tmp_path / f"in.{kind}", [(name, b"1") for name in dict.fromkeys(names)])
    except (UnicodeError, ValueError, tarfile.TarError):  # a name that no archive can hold
        return
    root = tmp_path / "root"
    root.mkdir()
    try:
        unpack(path, root, "birds")
    except (ValueError, OSError):
        assert list(root.iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "root"}
    assert {p.name for p in root.iterdir()} <= {"birds"}


def test_a_name_that_would_fill_the_memory_is_refused(tmp_path):
    path = pack(tmp_path / "long.tar.gz", [("a" * (archives.LONGEST + 1), b"1")])
    with pytest.raises(ValueError, match=r"long\.tar\.gz.*a name or a header in it takes 1,048,5\d\d bytes"):
        unpack(path, tmp_path, "birds", {})
    fine = pack(tmp_path / "fine.tar.gz", [("b" * 200, b"1")])  # beyond the 100 bytes of an old header
    unpack(fine, tmp_path, "birds", {})
    assert (tmp_path / "birds" / ("b" * 200)).read_bytes() == b"1"
