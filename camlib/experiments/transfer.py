"""The protocols of generic transfer (paper, Section 4, Table 5): splits, linear SVMs over them, attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlib import datasets
from camlib.datasets.base import Dataset
from camlib.evaluate import localize
from camlib.features import CANDIDATES, LinearClassifier, extract_features, fit_linear, with_classifier
from camlib.metrics import average_precision, correct_boxes
from camlib.models import GAPNet
from camlib.store import digest, run_sharded
from camlib.transforms import Preset, load_squashed

Split = tuple[NDArray[np.int64], NDArray[np.int64]]  # indices to train on, indices to test on


def load_splits(name: str, draws: int = 10, seed: int = 0, **options: Any) -> tuple[Dataset, list[Split]]:
    """A dataset's images, each once, and the splits of its protocol (paper, Section 4), as indices into them.

    name: a dataset with a protocol. seed: of the draws, and of the pictures where they are drawn.

    Of a part of a dataset (`info["whole"]`) with too few images per class, half of its smallest class train.

    Random draws where the protocol says so (synthetic-*, caltech101, caltech256, scene15, event8), with `per_class` and
    `test_per_class` as the registry has them or `options` say; the official partitions of sun397; none for
    sun-attribute (see `attribute_precision`); else the one official pair. Other options go to `datasets.load`.
    """
    source = datasets.get_source(name)
    if not source.protocol:
        known = ", ".join(n for n, s in datasets.REGISTRY.items() if s.protocol)
        raise ValueError(f"{name!r} has no protocol for transfer; expected one of {known}")
    if source.protocol == "attributes":
        return datasets.load(name, split="all", **options), []
    if source.protocol == "draws":
        on_disk = "all" in source.splits  # else the pictures themselves are drawn from the seed
        defaults = {key: source.options[key] for key in ("per_class", "test_per_class") if on_disk}
        options = {"per_class": 30, "test_per_class": None} | defaults | ({} if on_disk else {"seed": seed}) | options
        counts = (options.pop("per_class"), options.pop("test_per_class"))
        images = datasets.load(name, split="all" if on_disk else "val", **options)
        smallest = int(np.bincount(images.labels).min())
        if "whole" in images.info and smallest <= counts[0]:
            counts = (smallest // 2, counts[1])
            images.source += f", {counts[0]} training images per class"
        return images, [datasets.random_split(images.labels, *counts, seed + d, name) for d in range(draws)]
    partitions: list[dict[str, Any]] = (
        [{"partition": d + 1} for d in range(draws)] if source.protocol == "partitions" else [{}]
    )
    parts = [datasets.load(name, split=s, **options, **p) for p in partitions for s in source.splits]
    fields = ("ids", "labels", "boxes", "sizes", "files")
    joined: dict[str, Any] = {field: [value for part in parts for value in getattr(part, field)] for field in fields}
    row = {image: i for i, image in enumerate(dict.fromkeys(joined["ids"]))}
    first = np.unique([row[i] for i in joined["ids"]], return_index=True)[1]  # partitions share images
    excluded = np.concatenate([part.excluded for part in parts])
    both_splits = "-".join(source.splits)
    whole: dict[str, Any] = {"split": both_splits, "extras": {}, "excluded": excluded}
    if any("whole" in part.info for part in parts):
        whole["info"] = parts[0].info | {"whole": sum(part.info.get("whole", len(part)) for part in parts)}
    whole["source"] = f"{parts[0].source.split(',')[0]}, {len(first)} images, {both_splits}"
    images = replace(parts[0], **whole, **joined).subset(first)
    indices = [np.array([row[i] for i in part.ids]) for part in parts]
    splits = list(zip(indices[::2], indices[1::2], strict=True))
    for train, test in splits:
        if len(both := np.intersect1d(train, test)):
            raise ValueError(f"{name}: {len(both)} images are in both lists of a split, {images.ids[both[0]]} is one")
        if missing := sorted(set(range(len(images.classes))) - set(images.labels[train])):
            raise ValueError(f"{name}: class {images.classes[missing[0]]} has no image in the list of training images")
    return images, splits


class Target(NamedTuple):
    """A dataset to transfer to."""

    label: str  # name and number of classes
    images: Dataset
    splits: list[Split]  # none for SUN Attribute, which has attributes instead of classes
    measure: str  # what is measured
    column: str  # the column of Table 5 that a measurement may stand in, or ""

    def part(self, test: bool) -> Dataset:
        """The images of the first split's training or test part."""
        return self.images.subset(self.splits[0][test])


# Dataset -> its column in Table 5.
COLUMNS = {
    "sun397": "SUN397", "indoor67": "Indoor67", "scene15": "Scene15", "sun-attribute": "SUN Attribute",
    "caltech101": "Caltech101", "caltech256": "Caltech256", "action40": "Action40", "event8": "Event8",
}  # fmt: skip


def load_target(settings: Mapping[str, Any], draws: int, seed: int) -> Target:
    """The target of a notebook's mapping {dataset, options of `load_splits`}.

    It has a column in Table 5 only with the protocol's own options, and with all its classes or as a known part.
    """
    options = dict(settings)
    name = options.pop("dataset")
    images, splits = load_splits(name, draws, seed, **options)
    classes = len(images.info.get("attribute_names", images.classes))
    known = classes == datasets.get_source(name).classes or "whole" in images.info
    measure = "SVM accuracy" if splits else "mean average precision"
    return Target(
        f"{name} ({classes} classes)", images, splits, measure, COLUMNS.get(name, "") if known and not options else ""
    )


