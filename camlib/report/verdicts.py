"""What a report says of each claim and each number of the paper, from the results files alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy.stats import norm

from camlib import datasets
from camlib.report.claims import CLAIMS, COLUMNS, Claim
from camlib.report.paper import NUMBERS, Number, format_number
from camlib.stats import Effect, adjust_holm

LEVEL = 0.05
LEAST_IMAGES = 300  # photographs behind a verdict
Record = Mapping[str, Any]
Place = tuple[str, str, str]  # table, row, column of the paper


class Verdict(NamedTuple):
    """What one column says of one claim."""

    word: str  # holds, opposite, not seen, inconclusive, not run
    why: str  # of "inconclusive" and "not run"
    primary: dict[str, Any] | None  # the decided endpoint, as the results file keeps it; None if not run
    p: float | None  # with Holm's correction

    def describe(self) -> str:
        """ "holds", or "not run: no network is trained on drawn data"."""
        return f"{self.word}: {self.why}" if self.why else self.word


def describe_effect(claim: Claim, effect: Effect, p: float | None = None) -> dict[str, Any]:
    """A primary endpoint as a results file keeps it: the effect, what was registered, and the p of both questions.

    p: two-sided, of a test other than the effect's own t.
    """
    within = effect.p_within(-claim.margin, claim.margin)
    outside = effect.p_outside(-claim.margin, claim.margin)
    differs = effect.p_differs() if p is None else p
    first, second = (within, outside) if claim.predicted == "equal" else (differs, within)
    return {
        "registered": registration(claim),
        "estimate": effect.estimate,
        "interval": list(effect.interval()),
        "unit": claim.unit,
        "se": effect.se,
        "df": effect.df,
        "p": first,
        "p_other": second,
    }


def registration(claim: Claim) -> dict[str, Any]:
    """What may not change between a claim's registration and its run."""
    return {"endpoint": claim.endpoint, "predicted": claim.predicted, "margin": claim.margin}


def judge_claims(records: Sequence[Record], not_run: Sequence[str] = ()) -> dict[str, dict[bool, Verdict]]:
    """Claim -> {on drawn data?: verdict}. The primaries of one column are one family of Holm's.

    not_run: "notebook: why" of what was left out. Raises ValueError if two measurements claim to be one primary.
    """
    verdicts: dict[str, dict[bool, Verdict]] = {key: {} for key in CLAIMS}
    for synthetic in COLUMNS:
        primaries = _collect_primaries(records, synthetic)
        corrected = adjust_holm({key: p["p"] for key, p in primaries.items()})
        for key, claim in CLAIMS.items():
            if key in primaries:
                found = judge_primary(claim, primaries[key], corrected[key], len(primaries))
                verdicts[key][synthetic] = Verdict(*found, primaries[key], corrected[key])
            else:
                verdicts[key][synthetic] = Verdict("not run", _say_why(claim, synthetic, not_run), None, None)
    return verdicts


def _collect_primaries(records: Sequence[Record], synthetic: bool) -> dict[str, dict[str, Any]]:
    primaries: dict[str, dict[str, Any]] = {}
    for record in records:
        for primary in record["claims"]:
            if primary["synthetic"] != synthetic:
                continue
            if primary["claim"] in primaries:
                raise ValueError(
                    f"{record['notebook']}: a second primary of {primary['claim']!r} on {COLUMNS[synthetic]}"
                )
            about = {"notebook": record["notebook"], "network": _name_network(record, primary)}
            primaries[primary["claim"]] = primary | about | {"part": _describe_part(record, primary)}
    return primaries


def _name_network(record: Record, primary: Mapping[str, Any]) -> str:
    """The network behind a primary: the one that a method is named after, else the notebook's own."""
    named = [label for label in record["networks"] if label in primary["models"][0]]
    if named:
        return max(named, key=len)
    settings = record["settings"]
    network = settings.get("network") or {"model": settings.get("model", "")}
    return settings.get("headline") or settings.get("mapped") or network["model"]


def _describe_part(record: Record, primary: Mapping[str, Any]) -> str:
    """ "subset: 27 of 200 classes", or "" for a whole dataset."""
    if not primary["subset"]:
        return ""
    source = datasets.REGISTRY.get(primary["dataset"])
    whole = source.classes or 0 if source else 0
    fewer = [data["classes"] for data in record["datasets"] if data["name"] == primary["dataset"]]
    return f"subset: {fewer[-1]} of {whole} classes" if fewer and fewer[-1] < whole else "subset"


