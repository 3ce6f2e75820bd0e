"""The commands for people: photographs, a dataset's score, the networks there are, a report rendered again."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from camlib import datasets, store
from camlib.datasets.photos import list_photos
from camlib.datasets.weights import RELEASED_FILES, find_bundled, find_released

if TYPE_CHECKING:
    from camlib.datasets import Dataset
    from camlib.explanation import Explanation
    from camlib.train import Network

# torchvision's classifiers that do not end in global average pooling and one linear layer, by the start of their name.
NO_GAP = ("alexnet", "convnext", "maxvit", "mobilenet_v3", "vgg", "vit")
Rule = Literal["text", "released"]
Model = Annotated[str, typer.Option(help="a network, see `camlib models`")]
Weights = Annotated[str, typer.Option(help="bundled, torchvision, timm, released, or a file; default: what there is")]
Scale = Annotated[int | None, typer.Option(min=1, max=4096, help="input size in px; default: the weights' own")]


def load_pretrained(model: str, weights: str, **options: Any) -> "Network":
    """`load_network` for weights that exist; without a name of weights, those that belong to the model.

    Raises ValueError where ImageNet weights would leave the last layers of a network of the paper random.
    """
    from camlib.models import CUT_MODELS, list_models
    from camlib.train import load_network
    from camlib.train.networks import PUBLISHED

    if weights and Path(weights).expanduser().is_file():
        weights = str(Path(weights).expanduser().resolve())  # a name of the shell counts from the shell's folder
    chosen = weights or ("released" if model in RELEASED_FILES else list_models().get(model, "timm")) or "bundled"
    if chosen in PUBLISHED and (model in CUT_MODELS or model == "efficientnet_lite0_gap"):
        raise ValueError(f"the {chosen} weights of {model} end before its last layers; expected 'released' or a file")
    return load_network(model, chosen, **options)


def _complete_dataset(incomplete: str) -> list[str]:
    return [name for name in datasets.REGISTRY if name.startswith(incomplete)]


def cam(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO", help="files, folders, addresses, or - for stdin")],
    model: Model = "efficientnet_lite0",
    weights: Weights = "",
    top: Annotated[int, typer.Option(min=1, help="list the n best classes")] = 5,
    classes: Annotated[
        list[str] | None, typer.Option("--classes", "-c", help="look for this class, by name or index; may repeat")
    ] = None,
    rule: Annotated[
        Rule, typer.Option(help="text: one pass, one box; released: the authors' code, ten crops, two boxes")
    ] = "text",
    threshold: Annotated[float, typer.Option(help="of the map's maximum, for the text's rule")] = 0.2,
    scale: Scale = None,
    out: Annotated[Path, typer.Option(help="folder of what is written")] = Path("cam"),
    json_: Annotated[bool, typer.Option("--json", help="print one JSON object per photograph")] = False,
) -> None:
    """Show what a network sees in photographs, and where.

    Writes NAME_cam.png (the photograph under its map, with the box), NAME_cam.json (classes, scores, boxes) and
    NAME_cam.npz (raw maps) into OUT. A photograph that can't be read is named, and the others are done.
    The exit code is then 1; it is 2 if nothing was done.

        camlib cam dog.jpg
        camlib cam holiday/ --classes "Labrador retriever" --out maps
    """
    from tqdm import tqdm

    failed: list[str] = []
    done = 0
    given = [one for photo in photos for one in _expand(photo, out, failed)]
    if not given:
        raise typer.Exit(2)
    from camlib.explanation import explain, find_classes

    wanted = [int(one) if one.isdecimal() else one for one in classes] if classes else None
    try:
        network = load_pretrained(model, weights)
        if wanted:
            find_classes(wanted, network.class_names)  # a typing error is said once, not per photograph
    except (ValueError, OSError) as error:
        typer.echo(f"camlib: {error}", err=True)
        raise typer.Exit(2) from error
    options = {"classes": wanted, "top": top, "rule": rule, "threshold": threshold, "scale": scale}
    for photo in (bar := tqdm(given, unit="photo", disable=None if len(given) > 1 else True)):
        try:
            found: Explanation = explain(network, sys.stdin.buffer if photo == "-" else photo, **options)
            files = found.save(out)
        except (OSError, ValueError, MemoryError) as error:
            failed.append(photo)
            with bar.external_write_mode(sys.stderr):
                typer.echo(f"camlib: {error or f'{photo}: not enough memory'}", err=True)
            continue
        done += 1
        written = {name: str(path) for name, path in files.items()}
        with bar.external_write_mode(sys.stdout):
            typer.echo(json.dumps(found.to_dict() | {"files": written}) if json_ else f"{found} -> {files['overlay']}")
    if failed:
        raise typer.Exit(1 if done else 2)


def _expand(photo: str, out: Path, failed: list[str]) -> Sequence[str]:
    """The photographs that an argument names: itself, or those of a folder, without what was written into OUT."""
    folder = Path(photo).expanduser()
    if photo == "-" or "://" in photo or not folder.is_dir():
        return [photo]
    try:
        if folder.resolve() == out.resolve():
            raise ValueError(f"{folder} is both a folder of photographs and --out; expected two folders")
        return [str(file) for file in list_photos(folder) if not file.resolve().is_relative_to(out.resolve())]
    except (OSError, ValueError) as error:
        failed.append(photo)
        typer.echo(f"camlib: {error}", err=True)
        return []


def localize(
    dataset: Annotated[str, typer.Argument(help="see `camlib data`", autocompletion=_complete_dataset)],
    split: Annotated[str, typer.Option(help="default: val, or test where there is no val")] = "",
    model: Model = "efficientnet_lite0",
    weights: Weights = "",
    protocol: Annotated[
        Rule, typer.Option(help="text: one crop, 20 % of the maximum; released: ten crops, fixed thresholds")
    ] = "text",
    geometry: Annotated[
        Literal["crop", "whole"] | None, typer.Option(help="what is seen of the squashed image; default: the weights'")
    ] = None,
    scale: Scale = None,
    limit: Annotated[int | None, typer.Option(min=1, help="the first n images alone")] = None,
) -> None:
    """Score a network on a dataset with boxes: classification and localization error.

    With ImageNet weights that is ilsvrc2012; with a file of your own weights, of a network of the dataset's classes,
    also tiny-imagenet, cub200 and the drawn data.

    The table has 95 % intervals, and two trivial answers beside the maps': the whole image and the best centre box.
    A run that was killed goes on where it stopped. Runs at one time, or the processes of torchrun, share the work.

        camlib localize ilsvrc2012 --limit 1000
        torchrun --standalone --nproc-per-node 4 -m camlib localize ilsvrc2012
    """
    splits = datasets.get_source(dataset).splits
    images = datasets.load(dataset, split=split or next(s for s in ("val", "test", *splits) if s in splits))
    if limit and limit < len(images):
        images.source = f"the first {limit:,} of {len(images):,} images: {images.source}"
        images = images.subset(range(limit))
    network = load_pretrained(model, weights, geometry=geometry, scale=scale)
    _check_classes(network, images)
    table = _score(network, images, protocol)
    if is_first_process():
        typer.echo(f"{images.describe()}\n{network.source}; rule: {protocol}\n\n{table}")


def is_first_process() -> bool:
    """Whether this process speaks for all that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _check_classes(network: "Network", images: "Dataset") -> None:
    bare = [i for i in range(len(images)) if not len(images.boxes[i]) and not images.excluded[i]]
    if bare:
        raise ValueError(
            f"{images.name}: {len(bare)} images have no box ({images.ids[bare[0]]}); localization needs one"
        )
    here, known = ({name.partition(",")[0].lower() for name in n} for n in (images.class_names, network.class_names))
    if len(images.classes) != len(network.class_names) or not here & known:
        raise ValueError(
            f"{images.name} has {len(images.classes)} classes ({images.class_names[0]}, ...), the network "
            f"{len(network.class_names)} ({network.class_names[0]}, ...); expected a network of the dataset's classes"
        )


