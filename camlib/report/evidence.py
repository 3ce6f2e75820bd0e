"""Runs that are kept under docs/results, and the parts of README and docs that are generated from them."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from camlib import datasets, store
from camlib.datasets.base import Source
from camlib.report.claims import CLAIMS
from camlib.report.needs import list_data
from camlib.report.plan import choose_settings, complete_settings, format_plans, read_profile, read_profiles
from camlib.report.records import read_results
from camlib.report.tables import SHOWN, arrange_values
from camlib.report.verdicts import (
    COLUMNS,
    Verdict,
    describe_prediction,
    describe_primary,
    judge_claims,
    judge_numbers,
    summarize_numbers,
)
from camlib.store import write_aside


def results_folder() -> Path:
    """docs/results: one folder per kept run, which is called as its profile."""
    return store.find_checkout() / "docs" / "results"


def read_kept() -> dict[str, list[dict[str, Any]]]:
    """Run -> the records of its experiments, runs on photographs first."""
    runs = {folder.name: read_results(folder) for folder in sorted(results_folder().glob("*")) if folder.is_dir()}
    return dict(sorted(runs.items(), key=lambda run: all(v["synthetic"] for r in run[1] for v in r["values"])))


def list_stale() -> dict[str, list[str]]:
    """Kept run -> its notebooks whose cells, parameters, code or lock have changed since."""
    stale = {}
    for run in read_kept():
        now = format_plans(run, choose_settings(run, check_data=False))
        kept = {path.name.removesuffix(".params.yml"): path for path in (results_folder() / run).glob("*.params.yml")}
        stale[run] = [name for name, path in sorted(kept.items()) if path.read_text(encoding="utf-8") != now.get(name)]
    return stale


def keep_run(run: str) -> list[str]:
    """Run a profile again and keep its results files. Returns the names of the experiments."""
    subprocess.run(["make", "--no-print-directory", "reproduce", f"PROFILE={run}"], cwd=store.PROJECT_ROOT, check=True)
    report, folder = store.PROJECT_ROOT / "reports" / run, results_folder() / run
    kept = [record["notebook"] for record in read_results(report)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name in kept:
        for suffix in ("json", "params.yml"):
            shutil.copyfile(report / f"{name}.{suffix}", folder / f"{name}.{suffix}")
    return kept


# ------------------------------------------------------------------------------------------------ what is generated


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def format_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    return "\n".join([_row(columns), _row("---" for _ in columns), *map(_row, rows)])


def judge_kept(kept: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, dict[bool, Verdict]]:
    """The verdicts over all kept runs; a notebook that was kept twice counts with its richest profile."""
    order = [name for name in ("drawn", *read_profiles()) if name in kept]
    chosen: dict[tuple[str, bool], dict[str, Any]] = {}
    for run in order:
        for record in kept[run]:
            for synthetic in COLUMNS:
                own = [c | {"run": run} for c in record["claims"] if c["synthetic"] == synthetic]
                if own:
                    chosen.setdefault((record["notebook"], synthetic), record | {"claims": own})
    wanted = complete_settings(read_profile("pretrained")) if "pretrained-all" in kept else {}
    photographs = {record["notebook"] for record in kept.get("pretrained-all", ())}
    not_run = [
        f"{name}: takes {', '.join(sorted(list_data(settings)))}"
        for name, settings in wanted.items()
        if name not in photographs
    ]
    return judge_claims(list(chosen.values()), not_run)


def claims_table(kept: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """What the README says of each claim: verdicts on photographs and on drawn data, with what was measured."""
    rows = []
    for key, both in judge_kept(kept).items():
        claim = CLAIMS[key]
        row = [f"{claim.text} ({claim.section})", "" if claim.not_run else describe_prediction(claim)]
        for synthetic in COLUMNS:
            found = both[synthetic]
            text = describe_primary(found)
            if found.primary:
                text = f"[{text}](docs/results.md#{found.primary['run']}-{found.primary['notebook']})"
            row.append(f"**{found.word}**: {text}")
        rows.append(row)
    table = format_table(("The paper's claim (section)", "decided by", *map(str.capitalize, COLUMNS.values())), rows)
    return f"{table}\n\n{summarize_numbers(judge_numbers([r for records in kept.values() for r in records]))}"


def profiles_table() -> str:
    """The profiles, richest first, as the README shows them."""
    rows = [(f"`{name}`", about["for"], about["time"]) for name, about in read_profiles().items()]
    return format_table(("`PROFILE=`", "for", "time"), rows)


def layout_table() -> str:
    """Every dataset that is read from disk: what must be there, its splits, its options, its terms."""
    return format_table(
        ("name", "must be there", "splits", "options", "terms"),
        [
            (f"`{name}`", _places(source), ", ".join(source.splits), _options(source), source.licence)
            for name, source in datasets.REGISTRY.items()
            if source.required
        ],
    )


def sources_table() -> str:
    """Where each dataset is to be had, with checksums where they are public."""
    rows = []
    for name, source in datasets.REGISTRY.items():
        rows += [(f"`{name}`", archive.url, archive.md5 or archive.sha256) for archive in source.archives]
        rows += [(f"`{name}`", source.get, "")] if source.get else []
    return format_table(("name", "from", "md5, or sha256"), rows)


def _places(source: Source) -> str:
    tables = [("", source.required), ("to train: ", source.to_train), ("optional: ", source.optional)]
    texts = []
    for kind, table in tables:
        texts += [kind + " or ".join(f"`{place}`" for place in places) for places in table.values()]
    return "; ".join(texts)


def _options(source: Source) -> str:
    return ", ".join(f"`{name}`" + (f" ({value})" if value else "") for name, value in source.options.items())


def results_page(kept: dict[str, list[dict[str, Any]]]) -> str:
    """docs/results.md: every kept value, beside the paper's where it is comparable."""
    parts = ["# Results of the runs that are kept", "`make readme` writes this page from `docs/results/*/*.json`."]
    parts.append(
        "*Measured* says of every comparison what its own interval allows. Verdicts on the paper's claims also take "
        "margins and the number of claims into account: they are in the README's table, beside what decides each."
    )
    for run, records in kept.items():
        parts.append(f"## Profile `{run}`: {read_profiles()[run]['for']}")
        for record in records:
            data = "; ".join(f"{d['source']} ({d['n']:,} images, {d['split']})" for d in record["datasets"])
            nets = "; ".join(f"{label}: {source}" for label, source in record["networks"].items())
            parts += [
                f'<a id="{run}-{record["notebook"]}"></a>\n\n### {record["title"]}',
                f"**Claim.** {record['claim']}",
                f"**Measured.** {record['verdict']}",
                *(_values_table(record["values"])),
                f"Data: {data}. Networks: {nets}. Seed {record['seed']}, {record['device']}, "
                f"{record['wall_seconds']:.0f} s, commit {record['git_commit'][:10]}.",
            ]
    return "\n\n".join(parts) + "\n"


