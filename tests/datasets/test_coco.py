"""COCO against a small tree in its official layout."""

import json

import numpy as np
import pytest
from builders import save_image, write
from pycocotools import mask as coco_masks

from camlib.datasets import is_available, load
from camlib.experiments.scenes import object_masks

SIZES = {9: (40, 30), 4: (20, 20)}
SAID = [(9, "A cat  on a\n couch."), (4, "A dog."), (9, "Two animals")]
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 90, "name": "dining table"}]
CROWD = np.zeros((30, 40), np.uint8)
CROWD[20:, 30:] = 1


def packed(mask):
    code = coco_masks.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


def instance(image, category, segmentation, bbox, crowd=0):
    return {
        "image_id": image, "category_id": category, "segmentation": segmentation, "bbox": bbox, "iscrowd": crowd,
    }  # fmt: skip


OBJECTS = [
    instance(9, 17, [[2, 3, 12, 3, 12, 13, 2, 13]], [2, 3, 10, 10]),
    instance(9, 90, {"size": [30, 40], "counts": [0, 60, 1140]}, [0, 0, 2, 30], 1),  # two columns, from the left
    instance(9, 17, packed(CROWD), [30, 20, 10, 10], 1),
    instance(9, 17, [[38, 0, 41, 0, 41, 2]], [38, 0, 3, 2]),
]


def coco_tree(root, said=SAID, objects=OBJECTS, images=SIZES):
    listed = [{"id": k, "file_name": f"{k:012d}.jpg", "width": w, "height": h} for k, (w, h) in images.items()]
    for k, size in SIZES.items():
        save_image(root / f"coco/val2017/{k:012d}.jpg", size)
    captions = [{"image_id": k, "id": n, "caption": text} for n, (k, text) in enumerate(said)]
    tables = {
        "captions": {"images": listed, "annotations": captions},
        "instances": {"images": listed, "annotations": objects, "categories": CATEGORIES},
    }
    for kind, table in tables.items():
        write(root / f"coco/annotations/{kind}_val2017.json", json.dumps(table))


def test_captions_and_objects(tmp_path):
    assert not is_available("coco", tmp_path)
    coco_tree(tmp_path)
    images = load("coco", tmp_path, "val")
    assert images.ids == ["000000000009", "000000000004"]
    assert images.sizes.tolist() == [[40, 30], [20, 20]]
    assert images.extras["captions"] == ["A cat on a couch.\nTwo animals", "A dog."]
    assert images.extras["objects"] == [["cat", "dining table", "cat", "cat"], []]
    assert images.boxes[0].tolist() == [[2, 3, 12, 13], [38, 0, 40, 2]]
    assert not len(images.boxes[1])
    assert images.info == {"clipped": 1, "whole": 5000}
    assert images[0].size == (40, 30)
    assert not is_available("coco", tmp_path, train=True)
    with pytest.raises(FileNotFoundError, match=r"captions_train2017\.json is missing"):
        load("coco", tmp_path, "train")


def test_outlines_of_all_kinds_become_masks(tmp_path):
    coco_tree(tmp_path)
    named = object_masks(load("coco", tmp_path, "val"), 0)
    assert list(named) == ["cat", "dining table"]
    assert np.argwhere(named["dining table"].any(0)).ravel().tolist() == [0, 1]
    assert named["dining table"].sum() == 60
    assert named["cat"][3:13, 2:12].all()
    assert named["cat"][20:, 30:].all()
    assert not named["cat"][14:20].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"said": SAID[:1]}, r"images of .*captions_val2017\.json have no caption: 4"),
        ({"said": [*SAID, (7, "None")]}, r"images of captions in .* are not listed there: 7"),
        ({"images": {**SIZES, 5: (20, 20)}, "said": [*SAID, (5, "A bird.")]}, r"are not in .*val2017: 000000000005"),
        ({"objects": [{"image_id": 9}]}, r"instances_val2017\.json: an entry is malformed or lacks 'bbox'"),
        ({"objects": [instance(7, 17, [[1, 1, 2, 2, 3, 1]], [1, 1, 2, 1])]}, "images have objects and no caption: 7"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    coco_tree(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        load("coco", tmp_path, "val")


def test_broken_files_are_named(tmp_path):
    coco_tree(tmp_path)
    for text in ("{", "[]", '{"images": [], "annotations": 3}'):
        write(tmp_path / "coco/annotations/captions_val2017.json", text)
        with pytest.raises(ValueError, match=r"captions_val2017\.json"):
            load("coco", tmp_path, "val")


def test_the_box_of_an_official_object_bounds_its_outline(tmp_path):
    """Object 156 of val2014, image 558840: x + width is the largest x, so a box lies between edges."""
    outline = [239.97, 260.24, 222.04, 270.49, 199.84, 253.41, 213.5, 227.79, 259.62, 200.46, 274.13, 202.17, 277.55,
               210.71, 249.37, 253.41, 237.41, 264.51, 242.54, 261.95, 228.87, 271.34]  # fmt: skip
    objects = [instance(9, 17, [outline], [199.84, 200.46, 77.71, 70.88])]
    coco_tree(tmp_path, objects=objects, images={9: (640, 480), 4: (20, 20)})
    save_image(tmp_path / "coco/val2017/000000000009.jpg", (640, 480))
    points = np.reshape(outline, (-1, 2))
    (box,) = load("coco", tmp_path, "val").boxes[0]
    np.testing.assert_allclose(box, [*points.min(0), *points.max(0)], atol=1e-9)
    mask = np.zeros((30, 40), np.uint8, order="F")
    mask[1:6, 2:5] = 1  # columns 2, 3, 4: between the edges 2 and 5
    assert coco_masks.toBbox(coco_masks.encode(mask)).tolist() == [2, 1, 3, 5]
