"""CUB-200-2011 against a small tree in its official layout."""

import numpy as np
import pytest
from builders import save_image, write

from camlib.datasets import load


def test_cub200(tmp_path):
    base = tmp_path / "CUB_200_2011"
    paths = ["001.Black_footed_Albatross/a.jpg", "001.Black_footed_Albatross/b.jpg", "002.Laysan_Albatross/c.jpg"]
    for path in paths:
        save_image(base / "images" / path, (40, 30))
    write(base / "classes.txt", "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    write(base / "images.txt", "".join(f"{i} {p}\n" for i, p in enumerate(paths, 1)))
    write(base / "image_class_labels.txt", "1 1\n2 1\n3 2\n")
    write(base / "train_test_split.txt", "1 1\n2 0\n3 1\n")
    write(base / "bounding_boxes.txt", "1 2.0 3.0 10.0 12.0\n2 0.0 0.0 40.0 30.0\n3 5.0 6.0 36.0 7.0\n")
    train, test = (load("cub200", tmp_path, split) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 1]
    assert train.class_names == ["Black footed Albatross", "Laysan Albatross"]
    assert [b.tolist() for b in train.boxes] == [[[2, 3, 12, 15]], [[5, 6, 40, 13]]]  # the second ends a pixel outside
    assert test.ids == ["001.Black_footed_Albatross/b"]
    write(base / "bounding_boxes.txt", "1 2.0 3.0 10.0 12.0\n2 0.0 0.0 40.0 30.0\n3 5.0 6.0 37.0 7.0\n")
    with pytest.raises(ValueError, match=r"bounding_boxes\.txt, image 3 .*box \(5, 6, 42, 13\)"):
        load("cub200", tmp_path, "train")
    write(base / "train_test_split.txt", "1 1\n2 0\n")
    with pytest.raises(ValueError, match=r"not in train_test_split\.txt: 3"):
        load("cub200", tmp_path, "train")
    for file, text, message in (
        ("train_test_split", "1 1\n2 0\n3 2\n", r"marks are \['0', '1', '2'\], expected 0 and 1"),
        ("train_test_split", "1 1\n2 0\n3\n", "expected a number and 1 more in a line, got '3'"),
        ("image_class_labels", "1 1\n2 1\n3 9\n", "image 3 is of another class"),
        ("bounding_boxes", "1 2 3 10 12\n2 0 0 40 30\n3 5 6 x 7\n", "could not convert.*x"),
    ):
        kept = (base / f"{file}.txt").read_text()
        write(base / f"{file}.txt", text)
        with pytest.raises(ValueError, match=rf"{file}\.txt: .*{message}"):
            load("cub200", tmp_path, "train")
        write(base / f"{file}.txt", "1 1\n2 0\n3 1\n" if file == "train_test_split" else kept)
    save_image(base / "images/003.New/d.jpg")
    with pytest.raises(ValueError, match=r"1 images in .*CUB_200_2011 are not in images\.txt: 003\.New/d\.jpg"):
        load("cub200", tmp_path, "train")
    (base / "train_test_split.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_test_split\.txt"):
        load("cub200", tmp_path, "train")


def test_real_boxes_lie_between_edges_that_count_from_zero(shared_data):
    """None of the real boxes is cut; some begin at 0, and some end exactly at the border."""
    base = shared_data("CUB_200_2011")
    in_file = dict(line.split(maxsplit=1) for line in (base / "bounding_boxes.txt").read_text().splitlines())
    paths = {line.split()[1][:-4]: line.split()[0] for line in (base / "images.txt").read_text().splitlines()}
    counts = np.zeros(2, int)
    for split in ("train", "test"):
        images = load("cub200", base.parent, split)
        boxes = np.concatenate(images.boxes)
        given = np.array([in_file[paths[image]].split() for image in images.ids], float)
        assert np.array_equal(boxes, np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], 1))
        counts += (boxes[:, :2] == 0).sum(), (boxes[:, 2:] == images.sizes).sum()
    assert (counts > 0).all()
