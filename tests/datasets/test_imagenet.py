"""ILSVRC2012 and Tiny-ImageNet against small trees in each official layout and real files; submission files."""

import json
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders import WNIDS, WORDS, save_image, voc_xml, write
from scipy.io import savemat

from camlib import datasets
from camlib.datasets import imagenet, load
from camlib.metrics import localization_errors


@pytest.fixture
def tiny(tmp_path):
    """Three classes, 4 training and 2 validation images each, as a folder and as a zip in two roots."""
    base = tmp_path / "unpacked" / "tiny-imagenet-200"
    write(base / "wnids.txt", "".join(f"{w}\n" for w in reversed(WNIDS)))
    write(base / "words.txt", "".join(f"{w}\t{t}\n" for w, t in zip(WNIDS, WORDS, strict=True)))
    for k, wnid in enumerate(WNIDS):
        for i in range(4):
            save_image(base / f"train/{wnid}/images/{wnid}_{i}.JPEG", (64, 64), (40 * k, 60 * i, 0))
        write(base / f"train/{wnid}/{wnid}_boxes.txt", "".join(f"{wnid}_{i}.JPEG\t{i}\t0\t63\t10\n" for i in range(4)))
    for i in range(6):
        save_image(base / f"val/images/val_{i}.JPEG", (64, 64), (0, 0, 40 * i))
    listed = "".join(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t5\t6\t5\t6\n" for i in range(6))
    write(base / "val/val_annotations.txt", listed)
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "tiny-imagenet-200-small.zip", "w") as archive:
        for path in sorted(base.rglob("*.*")):
            archive.write(path, path.relative_to(base.parent).as_posix())
    return base.parent, packed


def test_tiny_imagenet_reads_folder_and_zip_alike(tiny):
    unpacked, packed = tiny
    for split, count in (("train", 12), ("val", 6)):
        a, b = (load("tiny-imagenet-200", root, split) for root in tiny)
        assert len(a) == count
        assert a.fingerprint == b.fingerprint
        assert a.classes == WNIDS
        assert a.class_names == WORDS
        assert np.array_equal(np.asarray(a[4]), np.asarray(b[4]))
        assert "md5" in b.source
        assert "not the official" in b.source
    assert a.boxes[0].tolist() == [[5, 6, 6, 7]]  # one inclusive pixel is one pixel wide
    assert load("tiny-imagenet-200", unpacked, "train").boxes[3].tolist() == [[3, 0, 64, 11]]
    few = load("tiny-imagenet-200", packed, "train", classes=2, per_class=3)
    assert few.ids == [f"{w}_{i}" for w in WNIDS[:2] for i in range(3)]
    assert pickle.loads(pickle.dumps(few))[5].size == (64, 64)
    assert load("tiny-imagenet-200", packed, "val", classes=2).labels.tolist() == [0, 1, 0, 1]


def test_tiny_imagenet_errors_name_the_file(tiny):
    unpacked, packed = tiny
    base = unpacked / "tiny-imagenet-200"
    (base / "val/images/val_3.JPEG").unlink()
    (base / "val/images/val_4.JPEG").write_bytes((base / "val/images/val_5.JPEG").read_bytes()[:300])
    ds = load("tiny-imagenet-200", unpacked)
    with pytest.raises(FileNotFoundError, match=r"val_3\.JPEG"):
        ds[3]
    with pytest.raises(OSError, match=r"val_4\.JPEG"):
        ds[4]
    write(base / "val/val_annotations.txt", "val_0.JPEG\tn01440764\t5\t6\t64\t9\n")
    with pytest.raises(ValueError, match=r"val_0\.JPEG: box \(5, 6, 65, 10\).*64 x 64"):
        load("tiny-imagenet-200", unpacked)
    write(base / "val/val_annotations.txt", "val_0.JPEG\tn99999999\t5\t6\t63\t9\n")
    with pytest.raises(ValueError, match="n99999999"):
        load("tiny-imagenet-200", unpacked)
    (base / f"train/{WNIDS[1]}/{WNIDS[1]}_boxes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=f"{WNIDS[1]}_boxes.txt"):
        load("tiny-imagenet-200", unpacked, "train")
    whole = packed / "tiny-imagenet-200-small.zip"
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"tiny-imagenet-200-small\.zip: not a zip"):
        load("tiny-imagenet-200", packed)