def judge_primary(claim: Claim, primary: Mapping[str, Any], p: float, family: int) -> tuple[str, str]:
    """The word, and the reason for "inconclusive". p: with Holm's correction; family: primaries in the column.

    The second question (is it equivalent, though a difference was predicted? is it different, though none was?) is
    tested at Bonferroni's level, so that all that a column says is wrong in at most one report of twenty.
    """
    if primary["registered"] != registration(claim):
        return "inconclusive", "measured under another registration: run it again"
    if not primary["synthetic"] and primary["n"] < LEAST_IMAGES:
        return "inconclusive", f"{primary['n']} photographs, a verdict takes {LEAST_IMAGES}"
    if COLUMNS[primary["synthetic"]] in claim.over_seeds and primary["seeds"] < 2:
        return "inconclusive", "one seed"
    second = primary["p_other"] < LEVEL / family
    if claim.predicted == "equal":
        word = "holds" if p < LEVEL else "opposite" if second else "inconclusive"
    elif p < LEVEL:
        word = "holds" if (primary["estimate"] > 0) == (claim.predicted == "greater") else "opposite"
    else:
        word = "not seen" if second else "inconclusive"
    low, high = primary["interval"]
    margin = claim.margin if claim.predicted == "equal" else 0
    if word == "inconclusive" and (low > margin or high < -margin):  # what a reader would take for shown
        return word, f"not by the stricter level of {family} verdicts at once"
    return word, ""


def _say_why(claim: Claim, synthetic: bool, not_run: Sequence[str]) -> str:
    if claim.not_run:
        return claim.not_run
    named = [text.partition(": ")[2] for text in not_run if text.startswith(f"{claim.notebook}: ")]
    return "; ".join(named) or f"this report has no {COLUMNS[synthetic]} for it"


def list_primaries(verdicts: Mapping[str, Mapping[bool, Verdict]]) -> list[dict[str, str]]:
    """The table that a report opens with: a row per claim, photographs and drawn data in columns of their own."""
    rows = []
    for key, both in verdicts.items():
        claim = CLAIMS[key]
        row = {"claim": claim.text, "section": claim.section, "predicted": describe_prediction(claim)}
        for synthetic, column in COLUMNS.items():
            row[column] = both[synthetic].word
            row[f"{column}, measured"] = describe_primary(both[synthetic])
        rows.append(row)
    return rows


def describe_prediction(claim: Claim) -> str:
    """ "less than 0: top-1 localization error, GAP - GMP"."""
    bound = f"within {claim.margin:g} {claim.unit} of 0" if claim.predicted == "equal" else f"{claim.predicted} than 0"
    return f"{claim.endpoint}: {bound}"


def describe_primary(verdict: Verdict) -> str:
    """ "-5.2 points [-7.0, -3.4], p = .002, 700 images, 5 seeds, cub200 (subset), resnet50", or why there is none."""
    found = verdict.primary
    if found is None:
        return verdict.why
    claim = CLAIMS[found["claim"]]
    what = f"p of equal within {claim.margin:g}" if claim.predicted == "equal" else "p"
    p = f"{what} < .001" if verdict.p is not None and verdict.p < 0.001 else f"{what} = {verdict.p:.3f}"
    told = [describe_estimate(verdict), p, f"{found['n']:,} {claim.counted}"]
    told += [f"{found['seeds']} seeds"] * (found["seeds"] > 1)
    told.append(found["dataset"] + (f" ({found['part']})" if found["part"] else ""))
    told += [found["network"]] * bool(found["network"])
    return ", ".join(told) + (f" ({verdict.why})" if verdict.why else "")


def describe_estimate(verdict: Verdict) -> str:
    """ "-5.2 points [-7.0, -3.4]", or "" where nothing was measured."""
    found = verdict.primary
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['estimate']:+.1f} {found['unit']} [{low:+.1f}, {high:+.1f}]"


# ------------------------------------------------------------------------------------------------------- the numbers

