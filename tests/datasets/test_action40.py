"""Stanford 40 against a small tree in its official layout."""

import numpy as np
import pytest
from builders import save_image, voc_xml, write

from camlib.datasets import load


def test_action40(tmp_path):
    base = tmp_path / "Stanford40"
    for name in ("riding_a_bike", "cooking"):
        for i in (1, 2, 3):
            save_image(base / f"JPEGImages/{name}_{i:03d}.jpg", (40, 30))
            xml = voc_xml((40, 30), [("person", 36 + i, 3, 20, 4)], tags=("xmax", "xmin", "ymax", "ymin"))
            write(base / f"XMLAnnotations/{name}_{i:03d}.xml", xml)
        write(base / f"ImageSplits/{name}_train.txt", f"{name}_001.jpg\n")
        write(base / f"ImageSplits/{name}_test.txt", f"{name}_002.jpg\n{name}_003.jpg\n")
    write(base / "ImageSplits/train.txt", "cooking_001.jpg\n")  # the official folder has these two as well
    write(base / "ImageSplits/actions.txt", "action_name number\ncooking 3\n")
    train, test = (load("action40", tmp_path, split) for split in ("train", "test"))
    assert train.ids == ["cooking_001", "riding_a_bike_001"]
    assert train.class_names == ["cooking", "riding a bike"]
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert test.extras["person_boxes"][0].tolist() == [[2, 3, 38, 20]]
    assert test.info["clipped"] == 0
    write(base / "XMLAnnotations/cooking_001.xml", voc_xml((40, 30), [("person", 3, 4, 45, 20)]))
    train = load("action40", tmp_path, "train")
    assert train.extras["person_boxes"][0].tolist() == [[2, 3, 40, 20]]
    assert train.info["clipped"] == 1
    for text, message in (
        ("cooking_001.jpg\nriding_a_bike_002.jpg\n", "cooking_train.txt: riding_a_bike_002.jpg"),
        ("cooking_001.jpg\ncooking_001.jpg\n", "cooking_001.jpg is listed twice"),
        ("", "cooking_train.txt is empty"),
        ("cooking_001.jpg\ncooking_002.jpg\n", "1 images are in lists of both parts: cooking_002.jpg"),
    ):
        write(base / "ImageSplits/cooking_train.txt", text)
        with pytest.raises(ValueError, match=rf"ImageSplits: .*{message}"):
            load("action40", tmp_path, "train")
    write(base / "ImageSplits/cooking_train.txt", "cooking_001.jpg\n")
    before = load("action40", tmp_path, "train").fingerprint
    write(base / "XMLAnnotations/cooking_001.xml", voc_xml((40, 30), [("person", 3, 4, 25, 20)]))
    assert load("action40", tmp_path, "train").fingerprint != before, "results are measured against these boxes"
    write(base / "XMLAnnotations/cooking_001.xml", "<?xml version='1.0' encoding='foo'?><annotation/>")
    with pytest.raises(ValueError, match=r"cooking_001\.xml: malformed XML"):
        load("action40", tmp_path, "train")
    (base / "XMLAnnotations/cooking_001.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"cooking_001\.xml"):
        load("action40", tmp_path, "train")
    (base / "ImageSplits/cooking_test.txt").unlink()
    with pytest.raises(
        ValueError, match=r"lists ImageSplits/<class>_test\.txt are missing in .*Stanford40, of images of: cooking"
    ):
        load("action40", tmp_path, "test")


def test_real_boxes_count_from_one(shared_data):
    """On the official files no box is cut, none begins before the image, and about half end exactly at its border."""
    shared_data("Stanford40/JPEGImages")
    for split, n in (("train", 400), ("test", 320)):
        images = load("action40", split=split)
        assert len(images) == n
        assert images.info["clipped"] == 0
        boxes = np.array([persons[0] for persons in images.extras["person_boxes"]])
        assert boxes[:, :2].min() == 0
        assert (boxes[:, 2:] <= images.sizes).all()
        assert 0.3 < (boxes[:, 2:] == images.sizes).any(1).mean() < 0.7