def test_corrupt_image_in_a_zip_is_named(tmp_path, tiny):
    unpacked, packed = tiny
    bad = unpacked / "tiny-imagenet-200/val/images/val_2.JPEG"
    with zipfile.ZipFile(packed / "tiny-imagenet-200.zip", "w") as archive:  # the official name comes first
        for path in sorted((unpacked / "tiny-imagenet-200").rglob("*.*")):
            name = path.relative_to(unpacked).as_posix()
            archive.writestr(name, path.read_bytes()[: 200 if path == bad else None])
    ds = load("tiny-imagenet-200", packed)
    with pytest.raises(OSError, match=r"tiny-imagenet-200\.zip/tiny-imagenet-200/val/images/val_2\.JPEG"):
        ds[2]


def test_real_tiny_imagenet(shared_data):
    root = shared_data("tiny-imagenet-200-subset50.zip").parent
    for split, each in (("train", 500), ("val", 50)):
        ds = load("tiny-imagenet-200", root, split)
        assert np.bincount(ds.labels).tolist() == [each] * 50
        assert ds.classes == sorted(ds.classes)
        boxes = np.concatenate(ds.boxes)
        borders(boxes, np.full((len(boxes), 2), 64))
        assert ds[7].size == (64, 64)
    assert len(set(ds.ids)) == 2500


def make_ilsvrc(root: Path, annotations: dict[str, str], layout: str, classes: dict[str, str]) -> None:
    """The tree of a layout with grey images of the sizes that the annotations give."""
    labels = {name: re.search(r"<name>(n\d+)</name>", text)[1] for name, text in annotations.items()}
    for name, text in annotations.items():
        size = tuple(int(re.search(rf"<{side}>(\d+)</{side}>", text)[1]) for side in ("width", "height"))
        image, xml = {
            "flat": (f"ILSVRC2012_img_val/{name}.JPEG", f"ILSVRC2012_bbox_val_v3/val/{name}.xml"),
            "folders": (f"val/{labels[name]}/{name}.JPEG", f"ILSVRC2012_bbox_val_v3/val/{name}.xml"),
            "kaggle": (f"ILSVRC/Data/CLS-LOC/val/{name}.JPEG", f"ILSVRC/Annotations/CLS-LOC/val/{name}.xml"),
        }[layout]
        save_image(root / image, size)
        write(root / xml, text)
    if layout == "kaggle":
        write(root / "LOC_synset_mapping.txt", "".join(f"{w} {t}\n" for w, t in sorted(classes.items())))
        return
    record = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O"), ("num_children", "i4")]
    count = len(classes)
    synsets = np.array(
        [(count - k, w, t, 0) for k, (w, t) in enumerate(sorted(classes.items()))]
        + [(count + 1, "n00001740", "entity", count)],  # an ancestor
        dtype=record,
    )
    (root / "ILSVRC2012_devkit_t12/data").mkdir(parents=True)
    savemat(root / imagenet.ILSVRC_META, {"synsets": synsets})


SMALL_ILSVRC = {
    "ILSVRC2012_val_00000001": voc_xml((50, 40), [("n02084071", 0, 0, 49, 39), ("n02084071", 5, 6, 5, 6)]),
    "ILSVRC2012_val_00000002": voc_xml((30, 60), [("n01440764", 2, 3, 28, 58)]),
    "ILSVRC2012_val_00000003": voc_xml((30, 30), [("n01443537", 1, 1, 9, 9)]),
}
CLASSES = dict(zip(WNIDS, WORDS, strict=True))


def test_ilsvrc_layouts_give_the_same_dataset(tmp_path):
    read = []
    for layout in ("flat", "folders", "kaggle"):
        make_ilsvrc(tmp_path / layout, SMALL_ILSVRC, layout, CLASSES)
        assert datasets.is_available("ilsvrc2012", tmp_path / layout)
        read.append(load("ilsvrc2012", tmp_path / layout))
    for ds in read:
        assert ds.ids == sorted(SMALL_ILSVRC)
        assert ds.labels.tolist() == [2, 0, 1]
        assert ds.classes == WNIDS
        assert ds.class_names == WORDS
        assert ds.sizes.tolist() == [[50, 40], [30, 60], [30, 30]]
        assert ds.boxes[0].tolist() == [[0, 0, 50, 40], [5, 6, 6, 7]]
        assert ds[1].size == (30, 60)
        assert not ds.excluded.any()
        assert "no list of exclusions" in ds.source
    assert len({ds.fingerprint for ds in read}) == 1
    assert imagenet.wnid_to_devkit_id(tmp_path / "flat") == dict(zip(WNIDS, (3, 2, 1), strict=True))
    with pytest.raises(FileNotFoundError, match=r"meta\.mat"):
        imagenet.wnid_to_devkit_id(tmp_path / "kaggle")


