"""Files written whole or not at all, digests, shards of the cache."""

import errno

import pytest

from camlib import store


def test_write_aside_keeps_the_old_file_when_the_new_one_fails(tmp_path):
    path = tmp_path / "sub" / "file.txt"
    with store.write_aside(path) as aside:
        aside.write_text("old")

    def fail():
        with store.write_aside(path) as aside:
            aside.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_disk_full_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"disk full .*file\.txt"), store.write_aside(tmp_path / "file.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_digest_depends_on_every_part_and_not_on_key_order():
    assert store.digest({"a": 1, "b": 2}) == store.digest({"b": 2, "a": 1})
    assert len({store.digest("ab", "c"), store.digest("a", "bc"), store.digest(b"ab"), store.digest("ab")}) == 4


def test_a_damaged_shard_is_named(own_cache):
    run = lambda: store.run_sharded("squares", "key", 4, lambda i: {"square": i**2}, shard=2)  # noqa: E731
    assert run()["square"].tolist() == [0, 1, 4, 9]
    path = sorted(own_cache.rglob("*.npz"))[1]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"{path.name}: a damaged shard"):
        run()
    path.unlink()
    assert run()["square"].tolist() == [0, 1, 4, 9]


def test_data_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    assert store.data_root() == tmp_path
    monkeypatch.setenv("CAMLIB_DATA", "../elsewhere")
    assert store.data_root() == store.PROJECT_ROOT / "../elsewhere"
    monkeypatch.delenv("CAMLIB_DATA")
    assert store.data_root() == store.PROJECT_ROOT / "data" / "raw"
