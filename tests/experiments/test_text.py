"""Images with words against outdoor scenes."""

import numpy as np
import pytest
from builders import save_image, write

from camlib.experiments import text


def test_outdoor_scenes_are_told_by_their_names():
    names = ["desert/sand", "church/outdoor", "gazebo/exterior", "mountain snowy"]
    assert text.is_outdoor(names).all()
    assert not text.is_outdoor(["kitchen", "church/indoor", "bow window/indoor", "desert", "aquarium"]).any()
    assert not {name for name in text.OUTDOOR if "indoor" in name or "interior" in name}


def test_negatives_are_outdoor_scenes(tmp_path, monkeypatch):
    """SUN397 as it is read: three outdoor images among six."""
    images = [(f"a/{name}", k) for name in ("alley", "attic") for k in range(3)]
    for folder, k in images:
        save_image(tmp_path / f"SUN397/{folder}/sun_{k}.jpg")
    lists = tmp_path / "SUN397/Partitions"
    write(lists / "ClassName.txt", "/a/alley\n/a/attic\n")
    for kind in ("Training", "Testing"):
        write(lists / f"{kind}_01.txt", "".join(f"/{folder}/sun_{k}.jpg\n" for folder, k in images))
    listed = []
    for k in range(4):
        save_image(tmp_path / f"svt1/img/{k}.jpg")
        box = '<taggedRectangle height="5" width="10" x="1" y="2"><tag>CAFE</tag></taggedRectangle>'
        listed.append(f"<image><imageName>img/{k}.jpg</imageName>{box}</image>")
    write(tmp_path / "svt1/test.xml", f"<tagset>{''.join(listed[:3])}</tagset>")
    write(tmp_path / "svt1/train.xml", f"<tagset>{listed[3]}</tagset>")
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    sun = {"dataset": "sun397", "split": "train"}
    split = text.load_text({"dataset": "svt", "split": "test"}, sun, 0.5, 0)
    assert sorted(split.others.ids) == ["a/alley/sun_0", "a/alley/sun_1", "a/alley/sun_2"]
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(split.held) == np.count_nonzero(~split.fit[3:])
    with pytest.raises(ValueError, match="sun397: 3 images of outdoor scenes; expected at least 4"):
        text.load_text({"dataset": "svt", "split": "all"}, sun, 0.5, 0)
