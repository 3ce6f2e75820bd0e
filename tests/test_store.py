"""Files written whole or not at all, digests, shards of the cache."""

import errno

import numpy as np
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


def test_a_shard_of_other_arrays_is_named(own_cache):
    run = lambda: store.run_sharded("squares", "key", 4, lambda i: {"square": i**2}, 4, ["square"])  # noqa: E731
    run()
    (path,) = own_cache.rglob("*.npz")
    for wrong in ({"b": np.arange(4)}, {"square": np.arange(3)}, {"square": np.arange(4), "b": np.arange(4)}, {}):
        np.savez(path, **wrong)
        with pytest.raises(ValueError, match=rf"{path}: a damaged shard.*expected square of 4 images"):
            run()
    np.savez(path, square=np.array([{"any": "object"}] * 4))
    with pytest.raises(ValueError, match=rf"{path}: a damaged shard") as error:
        run()
    assert "allow_pickle=True" not in str(error.value)


def test_data_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    assert store.data_root() == tmp_path
    monkeypatch.setenv("CAMLIB_DATA", "../elsewhere")
    assert store.data_root() == store.PROJECT_ROOT / "../elsewhere"
    monkeypatch.delenv("CAMLIB_DATA")
    assert store.data_root() == store.PROJECT_ROOT / "data" / "raw"


# ------------------------------------------------------------------------------------------------ code that computes


@pytest.fixture
def house(tmp_path):
    """A package of four modules: c needs b, b needs a, d needs nothing."""
    (tmp_path / "b.py").write_text(
        '"""B."""\n\nfrom camlib import a\n\n\ndef f(x):\n    """F."""\n    return a.g(x)  # now\n'
    )
    (tmp_path / "a.py").write_text("def g(x):\n    return x + 1\n")
    (tmp_path / "c.py").write_text("def h(x):\n    from camlib.b import f\n\n    return f(x)\n")
    (tmp_path / "d.py").write_text("VALUE = 3\n")
    return tmp_path


def digests(house, monkeypatch):
    monkeypatch.setattr(store, "__file__", str(house / "store.py"))
    store._read_code.cache_clear()
    found = {name: store.digest_code(f"camlib.{name}") for name in "abcd"}
    found["b alone"] = store.digest_code("camlib.b", without=("camlib.a",))
    found["all but d"] = store.digest_package(without=("d.py",))
    monkeypatch.undo()
    store._read_code.cache_clear()
    return found


def test_a_comment_is_no_change_of_code(house, monkeypatch):
    before = digests(house, monkeypatch)
    text = (house / "b.py").read_text()
    (house / "b.py").write_text(text.replace("now", "then").replace("F.", "Other words.").replace('"""B."""', "# none"))
    assert digests(house, monkeypatch) == before


def test_a_changed_line_changes_what_imports_it_and_nothing_else(house, monkeypatch):
    before = digests(house, monkeypatch)
    (house / "a.py").write_text("def g(x):\n    return x + 2\n")
    after = digests(house, monkeypatch)
    assert {name for name in before if before[name] != after[name]} == {"a", "b", "c", "all but d"}


def test_what_does_not_run_a_network_is_not_in_the_digest_of_what_does():
    seen = {name: store.digest_code(f"camlib.{name}") for name in ("evaluate", "features", "transforms")}
    real, changed = store._read_code, []

    def read(path):
        text, imported = real(path)
        changed.append(path.name)
        return (text + " ", imported) if path.name == "boxes.py" else (text, imported)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_read_code", read)
        again = {name: store.digest_code(f"camlib.{name}") for name in seen}
    assert {name for name in seen if seen[name] != again[name]} == {"evaluate", "features"}
    assert not {"viz.py", "paper.py", "cli.py", "cub200.py"} & set(changed)
