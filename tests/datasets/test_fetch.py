"""`camlib data get` against a server that cuts, stalls, lies and redirects: a verified file or a clear error."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from builders import save_image
from typer.testing import CliRunner

from camlib import cli, datasets, store
from camlib.cli import data
from camlib.datasets import archives, download, fetch
from camlib.datasets.archives import NOTE
from camlib.datasets.base import Archive, Source
from camlib.datasets.download import PACKED

WHOLE = bytes(range(256)) * 1200  # 307,200 bytes


class Server(ThreadingHTTPServer):
    """Serves `files` (path -> bytes) and does to each answer what `faults` say, in turn; then it behaves."""

    daemon_threads = True

    def __init__(self):
        self.files, self.faults, self.requests, self.tag, self.ranges = {}, [], [], '"1"', True
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range", "")
        server.requests.append((self.path, asked))
        fault = server.faults.pop(0) if server.faults else {}
        content = fault.get("content", server.files.get(self.path[1:]))
        if "redirect" in fault:
            self.send_response(302)
            self.send_header("Location", fault["redirect"])
            return self.end_headers()
        if content is None or "status" in fault:
            return self.send_error(fault.get("status", 404))
        start, size = 0, len(content)
        fresh = self.headers.get("If-Range", server.tag) == server.tag
        if asked and server.ranges and fresh:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", fault.get("range", f"bytes {start}-{size - 1}/{size}"))
        if fault.get("length", "") is not None:
            self.send_header("Content-Length", str(fault.get("length", size - start)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Type", fault.get("type", "application/octet-stream"))
        self.end_headers()
        self.wfile.write(content[start : fault.get("cut", size)])
        self.wfile.flush()
        time.sleep(fault.get("stall", 0))
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "STALL", 5.0)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        server.files["birds.bin"] = WHOLE
        yield server
        server.shutdown()


def entry(server, checksum=True, name="birds.bin", to="lists/birds.bin"):
    md5 = hashlib.md5(server.files[name], usedforsecurity=False).hexdigest() if checksum else ""
    return Archive(server.url(name), to, md5)


def check_none(root):
    """No file has taken a name that is not NAME.part."""
    names = [p.name for p in root.rglob("*") if p.is_file()]
    assert [n for n in names if not n.endswith((".part", ".part.tag"))] == []


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize(
    "faults",
    [
        [],
        [{"cut": 100_000}],
        [{"cut": 100_000}, {"cut": 200_000}, {"cut": 200_001}, {"cut": 0}],
        [{"cut": 100_000}, {"status": 500}, {"status": 503}],
        [{"length": len(WHOLE) + 500}],
        [{"redirect": "/birds.bin"}, {"cut": 150_000}, {"redirect": "birds.bin"}],
        [{"cut": 100_000}, {"cut": 200_000, "length": 100_000}],
        [{"cut": 100_000}, {"range": f"bytes 5-{len(WHOLE) - 99_996}/{len(WHOLE)}", "content": WHOLE[::-1]}],
    ],
    ids=lambda faults: " ".join("-".join(f) for f in faults) or "none",
)
def test_a_server_that_mends_gives_the_whole_file(server, tmp_path, faults, checksum):
    server.faults = faults
    path = download.download(entry(server, checksum), tmp_path)
    assert path.read_bytes() == WHOLE
    assert [p.name for p in path.parent.iterdir()] == ["birds.bin"]


def test_what_is_there_is_not_asked_for_again(server, tmp_path, capsys):
    server.faults = [{"cut": 100_000}] * 6
    with pytest.raises(OSError, match=r"birds\.bin: .*, 5 times; 100,000 bytes are in .*\.part, the same command"):
        download.download(entry(server), tmp_path)
    assert capsys.readouterr().err.count("trying again in") == 5
    check_none(tmp_path)
    server.requests.clear()
    assert download.download(entry(server), tmp_path).read_bytes() == WHOLE
    assert server.requests == [("/birds.bin", "bytes=100000-")]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.faults, server.ranges = [{"cut": 100_000}], False
    assert download.download(entry(server), tmp_path).read_bytes() == WHOLE


def test_a_server_without_ranges_that_always_breaks_off_ends(server, tmp_path):
    server.faults, server.ranges = [{"cut": 100_000}] * 30, False
    with pytest.raises(OSError, match="5 times"):
        download.download(entry(server), tmp_path)
    check_none(tmp_path)


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("tag", ['"1"', ""])
def test_a_file_that_changed_between_two_tries_is_not_mixed(server, tmp_path, checksum, tag):
    server.faults, server.tag = [{"cut": 100_000}] * 6, tag
    with pytest.raises(OSError, match="5 times"):
        download.download(entry(server, checksum), tmp_path)
    server.faults, server.files["birds.bin"], server.tag = [], WHOLE[::-1], tag and '"2"'
    if checksum and not tag:  # the mixture is known by its checksum alone
        with pytest.raises(ValueError, match="not the published file"):
            download.download(entry(server, checksum), tmp_path)
        check_none(tmp_path)
    assert download.download(entry(server, checksum), tmp_path).read_bytes() == WHOLE[::-1]


def test_a_stalled_connection_counts_as_broken(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL", 0.3)
    server.faults = [{"cut": 100_000, "stall": 3}]
    assert download.download(entry(server), tmp_path).read_bytes() == WHOLE
    server.faults = [{"cut": 0, "stall": 3}] * 9
    with pytest.raises(OSError, match=r"no answer for 0\.3 seconds, 5 times$"):
        download.download(replace(entry(server), to="again/birds.bin"), tmp_path)
    check_none(tmp_path / "again")


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ({"status": 404}, OSError, "the server answers 404 Not Found"),
        ({"status": 403}, OSError, "the server answers 403 Forbidden"),
        ({"status": 500}, OSError, "the server answers 500 Internal Server Error, 5 times$"),
        ({"content": WHOLE[::-1]}, ValueError, r"not the published file \(md5 \w+; expected \w+\).* is deleted"),
        (
            {"content": b"<html>log in</html>", "type": "text/html"},
            OSError,
            r"a web page where birds\.bin was expected",
        ),
        ({"length": len(WHOLE) - 500}, ValueError, "not the published file"),
        ({"redirect": "/birds.bin"}, OSError, r"birds\.bin: Exceeded 30 redirects"),
        ({"cut": 0}, OSError, "5 times$"),
        ({"length": None, "cut": 1000}, ValueError, "not the published file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_not_the_file_is_an_error_with_the_address(server, tmp_path, fault, error, message):
    server.faults = [fault] * 40
    with pytest.raises(error, match=message) as raised:
        download.download(entry(server), tmp_path)
    assert str(raised.value).startswith(server.url("birds.bin"))
    check_none(tmp_path)


def test_no_server_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9/x\.bin: .*refused, 5 times"):
        download.download(Archive("http://127.0.0.1:9/x.bin", "x.bin"), tmp_path)


def test_a_length_that_nothing_states_is_not_believed(server, tmp_path):
    server.faults = [{"length": None, "cut": 1000}]
    with pytest.raises(OSError, match="does not say how long"):
        download.download(entry(server, checksum=False), tmp_path)
    check_none(tmp_path)


@pytest.fixture
def birds(server, tmp_path):
    """A dataset of one zip, whose entry knows its checksum."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"birds/{i}.jpg", os.urandom(50_000))
    server.files["birds.zip"] = (tmp_path / "made.zip").read_bytes()
    root = tmp_path / "raw"
    root.mkdir()
    one = entry(server, name="birds.zip", to="birds")
    source = Source(lambda *_: None, ("all",), "free", required={"images": ("birds",)}, archives=(one,))
    return SimpleNamespace(source=source, archive=one, root=root, content=server.files["birds.zip"], server=server)


