"""One file of a dataset: downloaded, with resume, and compared with its published checksum.

A download is written to NAME.part. It takes its name when it is whole: of the size that server and entry state and of
the published checksum; where none was published, an archive is read from end to end. requests talks to the server:
pooch, which fetches single photographs here, has no resume, and a download of 147 GB breaks.
"""

import errno
import hashlib
import re
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from tqdm import tqdm

from camlib.datasets.archives import BLOCK, PACKED, check_space, check_whole
from camlib.datasets.base import Archive
from camlib.store import cache_dir, digest, write_aside

STALL = 20.0  # seconds without a byte, until the connection counts as broken
TRIES = 5  # connections in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try; twice as long before each further one
CHUNK = 2**16
PASSING = (408, 429, 500, 502, 503, 504)  # answers of servers that may pass
# What is known of a file, or of the folder that it was unpacked as.
VERIFIED, CHANGED = "verified", "unverified: changed"
UNPUBLISHED, UNCHECKED = "unverified: no published checksum", "not checked yet"


def place_file(archive: Archive, root: Path) -> Path:
    """Where a file lies as it was downloaded: in the data folder, or, if it is no archive, where it belongs."""
    return root / (archive.to if archive.to.endswith(archive.name) else archive.name)


def part_size(archive: Archive, root: Path) -> int:
    """How many bytes of a file an earlier download left."""
    path = place_file(archive, root)
    return _size(path.with_name(f"{path.name}.part"))


def hash_file(path: Path, algorithm: str, known: bool = False, anew: bool = False) -> str:
    """A file's checksum, computed once for each state of the file. known: only if it was, else ""; anew: always."""
    state = path.stat()
    note = cache_dir() / "archives" / digest(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, algorithm)
    # By the inode, so that what was computed of NAME.part is known of NAME.
    with suppress(OSError):
        if not anew:
            return note.read_text(encoding="ascii")
    if known:
        return ""
    sha = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file, _show(f"check {path.name}", state.st_size) as bar:
        while block := file.read(BLOCK):
            sha.update(block)
            bar.update(len(block))
    with suppress(OSError), write_aside(note) as aside:
        aside.write_text(sha.hexdigest(), encoding="ascii")
    return sha.hexdigest()


def check_file(archive: Archive, path: Path, known: bool = False, anew: bool = False) -> tuple[str, str]:
    """(what is known of the file, its checksum in words). known: without reading the file; anew: see `hash_file`."""
    algorithm = "md5" if archive.md5 else "sha256"
    found, published = hash_file(path, algorithm, known, anew), archive.md5 or archive.sha256
    if archive.size and path.stat().st_size != archive.size:
        return CHANGED, f"{path.stat().st_size:,} bytes; expected {archive.size:,}"
    if not published:
        return UNPUBLISHED, f"sha256 {found}"
    if not found:
        return UNCHECKED, ""
    return (VERIFIED, f"{algorithm} {found}") if found == published else (
        CHANGED, f"{algorithm} {found}; expected {published}"
    )  # fmt: skip


