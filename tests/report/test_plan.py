"""Profiles and their data, settings checked by name."""

import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from builders import PARAMETERS, make_notebook

from camlib import cli, datasets, store
from camlib.report import plan

TRAINING = {"trained_on": "ilsvrc2012", "train_options": {}, "eval_options": {}}


def planned(project, profile="auto"):
    return plan.read_planned(project / "reports" / profile / "01_x.params.yml")


def test_auto_takes_the_richest_profile_whose_data_is_there(project, monkeypatch):
    plan.write_plan("auto")
    assert planned(project).profile == "mini"
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name != "ilsvrc2012")
    plan.write_plan("auto")
    assert planned(project).profile == "tiny"
    assert planned(project).parameters["data"] == {"dataset": "tiny-imagenet-200"}
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: True)
    assert plan.write_plan("auto") == ["full (everything; days):", "  01_x"]
    assert planned(project).profile == "full"
    monkeypatch.setattr(plan, "has_gpu", lambda: False)
    plan.write_plan("auto")
    assert planned(project).profile == "tiny", "full is for machines with a GPU"


def test_auto_leaves_a_profile_alone_that_is_for_those_who_ask_for_it(project):
    (project / "params" / "full.yml").write_text("01_x: {seed: 7}\n")
    plan.write_plan("auto")
    assert planned(project).profile == "full", "its data are always there"
    profiles = (project / "params" / "profiles.yml").read_text()
    (project / "params" / "profiles.yml").write_text(profiles.replace("auto: gpu", "auto: never"))
    plan.write_plan("auto")
    assert planned(project).profile == "mini"
    plan.write_plan("full")
    assert planned(project, "full").parameters["seed"] == 7


def test_the_drawn_profile_runs_by_name_alone():
    assert plan.read_profiles()["drawn"]["auto"] == "never"
    assert all(planned.profile != "drawn" for planned in plan.choose_settings("auto").values())
    by_name = plan.choose_settings("drawn")
    assert set(by_name) == {"10_mapping_resolution", "90_summary"}
    assert len(by_name["10_mapping_resolution"].parameters["seeds"]) == 5


def test_a_profile_takes_from_another_what_its_own_file_does_not_give(project):
    (project / "params" / "full.yml").write_text("01_x: {seed: 7, data: {dataset: tiny-imagenet-200}}\n")
    (project / "params" / "full-lite.yml").write_text("01_x: {seed: 8}\n")
    with (project / "params" / "profiles.yml").open("a") as file:
        file.write("full-lite: {for: less, time: hours, auto: never, based_on: full}\n")
    assert plan.read_profile("full-lite")["01_x"] == {"seed": 8, "data": {"dataset": "tiny-imagenet-200"}}
    assert plan.read_profile("full")["01_x"]["seed"] == 7


def test_settings_that_change_nothing_are_no_richer_profile(project):
    (project / "params" / "full.yml").write_text("01_x: {}\n")
    plan.write_plan("auto")
    assert planned(project).profile == "mini"


def test_auto_keeps_those_of_several_targets_that_are_there(project, monkeypatch):
    targets = '\ntargets = [{"dataset": "synthetic-transfer"}]  # list of dict: t'
    make_notebook(project / "notebooks" / "01_x.ipynb", parameters=PARAMETERS + targets)
    names = [{"dataset": name} for name in ("sun397", "caltech101", "event8")]
    (project / "params" / "full.yml").write_text(yaml.safe_dump({"01_x": {"targets": names}}))
    plan.write_plan("auto")
    assert planned(project).profile == "mini", "none is there"
    monkeypatch.setattr(
        datasets, "is_available", lambda name, root=None, train=False: name in ("caltech101", "synthetic-objects")
    )
    lines = plan.write_plan("auto")
    assert planned(project).profile == "full"
    assert planned(project).parameters["targets"] == [{"dataset": "caltech101"}]
    assert [text.partition(":")[0] for text in planned(project).not_run] == ["sun397", "event8"]
    assert lines[:2] == ["full (everything; days):", "  01_x"]
    assert lines[2].startswith("  01_x, not run: sun397: ")
    with pytest.raises(FileNotFoundError, match=r"sun397: (.|\n)*event8|event8: (.|\n)*sun397"):
        plan.write_plan("full")