def unpublished(birds):
    birds.archive = replace(birds.archive, md5="")
    birds.source = replace(birds.source, archives=(birds.archive,))
    return birds


def test_without_a_checksum_an_archive_is_read_from_end_to_end(birds):
    unpublished(birds).server.faults = [{"length": 100_000}, {"length": None, "cut": 100_000}]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"birds\.zip is no whole archive .* is deleted"):
            download.download(birds.archive, birds.root)
        check_none(birds.root)
    said = []
    assert fetch.get({"birds": birds.source}, birds.root, say=said.append) == []
    assert said[0] == "birds.zip: downloaded, unverified: no published checksum"


def test_get_downloads_checks_and_unpacks_once(birds):
    birds.server.faults = [{"cut": 70_000}]
    said = []
    assert fetch.get({"birds": birds.source}, birds.root, say=said.append) == []
    assert said == [
        "birds.zip: downloaded, verified", f"birds.zip: verified, unpacked as {birds.root / 'birds'}",
    ]  # fmt: skip
    assert sorted(p.name for p in (birds.root / "birds").iterdir()) == [NOTE, "0.jpg", "1.jpg", "2.jpg"]
    birds.server.requests.clear()
    assert fetch.get({"birds": birds.source}, birds.root) == []
    assert birds.server.requests == []
    assert [right for _, right in fetch.verify(birds.source, birds.root)] == [True, True]
    (birds.root / "birds" / "1.jpg").unlink()
    lines = fetch.verify(birds.source, birds.root)
    assert "2 files, 3 were unpacked" in lines[1][0]
    assert not lines[1][1]


