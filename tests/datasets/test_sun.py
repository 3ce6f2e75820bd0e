"""SUN397, Indoor-67, SUN Attribute and SUN2012 against small trees in their official layouts."""

import shutil

import numpy as np
import pytest
from builders import save_image, write
from scipy.io import savemat

from camlib.datasets import load
from camlib.metrics import polygon_mask


def test_sun397_partitions(tmp_path):
    for category in ("a/abbey", "c/church/indoor", "c/church/outdoor"):
        for i in range(3):
            save_image(tmp_path / f"SUN397/{category}/sun_{i}.jpg")
    lists = tmp_path / "SUN397/Partitions"
    write(lists / "ClassName.txt", "/a/abbey\n/c/church/indoor\n/c/church/outdoor\n")
    for number, held in ((1, 0), (10, 2)):
        for kind, taken in (("Training", {0, 1, 2} - {held}), ("Testing", {held})):
            listed = [f"/{c}/sun_{i}.jpg\n" for c in ("a/abbey", "c/church/indoor") for i in sorted(taken)]
            write(lists / f"{kind}_{number:02d}.txt", "".join(listed))
    assert load("sun397", tmp_path, "test").ids == ["a/abbey/sun_0", "c/church/indoor/sun_0"]
    train = load("sun397", tmp_path, "train", partition=10)
    assert train.ids[:2] == ["a/abbey/sun_0", "a/abbey/sun_1"]
    assert train.classes == ["a/abbey", "c/church/indoor", "c/church/outdoor"]
    assert train.class_names == ["abbey", "church/indoor", "church/outdoor"]
    with pytest.raises(FileNotFoundError, match=r"Training_03\.txt"):
        load("sun397", tmp_path, "train", partition=3)
    save_image(tmp_path / "SUN397/z/zoo/sun_0.jpg")
    with pytest.raises(ValueError, match=r"1 folders in .* are in no list: z/zoo"):
        load("sun397", tmp_path, "train")