class Transfer(NamedTuple):
    """What linear classifiers on one kind of features did, over D splits; N' images were tested at least once."""

    accuracies: NDArray[np.float64]  # (D,) of each split's test images, fractions
    outcomes: NDArray[np.float64]  # (N',) one per tested image; their mean is the mean accuracy: for the bootstrap
    classifiers: list[LinearClassifier]  # D

    def describe_choices(self) -> str:
        """The values of C that were chosen, and in how many splits: "0.01 (3), 0.1 (2)"."""
        values, counts = np.unique([classifier.c for classifier in self.classifiers], return_counts=True)
        return ", ".join(f"{c:g} ({n})" for c, n in zip(values, counts, strict=True))


def classify_target(features: NDArray, target: Target, seed: int = 0) -> Transfer:
    """SVMs over the splits of a target; for SUN Attribute the average precision of each attribute as outcomes."""
    if target.splits:
        return classify_splits(features, target.images.labels, target.splits, seed)
    precision = attribute_precision(features, target.images.extras["attributes"], seed=seed)
    return Transfer(np.zeros(0), precision, [])


def read_pixels(images: Dataset, size: int = 16) -> NDArray[np.float32]:
    """The images themselves, squashed to size x size, as features (N, 3 * size * size)."""
    return load_squashed(images, size).reshape(len(images), -1).astype(np.float32)


def sweep_c(net: GAPNet, preset: Preset, target: Target, chosen: float, seed: int = 0) -> list[dict[str, Any]]:
    """Accuracy and class-known localization (in %) of a target's first split for each candidate of C: to look at."""
    features = extract_features(net, target.images, preset)
    train, test = target.splits[0]
    part, rows = target.part(test=True), []
    for c in CANDIDATES:
        svm = fit_linear(features[train], target.images.labels[train], seed, [c])
        seen = localize(with_classifier(net, svm), part, preset, top=1)
        accuracy = (svm.predict(features[test]) == part.labels).mean()
        found = correct_boxes(seen.known(), part.boxes).mean()
        row = {"dataset": target.label, "C": f"{c:g}", "accuracy, %": 100 * accuracy}
        rows.append(row | {"class-known localization, %": 100 * found, "": "chosen" if c == chosen else ""})
    return rows


def classify_splits(features: NDArray, labels: NDArray, splits: Sequence[Split], seed: int = 0) -> Transfer:
    """Fit on each split's training part, test on the other. features (N, K), labels (N,), D splits.

    Each split's classifier is kept in the cache under a hash of what it was fitted on: a run that was killed goes on.
    Raises ValueError for no splits, features of another length than the labels, NaN in any of them (also those that are
    only tested), a split that trains and tests on the same image, or what `fit_linear` refuses.
    """
    if len(features) != len(labels) or not len(splits) or not all(len(test) for _, test in splits):
        raise ValueError(
            f"features {features.shape}, labels {labels.shape}, {len(splits)} splits; expected as many, > 0"
        )
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values; expected finite ones")

    def fit(chosen: np.ndarray) -> dict[str, np.ndarray]:
        found = [fit_linear(features[splits[d][0]], labels[splits[d][0]], seed) for d in chosen]
        return {key: np.stack([getattr(svm, key) for svm in found]) for key in LinearClassifier._fields}

    parts = [np.ascontiguousarray(array).tobytes() for array in (features, labels, *(train for train, _ in splits))]
    key = digest(str(features.dtype), seed, *parts)
    kept = run_sharded("svm", key, len(splits), fit, 1, LinearClassifier._fields)
    classifiers = [LinearClassifier(weight, bias, float(c)) for weight, bias, c in zip(*kept.values(), strict=True)]
    tested, right = np.zeros(len(labels)), np.zeros(len(labels))
    accuracies = []
    for classifier, (train, test) in zip(classifiers, splits, strict=True):
        if len(both := np.intersect1d(train, test)):
            raise ValueError(f"image {both[0]} is in both parts of a split, and {len(both) - 1} more")
        correct = classifier.predict(features[test]) == labels[test]
        accuracies.append(correct.mean())
        tested[test] += 1 / len(test)
        right[test] += correct / len(test)
    mean, used = np.mean(accuracies), tested > 0
    # An image that several draws test counts as often: the residuals of a ratio, around its value.
    outcomes = mean + (right - mean * tested)[used] / tested[used].mean()
    return Transfer(np.array(accuracies), outcomes, classifiers)


def attribute_precision(features: NDArray, votes: NDArray, per_class: int = 150, seed: int = 0) -> NDArray[np.float64]:
    """Average precision of each attribute (SUN Attribute), one classifier per attribute: (A,) fractions.

    features (N, K), votes (N, A), shares in 0..1: from 2/3 on positive, 0 negative, in between not used. `per_class` of
    each train (half of the rarer kind, if that is less); of the others as many of each kind as there are of both test,
    so that chance is one half. Raises ValueError for votes outside 0..1 or an attribute with too few images.
    """
    shares = np.asarray(votes, np.float64)
    if shares.ndim != 2 or len(shares) != len(features) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"votes have shape {shares.shape}; expected ({len(features)}, A), shares in 0..1")
    precision = []
    for a, share in enumerate(shares.T):
        rng = np.random.default_rng([seed, a])
        yes, no = rng.permutation(np.flatnonzero(share > 0.6)), rng.permutation(np.flatnonzero(share == 0))
        both = min(len(yes), len(no))
        n = min(per_class, both // 2)
        if n < 2:
            raise ValueError(f"attribute {a} has {len(yes)} positive and {len(no)} negative images; too few to split")
        train, test = np.concatenate([no[:n], yes[:n]]), np.concatenate([no[n:both], yes[n:both]])
        scores = fit_linear(features[train], np.repeat([0, 1], n), seed).decision(features[test])[:, 1]
        precision.append(average_precision(share[test] > 0.6, scores))
    return np.array(precision)