def _score(network: "Network", images: "Dataset", protocol: Rule) -> str:
    """The table: a row per way to box, error in % with its interval."""
    import numpy as np
    import pandas as pd

    from camlib import boxes, evaluate, metrics, stats

    if protocol == "released":
        released = evaluate.localize_released(network.net, images, network.preset)
        classes, guesses, known = released.classes, released.loose, None
    else:
        found = evaluate.localize(network.net, images, network.preset)
        (classes, guesses), known = found.guesses(), found.known()
    kept = ~images.excluded
    truth = [images.boxes[i] for i in np.flatnonzero(kept)]
    centre = metrics.fit_centre_fraction(images.sizes[kept], truth)
    rows: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"the maps": (guesses, known)}
    for name, fraction in {"whole image": 1.0, f"best centre box ({centre:.0%} of each side)": centre}.items():
        box = boxes.centre_box(images.sizes, fraction)
        rows[name] = np.repeat(box[:, None], classes.shape[1], 1), box
    table = {}
    for name, (guessed, right_class) in rows.items():
        wrong = metrics.localization_errors(classes, guessed, images.labels, images.boxes, excluded=images.excluded)
        errors = {}
        for top in sorted({1, classes.shape[1]}):
            errors[f"top-{top} classification"] = wrong.cls_wrong[:, top - 1]
            errors[f"top-{top} localization"] = wrong.loc_wrong[:, top - 1]
        if right_class is not None:
            errors["class known"] = ~metrics.correct_boxes(right_class[kept], truth)
        table[name] = {
            column: "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * v for v in stats.bootstrap_interval(values)))
            for column, values in errors.items()
        }
    columns = sorted({column for row in table.values() for column in row}, key=lambda c: (c == "class known", c))
    frame = pd.DataFrame.from_dict(table, orient="index").reindex(columns=columns).fillna("-")
    return f"error in %, 95 % interval over {len(images):,} images\n{frame.to_string()}"


