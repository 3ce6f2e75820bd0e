"""The house: rooms small enough and few enough, arrows down only, light doors, public names where they always were."""

import ast
import graphlib
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import camlib

PACKAGE = Path(camlib.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
PUBLIC = sorted(room for room in ROOMS if not room.startswith("_"))
# Rooms that take arrays and give arrays: of the datasets they may know the weights as files alone.
METHOD = ("_kernels", "boxes", "caffe", "cam", "metrics", "models", "saliency", "stats")


def module_name(path):
    return ".".join(["camlib", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def imported_modules(path):
    """The modules of camlib that a file imports, at its top or inside a function, but not for type checking alone."""
    found = set()
    waiting = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{name.name}" for name in node.names}
            modules = {name for name in below if (PACKAGE.parent / name.replace(".", "/")).with_suffix(".py").exists()}
            folders = {name for name in below if (PACKAGE.parent / name.replace(".", "/")).is_dir()}
            found |= modules | folders if len(modules | folders) == len(below) else modules | folders | {node.module}
        waiting += ast.iter_child_nodes(node)
    return {name for name in found if name.startswith("camlib.")}


IMPORTS = {module_name(path): imported_modules(path) for path in FILES}


def room_of(module):
    return module.split(".")[1] if "." in module else ""


def test_there_are_few_rooms_and_the_map_names_each():
    assert len(PUBLIC) <= 18
    assert camlib.__doc__
    assert [room for room in PUBLIC if room not in camlib.__doc__] == []
    readme = (PACKAGE.parent / "README.md").read_text()
    assert [room for room in PUBLIC if room not in readme] == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_has_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_arrows_between_rooms_make_no_circle():
    graph = {}
    for module, others in IMPORTS.items():
        graph.setdefault(room_of(module), set()).update(room_of(other) for other in others)
    for room, others in graph.items():
        others.discard(room)
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("store") < order.index("datasets") < order.index("evaluate") < order.index("report")


def test_arrows_between_files_make_no_circle():
    order = list(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError
    assert set(order) >= set(IMPORTS)


def test_rooms_import_only_what_lies_below_them():
    assert IMPORTS["camlib.store"] == set()
    for module, others in IMPORTS.items():
        below = {room_of(other) for other in others}
        if room_of(module) in METHOD:
            rooms = {room_of(other) for other in others if other != "camlib.datasets.weights"}
            assert rooms <= {*METHOD, "store"}, module
        if room_of(module) not in ("experiments", ""):
            assert "experiments" not in below, f"{module}: only notebooks use the experiments"
        if room_of(module) not in ("report", "cli", "__main__"):
            assert not below & {"report", "cli"}, module


@pytest.mark.parametrize(
    "code",
    [
        "import camlib.datasets",
        "from camlib.report.plan import choose_settings, format_plans; format_plans('mini', choose_settings('mini'))",
        "from camlib.cli import app; app(['--help'], standalone_mode=False)",
        "from camlib.cli import app; app(['run', '--help'], standalone_mode=False)",
        "from camlib.cli import app; app(['cam', '--help'], standalone_mode=False)",
        "from camlib.cli import app; app(['data', 'get', '--help'], standalone_mode=False)",
        "import camlib; assert 'explain' in dir(camlib)",
        "from camlib.report.trainings import list_trainings; assert list_trainings('full', check_data=False)",
    ],
)
def test_doors_open_without_torch_and_scipy(code):
    after = f"import sys; {code}; print(sorted({{'torch', 'scipy', 'pandas'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", after], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_of_a_layer_is_kept_for_the_next_unless_the_shell_says_otherwise():
    code = (
        "import resource, torch\ndef count(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "{}\ntorch.ones(2**24)\nbefore = count()\nfor _ in range(20): torch.ones(2**24)\n"
        "print((count() - before) // 2**14)"
    )

    def count_fresh_blocks(line, **given):  # of 64 MiB in pages of 4 KiB
        command = [sys.executable, "-c", code.format(line)]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
        return int(subprocess.run(command, env=env | given, capture_output=True, text=True, check=True).stdout)

    if count_fresh_blocks("") < 19:
        pytest.skip("pages of this machine are larger")
    assert count_fresh_blocks("import camlib") <= 9
    assert count_fresh_blocks("import camlib", MALLOC_ARENA_MAX="8") >= 19


@pytest.mark.parametrize(
    "name",
    [
        "models.build_model", "models.GAPNet", "train.load_network", "caffe.read_caffemodel", "caffe.load_released",
        "cam.class_activation_maps", "cam.resize_maps", "cam.normalize_maps", "cam.ten_crop", "cam.merge_ten_crop",
        "boxes.largest_component_box", "boxes.threshold_boxes", "boxes.released_boxes", "boxes.box_iou",
        "metrics.localization_errors", "metrics.correct_boxes", "metrics.max_box_accuracy", "metrics.threshold_boxes",
        "stats.bootstrap_interval", "metrics.bootstrap_interval", "evaluate.localize", "evaluate.localize_released",
        "datasets.load", "datasets.Dataset", "datasets.is_available", "datasets.describe_missing",
        "datasets.random_split", "datasets.crop_images", "explanation.explain",
    ],
)  # fmt: skip
def test_public_names_stay_where_they_are(name):
    module, _, attribute = name.partition(".")
    assert callable(getattr(importlib.import_module(f"camlib.{module}"), attribute))


def test_names_for_people_stand_at_the_top():
    from camlib.explanation import explain
    from camlib.train import load_network

    assert camlib.explain is explain
    assert camlib.load_network is load_network
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        _ = camlib.explian
