"""Photographs of packages, of a file, of an address (from a local server)."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import skimage.data
from builders import save_image

from camlib.datasets import load, load_photos
from camlib.datasets.photos import read_photo


def test_the_bundled_photographs_are_scikit_images():
    images = load("bundled-photos", split="all")
    assert images.ids == ["chelsea", "coffee", "camera", "rocket", "motorcycle_left"]
    assert not images.synthetic
    assert "whole" not in images.info
    assert np.array_equal(np.asarray(images[0]), skimage.data.chelsea())
    assert [image.mode for image in map(images.__getitem__, range(5))] == ["RGB"] * 5
    few = load("bundled-photos", split="all", n=4)
    assert (few.ids, few.info["whole"]) == (images.ids[:4], 5)


def test_a_file_of_ones_own(tmp_path):
    save_image(tmp_path / "dog.jpg", (40, 30))
    images = load_photos([tmp_path / "dog.jpg"])
    assert (images.ids, images.sizes.tolist()) == (["dog"], [[40, 30]])
    with pytest.raises(FileNotFoundError, match=r"cat\.jpg: no such photograph"):
        load_photos([tmp_path / "cat.jpg"])
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(OSError, match=r"text\.jpg"):
        load_photos([tmp_path / "text.jpg"])


def test_an_address_is_downloaded_once(tmp_path, own_cache):
    save_image(tmp_path / "served" / "dog.jpg", (40, 30))
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *given):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/dog.jpg"
        first, second = load_photos([address]), load_photos([address])
        assert read_photo(address).source == address
        with pytest.raises(OSError, match=r"/cat\.jpg: can't be downloaded"):
            load_photos([address.replace("dog", "cat")])
        server.shutdown()
    assert first.sizes.tolist() == second.sizes.tolist() == [[40, 30]]
    assert asked.count("/dog.jpg") == 1
    assert str(own_cache) in first.files[0]