def _values_table(values: Sequence[dict[str, Any]]) -> list[str]:
    """Few values stand in a table; many are folded."""
    table = arrange_values(values)
    rows = [(name, *row) for name, row in zip(table.index, table.values, strict=True)]
    text = format_table(["", *table.columns], rows)
    if len(table) <= SHOWN:
        return [text]
    return [f"<details><summary>{len(table)} rows</summary>\n\n{text}\n\n</details>"]


def fill_parts(text: str, parts: dict[str, str]) -> str:
    """Put each part between its marks `<!-- name -->` and `<!-- end of name -->`. ValueError if a mark is missing."""
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end of {re.escape(name)} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"no marks <!-- {name} --> and <!-- end of {name} -->")
        text = pattern.sub(lambda found: f"{found[1]}{part}\n{found[2]}", text)  # noqa: B023 (called at once)
    return text


def generate_texts() -> dict[Path, str]:
    """What README.md, data/README.md and docs/results.md have to say now."""
    kept, root = read_kept(), store.PROJECT_ROOT
    parts = {
        root / "README.md": {"does it hold": claims_table(kept), "profiles": profiles_table()},
        root / "data" / "README.md": {"layouts": layout_table(), "sources": sources_table()},
    }
    texts = {path: fill_parts(path.read_text(encoding="utf-8"), own) for path, own in parts.items()}
    return texts | {root / "docs" / "results.md": results_page(kept)}


def write_texts() -> None:
    """Write the generated parts of README.md, data/README.md and docs/results.md."""
    for path, text in generate_texts().items():
        with write_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")
