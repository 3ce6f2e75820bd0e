"""`camlib`: the command line. `plan`, `hold`, `run`, `render` and `index` are make's; `data` is for people."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from camlib import datasets, store
from camlib.datasets.weights import RELEASED_FILES, find_released
from camlib.report.plan import check_parameters, parse_value, read_overrides, write_plan
from camlib.store import data_root

# Variables of the shell that would reach the kernel: figures that are not kept, other packages.
CHANGES_RESULTS = ("MPLBACKEND", "JUPYTER_PATH")
INTERRUPTED = 128 + signal.SIGINT  # the exit status that typer gives Ctrl-C
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def plan(profile: str) -> None:
    """Decide what runs with which settings: writes reports/PROFILE/<notebook>.params.yml where it changed."""
    if profile != "mini":
        check_data_root()
    typer.echo("\n".join(write_plan(profile)))


def check_data_root() -> None:
    """ValueError if CAMLIB_DATA names no folder: all data would seem to be missing, and drawn data take their place."""
    if "CAMLIB_DATA" in os.environ and not data_root().is_dir():
        raise ValueError(f"CAMLIB_DATA is {os.environ['CAMLIB_DATA']!r}, but {data_root()} is no folder")


@app.command()
def hold(folder: Path, command: list[str]) -> None:
    """Run COMMAND, given after --, with FOLDER to itself: refused while another process holds that."""
    with store.hold(folder / ".lock", f"write {folder}", wait=False):
        process = subprocess.Popen(command)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has it, too, ends in its own way and says so
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    raise typer.Exit(1 if code < 0 or code == INTERRUPTED else code)  # who was interrupted has said so


@app.command()
def data() -> None:
    """Say which datasets and released weights are there; of the others what is missing and how to get it."""
    check_data_root()
    typer.echo(f"data folder: {data_root()}\n")
    for name in RELEASED_FILES:
        try:
            typer.echo(f"released weights of {name}: {find_released(name, data_root())}\n")
        except FileNotFoundError as error:
            typer.echo(f"{error}\n")
    for name in datasets.REGISTRY:
        typer.echo(f"{name}: there\n" if datasets.is_available(name) else f"{datasets.describe_missing(name)}\n")


@app.command()
def run(
    notebook: Path,
    out: Annotated[Path, typer.Option(help="folder of the executed notebook, its JSON and figures")],
    params: Annotated[Path | None, typer.Option(help="YAML file of parameters, or a file of `camlib plan`")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="name=value, YAML value; may repeat")] = None,
) -> None:
    """Run a notebook with checked parameters; it takes its name under OUT only when every cell succeeded."""
    values: dict[str, Any] = dict(read_overrides(params)) if params else {}
    values.setdefault("report_dir", str(out.resolve()))
    values |= dict(map(parse_value, set_ or []))
    check_parameters(values, notebook, str(params or "--set"))
    for name in [name for name in os.environ if name in CHANGES_RESULTS or name.startswith("ACCELERATE_")]:
        del os.environ[name]
    store.make_folder(out)
    with store.hold(out / f".{notebook.stem}.lock", f"run {notebook.stem} into {out}", wait=False):
        execute(notebook, out, values)


def execute(notebook: Path, out: Path, values: dict[str, Any]) -> None:
    """Run a notebook into OUT; typer.Exit, having said why, if a cell failed."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    partial = out / f"{notebook.stem}.partial.ipynb"
    started = time.monotonic()
    typer.echo(f"{notebook.stem} ...", err=True)
    try:
        papermill.execute_notebook(
            notebook, partial, values, cwd=notebook.parent, kernel_name="python3", progress_bar=False,
            stderr_file=sys.stderr if sys.stderr.isatty() else PlainLines(sys.stderr),
            # Errors of cells come as outputs. The kernel's own log warns of a connection within this machine each time,
            # and calls Ctrl-C an error.
            extra_arguments=["--IPKernelApp.log_level=50"],
        )  # fmt: skip
    except PapermillExecutionError as error:
        typer.echo(f"\n{notebook} failed in code cell {error.exec_count}:\n{error.source}\n", err=True)
        typer.echo("\n".join(error.traceback), err=True)
        typer.echo(f"what ran until then is in {partial}; finished training and shards are kept", err=True)
        raise typer.Exit(1) from error
    partial.replace(out / notebook.name)
    typer.echo(f"{notebook.stem}: {time.monotonic() - started:.0f} s", err=True)


class PlainLines:
    """A stream for a log file: of a progress bar the finished line, and its state once a minute."""

    def __init__(self, stream: TextIO, every: float = 60) -> None:
        self.stream, self.every = stream, every
        self.line, self.shown = "", time.monotonic()

    def write(self, text: str) -> None:
        """Write whole lines; what a carriage return overwrites is dropped."""
        *whole, self.line = (self.line + text).split("\n")
        if whole or time.monotonic() - self.shown > self.every:
            lines = [line.rpartition("\r")[2] for line in (whole or [self.line])]
            self.stream.write("".join(f"{line}\n" for line in lines if line.strip()))
            self.shown = time.monotonic()

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()


@app.command()
def render(executed: Path) -> None:
    """Turn an executed notebook into one HTML page beside it that opens with the network off, code folded away."""
    from camlib.report.pages import render_notebook

    render_notebook(executed)


@app.command()
def index(folder: Path) -> None:
    """Write FOLDER/index.html: every claim with the paper's number beside the measured one, and a picture each."""
    from camlib.report.pages import write_index

    write_index(folder)


@app.command()
def readme() -> None:
    """Write the generated parts of README.md, data/README.md and docs/results.md."""
    from camlib.report.evidence import write_texts

    write_texts()


@app.command()
def evidence(
    run: Annotated[str, typer.Option(help="keep this profile's run, new or again; by default all that are kept")] = "",
) -> None:
    """Run the kept runs of docs/results again whose data are there, and say which are stale."""
    from camlib.report.evidence import keep_run, list_stale, write_texts

    for name in [run] if run else list_stale():
        try:
            write_plan(name)
        except FileNotFoundError as error:
            typer.echo(f"{name}: kept as it is; {error}", err=True)
            continue
        typer.echo(f"{name}: keeps {', '.join(keep_run(name))}")
    write_texts()
    for name, notebooks in list_stale().items():
        typer.echo(f"{name}: {'stale: ' + ', '.join(notebooks) if notebooks else 'in step with the code'}")


def main() -> None:
    """Run a command; a wrong input ends with its message, not a traceback, and so does Ctrl-C."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("camlib: stopped; run the same command again to go on", file=sys.stderr)
        raise
    except (ValueError, OSError) as error:
        own = isinstance(error, OSError) and error.filename is None and error.strerror  # without the error's number
        sys.exit(f"camlib: {own or error}")


if __name__ == "__main__":
    main()
