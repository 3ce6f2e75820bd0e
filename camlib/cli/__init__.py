"""Class activation maps: of photographs, of whole datasets, and of the experiments of their paper."""

import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from camlib import store
from camlib.cli import data, people
from camlib.report.plan import read_overrides, read_profiles, takes_hours, write_plan
from camlib.report.settings import check_parameters, parse_value, read_yaml
from camlib.store import check_data_root

# Variables of the shell that would reach the kernel: figures that are not kept, other packages.
CHANGES_RESULTS = ("MPLBACKEND", "JUPYTER_PATH")
INTERRUPTED = 128 + signal.SIGINT  # the exit status that typer gives Ctrl-C
# What wrong input raises. Anything else is a fault of camlib, and keeps its traceback.
WRONG_INPUT = (ValueError, OSError, LookupError, subprocess.CalledProcessError)
UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer has no name for it
PEOPLES, MAKES = "For people", "For make and the project's upkeep"
app = typer.Typer(pretty_exceptions_enable=False, invoke_without_command=True)


def say_version(asked: bool) -> None:
    """Print the version and end, if asked for."""
    if asked:
        typer.echo(f"camlib {metadata.version('camlib')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="print the version and end", callback=say_version, is_eager=True)
    ] = False,
) -> None:
    """Class activation maps: of photographs, of whole datasets, and of the experiments of their paper."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in people.COMMANDS:
    app.command(rich_help_panel=PEOPLES)(command)
app.add_typer(data.app, name="data", rich_help_panel=PEOPLES)


@app.command(rich_help_panel=MAKES)
def plan(profile: str) -> None:
    """Decide what runs with which settings: writes reports/PROFILE/<notebook>.params.yml where it changed."""
    if profile != "mini":
        check_data_root()
    try:
        typer.echo("\n".join(write_plan(profile)))
    except FileNotFoundError:
        if read_profiles().get(profile, {}).get("probe"):  # what it would take is worth knowing before data are fetched
            _say_estimate(profile, check_data=False)
        raise
    if takes_hours(profile):
        _say_estimate(profile)


def _say_estimate(profile: str, check_data: bool = True) -> None:
    from camlib.report.estimate import estimate_profile

    typer.echo(estimate_profile(profile, check_data))


@app.command(rich_help_panel=MAKES)
def hold(folder: Path, command: list[str]) -> None:
    """Run COMMAND, given after --, with FOLDER to itself: refused while another process holds that."""
    with store.hold(folder / ".lock", f"write {folder}", wait=False):
        process = subprocess.Popen(command)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has it, too, ends in its own way and says so
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    raise typer.Exit(1 if code < 0 or code == INTERRUPTED else code)  # who was interrupted has said so


@app.command(rich_help_panel=MAKES)
def run(
    notebook: Path,
    out: Annotated[Path, typer.Option(help="folder of the executed notebook, its JSON and figures")],
    params: Annotated[Path | None, typer.Option(help="YAML file of parameters, or a file of `camlib plan`")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="name=value, YAML value; may repeat")] = None,
) -> None:
    """Run a notebook with checked parameters; it takes its name under OUT only when every cell succeeded.

    Where OUT is a report's folder, with the notebook's plan, its page is rendered, too.
    """
    values: dict[str, Any] = dict(read_overrides(params)) if params else {}
    values.setdefault("report_dir", str(out.resolve()))
    values |= dict(map(parse_value, set_ or []))
    check_parameters(values, notebook, str(params or "--set"))
    if not params or read_yaml(params).get("profile") != "mini":  # which needs no data
        check_data_root()
    for folder in (out, notebook.parent / str(values["report_dir"])):
        store.make_folder(folder)
    for name in [name for name in os.environ if name in CHANGES_RESULTS or name.startswith("ACCELERATE_")]:
        del os.environ[name]
    with store.hold(out / f".{notebook.stem}.lock", f"run {notebook.stem} into {out}", wait=False):
        execute(notebook, out, values)
        if (out / f"{notebook.stem}.params.yml").is_file():
            render(out / notebook.name)


def execute(notebook: Path, out: Path, values: dict[str, Any]) -> None:
    """Run a notebook into OUT; typer.Exit, having said why, if a cell failed."""
    import papermill
    from nbclient.exceptions import DeadKernelError
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
            store_widget_state=False,  # a page runs no script: it shows a widget's picture
        )  # fmt: skip
    except PapermillExecutionError as error:
        typer.echo(f"\n{notebook} failed in code cell {error.exec_count}:\n{error.source}\n", err=True)
        typer.echo("\n".join(error.traceback), err=True)
        typer.echo(f"what ran until then is in {partial}; finished training and shards are kept", err=True)
        raise typer.Exit(1) from error
    except DeadKernelError as error:
        raise OSError(f"{notebook}: its process died, perhaps for lack of memory; {partial} has what ran") from error
    _move_sizes(partial)
    partial.replace(out / notebook.name)
    typer.echo(f"{notebook.stem}: {time.monotonic() - started:.0f} s", err=True)


def _move_sizes(executed: Path) -> None:
    """Put the size of figures that are twice as sharp beside their pictures; pages and nbconvert read it there, too.

    A picture's type then stands once in the file for each picture. JupyterLab shows those of an executed notebook as
    large as their cell allows; a live notebook keeps its sizes.
    """
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        told = output.get("metadata", {}).get("image/png", {})
        if set(told) == {"width", "height"}:
            output.metadata.update(output.metadata.pop("image/png"))
    nbformat.write(notebook, executed)


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


@app.command(rich_help_panel=MAKES)
def train(
    profile: str,
    only: Annotated[list[int] | None, typer.Option(help="the n-th network of the list; may repeat")] = None,
    list_: Annotated[bool, typer.Option("--list", help="print the list, train nothing")] = False,
) -> None:
    """Train the networks of a profile, which its notebooks then find trained; under torchrun on several GPUs.

    Each is a job of its own for a scheduler. A run that was killed goes on where it stopped.

        torchrun --standalone --nproc-per-node 4 -m camlib train full --only 0
    """
    from camlib.report.trainings import describe_training, list_trainings

    trainings = dict(enumerate(list_trainings(profile, check_data=not (list_ or only))))  # numbered as listed
    if not trainings:
        typer.echo(f"{profile} trains no network", err=True)
    if list_:
        for n, training in trainings.items():
            typer.echo(f"{n:3}  {describe_training(training)}")
        return
    if unknown := sorted(set(only or []) - set(trainings)):
        raise ValueError(f"--only {unknown[0]}: {profile} trains {len(trainings)} networks, numbered from 0")
    if profile != "mini":
        check_data_root()
    from camlib.train import load_network

    for n in only or trainings:
        network = load_network(**trainings[n]._asdict())
        if people.is_first_process():
            top1 = network.history[-1]["val_top1"]
            about = describe_training(trainings[n])
            typer.echo(f"{n:3}  {about}: top-1 accuracy {top1:.1f} % on its validation images")


@app.command(rich_help_panel=MAKES)
def render(executed: Path) -> None:
    """Turn an executed notebook into one HTML page beside it that opens with the network off, code folded away."""
    from camlib.report.pages import render_notebook

    render_notebook(executed)


@app.command(rich_help_panel=MAKES)
def index(folder: Path) -> None:
    """Write FOLDER/index.html: every claim with the paper's number beside the measured one, and a picture each."""
    from camlib.report.pages import write_index

    for name in write_index(folder):
        typer.echo(f"{folder / name} is left out: `camlib plan` did not plan its notebook", err=True)


