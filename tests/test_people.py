"""The commands for people, as processes where streams and exit codes matter."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
import torchvision
from builders import make_notebook, save_image, save_network
from PIL import Image
from typer.testing import CliRunner

from camlib import cli, datasets
from camlib.cli import people
from camlib.models import list_models
from camlib.models.adapters import adapt_torchvision

PHOTOS = Path(skimage.__file__).parent / "data"


def run_camlib(*arguments, folder, stdin=b"", **variables):
    """`python -W error -m camlib ...` in a folder."""
    command = [sys.executable, "-W", "error", "-m", "camlib", *map(str, arguments)]
    environment = os.environ | variables
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, env=environment, check=False)


def test_good_photographs_are_done_and_bad_ones_named(tmp_path):
    cat = Image.open(PHOTOS / "chelsea.png")
    (tmp_path / "trip").mkdir()
    cat.save(tmp_path / "trip" / "cat.png")
    cat.convert("CMYK").save(tmp_path / "cat.jpg")
    grey = np.asarray(cat.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    cat.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", cat.size)])
    exif = Image.Exif()
    exif[0x0112] = 6
    cat.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    save_image(tmp_path / "one.png", (1, 1))
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty").mkdir()
    good = ["trip", "cat.jpg", "deep.png", "moving.gif", "turned.jpg", "one.png", "-"]
    stdin = (tmp_path / "trip" / "cat.png").read_bytes()
    done = run_camlib("cam", *good, "text.jpg", "missing.jpg", "empty", "--top", 2, folder=tmp_path, stdin=stdin)
    assert done.returncode == 1, done.stderr.decode()
    errors = done.stderr.decode().splitlines()
    assert [line.split(":")[:2] for line in errors] == [
        ["camlib", " empty"], ["camlib", " text.jpg"], ["camlib", " missing.jpg"],
    ]  # fmt: skip
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(good)
    assert all("cat" in line.partition(", box")[0].partition(": ")[2] for line in lines if "one.png" not in line)
    assert "(the first of 2 frames)" in lines[3]
    assert "(turned upright as its EXIF data say)" in lines[4]
    written = sorted(path.name for path in (tmp_path / "cam").glob("*.json"))
    names = ["cat_2_cam", "cat_cam", "deep_cam", "moving_cam", "one_cam", "stdin_cam", "turned_cam"]
    assert written == [f"{name}.json" for name in names]
    records = [json.loads((tmp_path / "cam" / name).read_text()) for name in written]
    assert {tuple(record["size"]) for record in records} == {(451, 300), (1, 1)}
    with Image.open(tmp_path / "cam" / "turned_cam.png") as overlay:
        assert overlay.size == (451, 300)


def test_json_lines_are_json_and_nothing_else(tmp_path):
    shutil.copy(PHOTOS / "chelsea.png", tmp_path)
    asked = ["--json", "--classes", "Egyptian cat", "--classes", 281, "--rule", "released", "--out", "maps"]
    done = run_camlib("cam", "chelsea.png", PHOTOS / "coffee.png", *asked, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = map(json.loads, done.stdout.splitlines())
    assert [one["name"] for one in first["classes"]] == ["Egyptian cat", "tabby"]
    assert first["classes"][0]["score"] > 0.2 > second["classes"][0]["score"]
    assert len(first["classes"][0]["boxes"]) == 2
    assert (tmp_path / first["files"]["overlay"]).name == "chelsea_cam_Egyptian_cat.png"


def test_nothing_done_is_exit_code_2(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run_camlib("cam", "empty", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"empty: no photographs in this folder (expected .jpg" in done.stderr
    assert not (tmp_path / "cam").exists()


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_what_was_written_is_not_taken_for_photographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "dog.png")
    for _ in range(2):
        result = invoke("cam", ".", "--top", 1)
        assert result.exit_code == 0, result.output
        assert len(result.stdout.splitlines()) == 1
    assert sorted(p.name for p in (tmp_path / "cam").iterdir()) == ["dog_cam.json", "dog_cam.npz", "dog_cam.png"]
    result = invoke("cam", ".", "--out", ".")
    assert (result.exit_code, "expected two folders" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet5"], "unknown model 'resnet5'|unknown model 'timm/resnet5'|did you mean"),
        (["--model", "mini_gap"], "mini_gap comes without weights"),
        (["--model", "vgg16_gap", "--weights", "torchvision"], "end before its last layers"),
        (["--classes", "egiptian cat"], "did you mean egyptian cat"),
        (["--weights", "nowhere.pt"], r"nowhere\.pt"),
    ],
)
def test_wrong_choices_are_said_once_before_anything_is_written(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "dog.png")
    result = invoke("cam", "dog.png", *arguments)
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.stderr.replace("│", " ").split()))
    assert [p.name for p in tmp_path.iterdir()] == ["dog.png"]


@pytest.mark.parametrize("protocol", ["text", "released"])
def test_a_dataset_is_scored_from_the_shell(tmp_path, own_cache, protocol):
    weights = save_network(tmp_path, datasets.load("synthetic-objects"))
    told = ["--model", "mini_gap", "--weights", weights, "--protocol", protocol, "--limit", 24]
    result = invoke("localize", "synthetic-objects", *told)
    assert result.exit_code == 0, result.output
    assert "24 images (val)" in result.stdout
    table = result.stdout.splitlines()[-4:]
    assert "top-1 classification" in table[0]
    assert "top-5 localization" in table[0]
    assert "class known" in table[0]
    assert [line.split("  ")[0].partition(" (")[0] for line in table[1:]] == [
        "the maps", "whole image", "best centre box",
    ]  # fmt: skip
    assert list((own_cache / "cache" / "shards").rglob("*.npz")), "a run that was killed goes on"
    assert invoke("localize", "synthetic-objects", *told).stdout == result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthetic-objects", "--limit", "5"], "expected a network of the dataset's classes"),
        (["bundled-photos"], "5 images have no box"),
        (["nowhere"], "unknown dataset 'nowhere'"),
    ],
)
def test_what_can_not_be_scored_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(cli.app, ["localize", *arguments], catch_exceptions=False)


def test_models_lists_what_can_be_built_and_which_weights_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    save_image(tmp_path / "weights" / "x.png")
    (tmp_path / "weights" / "own.safetensors").write_bytes(b"")
    result = invoke("models")
    assert result.exit_code == 0, result.exception
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if line)
    assert rows["efficientnet_lite0"] == "bundled: there"
    assert rows["vgg16_gap"].startswith("released: missing; torchvision: ")
    assert rows["mini_gap"].startswith("none")
    assert rows["resnet50"].startswith("torchvision: ")
    assert rows["files"].endswith("own.safetensors")
    assert set(rows) <= {*list_models(), "NETWORK", "timm/NAME", "files"}
    assert not {"vgg16", "vit_b_16", "convnext_tiny"} & set(rows)


@pytest.mark.parametrize("name", ["alexnet", "convnext_tiny", "maxvit_t", "mobilenet_v3_small", "vgg11", "vit_b_32"])
def test_networks_that_are_not_listed_are_refused(name):
    assert name.startswith(people.NO_GAP)
    with torch.device("meta"):
        net = torchvision.models.get_model(name)
    with pytest.raises(ValueError, match="does not end in global average pooling"):
        adapt_torchvision(name, net.eval(), "avg")


def test_a_report_is_rendered_again_without_running(project):
    out = project / "reports" / "mini"
    cli.plan("mini")
    notebook = make_notebook(project / "notebooks" / "01_x.ipynb")
    cli.run(notebook, out, out / "01_x.params.yml", None)
    ran = (out / "01_x.ipynb").stat().st_mtime_ns
    shutil.copy(out / "01_x.ipynb", out / "02_y.partial.ipynb")
    for given in ("mini", out):
        (out / "01_x.html").unlink(missing_ok=True)
        assert invoke("report", given).exit_code == 0
        assert (out / "01_x.html").exists()
    assert (out / "index.html").exists()
    assert not (out / "02_y.partial.html").exists()
    assert (out / "01_x.ipynb").stat().st_mtime_ns == ran
    with pytest.raises(FileNotFoundError, match="no notebook has run there"):
        CliRunner().invoke(cli.app, ["report", "tiny"], catch_exceptions=False)


def test_help_names_the_commands_for_people_first_and_the_shell_completes_them(tmp_path):
    text = run_camlib("--help", folder=tmp_path).stdout.decode()
    commands = ["cam ", "localize ", "models ", "report ", "data ", "plan "]
    places = [text.index(f"│ {name}") for name in commands]
    assert places == sorted(places)
    assert "--install-completion" in text
    words = {"_CAMLIB_COMPLETE": "complete_bash", "COMP_WORDS": "camlib localize tiny", "COMP_CWORD": "2"}
    script = "import sys; sys.argv = ['camlib']; from camlib.cli import app; app(prog_name='camlib')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | words)
    assert done.stdout.split() == ["tiny-imagenet-200"]
