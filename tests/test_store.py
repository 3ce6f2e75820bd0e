"""Files written whole or not at all, digests, shards of the cache, locks, full and unwritable disks."""

import errno
import os
import subprocess
import sys
from pathlib import Path

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
        changed.append(path.relative_to(Path(store.__file__).parent))
        return (text + " ", imported) if path.name == "boxes.py" else (text, imported)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_read_code", read)
        again = {name: store.digest_code(f"camlib.{name}") for name in seen}
    assert {name for name in seen if seen[name] != again[name]} == {"evaluate", "features"}
    assert {"boxes.py", "models"} <= {path.parts[0] for path in changed}
    assert not {"viz", "report", "cli"} & {path.parts[0] for path in changed}
    assert Path("datasets", "cub200.py") not in changed


# ------------------------------------------------------------------------------------------------ places, locks, disks


@pytest.mark.parametrize("name", ["CAMLIB_DATA", "CAMLIB_CACHE"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~/a b", Path.home() / "a b"),
        ("bilder/späces", store.PROJECT_ROOT / "bilder/späces"),
        ("/x y/é", Path("/x y/é")),
    ],
)
def test_folders_may_be_relative_below_home_and_hold_any_letter(name, given, expected, monkeypatch):
    monkeypatch.setenv(name, given)
    place = store.data_root() if name == "CAMLIB_DATA" else store.checkpoint_dir().parent
    assert place == expected


def test_an_installed_package_writes_nothing_beside_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PROJECT_ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAMLIB_CACHE", "cache of mine")
    monkeypatch.setenv("CAMLIB_DATA", "raw")
    assert store.cache_dir() == tmp_path / "cache of mine" / "cache"
    assert store.data_root() == tmp_path / "raw"
    monkeypatch.delenv("CAMLIB_CACHE")
    with pytest.raises(
        FileNotFoundError, match=r"site-packages, which is no checkout .* set CAMLIB_CACHE .* clone the"
    ):
        store.cache_dir()


def test_a_folder_that_cannot_be_written_is_found_before_the_work(locked_folder, monkeypatch):
    monkeypatch.setenv("CAMLIB_CACHE", str(locked_folder))
    with pytest.raises(PermissionError, match=r"locks cannot be written .*CAMLIB_CACHE"), store.hold_cache("x", "work"):
        pytest.fail("the work has begun")
    with pytest.raises(PermissionError, match=r"report cannot be written .*choose another folder"):
        store.make_folder(locked_folder / "report")
    path = locked_folder / "x.npz"
    with pytest.raises(PermissionError, match=r"x\.npz cannot be written"), store.write_aside(path) as aside:
        aside.touch()


def test_what_dead_processes_left_half_written_is_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f".a.{os.getpid()}@{store.HOST}.npz", f".b.{dead.pid}@elsewhere.npz", ".lock", ".c.npz", "d.1.npz"]
    swept = [f".a.b.{dead.pid}@{store.HOST}.npz", f".e.{dead.pid}.npy", f".f.{10**12}.ipynb"]
    for name in kept + swept:
        (tmp_path / name).touch()
    with store.write_aside(tmp_path / "new.npz") as aside:
        aside.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "new.npz"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / swept[0]).touch()
    assert store.sweep_asides(tmp_path, "**/.*") == [tmp_path / "sub" / swept[0]]


HOLD = """
import sys, time
from pathlib import Path
from camlib import store
with store.hold(Path(sys.argv[1]), "write the report"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def start_holder(lock, seconds):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_who_holds_a_lock_is_said_and_a_dead_one_holds_nothing(tmp_path):
    lock = tmp_path / "sub" / ".lock"
    with start_holder(lock, 60) as holder:
        text = rf"write: process {holder.pid} on {store.HOST} \(write the report, since 2\d\d\d-.*\).*{lock.name}"
        with pytest.raises(BlockingIOError, match=text), store.hold(lock, "write", wait=False):
            pass
        holder.kill()
        holder.wait()
        assert lock.exists()
        with store.hold(lock, "write", wait=False):
            assert str(os.getpid()) in lock.with_name(".lock.holder").read_text()
    assert list(lock.parent.iterdir()) == []


def test_who_waits_says_for_whom(tmp_path, capsys):
    with start_holder(tmp_path / "x.lock", 0.3) as holder, store.hold(tmp_path / "x.lock", "decode"):
        assert holder.wait() == 0
    assert f"decode: waiting for process {holder.pid} on " in capsys.readouterr().err


def test_shards_that_another_process_makes_are_not_made_twice(own_cache):
    code = """
import sys, numpy as np
from pathlib import Path
from camlib import store
def compute(indices):
    Path(sys.argv[1]).open("a").write(f"{indices[0]} ")
    return {"square": indices**2}
compute.__module__ = "camlib.boxes"
print(store.run_sharded("squares", "key", 40, compute, shard=2)["square"].sum())
"""
    log = own_cache / "log"
    both = [subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    assert [process.communicate()[0] for process in both] == [f"{sum(i**2 for i in range(40))}\n"] * 2
    assert sorted(map(int, log.read_text().split())) == list(range(0, 40, 2)), "each once, in any order"