@app.command(rich_help_panel=MAKES)
def readme() -> None:
    """Write the generated parts of README.md, data/README.md and docs/results.md."""
    from camlib.report.evidence import write_texts

    write_texts()


@app.command(rich_help_panel=MAKES)
def example(report: Path) -> None:
    """Write docs/example from the executed notebooks of REPORT."""
    from camlib.report.example import write_example

    for path in write_example(report, store.find_checkout() / "docs" / "example"):
        typer.echo(path)


@app.command(rich_help_panel=MAKES)
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
    """Run a command; wrong input ends with one line on stderr and exit code 1, or 2 for a wrong command line.

    What a message says after an empty line is a list to read: it goes to stdout. Ctrl-C ends with one line, too.
    """
    try:
        code = app(standalone_mode=False, prog_name="camlib")
        if code != INTERRUPTED:
            sys.exit(code)
        text = "stopped; run the same command again to go on"
    except UsageError as error:
        context = getattr(error, "ctx", None)
        place = context.command_path if context and context.parent else "camlib"
        said = error.format_message().removesuffix(".")  # type: ignore[attr-defined]
        text, code = f"{said}; see `{place} --help`", 2
    except WRONG_INPUT as error:
        text, code = _say_error(error), 1
    line, _, details = text.partition("\n\n")
    if details:
        typer.echo(f"{details}\n")
    typer.echo(f"camlib: {' '.join(line.split())}", err=True)
    sys.exit(code)


def _say_error(error: Exception) -> str:
    """What an error says: a KeyError its text without quotes, an OSError of camlib its text without the number."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    own = isinstance(error, OSError) and error.filename is None and error.strerror
    return str(own or error) or type(error).__name__


if __name__ == "__main__":
    main()