@pytest.mark.parametrize("layout", ["flat", "kaggle"])
def test_ilsvrc_exclusion_list(tmp_path, layout):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, layout, CLASSES)
    folder = "ILSVRC2012_devkit_t12/data" if layout == "flat" else "ILSVRC/devkit/data"
    write(tmp_path / folder / "ILSVRC2014_clsloc_validation_blacklist.txt", "2\n36\n")
    ds = load("ilsvrc2012", tmp_path)
    assert ds.excluded.tolist() == [False, True, False]
    assert "ILSVRC2014_clsloc_validation_blacklist.txt excludes 1" in ds.source


def test_ilsvrc_train(tmp_path):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "flat", CLASSES)
    with pytest.raises(FileNotFoundError, match="ILSVRC2012_img_train"):
        load("ilsvrc2012", tmp_path, "train")
    for wnid in WNIDS[1:]:
        for i in (10, 9):
            save_image(tmp_path / f"ILSVRC2012_img_train/{wnid}/{wnid}_{i}.JPEG")
    with pytest.raises(ValueError, match=r"1 classes have no folder.*n01440764"):
        load("ilsvrc2012", tmp_path, "train")
    save_image(tmp_path / "ILSVRC2012_img_train/n01440764/n01440764_1.JPEG")
    ds = load("ilsvrc2012", tmp_path, "train")
    assert ds.labels.tolist() == [0, 1, 1, 2, 2]
    assert [len(b) for b in ds.boxes] == [0] * 5
    assert ds[0].size == (40, 30)
    few = load("ilsvrc2012", tmp_path, "train", per_class=1)
    assert few.ids == ["n01440764_1", f"{WNIDS[1]}_10", f"{WNIDS[2]}_10"], "the first by name of each class"
    assert few.classes == ds.classes
    with pytest.raises(ValueError, match="per_class is of the training images"):
        load("ilsvrc2012", tmp_path, "val", per_class=1)
    save_image(tmp_path / "ILSVRC2012_img_train/n09999999/n09999999_1.JPEG")
    with pytest.raises(ValueError, match=r"folders.*no class: n09999999"):
        load("ilsvrc2012", tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (voc_xml((30, 60), [("n01440764", 2, 3, 1, 58)]), r"box \(2, 3, 2, 59\)"),
        (voc_xml((30, 60), [("n01440764", 2, 3, 30, 58)]), r"box \(2, 3, 31, 59\).*30 x 60"),
        (voc_xml((30, 60), [("n01440764", -1, 3, 20, 58)]), r"box \(-1, 3, 21, 59\)"),
        (voc_xml((30, 60), [("n01440764", 2, 3, 20, "")]), "lacks a number among xmin, ymin, xmax, ymax"),
        (voc_xml((30, 60), [("n01440764", 2, 3, 9, 9), ("n01443537", 2, 3, 9, 9)]), "expected one class"),
        (voc_xml((30, 60), [("n07777777", 2, 3, 9, 9)]), "n07777777"),
        (voc_xml((30, 60), []), "expected one class"),
        ("<annotation><size>", "malformed XML"),
    ],
)
def test_ilsvrc_bad_annotation_names_its_file(tmp_path, text, message):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "flat", CLASSES)
    write(tmp_path / "ILSVRC2012_bbox_val_v3/val/ILSVRC2012_val_00000002.xml", text)
    with pytest.raises(ValueError, match=rf"ILSVRC2012_val_00000002\.xml.*{message}"):
        load("ilsvrc2012", tmp_path)


def test_annotations_are_parsed_once_for_each_state_of_their_files(tmp_path, monkeypatch, own_cache):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "flat", CLASSES)
    first = load("ilsvrc2012", tmp_path)
    parse = imagenet.parse_xml
    monkeypatch.setattr(imagenet, "parse_xml", lambda file: pytest.fail(f"{file} was parsed again"))
    again = load("ilsvrc2012", tmp_path)
    assert again.fingerprint == first.fingerprint
    assert [box.tolist() for box in again.boxes] == [box.tolist() for box in first.boxes]
    monkeypatch.setattr(imagenet, "parse_xml", parse)
    file = tmp_path / "ILSVRC2012_bbox_val_v3/val/ILSVRC2012_val_00000002.xml"
    write(file, voc_xml((30, 60), [("n01440764", 1, 2, 3, 4)]))
    assert load("ilsvrc2012", tmp_path).boxes[1].tolist() == [[1, 2, 4, 5]]
    for kept in (own_cache / "cache" / "annotations").iterdir():
        kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"\.npz: a damaged file of the cache; delete it and run again"):
        load("ilsvrc2012", tmp_path)


