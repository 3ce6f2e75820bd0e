"""Street View Text against a small tree in its official layout."""

import pytest
from builders import save_image, write

from camlib.datasets import load


def svt_image(name: str, *words) -> str:
    tags = "".join(
        f'<taggedRectangle height="{h}" width="{w}" x="{x}" y="{y}"><tag>{text}</tag></taggedRectangle>'
        for text, x, y, w, h in words
    )
    return f"<image><imageName>img/{name}</imageName><taggedRectangles>{tags}</taggedRectangles></image>"


def test_street_view_text(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        save_image(tmp_path / "svt1/img" / name, (40, 30))
    write(tmp_path / "svt1/train.xml", f"<tagset>{svt_image('b.jpg', ('CAFE', 1, 2, 10, 5))}</tagset>")
    words = (("OUT", 50, 2, 10, 5), ("BAR", -2, 2, 10, 5), ("INN", 3, 3, 4, 4))
    write(tmp_path / "svt1/test.xml", f"<tagset>{svt_image('a.jpg', *words)}</tagset>")
    assert load("svt", tmp_path, "train").boxes[0].tolist() == [[1, 2, 11, 7]]
    test = load("svt", tmp_path, "test")
    assert test.boxes[0].tolist() == [[0, 2, 8, 7], [3, 3, 7, 7]]
    assert test.extras == {"words": [["BAR", "INN"]]}
    assert test.info == {"clipped": 2}
    assert load("svt", tmp_path, "all").ids == ["img/b", "img/a"]
    write(tmp_path / "svt1/test.xml", f"<tagset>{svt_image('a.jpg', ('BAR', 'x', 2, 10, 5))}</tagset>")
    with pytest.raises(ValueError, match=r"test\.xml.*lacks a number"):
        load("svt", tmp_path, "test")
    for text in (svt_image("a.jpg") * 2, "<image><address/></image>"):
        write(tmp_path / "svt1/test.xml", f"<tagset>{text}</tagset>")
        with pytest.raises(ValueError, match=r"test\.xml: expected each image once, with its imageName"):
            load("svt", tmp_path, "test")
    write(tmp_path / "svt1/test.xml", "<tagset>")
    with pytest.raises(ValueError, match=r"test\.xml: malformed XML"):
        load("svt", tmp_path, "test")


def test_the_first_words_of_the_official_list(tmp_path):
    """14_03.jpg, 1280 x 880 px, with its published box; and a box that ends at the corner, which is not cut."""
    for part, name in (("train", "a.jpg"), ("test", "14_03.jpg")):
        save_image(tmp_path / f"svt1/img/{name}", (1280, 880))
        words = [("LIVING", 375, 253, 236, 75), ("edge", 1000, 800, 280, 80)]
        write(tmp_path / f"svt1/{part}.xml", f"<tagset>{svt_image(name, *words)}</tagset>")
    images = load("svt", tmp_path, "test")
    assert images.boxes[0].tolist() == [[375, 253, 611, 328], [1000, 800, 1280, 880]]
    assert images.info["clipped"] == 0
