"""Verdicts: for every registered claim each word comes out of data made for it; numbers get their status."""

import numpy as np
import pytest
from builders import dataset_of

from camlib.report import provenance, verdicts
from camlib.report.claims import BOTH, CLAIMS
from camlib.report.paper import NUMBERS, Number
from camlib.report.results import Experiment
from camlib.stats import measure_effect

DECIDED = [key for key, claim in CLAIMS.items() if not claim.not_run]
N = 600


def decide(tmp_path, key, values, synthetic=False):
    """A record in which a claim's primary endpoint is measured as values (N,) or (S, N)."""
    n, seeds = np.shape(values)[-1], len(values) if np.ndim(values) == 2 else 1
    exp = Experiment(CLAIMS[key].notebook, {"seed": 0}, tmp_path)
    exp.uses(dataset_of(np.zeros((4, 2, 2, 3), np.uint8), [0, 1] * 2, synthetic=synthetic))
    exp.decide(key, measure_effect(values), n=n, seeds=seeds)
    about = {"networks": {"wide": "random"}, "datasets": [], "settings": {"headline": "narrow"}}
    return {"notebook": exp.notebook, "claims": exp.claims, "values": []} | about


def simulate(key, mean, sd, n=N, seed_sd=0.0):
    """Differences around a mean: (5, n) for claims about trainings, else (n,)."""
    rng = np.random.default_rng(7)
    shape = (5, n) if CLAIMS[key].over_seeds else (n,)  # five seeds do no harm on photographs
    values = rng.normal(0, sd, shape)
    values += mean - values.mean(-1, keepdims=True)
    return values + (np.array([-2, -1, 0, 1, 2])[:, None] * seed_sd if values.ndim == 2 else 0)


def word(tmp_path, key, values, synthetic=False):
    judged = verdicts.judge_claims([decide(tmp_path, key, values, synthetic)])
    return judged[key][synthetic].word


@pytest.mark.parametrize("key", DECIDED)
def test_each_verdict_comes_out_where_it_is_the_truth(tmp_path, key):
    claim = CLAIMS[key]
    far, near = 5 * claim.margin, 0.01 * claim.margin
    noise = claim.margin
    loud = claim.margin * np.sqrt(N) * 3
    if claim.predicted == "equal":
        assert word(tmp_path, key, simulate(key, near, noise)) == "holds"
        assert word(tmp_path, key, simulate(key, far, noise)) == "opposite"
        assert word(tmp_path, key, simulate(key, -far, noise)) == "opposite"
    else:
        sign = 1 if claim.predicted == "greater" else -1
        assert word(tmp_path, key, simulate(key, sign * far, noise)) == "holds"
        assert word(tmp_path, key, simulate(key, -sign * far, noise)) == "opposite"
        assert word(tmp_path, key, simulate(key, 0.0, noise)) == "not seen"
    assert word(tmp_path, key, simulate(key, near, loud)) == "inconclusive"


@pytest.mark.parametrize("key", [key for key in DECIDED if CLAIMS[key].over_seeds == BOTH])
def test_images_that_agree_and_seeds_that_do_not_are_inconclusive(tmp_path, key):
    sign = {"greater": 1, "less": -1, "equal": 1}[CLAIMS[key].predicted]
    scattered = simulate(key, sign * 3.0, 5.0, n=5000, seed_sd=6.0)
    over_images = measure_effect(scattered.mean(0))
    assert over_images.p_differs() < 1e-6
    assert word(tmp_path, key, scattered) == "inconclusive"
    one = decide(tmp_path, key, simulate(key, sign * 10, 1.0)[:1])
    found = verdicts.judge_claims([one])[key][False]
    assert (found.word, found.why) == ("inconclusive", "one seed")


def test_few_photographs_give_no_verdict_and_drawn_data_do(tmp_path):
    key, few = "crops_help_birds", simulate("crops_help_birds", 20, 1.0, n=299)
    found = verdicts.judge_claims([decide(tmp_path, key, few)])[key][False]
    assert found.describe() == "inconclusive: 299 photographs, a verdict takes 300"
    assert word(tmp_path, key, few, synthetic=True) == "holds"