@pytest.mark.parametrize("name", ["birds.zip", "my download (1).zip"])
def test_a_file_obtained_otherwise_is_adopted_by_name_or_checksum(birds, name):
    (birds.root / name).write_bytes(birds.content)
    (birds.root / "other.zip").write_bytes(b"something else")
    assert fetch.get({"birds": birds.source}, birds.root) == []
    assert birds.server.requests == []
    assert fetch.check_state(birds.archive, birds.root) == fetch.VERIFIED
    assert sorted(p.name for p in birds.root.iterdir()) == ["birds", "birds.zip", "other.zip"]


def test_a_changed_file_needs_the_flag_and_is_called_unverified(birds):
    with zipfile.ZipFile(birds.root / "birds.zip", "w") as archive:
        archive.writestr("birds/0.jpg", b"another")
    (error,) = fetch.get({"birds": birds.source}, birds.root)
    assert re.search(r"birds\.zip is not the published file \(md5 .*--changed takes it", error)
    assert not (birds.root / "birds").exists()
    assert fetch.get({"birds": birds.source}, birds.root, changed=True) == []
    assert fetch.check_state(birds.archive, birds.root) == "unverified: changed"
    assert not any(right for _, right in fetch.verify(birds.source, birds.root))


def test_a_dataset_of_a_changed_archive_says_so_in_its_source(tmp_path):
    path = tmp_path / "caltech-101.zip"
    save_image(tmp_path / "ant.jpg")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "ant.jpg", "caltech-101/101_ObjectCategories/ant/1.jpg")
    source = datasets.REGISTRY["caltech101"]
    assert len(fetch.get({"caltech101": source}, tmp_path)) == 1
    assert fetch.get({"caltech101": source}, tmp_path, changed=True) == []
    assert "unverified: unpacked from an archive with another" in datasets.load("caltech101", tmp_path, "all").source
    said = datasets.describe_missing("caltech101", tmp_path)
    assert "caltech101: there, a run counts its images; unverified: unpacked" in said


def test_registration_is_said_with_its_steps_and_files_by_hand_are_unpacked(birds):
    source = replace(birds.source, by_hand=True, get="1. register; 2. log in")
    (error,) = fetch.get({"birds": source}, birds.root)
    assert f"birds.zip (md5 {birds.archive.md5})" in error
    assert "1. register; 2. log in" in error
    assert birds.server.requests == []
    (birds.root / "birds.zip").write_bytes(birds.content)
    assert fetch.get({"birds": source}, birds.root) == []
    assert (birds.root / "birds" / "0.jpg").exists()


def test_several_at_once_and_one_failure_does_not_stop_the_others(birds):
    names = [f"{i}.zip" for i in range(6)]
    sources = {}
    for name in names:
        birds.server.files[name] = birds.content
        one = replace(birds.archive, url=birds.server.url(name), to=name[0], md5="")
        sources[name] = replace(birds.source, required={"images": (name[0],)}, archives=(one,))
    del birds.server.files["2.zip"]
    (error,) = fetch.get(sources, birds.root)
    assert "2.zip: the server answers 404" in error
    assert [i for i in range(6) if (birds.root / f"{i}" / "birds" / "0.jpg").exists()] == [0, 1, 3, 4, 5]


