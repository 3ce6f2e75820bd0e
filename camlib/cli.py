"""`camlib plan, data, run, render, index`: how make turns notebooks into a report. It knows notebooks only as paths."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from camlib import datasets
from camlib.datasets.weights import RELEASED_FILES, find_released
from camlib.report.plan import check_parameters, write_plan
from camlib.store import data_root

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def plan(profile: str) -> None:
    """Decide what runs with which settings: writes reports/<profile>/<notebook>.params.yml where it changed."""
    write_plan(profile)


@app.command()
def data() -> None:
    """Say which datasets and released weights are there; of the others what is missing and how to get it."""
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
    params: Annotated[Path | None, typer.Option(help="YAML file of parameters")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="name=value, YAML value; may repeat")] = None,
) -> None:
    """Run a notebook with checked parameters; it takes its name under OUT only when every cell succeeded."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    values: dict[str, Any] = yaml.safe_load(params.read_text()) if params else {}
    values.setdefault("report_dir", str(out.resolve()))
    for item in set_ or []:
        name, _, value = item.partition("=")
        values[name] = yaml.safe_load(value)
    check_parameters(values, notebook, str(params or "--set"))
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f"{notebook.stem}.partial.ipynb"
    try:
        papermill.execute_notebook(
            notebook, partial, values, cwd=notebook.parent, kernel_name="python3", stderr_file=sys.stderr,
            log_output=True, progress_bar=False,
        )  # fmt: skip
    except PapermillExecutionError as error:
        typer.echo(f"\n{notebook} failed in code cell {error.exec_count}:\n{error.source}\n", err=True)
        typer.echo("\n".join(error.traceback), err=True)
        typer.echo(f"what ran until then is in {partial}; finished training and shards are kept", err=True)
        raise typer.Exit(1) from error
    partial.replace(out / notebook.name)


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


def main() -> None:
    """Run a command; a wrong input ends with its message, not a traceback."""
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"camlib: {error}")


if __name__ == "__main__":
    main()