def test_holm_corrects_over_the_column(tmp_path):
    """A p of .02 decides alone, and not beside others that say nothing."""
    values = simulate("crops_help_birds", 1.0, 1.0)
    values = (values - 1) / values.std(ddof=1) * np.sqrt(N) / 2.33 + 1  # t = 2.33
    alone = [decide(tmp_path, "crops_help_birds", values)]
    others = [
        decide(tmp_path, key, simulate(key, 0.5, 40.0))
        for key in DECIDED
        if key != "crops_help_birds" and not CLAIMS[key].over_seeds
    ]
    assert verdicts.judge_claims(alone)["crops_help_birds"][False].word == "holds"
    beside = verdicts.judge_claims([*alone, *others])["crops_help_birds"][False]
    assert beside.word == "inconclusive"
    assert beside.why == f"not by the stricter level of {1 + len(others)} verdicts at once", "its interval excludes 0"
    assert beside.p > 0.05


def test_claims_without_data_say_why(tmp_path):
    judged = verdicts.judge_claims([], ["05_action_objects: action40: missing: Stanford40"])
    assert judged["vqa"][False].describe().startswith("not run: the answers of a trained VQA network")
    assert judged["actions_on_objects"][False].why == "action40: missing: Stanford40"
    assert judged["crops_help_birds"][True].why == "this report has no drawn data for it"
    rows = verdicts.list_primaries(judged)
    assert len(rows) == len(CLAIMS)
    assert {row["photographs"] for row in rows} == {"not run"}


def test_a_primary_names_its_network_its_part_of_the_data_and_what_its_p_asks(tmp_path):
    record = decide(tmp_path, "bias_zero", simulate("bias_zero", 0.0, 1.0))

    def told(**changed):
        claims = [record["claims"][0] | changed]
        return verdicts.describe_primary(verdicts.judge_claims([record | {"claims": claims}])["bias_zero"][False])

    assert f"p of equal within 2 < .001, {N:,} images, planted, narrow" in told()
    assert told(models=["wide, dilated", "other"]).endswith(", wide")
    assert told(subset=True).endswith("planted (subset), narrow")
    data = [{"name": "cub200", "classes": 27}]
    part = record | {"datasets": data, "claims": [record["claims"][0] | {"dataset": "cub200", "subset": True}]}
    found = verdicts.judge_claims([part])["bias_zero"][False]
    assert "cub200 (subset: 27 of 200 classes)" in verdicts.describe_primary(found)


def test_what_is_counted_has_no_error_of_sampling():
    number = Number("Section 3", "VGGnet-GAP", "fewer parameters than the classifier", 90.0, "%")
    value = {"value": 85.2, "interval": [85.2, 85.2], "interval_kind": "counted", "n": 1}
    assert verdicts.judge_number(number, value | {"paper": {"not_comparable": ""}}) == "not replicated"
    assert verdicts.judge_number(number, value | {"value": 88.5, "paper": {"not_comparable": ""}}) == "replicated"


def test_numbers_are_summed_up_by_their_best_status():
    rows = [{"table": "T", "row": row, "column": "c", "status": status} for row, status in
            (("a", "not run"), ("a", "inconclusive"), ("b", "not comparable"), ("c", "not run"))]  # fmt: skip
    said = verdicts.summarize_numbers(rows)
    assert said.startswith("Of 3 numbers of the paper: 0 replicated")
    assert said.endswith("1 inconclusive, 1 not comparable, 1 not run.")