# Images behind a published share: whole validation or test sets. Others are taken as large as the measurement's own.
IMAGES_OF_PAPER = {"Table 1": 50_000, "Table 2": 50_000, "Table 3": 100_000, "Table 4": 5_794, "Section 4": 5_794}
STATUSES = ("replicated", "direction only", "not replicated", "inconclusive", "not comparable", "not run")
REFERENCE_ROW = "GoogLeNet-GAP"  # of Tables 1 and 2: a number's direction is its sign against this row


def judge_numbers(records: Sequence[Record]) -> list[dict[str, str]]:
    """A row for every published number and each of its measurements: the paper's, what was measured, status and why."""
    measured: dict[Place, list[dict[str, Any]]] = {}
    for record in records:
        for value in record["values"]:
            if value["paper"]:
                measured.setdefault(_place_of(value), []).append(value)
    rows = []
    for place, number in NUMBERS.items():
        where = {"table": number.table, "row": number.row, "column": number.column, "paper": format_number(number)}
        for value in measured.get(place, []):
            status, _, why = judge_number(number, value, _find_reference(measured, place)).partition(": ")
            rows.append(where | {"measured": f"{value['model']}: {value['value']:.1f}", "status": status, "why": why})
        if place not in measured:
            why = number.not_run or "no such measurement in this report"
            rows.append(where | {"measured": "", "status": "not run", "why": why})
    return rows


def summarize_numbers(rows: Sequence[Mapping[str, str]]) -> str:
    """One sentence: how many of the paper's numbers have which status. The best status of a number counts."""
    best: dict[tuple[str, str, str], str] = {}
    for row in rows:
        place = row["table"], row["row"], row["column"]
        best[place] = min(best.get(place, "not run"), row["status"], key=STATUSES.index)
    counts = [f"{list(best.values()).count(status)} {status}" for status in STATUSES]
    return f"Of {len(best)} numbers of the paper: {', '.join(counts)}."


def _place_of(value: Mapping[str, Any]) -> Place:
    return value["paper"]["table"], value["paper"]["row"], value["paper"]["column"]


def _find_reference(
    measured: Mapping[Place, list[dict[str, Any]]], place: Place
) -> tuple[Number, dict[str, Any]] | None:
    where = (place[0], REFERENCE_ROW, place[2])
    if place[1] == REFERENCE_ROW or where not in measured or where not in NUMBERS:
        return None
    return NUMBERS[where], measured[where][0]


def judge_number(
    number: Number, value: Mapping[str, Any], reference: tuple[Number, Mapping[str, Any]] | None = None
) -> str:
    """replicated, direction only, not replicated, inconclusive, or not comparable: why.

    The difference from the paper has an interval from the sampling of both sides. Inside the number's margin it is
    replicated; outside it is not, but for its direction where the sign against the reference row is the paper's.
    """
    if value["paper"]["not_comparable"]:
        return f"not comparable: {value['paper']['not_comparable']}"
    if value["interval"] is None:
        return "inconclusive"
    difference, se = value["value"] - number.value, _standard_error(number, value)
    half = float(norm.ppf(0.95)) * se  # two one-sided tests at 5 %
    if abs(difference) + half <= number.margin:
        return "replicated"
    if reference is not None and _same_direction(number, value, *reference):
        return "direction only"
    return "not replicated" if abs(difference) - half > number.margin else "inconclusive"


def _standard_error(number: Number, value: Mapping[str, Any]) -> float:
    if value["interval_kind"] == "counted":
        return 0.0
    low, high = value["interval"]
    own = (high - low) / 2 / float(norm.ppf(0.975))
    if number.unit != "%":
        return own
    n = IMAGES_OF_PAPER.get(number.table, value["n"])
    return math.hypot(own, math.sqrt(number.value * (100 - number.value) / n))


def _same_direction(number: Number, value: Mapping[str, Any], other: Number, other_value: Mapping[str, Any]) -> bool:
    """Whether two measured values differ, beyond their errors, with the sign that the paper's have."""
    if other_value["paper"]["not_comparable"] or other_value["interval"] is None:
        return False
    spread = [(v["interval"][1] - v["interval"][0]) / 2 for v in (value, other_value)]
    measured = value["value"] - other_value["value"]
    return abs(measured) > math.hypot(*spread) and measured * (number.value - other.value) > 0