def test_ilsvrc_images_and_annotations_must_match(tmp_path):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "folders", CLASSES)
    annotation = tmp_path / "ILSVRC2012_bbox_val_v3/val/ILSVRC2012_val_00000002.xml"
    text = annotation.read_text()
    annotation.unlink()
    with pytest.raises(ValueError, match=r"1 images in .* have no annotation in .*: ILSVRC2012_val_00000002"):
        load("ilsvrc2012", tmp_path)
    annotation.write_text(text.replace("n01440764", "n01443537"))  # not the class of the image's folder
    with pytest.raises(ValueError, match=r"00000002\.xml: .*expected one class n01440764"):
        load("ilsvrc2012", tmp_path)
    annotation.write_text(text)
    whole = len(load("ilsvrc2012", tmp_path))
    (tmp_path / "val/n01440764/ILSVRC2012_val_00000002.JPEG").unlink()
    part = load("ilsvrc2012", tmp_path)  # a part of the images is read, and called one
    assert len(part) == whole - 1
    assert part.source.startswith(f"{whole - 1} of 50,000 images, 3 of 1,000 classes: ")
    assert part.info["whole"] == 50_000


def test_real_ilsvrc_annotations(shared_data, tmp_path):
    files = sorted((shared_data("ILSVRC2012_bbox_val_v3") / "val").glob("*.xml"))
    annotations = {file.stem: file.read_text() for file in files}
    listed = json.loads(shared_data("imagenet_classes.json").read_text())
    classes = dict(zip(listed["wnids"], listed["names"], strict=True))
    read = []
    for layout in ("folders", "kaggle"):
        make_ilsvrc(tmp_path / layout, annotations, layout, classes)
        read.append(load("ilsvrc2012", tmp_path / layout))
    ds = read[0]
    assert ds.fingerprint == read[1].fingerprint
    assert ds.classes == read[1].classes == listed["wnids"]
    assert ds.class_names == read[1].class_names
    assert np.array_equal(ds.sizes, read[1].sizes)
    assert (len(ds), sum(map(len, ds.boxes))) == (500, 770)
    assert ds.boxes[0].tolist() == [[111, 108, 442, 194]]  # 111 108 441 193 in the first file
    assert ds.classes[ds.labels[0]] == "n01751748"
    borders(np.concatenate(ds.boxes), np.repeat(ds.sizes, [len(b) for b in ds.boxes], axis=0))


def borders(boxes, sizes):
    """Real boxes, half-open, begin at 0 and end at the border often, never beyond: they count from 0."""
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= sizes).all()
    for at_border in (boxes[:, :2] == 0, boxes[:, 2:] == sizes):
        assert at_border.any(1).mean() > 0.1


def test_all_official_ilsvrc_boxes_count_from_zero_with_inclusive_ends(shared_data):
    truth = np.load(shared_data("ilsvrc_val_ground_truth.npz"))
    assert truth["box"].shape == (80477, 4)
    borders(truth["box"] + [0, 0, 1, 1], truth["size"][truth["box_image"]])


def test_a_submission_file_makes_the_round_trip_and_scores_the_same(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 20, 30)
    gt = [np.array([[10.0, 20.0, 60.0, 90.0]])] * 30
    classes = rng.integers(0, 20, (30, 5))
    classes[::2, 1] = truth[::2]
    boxes = np.array([10.0, 20.0, 60.0, 90.0]) + rng.uniform(-9, 9, (30, 5, 4))
    ids = rng.permutation(20) + 1  # devkit IDs are in another order than the wnids
    path = tmp_path / "submission.txt"
    imagenet.write_submission(path, classes, boxes, ids)
    first = path.read_text().splitlines()[0].split()
    assert len(first) == 25
    assert int(first[0]) == ids[classes[0, 0]]
    assert float(first[3]) == pytest.approx(boxes[0, 0, 2] - 1)  # the devkit counts inclusive pixels
    read_classes, read_boxes = imagenet.read_submission(path, ids)
    assert np.array_equal(read_classes, classes)
    np.testing.assert_allclose(read_boxes, boxes, atol=1e-6)
    scored, again = (localization_errors(c, b, truth, gt) for c, b in ((classes, boxes), (read_classes, read_boxes)))
    assert np.array_equal(scored.loc_wrong, again.loc_wrong)
    assert 0 < scored.loc[4] < 1
    path.write_text(path.read_text() + "1 2 3\n")
    with pytest.raises(ValueError, match=r"submission\.txt, line 31"):
        imagenet.read_submission(path, ids)
    path.write_text("999 1 2 3 4\n")
    with pytest.raises(ValueError, match=r"line 1.*999"):
        imagenet.read_submission(path, ids)
