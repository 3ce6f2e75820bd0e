"""The commands for data: what is there, what is missing, getting, checking and unpacking it."""

from collections.abc import Iterable
from typing import Annotated

import typer

from camlib import datasets, store
from camlib.datasets import fetch
from camlib.datasets.base import Archive, Source
from camlib.report.plan import list_users

SOURCES = {name: source for name, source in datasets.REGISTRY.items() if source.required} | fetch.RELEASED
app = typer.Typer(invoke_without_command=True)


def _complete(incomplete: str) -> list[str]:
    return [name for name in SOURCES if name.startswith(incomplete)]


def _find(names: Iterable[str]) -> dict[str, Source]:
    """The entries of datasets and released weights; ValueError for an unknown name."""
    return {name: SOURCES.get(name) or datasets.get_source(name) for name in names}


Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="as in the table", autocompletion=_complete)]
SomeNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", autocompletion=_complete)]
Train = Annotated[bool, typer.Option("--train", help="also what only training needs (ILSVRC, COCO)")]
Changed = Annotated[bool, typer.Option("--changed", help="take a file of another checksum; it is called unverified")]


@app.callback()
def start(context: typer.Context) -> None:
    """Datasets and released weights: which are there, getting and checking them. Alone: the table."""
    store.check_data_root()
    if context.invoked_subcommand is None:
        status(None)


@app.command()
def status(names: SomeNames = None) -> None:
    """Show what is there, what needs it, whether it was checked; of NAMES what is missing and how to get it."""
    root = store.data_root()
    if names:
        return typer.echo("\n\n".join(_describe(name, source) for name, source in _find(names).items()))
    users = list_users() if store.is_checkout() else {}
    rows = [("DATASET", "NOTEBOOKS", "THERE", "CHECKED", "SIZE", "TERMS")]
    for name, source in SOURCES.items():
        states = dict.fromkeys(filter(None, (fetch.check_state(archive, root) for archive in source.archives)))
        there = datasets.is_available(name) if name in datasets.REGISTRY else fetch.is_complete(source, root)
        found = "yes" if there else "in part" if states else "no"
        checked = "; ".join(states) or (fetch.OTHERWISE if there else "")
        rows.append((name, " ".join(users.get(name, ())), found, checked, _format_size(source), source.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    typer.echo(f"data folder: {root}\n")
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo("\n`camlib data status NAME` says what is missing and how to get it, `camlib data get NAME` gets it.")
    return None


def _describe(name: str, source: Source) -> str:
    if name in datasets.REGISTRY:
        return datasets.describe_missing(name)
    there = fetch.is_complete(source, store.data_root())
    return f"{name}: {'there' if there else 'missing'}\n  get it: camlib data get {name}\n    {source.archives[0].url}"


def _format_size(source: Source) -> str:
    """Of the files to download, as far as it is known: "> 6.7 GB, to train 148 GB"."""

    def add(archives: list[Archive]) -> str:
        total = sum(archive.size for archive in archives) / 1e9
        some = "> " if total and not all(archive.size for archive in archives) else ""
        return f"{some}{total:.3g} GB" if total else ""

    training = [places for roles in source.to_train.values() for places in roles]
    late = [archive for archive in source.archives if archive.to in training]
    texts = [add([archive for archive in source.archives if archive not in late]), add(late)]
    return texts[0] + (f", to train {texts[1]}" if texts[1] else "")


@app.command()
def get(names: Names, train: Train = False, changed: Changed = False) -> None:
    """Download what is missing, check it and unpack it. What was put into the data folder by hand is taken.

    A download that was stopped or broke goes on where it was. What takes a registration is said with the steps.

        camlib data get cub200 caltech101
    """
    root, sources = store.make_folder(store.data_root()), _find(names)
    with store.hold(root / ".camlib.lock", "get data", wait=False):
        try:
            failed = fetch.get(sources, root, train, changed, typer.echo)
        except KeyboardInterrupt:
            typer.echo(f"\nwhat was downloaded is kept in {root} as NAME.part", err=True)
            raise
    for text in failed:
        typer.echo(f"camlib: {text}", err=True)
    missing = [name for name in names if not fetch.is_complete(sources[name], root)]
    for name in names:
        typer.echo(f"{name}: not complete\n{_describe(name, sources[name])}" if name in missing else f"{name}: there")
    if failed or missing:
        raise typer.Exit(1)


@app.command()
def unpack(names: Names, changed: Changed = False) -> None:
    """Check and unpack the archives that lie in the data folder, also those that may stay packed."""
    root = store.data_root()
    with store.hold(root / ".camlib.lock", "unpack data", wait=False):
        for name, source in _find(names).items():
            files = {archive: fetch.find_file(archive, root) for archive in source.archives}
            packed = {archive: file for archive, file in files.items() if file}
            for archive, file in packed.items():
                try:
                    typer.echo(fetch.accept(archive, file, root, changed))
                except FileExistsError as error:  # the others may wait to be unpacked
                    typer.echo(error)
            if not packed:
                typer.echo(f"{name}: nothing to unpack in {root}")


@app.command()
def verify(names: SomeNames = None) -> None:
    """Compare the archives that are there with the published checksums; of what was unpacked, count the files."""
    right, found = True, False
    for name, source in (_find(names) if names else SOURCES).items():
        lines = fetch.verify(source, store.data_root())
        if names and not lines:
            lines = [("nothing of it is there to verify", False)]
        for text, one in lines:
            typer.echo(f"{name}: {text}")
            right, found = right and one, True
    if not found:
        typer.echo(f"nothing to verify in {store.data_root()}")
    if not right:
        raise typer.Exit(1)