def test_space_is_looked_at_before_anything_is_downloaded(birds, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=len(birds.content) * 3 // 2))
    (error,) = fetch.get({"birds": birds.source}, birds.root)
    assert re.search(r"birds\.zip and its content: takes .* GB, .* has .* GB left", error)
    check_none(birds.root)
    sized = replace(birds.archive, size=10**15)
    with pytest.raises(OSError, match=r"takes 1,000,000\.00 GB"):
        fetch.get({"birds": replace(birds.source, archives=(sized,))}, birds.root)


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(birds):
    sized = replace(birds.archive, size=10)
    (error,) = fetch.get({"birds": replace(birds.source, archives=(sized,))}, birds.root)
    assert f"has {len(birds.content):,} bytes; the published file has 10" in error
    check_none(birds.root)


GET = """
import sys
from pathlib import Path
from camlib import cli
from camlib.cli import data
from camlib.datasets.base import Archive, Source
data.SOURCES["birds"] = Source(None, (), "", required={"images": ("birds",)}, archives=(Archive(sys.argv[1], "birds"),))
sys.argv[1:] = ["data", "get", "birds"]
cli.main()
"""


def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(birds):
    birds.server.faults = [{"cut": 70_000, "stall": 60}]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    command = [sys.executable, "-c", GET, birds.archive.url]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = os.environ | {"CAMLIB_DATA": str(birds.root)}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **given, **heard)
    part = birds.root / "birds.zip.part"
    while not part.exists() or not part.stat().st_size:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    lines = process.communicate(timeout=60)[0].splitlines()
    assert f"what was downloaded is kept in {birds.root} as NAME.part" in lines
    assert lines[-1] == "camlib: stopped; run the same command again to go on"
    assert process.returncode
    birds.server.requests.clear()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert birds.server.requests == [("/birds.zip", f"bytes={2**16}-")]
    assert "birds: there" in done.stdout
    assert not part.exists()


# ------------------------------------------------------------------------------------------------ the commands


@pytest.fixture
def commands(birds, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(birds.root))
    monkeypatch.setitem(data.SOURCES, "birds", birds.source)
    return lambda *words: CliRunner().invoke(cli.app, ["data", *words])


def row(output):
    (line,) = [line for line in output.splitlines() if line.startswith("birds ")]
    return re.split(r"\s{2,}", line)


def test_the_commands_lead_from_nothing_to_a_verified_dataset(birds, commands):
    assert row(commands().output) == ["birds", "no", "free"]
    birds.server.faults = [{"status": 404}]
    done = commands("get", "birds")
    assert (done.exit_code, "birds: not complete" in done.stdout) == (1, True)
    assert "camlib: http" in done.stderr
    done = commands("get", "birds")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "birds: there")
    assert row(commands("status").output) == ["birds", "yes", "verified", "free"]
    assert commands("verify", "birds").exit_code == 0
    done = commands("unpack", "birds")
    assert done.exit_code == 0
    assert f"{birds.root / 'birds'} is there; delete it to unpack birds.zip" in done.stdout
    content = bytearray(birds.content)
    content[100] ^= 1
    (birds.root / "birds.zip").write_bytes(content)
    done = commands("verify")
    assert (done.exit_code, "birds.zip: unverified: changed (md5" in done.output) == (1, True)


def test_verify_reads_the_file_even_where_its_time_and_size_stayed(birds, commands):
    path = birds.root / "birds.zip"
    path.write_bytes(birds.content)
    assert commands("verify", "birds").exit_code == 0
    state, content = path.stat(), bytearray(birds.content)
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert commands("verify", "birds").exit_code == 1


def test_what_is_incomplete_or_not_there_is_no_success(birds, commands):
    assert commands("verify").stdout == f"nothing to verify in {birds.root}\n"
    done = commands("verify", "birds")
    assert (done.exit_code, done.stdout) == (1, "birds: nothing of it is there to verify\n")
    (birds.root / "CUB_200_2011").mkdir()
    done = commands("get", "cub200")
    assert done.exit_code == 1
    assert "cub200: not complete\ncub200: missing: " in done.stdout
    assert f"CUB_200_2011/images.txt is not there, but {birds.root / 'CUB_200_2011'}; delete that" in done.stderr
    assert "nothing to unpack" in commands("unpack", "cub200").output