def test_a_claim_has_one_primary_and_its_own_notebook(tmp_path):
    record = decide(tmp_path, "bias_zero", np.zeros(N))
    with pytest.raises(ValueError, match="a second primary of 'bias_zero' on photographs"):
        verdicts.judge_claims([record, record])
    exp = Experiment("02_gap_vs_gmp", {"seed": 0}, tmp_path)
    exp.uses(dataset_of(np.zeros((4, 2, 2, 3), np.uint8), [0, 1] * 2))
    with pytest.raises(ValueError, match="registered for 01_ilsvrc_localization"):
        exp.decide("bias_zero", measure_effect([0.0, 1.0]), n=2)
    exp.decide("gap_gmp_localization", measure_effect([0.0, 1.0]), n=2)
    with pytest.raises(ValueError, match="decided before"):
        exp.decide("gap_gmp_localization", measure_effect([0.0, 1.0]), n=2)


def test_another_registration_than_the_runs_gives_no_verdict(tmp_path):
    record = decide(tmp_path, "bias_zero", np.zeros(N))
    record["claims"][0]["registered"]["margin"] = 5.0
    found = verdicts.judge_claims([record])["bias_zero"][False]
    assert found.describe() == "inconclusive: measured under another registration: run it again"


def test_claims_are_registered_before_the_run_or_it_is_said(tmp_path, monkeypatch):
    def git(*arguments):
        return provenance._run_git("-c", "user.name=a", "-c", "user.email=a@b", *arguments)

    monkeypatch.setattr(provenance.store, "PROJECT_ROOT", tmp_path)
    git("init", "-q")
    claims = tmp_path / provenance.CLAIMS_FILE
    claims.parent.mkdir(parents=True)
    commits = []
    for text in ("first", "second"):
        claims.write_text(text)
        git("add", "-A")
        git("commit", "-qm", text)
        commits.append(git("rev-parse", "HEAD"))
    clean = provenance.describe_machine()
    assert (clean["claims_commit"], clean["git_commit"]) == (commits[1], commits[1])
    assert provenance.find_unregistered(clean) == ""
    late = clean | {"git_commit": commits[0]}  # the run came first, the claims after it
    assert "is no ancestor" in provenance.find_unregistered(late)
    assert "does not hold" in provenance.find_unregistered(clean | {"git_commit": "0" * 40})
    assert "outside a git checkout" in provenance.find_unregistered(clean | {"git_commit": "unknown"})
    claims.write_text("edited for the run")
    assert "not committed" in provenance.find_unregistered(provenance.describe_machine())


NUMBER = Number("Table 2", "GoogLeNet-GMP", "top-1", 57.78, "%")
OTHER = Number("Table 2", "GoogLeNet-GAP", "top-1", 56.40, "%")


def measured(value, half, why=""):
    measured = {"value": value, "interval": [value - half, value + half], "interval_kind": "Wilson", "n": 50_000}
    return measured | {"paper": {"not_comparable": why}}


@pytest.mark.parametrize(
    ("value", "half", "reference", "status"),
    [
        (58.0, 0.4, None, "replicated"),
        (58.0, 4.0, None, "inconclusive"),
        (65.0, 0.4, None, "not replicated"),
        (65.0, 0.4, 60.0, "direction only"),
        (65.0, 0.4, 66.0, "not replicated"),
        (65.0, 0.4, 64.9, "not replicated"),
    ],
)
def test_status_of_a_number(value, half, reference, status):
    beside = None if reference is None else (OTHER, measured(reference, 0.4))
    assert verdicts.judge_number(NUMBER, measured(value, half), beside) == status


def test_what_cannot_be_compared_has_a_reason_and_all_numbers_a_row():
    value = measured(57.0, 0.4, "another network") | {"model": "X"}
    value["paper"] |= {"table": "Table 2", "row": "GoogLeNet-GMP", "column": "top-1"}
    rows = verdicts.judge_numbers([{"values": [value]}])
    assert len(rows) == len(NUMBERS)
    (row,) = [r for r in rows if (r["table"], r["row"], r["column"]) == ("Table 2", "GoogLeNet-GMP", "top-1")]
    assert (row["measured"], row["status"], row["why"]) == ("X: 57.0", "not comparable", "another network")
    panda = [(r["status"], r["why"]) for r in rows if r["row"].startswith("PANDA")]
    assert panda == [("not run", "another paper's method")]