def test_auto_keeps_the_networks_whose_weights_are_there(project, monkeypatch):
    more = '\ntargets = []  # list: t\nnetworks = []  # list: n\ntraining = {}  # dict: t\nmapped = ""  # str: m'
    make_notebook(project / "notebooks" / "01_x.ipynb", parameters=PARAMETERS + more)
    networks = [
        {"label": "fc7", "model": "alexnet_fc7", "weights": "torchvision", "paper_row": ""},
        {"label": "pool", "model": "googlenet", "weights": "torchvision", "paper_row": ""},
        {"label": "own", "model": "googlenet_gap", "weights": "finetune", "paper_row": ""},
        {"label": "file", "model": "nin", "weights": "nin.pt", "paper_row": ""},
    ]
    settings = {"targets": [{"dataset": "event8"}], "networks": networks, "training": TRAINING}
    (project / "params" / "full.yml").write_text(yaml.safe_dump({"01_x": settings}))
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    there = {"event8", "synthetic-objects"}
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name in there)

    def labels():
        plan.write_plan("auto")
        return [network["label"] for network in planned(project).parameters.get("networks", [])]

    assert labels() == []
    assert planned(project).profile == "mini"
    for path in ("torch/hub/checkpoints/googlenet-1378be20.pth", "raw/nin.pt"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).touch()
    assert labels() == ["pool", "file"]
    there.add("ilsvrc2012")
    assert labels() == ["pool", "own", "file"]
    (project / "params" / "full.yml").write_text(yaml.safe_dump({"01_x": settings | {"mapped": "fc7"}}))
    assert labels() == []
    assert planned(project).profile == "mini", "a setting names the network that lacks its weights"


def test_what_settings_need_is_found_however_they_are_nested():
    network = {"model": "nin", "weights": "nowhere.pt"}
    settings = {"a": {"dataset": "svt"}, "b": [{"c": {"datasets": ["sun397", "svt"]}}], "d": {"e": [network]}}
    missing = plan.list_missing(settings)
    assert [text.partition(":")[0] for text in missing] == ["svt", "sun397", "weights"]
    assert plan.list_missing({"trained_on": "svt"}) == [], "nothing is trained"
    assert plan.list_missing({"trained_on": "svt", "n": network | {"weights": "train"}})[0].startswith("svt:")


def test_a_profile_without_its_data_says_what_is_missing_where_it_goes_and_how_to_get_it(project):
    with pytest.raises(FileNotFoundError) as error:
        plan.write_plan("tiny")
    message = str(error.value)
    assert "tiny-imagenet-200.zip" in message
    assert str(project / "raw") in message
    assert "90528d7ca1a48142e341f4ef8d21d0de" in message
    assert not (project / "reports").exists(), "nothing may have run"


def test_an_unchanged_plan_leaves_its_files_untouched(project):
    plan.write_plan("mini")
    path = project / "reports" / "mini" / "01_x.params.yml"
    before = path.stat().st_mtime_ns
    plan.write_plan("mini")
    assert path.stat().st_mtime_ns == before


