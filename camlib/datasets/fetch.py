"""The files of datasets: found or downloaded, verified, unpacked. Each step is taken up where it was left."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

from camlib.datasets.archives import NOTE, PACKED, check_space, read_note, unpack
from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.download import CHANGED, VERIFIED, check_file, download, part_size, place_file
from camlib.datasets.parsing import find_place
from camlib.datasets.weights import RELEASED_FILES, RELEASED_URL

AT_ONCE = 4  # downloads
OTHERWISE = "unverified: obtained otherwise"


def _read_weights(*_: object) -> Dataset:
    raise ValueError("weights are no dataset")


# The authors' networks as what can be fetched. No checksum of them was ever published.
RELEASED = {
    name: Source(
        _read_weights,
        (),
        "the authors', see their page",
        required={"weights": tuple(folder + file for folder in ("weights/", "") for file in files)},
        archives=(Archive(f"{RELEASED_URL}{files[0]}", f"weights/{files[0]}"),),
    )
    for name, files in RELEASED_FILES.items()
}


def find_file(archive: Archive, root: Path) -> Path | None:
    """The file in the data folder, however it came there: by its name, else by its published checksum.

    One that is found by its checksum gets its name.
    """
    path = place_file(archive, root)
    if path.is_file() or not (archive.md5 or archive.sha256):
        return path if path.is_file() else None
    for other in sorted(root.glob(f"*{path.suffix}")):
        of_size = other.is_file() and archive.size in (0, other.stat().st_size)
        if of_size and other.name[0] != "." and check_file(archive, other)[0] == VERIFIED:
            return other.rename(path)
    return None


def check_state(archive: Archive, root: Path) -> str:
    """What is known of an archive's content without reading it; "" if nothing of it is there."""
    note, path = read_note(root / archive.to), place_file(archive, root)
    if note:
        return str(note["check"])
    if path.is_file():
        return check_file(archive, path, known=True)[0]
    return OTHERWISE if (root / archive.to).exists() else ""


def list_needed(source: Source, root: Path, train: bool = False) -> list[Archive]:
    """The archives whose content is not there in any layout. train: also those that training alone needs.

    One that is optional is needed if its file is there.
    """
    needed = []
    for archive in source.archives:
        tables = {"required": source.required, "to_train": source.to_train, "optional": source.optional}
        roles = {
            (table, role): places
            for table, roles in tables.items()
            for role, places in roles.items()
            if _brings(archive, places)
        }
        kinds = {table for table, _ in roles}
        wanted = "required" in kinds or ("to_train" in kinds and train) or place_file(archive, root).is_file()
        if wanted and not (root / archive.to).exists():
            needed += [archive] if not all(find_place(root, *places) for places in roles.values()) else []
    return needed


def _brings(archive: Archive, places: Sequence[str]) -> bool:
    """Whether an archive may bring what lies in one of these places."""
    return any(f"{place}/".startswith(f"{archive.to}/") for place in places)


def get(
    sources: Mapping[str, Source],
    root: Path,
    train: bool = False,
    changed: bool = False,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Download, verify and unpack what is missing of datasets; up to four downloads at once. Returns what failed.

    What is there is taken as it is, if its checksum is right. train: also what training alone needs.
    changed: take files of another checksum. KeyboardInterrupt leaves the parts, the next call goes on.
    """
    wanted, failed = list[Archive](), list[str]()
    for name, source in sources.items():
        lacking = [archive for archive in list_needed(source, root, train) if not find_file(archive, root)]
        wanted += [] if source.by_hand else lacking
        if source.by_hand and (lacking or (not source.archives and not is_complete(source, root))):
            files = ", ".join(f"{archive.name} (md5 {archive.md5})" for archive in lacking)
            failed.append(f"{name} can't be downloaded for you{': ' + files if files else ''}. {source.get}")
    failed += _download_all(wanted, root, changed, say)
    for source in sources.values():
        for archive in list_needed(source, root, train):
            path = find_file(archive, root)
            try:
                say(accept(archive, path, root, changed)) if path else None
            except (OSError, ValueError) as error:
                failed.append(str(error))
        for places in source.required.values():
            bringing = [root / archive.to for archive in source.archives if _brings(archive, places)]
            if bringing and not find_place(root, *places) and all(folder.exists() for folder in bringing):
                folders = " and ".join(map(str, bringing))
                failed.append(f"{' or '.join(places)} is not there, but {folders}; delete that to get it anew")
    return failed


def is_complete(source: Source, root: Path) -> bool:
    """Whether all that is required is there, in any layout."""
    return all(find_place(root, *places) for places in source.required.values())


def _download_all(wanted: Sequence[Archive], root: Path, changed: bool, say: Callable[[str], None]) -> list[str]:
    if wanted:
        lacking = sum(max(0, archive.size - part_size(archive, root)) for archive in wanted)
        check_space(_existing(root), lacking, "download")
    stop, failed = Event(), list[str]()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {archive: pool.submit(download, archive, root, changed, stop) for archive in wanted}
        try:
            wait(jobs.values())
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    for archive, job in jobs.items():
        if error := job.exception():
            if not isinstance(error, OSError | ValueError):
                raise error
            failed.append(str(error))
        else:
            say(f"{archive.name}: downloaded, {check_file(archive, job.result())[0]}")
    return failed


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def accept(archive: Archive, path: Path, root: Path, changed: bool = False) -> str:
    """Verify a file and unpack it. Returns what was done.

    Raises ValueError for a file that is not the published one, unless `changed`, and for a hostile archive.
    """
    state, text = check_file(archive, path)
    if state == CHANGED and not changed:
        raise ValueError(f"{path} is not the published file ({text}); delete it to download it, --changed takes it")
    if not path.name.lower().endswith(PACKED):
        return f"{path.name}: {state}" + ("" if archive.to.endswith(archive.name) else "; unpack it by hand")
    target = unpack(path, root, archive.to, {"archive": archive.name, "check": state, "checksum": text})
    return f"{path.name}: {state}, unpacked as {target}"


def verify(source: Source, root: Path) -> list[tuple[str, bool]]:
    """Read every file that is there against its checksum, count those that were unpacked -> (a line, is it right)."""
    lines = []
    for archive in source.archives:
        path, folder, note = place_file(archive, root), root / archive.to, read_note(root / archive.to)
        if path.is_file():
            state, text = check_file(archive, path, anew=True)
            lines.append((f"{path}: {state} ({text})", state != CHANGED))
        if note:
            files = sum(one.is_file() for one in folder.rglob("*")) - (folder / NOTE).is_file()
            right = files == note["files"]
            of = f"{files:,} files" if right else f"{files:,} files, {note['files']:,} were unpacked"
            lines.append((f"{folder}: {of}; {note['archive']} was {note['check']}", right and note["check"] != CHANGED))
        elif folder.exists() and not path.is_file():
            lines.append((f"{folder}: {OTHERWISE}, nothing to compare it with", True))
    return lines