def test_indoor67_lists(tmp_path):
    base = tmp_path / "indoor67"
    for category in ("attic", "bar"):
        for i in range(3):
            save_image(base / f"Images/{category}/{i}.jpg")
    write(base / "TrainImages.txt", "bar/1.jpg\nattic/0.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"TestImages\.txt"):
        load("indoor67", tmp_path, "train")
    write(base / "TestImages.txt", "attic/2.jpg\n")
    assert load("indoor67", tmp_path, "train").labels.tolist() == [1, 0]
    assert load("indoor67", tmp_path, "test").ids == ["attic/2"]
    save_image(base / "Images/bar/Bar Royal 2.jpg")  # the official lists have such names
    write(base / "TestImages.txt", "attic/2.jpg\nbar/Bar Royal 2.jpg\n")
    assert load("indoor67", tmp_path, "test").ids == ["attic/2", "bar/Bar Royal 2"]
    for text, message in (("attic/2.jpg\nattic/2.jpg\n", "lists 1 images twice: attic/2"), ("\n", "is empty")):
        kept = (base / "TestImages.txt").read_text()
        write(base / "TestImages.txt", text + ("" if text == "\n" else "bar/0.jpg\n"))
        with pytest.raises(ValueError, match=rf"TestImages\.txt: {message}"):
            load("indoor67", tmp_path, "test")
        write(base / "TestImages.txt", kept)
    (base / "TestImages.txt").write_bytes("attic/2.jpg\nbar/caf\xe9.jpg\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"TestImages\.txt: not a text file in UTF-8"):
        load("indoor67", tmp_path, "test")
    write(base / "TestImages.txt", "attic/2.jpg\nbar/0.jpg\n")
    save_image(base / "Images/new/0.jpg")
    with pytest.raises(ValueError, match=r"1 folders in .* are in no list: new"):
        load("indoor67", tmp_path, "train")
    shutil.rmtree(base / "Images/new")
    write(base / "TestImages.txt", "attic/2.jpg\nattic/7.jpg\n")
    with pytest.raises(ValueError, match=r"TestImages\.txt are not in .*: attic/7\.jpg"):
        load("indoor67", tmp_path, "test")
    write(base / "TestImages.txt", "cellar/2.jpg\n")
    with pytest.raises(ValueError, match=r"have no folder in .*: cellar"):
        load("indoor67", tmp_path, "test")


def test_sun_attribute(tmp_path):
    images = ["a/abbey/sun_b.jpg", "a/abbey/sun_a.jpg", "c/cave/sun_c.jpg"]
    for image in images:
        save_image(tmp_path / "SUNAttributeDB_Images/images" / image)
    votes = np.array([[0, 1], [1 / 3, 0], [0, 2 / 3]])
    tables = {
        "images": ("images", np.array([[i] for i in images], object)),
        "attributes": ("attributes", np.array([["cold"], ["natural light "]], object)),
        "attributeLabels_continuous": ("labels_cv", votes),
    }
    (tmp_path / "SUNAttributeDB").mkdir()
    for file, (key, value) in tables.items():
        savemat(tmp_path / f"SUNAttributeDB/{file}.mat", {key: value})
    ds = load("sun-attribute", tmp_path, "all")
    assert ds.ids == ["a/abbey/sun_b", "a/abbey/sun_a", "c/cave/sun_c"]  # the order of the table, whose rows are theirs
    assert ds.labels.tolist() == [0, 0, 1]
    assert np.array_equal(ds.extras["attributes"], votes)
    assert ds.info["attribute_names"] == ["cold", "natural light"]
    savemat(tmp_path / "SUNAttributeDB/attributeLabels_continuous.mat", {"labels_cv": votes[:2]})
    with pytest.raises(ValueError, match="labels_cv"):
        load("sun-attribute", tmp_path, "all")
    file = tmp_path / "SUNAttributeDB/attributeLabels_continuous.mat"
    savemat(file, {"labels_cv": 3 * votes})
    with pytest.raises(ValueError, match=r"attributeLabels_continuous\.mat: labels_cv must be shares"):
        load("sun-attribute", tmp_path, "all")
    for wrong in (lambda: savemat(file, {"labels": votes}), lambda: file.write_bytes(b"no matrix" * 40)):
        wrong()
        with pytest.raises(ValueError, match=r"attributeLabels_continuous\.mat: no MATLAB file with labels_cv"):
            load("sun-attribute", tmp_path, "all")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"attributeLabels_continuous\.mat"):
        load("sun-attribute", tmp_path, "all")
    savemat(file, {"labels_cv": votes})
    save_image(tmp_path / "SUNAttributeDB_Images/images/z/zoo/sun_9.jpg")
    with pytest.raises(ValueError, match=r"are not in images\.mat: z/zoo/sun_9"):
        load("sun-attribute", tmp_path, "all")


def labelme(*objects) -> str:
    nodes = "".join(
        f"<object><name>{name}</name><deleted>{deleted}</deleted><polygon>"
        + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
        + "</polygon></object>"
        for name, deleted, points in objects
    )
    return f"<annotation><filename>x.jpg</filename>{nodes}</annotation>"


def test_sun2012_polygons(tmp_path):
    base = tmp_path / "SUN2012"
    for image in ("a/abbey/sun_1", "k/kitchen/sun_2"):
        save_image(base / f"Images/{image}.jpg", (40, 30))
    triangle = [(5, 6), (15, 6), (10, 20)]
    text = labelme(
        ("\nsofa ", 0, triangle), ("lamp", 1, triangle), ("rug", 0, triangle[:2]),
        ("wall", 0, [(-3, 0), (50, 0), (50, 9)]), ("cat", 0, [(50, 0), (60, 0), (60, 9)]), (" ", 0, triangle),
    )  # fmt: skip
    write(base / "Annotations/a/abbey/sun_1.xml", text)
    with pytest.raises(ValueError, match=r"1 images in .* have no annotation in .*: k/kitchen/sun_2"):
        load("sun2012", tmp_path, "all")
    write(base / "Annotations/k/kitchen/sun_2.xml", labelme())
    ds = load("sun2012", tmp_path, "all")
    assert ds.boxes[0].tolist() == [[5, 6, 15, 20], [0, 0, 40, 9]]
    assert ds.boxes[1].shape == (0, 4)
    assert ds.extras["objects"] == [["sofa", "wall"], []]
    assert ds.extras["polygons"][0][0].tolist() == [list(p) for p in triangle]
    assert (ds.info["skipped"], ds.info["clipped"]) == (3, 1)
    assert ds.source.endswith("3 polygons skipped, 1 cut at the border")
    write(base / "Annotations/k/kitchen/sun_2.xml", labelme(("pot & pan", 0, triangle)))
    with pytest.raises(ValueError, match=r"sun_2\.xml: malformed XML"):
        load("sun2012", tmp_path, "all")


def test_points_of_labelme_lie_between_pixels(tmp_path):
    """An outline around all of the image is all of it: the tool counts px from the corner, 0 to the width."""
    base = tmp_path / "SUN2012"
    save_image(base / "Images/a/abbey/sun_1.jpg", (40, 30))
    window = [(10, 8), (15, 4), (16, 27), (10, 30)]
    text = labelme(("wall", 0, [(0, 0), (40, 0), (40, 30), (0, 30)]), ("window", 0, window))
    write(base / "Annotations/a/abbey/sun_1.xml", text)
    images = load("sun2012", tmp_path, "all")
    assert images.boxes[0].tolist() == [[0, 0, 40, 30], [10, 4, 16, 30]]
    assert images.info["clipped"] == 0
    assert polygon_mask(images.extras["polygons"][0][0], (40, 30)).all()