def test_a_comment_or_a_touch_runs_nothing_again_and_a_changed_line_does(project, monkeypatch):
    code = shutil.copytree(Path(store.__file__).parent, project / "camlib")
    monkeypatch.setattr(store, "__file__", str(code / "store.py"))
    path = project / "reports" / "mini" / "01_x.params.yml"

    def plan_again():
        store._read_code.cache_clear()
        plan.write_plan("mini")
        return path.stat().st_mtime_ns

    before = plan_again()
    for file in [*code.rglob("*.py"), project / "notebooks" / "01_x.ipynb"]:
        file.touch()
        if file.suffix == ".py":
            file.write_text("# said otherwise\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    (code / "cli" / "__init__.py").write_text("print('another command line')\n")
    assert plan_again() == before
    (code / "boxes.py").write_text((code / "boxes.py").read_text(encoding="utf-8") + "\nMORE = 1\n")
    assert plan_again() > before
    store._read_code.cache_clear()


def test_reduced_settings_take_over_where_there_is_no_gpu(project, monkeypatch):
    (project / "params" / "tiny-cpu.yml").write_text("01_x: {seed: 5}\n")
    whole = {"data": {"dataset": "tiny-imagenet-200"}}
    assert plan.read_profile("tiny") == {"01_x": whole}
    monkeypatch.setattr(plan, "has_gpu", lambda: False)
    assert plan.read_profile("tiny") == {"01_x": whole | {"seed": 5}}


def test_a_changed_notebook_or_lock_changes_the_plan(project):
    plan.write_plan("mini")
    path = project / "reports" / "mini" / "01_x.params.yml"
    texts = [path.read_text()]
    make_notebook(project / "notebooks" / "01_x.ipynb", "print(seed + 1)")
    plan.write_plan("mini")
    texts.append(path.read_text())
    (project / "requirements.lock").write_text("torch==99\n")
    plan.write_plan("mini")
    texts.append(path.read_text())
    assert len(set(texts)) == 3


def test_what_no_longer_belongs_to_a_report_leaves_it(project):
    make_notebook(project / "notebooks" / "02_y.ipynb")
    plan.write_plan("mini")
    folder = project / "reports" / "mini"
    (folder / "02_y.json").write_text("{}")
    (project / "notebooks" / "02_y.ipynb").unlink()
    plan.write_plan("mini")
    assert [path.name for path in folder.iterdir()] == ["01_x.params.yml"]


def test_a_file_that_is_no_plan_is_named(project):
    path = project / "plan.yml"
    for text in ("profile: mini\n", "a: [", "7\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"plan\.yml: not a plan of one notebook"):
            plan.read_planned(path)


def test_misspelt_names_are_errors(project):
    with pytest.raises(ValueError, match="unknown profile 'tinny'"):
        plan.write_plan("tinny")
    (project / "params" / "tiny.yml").write_text("01_x: {sedd: 1}\n")
    with pytest.raises(ValueError, match=r"tiny\.yml: 01_x has no parameter 'sedd'; it has data, seed, report_dir"):
        plan.write_plan("tiny")
    (project / "params" / "tiny.yml").write_text("01_y: {seed: 1}\n")
    with pytest.raises(ValueError, match="no notebook is called '01_y'"):
        plan.write_plan("tiny")
    with pytest.raises(ValueError, match="has no parameter 'sead'"):
        cli.run(project / "notebooks" / "01_x.ipynb", project / "out", None, ["sead=3"])


def test_a_parameters_cell_must_be_one_cell_of_literals(project):
    path = make_notebook(project / "notebooks" / "02_y.ipynb", parameters="import os")
    with pytest.raises(ValueError, match="assignments of literals"):
        plan.read_parameters(path)
    notebook = nbformat.read(path, 4)
    notebook.cells = notebook.cells[:1]
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="0 cells are tagged"):
        plan.read_parameters(path)


def test_a_partial_profile_runs_what_is_there_and_names_the_rest(project, monkeypatch):
    profiles = {"pretrained": {"for": "ready weights", "time": "minutes", "partial": True}}
    profiles["mini"] = {"for": "drawn data", "time": "minutes"}
    (project / "params" / "profiles.yml").write_text(yaml.safe_dump(profiles, sort_keys=False))
    make_notebook(project / "notebooks" / "02_y.ipynb")
    make_notebook(project / "notebooks" / "90_summary.ipynb", parameters='report_dir = "."  # str: folder')
    networks = [
        {"label": "one", "model": "mini_gap", "weights": "random", "paper_row": ""},
        {"label": "two", "model": "mini_gap", "weights": "two.safetensors", "paper_row": ""},
    ]
    more = "\nnetworks = []  # list: n\nchosen = []  # list: labels\nalso = []  # list: datasets"
    make_notebook(project / "notebooks" / "01_x.ipynb", parameters=PARAMETERS + more)
    first = {"networks": networks, "chosen": ["one", "two"], "also": [{"data": {"dataset": "sun397"}}]}
    settings = {"01_x": first, "02_y": {"data": {"dataset": "svt"}}}
    (project / "params" / "pretrained.yml").write_text(yaml.safe_dump(settings))
    lines = plan.write_plan("pretrained")
    kept = planned(project, "pretrained")
    assert [network["label"] for network in kept.parameters["networks"]] == ["one"]
    assert kept.parameters["chosen"] == ["one"]
    assert kept.parameters["also"] == []
    assert not (project / "reports" / "pretrained" / "02_y.params.yml").exists()
    assert "  90_summary, not run: 02_y: svt: missing: svt1/train.xml" in lines
    (project / "params" / "pretrained.yml").write_text(yaml.safe_dump({"02_y": settings["02_y"]}))
    with pytest.raises(FileNotFoundError, match="svt: missing"):
        plan.write_plan("pretrained")