def download(archive: Archive, root: Path, changed: bool = False, stop: Event | None = None) -> Path:
    """Download a file below `root`, or go on with its NAME.part. changed: take it though it is not the published one.

    Raises OSError, with the address, if the server has no such file, breaks off or stalls too often, sends a web page,
    contradicts itself or the entry, or if the disk is full; ValueError for what is whole but not the published file.
    """
    path = place_file(archive, root)
    part, stop, failures = path.with_name(f"{path.name}.part"), stop or Event(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    most = _size(part)
    with _show(path.name, archive.size) as bar:
        while True:
            try:
                _go_on(archive, part, bar, changed, stop)
                break
            except _broken() as error:
                failures = 0 if _size(part) > most else failures + 1
                most = max(most, _size(part))
                if failures >= TRIES:
                    kept = f"; {most:,} bytes are in {part}, the same command goes on" if _size(part) else ""
                    raise OSError(f"{archive.url}: {_say(error)}, {TRIES} times{kept}") from error
                pause = PAUSE * 2**failures
                bar.write(f"{archive.name}: {_say(error)}; trying again in {pause:g} s", file=sys.stderr)
                if stop.wait(pause):
                    raise InterruptedError("stopped") from error
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise OSError(
                        f"disk full; {_size(part):,} bytes are in {part}, the same command goes on"
                    ) from error
                raise error if str(error).startswith(archive.url) else type(error)(f"{archive.url}: {error}") from error
    try:
        state, text = check_file(archive, part)
        if state == CHANGED and not changed:
            raise ValueError(f"it is not the published file ({text}); --changed takes it")
        if state != VERIFIED:
            check_whole(part, path.name)
    except ValueError as error:
        _drop(part)
        raise ValueError(f"{archive.url}: {error}; what was downloaded is deleted") from error
    part.replace(path)
    _drop(part)
    return path


def _go_on(archive: Archive, part: Path, bar: Any, changed: bool, stop: Event) -> None:
    """One connection: what is missing of `part`, or all of it where the server can't tell that it is the same file."""
    import requests

    tag = part.with_name(f"{part.name}.tag")  # the version of the file that the part is of
    version = tag.read_text(encoding="latin-1") if tag.is_file() else ""
    if part.is_file() and not version and not (archive.md5 or archive.sha256):
        part.unlink()
    start = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    headers |= {"If-Range": version} if start and version else {}
    with requests.get(archive.url, headers=headers, stream=True, timeout=STALL) as answer:
        if answer.status_code == 416 and start:  # nothing comes after what is there
            stated = answer.headers.get("Content-Range", "")
            if stated != f"bytes */{start}":
                _drop(part)
                raise ConnectionError(f"the server has {stated or 'less'} where {start:,} bytes were downloaded")
            return
        if answer.status_code in PASSING:
            raise ConnectionError(f"the server answers {answer.status_code} {answer.reason}")
        if answer.status_code not in (200, 206):
            raise OSError(f"{archive.url}: the server answers {answer.status_code} {answer.reason}")
        if "html" in answer.headers.get("Content-Type", ""):
            raise OSError(f"{archive.url}: the server sends a web page where {archive.name} was expected")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise OSError(
                f"{archive.url}: the server sends it as {answer.headers['Content-Encoding']}, though not asked to"
            )
        found = answer.headers.get("ETag", "")
        found = found if found[:1] == '"' else answer.headers.get("Last-Modified", "")
        if answer.status_code == 206 and version and found and found != version:
            _drop(part)
            raise ConnectionError("the server has another version of the file than the part that was downloaded")
        total = _read_total(answer, start)
        start = start if answer.status_code == 206 else 0
        if total is None and not (archive.md5 or archive.sha256 or archive.size or archive.name.endswith(PACKED)):
            raise OSError(f"{archive.url}: the server does not say how long {archive.name} is; nothing else does")
        if archive.size and total not in (None, archive.size) and not changed:
            raise OSError(f"{archive.url}: the server has {total:,} bytes; the published file has {archive.size:,}")
        unpacked = (total or archive.size) if archive.name.endswith(PACKED) else 0  # photographs hardly shrink
        check_space(part.parent, (total or archive.size) - start + unpacked, f"{archive.name} and its content")
        if not start:
            part.unlink(missing_ok=True)  # of another version than the tag that follows
        tag.write_text(found, encoding="latin-1")
        bar.total, bar.n = total, start
        with open(part, "ab" if start else "wb") as file:
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))
                if stop.is_set():
                    raise InterruptedError("stopped")
        if total is not None and _size(part) != total:
            raise ConnectionError(f"the server sent {_size(part):,} of {total:,} bytes")


def _read_total(answer: Any, start: int) -> int | None:
    """How many bytes the whole file has, as the server states; ConnectionError if it sends another range than asked."""
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise ConnectionError(f"the server sends {found[0] if found else 'no range'}, asked for bytes {start:,}-")
        return int(found[3]) if found[3] != "*" else int(found[2]) + 1
    return int(length) if length.isdecimal() else None


def _broken() -> tuple[type[Exception], ...]:
    """What another connection may mend."""
    import requests
    import urllib3

    return ConnectionError, requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError


def _say(error: Exception) -> str:
    """The cause in a few words: requests and urllib3 wrap it several times."""
    text = str(error)
    if "timed out" in text:
        return f"no answer for {STALL:g} seconds"
    return text.rpartition("(")[2].strip("\"')") if "(" in text and "Error" in text else text


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.tag").unlink(missing_ok=True)


def _show(text: str, total: int) -> Any:
    return tqdm(desc=text, total=total or None, unit="B", unit_scale=True, disable=None, leave=False)
