"""The command line as a process: wrong input ends with one line on stderr and an exit code, never a traceback."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUICK = "notebooks/00_quickstart.ipynb"


def run_camlib(*arguments, **variables):
    command = [sys.executable, "-W", "error", "-m", "camlib", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | variables, check=False)


def check_one_line(done, code, message):
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("camlib: ")
    assert message in lines[0]


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("plan", 2, "Missing argument 'profile'"),
        ("plna mini", 2, "No such command 'plna'. Did you mean 'plan'?; see `camlib --help`"),
        ("plan mini extra", 2, "unexpected extra argument"),
        (f"run {QUICK}", 2, "Missing option '--out'; see `camlib run --help`"),
        ("plan nonsense", 1, "unknown profile 'nonsense'; expected one of auto"),
        ("plan ful", 1, "unknown profile 'ful'; did you mean full"),
        ("plan ../../evil", 1, "unknown profile '../../evil'"),
        ("run nosuch.ipynb --out OUT", 1, "nosuch.ipynb: no such notebook"),
        ("run README.md --out OUT", 1, "README.md: not a notebook"),
        (f"run {QUICK} --out README.md", 1, "README.md"),
        (f"run {QUICK} --out OUT --params nosuch.yml", 1, "nosuch.yml: no such file"),
        (f"run {QUICK} --out OUT --params LIST", 1, "list.yml: holds list; expected a mapping"),
        (f"run {QUICK} --out OUT --params BROKEN", 1, "broken.yml: not YAML"),
        (f"run {QUICK} --out OUT -s image", 1, "--set image: expected name=value"),
        (f"run {QUICK} --out OUT -s image=five", 1, "image is 'five': expected int"),
        ("render README.md", 1, "README.params.yml: no such file"),
        ("index OUT", 1, "holds no *.params.yml"),
        ("evidence --run nonsense", 1, "unknown profile 'nonsense'"),
        ("data gte cub200", 2, "No such command 'gte'"),
        ("data get", 2, "Missing argument 'NAME...'; see `camlib data get --help`"),
        ("cam dog.jpg --tpo 3", 2, "No such option: --tpo (Possible options: --out, --top); see `camlib cam --help`"),
        ("cam dog.jpg --top 0", 2, "Invalid value for '--top': Input should be greater than or equal to 1; see"),
        ("data get cub20", 1, "unknown dataset 'cub20'; did you mean cub200"),
        ("data unpack nonsense", 1, "unknown dataset 'nonsense'; expected one of"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, command, code, message):
    (tmp_path / "list.yml").write_text("- a\n")
    (tmp_path / "broken.yml").write_text("a: [1, 2\n")
    places = {"OUT": tmp_path / "out", "LIST": tmp_path / "list.yml", "BROKEN": tmp_path / "broken.yml"}
    check_one_line(run_camlib(*(places.get(word, word) for word in command.split())), code, message)
    assert not (tmp_path / "out").exists(), "nothing may have run"


def test_a_profile_that_lacks_data_names_it_in_one_line_and_lists_the_rest(tmp_path):
    done = run_camlib("plan", "full", CAMLIB_DATA=str(tmp_path))
    check_one_line(done, 1, "profile full needs data that is not there: action40, caltech101")
    assert "ILSVRC2012_img_val.tar" in done.stdout
    assert str(tmp_path) in done.stdout


@pytest.mark.parametrize("command", ["plan auto", "data", f"run {QUICK} --out OUT"])
def test_a_data_folder_that_is_none_stops(tmp_path, command):
    place = ROOT / "README.md" if command == "data" else tmp_path / "nowhere"
    words = [str(tmp_path / "out") if word == "OUT" else word for word in command.split()]
    check_one_line(run_camlib(*words, CAMLIB_DATA=str(place)), 1, f"CAMLIB_DATA is '{place}'")


def test_without_arguments_the_commands_are_listed():
    done = run_camlib()
    assert (done.returncode, done.stderr) == (0, "")
    assert "render" in done.stdout


def test_the_version_is_said():
    done = run_camlib("--version", "plan", "nonsense")
    assert (done.returncode, done.stdout) == (0, f"camlib {metadata.version('camlib')}\n")


def test_a_broken_results_file_is_named(tmp_path):
    (tmp_path / "01_x.params.yml").write_text("profile: mini\nparameters: {}\nnot_run: []\n")
    (tmp_path / "01_x.json").write_text("{")
    check_one_line(run_camlib("index", tmp_path), 1, f"{tmp_path / '01_x.json'} is not a whole results file")