def test_what_another_archive_brings_is_no_reason_to_delete(birds, monkeypatch):
    monkeypatch.setattr(fetch, "download", lambda *_: (_ for _ in ()).throw(OSError("no server")))
    for folder, lacking in (("SUN397", []), ("Partitions", ["Training_01.txt", "Testing_01.txt"])):
        (birds.root / folder).mkdir()
        failed = fetch.get({"sun397": datasets.REGISTRY["sun397"]}, birds.root, say=lambda _: None)
        there = f"{birds.root / 'SUN397'} and {birds.root / 'Partitions'}"
        said = [
            f"SUN397/Partitions/{name} or Partitions/{name} is not there, but {there}; delete that to get it anew"
            for name in lacking
        ]
        assert failed == (said or ["no server"])


def test_what_was_downloaded_before_needs_no_space_again(birds, monkeypatch):
    asked, size = [], 1000
    monkeypatch.setattr(fetch, "check_space", lambda place, size, what: asked.append(size))
    archive = replace(birds.source.archives[0], size=size)
    monkeypatch.setattr(fetch, "download", lambda *_: (_ for _ in ()).throw(OSError("no server")))
    (birds.root / f"{archive.name}.part").write_bytes(bytes(300))
    fetch.get({"birds": replace(birds.source, archives=(archive,))}, birds.root, say=lambda _: None)
    assert asked == [700]


def test_unpack_and_registration_by_command(birds, commands):
    (birds.root / "birds.zip").write_bytes(birds.content)
    assert "verified, unpacked as" in commands("unpack", "birds").output
    done = commands("get", "ilsvrc2012", "imagenet-samples")
    assert done.exit_code == 1
    assert "register at https://image-net.org/download" in done.stderr
    assert "ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622)" in done.stderr
    assert "img_train" not in done.stderr
    assert "img_train" in commands("get", "ilsvrc2012", "--train").stderr
    with store.hold(birds.root / ".camlib.lock", "test"):
        assert isinstance(commands("get", "birds").exception, BlockingIOError)
    assert "did you mean cub200" in str(commands("get", "cub20").exception)
    assert "http://cnnlocalization" in commands("status", "vgg16_gap").output


def test_the_table_says_which_notebooks_need_what(commands):
    lines = commands().output.splitlines()
    assert next(line for line in lines if line.startswith("cub200 ")).split()[1:3] == ["02", "04"]
    assert {line.split()[0] for line in lines if line} >= {n for n, s in datasets.REGISTRY.items() if s.required}


def test_every_entry_leads_to_what_its_reader_needs(tmp_path):
    for name, source in data.SOURCES.items():
        needed = fetch.list_needed(source, tmp_path, train=True)
        optional = {archive for archive in source.archives if "devkit" in archive.name}
        assert set(needed) == set(source.archives) - optional, name
        assert source.archives or source.by_hand, name
        for archive in source.archives:
            assert archive.url.startswith("http") != source.by_hand
            assert len(archive.md5) in (0, 32)
            assert len(archive.sha256) in (0, 64)
            assert archive.name.endswith((*PACKED, ".rar", ".txt", ".caffemodel"))
            (tmp_path / name / archive.to).mkdir(parents=True)
        assert fetch.list_needed(source, tmp_path / name, train=True) == []


def test_what_lies_in_another_layout_is_not_fetched(tmp_path):
    coco = datasets.REGISTRY["coco"]
    assert [a.name for a in fetch.list_needed(coco, tmp_path)] == ["val2017.zip", "annotations_trainval2017.zip"]
    (tmp_path / "coco" / "images" / "val2017").mkdir(parents=True)
    assert [a.name for a in fetch.list_needed(coco, tmp_path)] == ["annotations_trainval2017.zip"]
    (tmp_path / "tiny-imagenet-200.zip").touch()
    assert fetch.list_needed(datasets.REGISTRY["tiny-imagenet-200"], tmp_path) == []