def models() -> None:
    """List the networks, and which of their weights are on this machine."""
    import torch
    import torchvision

    from camlib.models import CUT_MODELS, list_models

    typer.echo("NETWORK                    WEIGHTS")
    for name, family in list_models().items():
        if name.startswith(NO_GAP) and name not in (*CUT_MODELS, "alexnet_fc7", "alexnet_star_gap"):
            continue
        lines = []
        if name in RELEASED_FILES:
            lines.append(_say("released", lambda n=name: find_released(n, store.data_root())))
        if family == "bundled":
            lines.append(_say("bundled", lambda n=name: find_bundled(n.removesuffix("_gap").removesuffix("_dilated"))))
        if family == "torchvision":
            own = name.removesuffix("_fc7").removesuffix("_cut").removesuffix("_dilated")
            whole = CUT_MODELS[name][0] if name in CUT_MODELS else own
            published = torchvision.models.get_model_weights(whole).__members__.get("IMAGENET1K_V1")
            if published:
                file = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
                lines.append(f"torchvision: {'there' if file.is_file() else 'downloaded when first used'}")
        typer.echo(f"{name:<26} {'; '.join(lines) or 'none: train it, or give a file'}")
    typer.echo("timm/NAME                  timm: downloaded when first used (networks with GAP and one linear layer)\n")
    folder = store.data_root() / "weights"
    files = sorted(f for f in folder.glob("*") if f.suffix in (".safetensors", ".pt", ".pth"))
    typer.echo(f"files in {folder}: {', '.join(f.name for f in files) or 'none'}")


def _say(kind: str, find: Any) -> str:
    try:
        find()
    except FileNotFoundError:
        return f"{kind}: missing"
    return f"{kind}: there"


def report(
    report: Annotated[str, typer.Argument(help="a profile, or a folder that `camlib run` wrote")] = "auto",
) -> None:
    """Render what has run again, with the pages' present looks, and write the front page. Nothing is computed.

    camlib report mini
    """
    from camlib.report.pages import render_notebook, write_index

    folder = Path(report) if Path(report).is_dir() else store.PROJECT_ROOT / "reports" / report
    executed = [path for path in sorted(folder.glob("*.ipynb")) if not path.name.endswith(".partial.ipynb")]
    if not executed:
        raise FileNotFoundError(f"{folder}: no notebook has run there; expected a folder of `make reproduce`")
    for path in executed:
        render_notebook(path)
    write_index(folder)
    typer.echo(f"{len(executed)} notebooks: {folder / 'index.html'}")


COMMANDS = (cam, localize, models, report)
