"""The paper's claims as they can be refuted: one primary endpoint each, its predicted direction and its margin.

Registered: an endpoint or a margin changes in a commit of its own, before the run that decides it. A results file
names the commit that last changed this file, and the report's check fails unless that is an ancestor of the run's.
What earlier runs on the same or the like data had shown when an endpoint was registered stands in `seen`. Some of that
was added after the run, and five endpoints (actions, objects, concepts, text, units) were changed once, in commit
15a0905, before the runs that are kept and after such earlier ones: see docs/limits.md.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the one measurement that decides it.

    endpoint: a difference, first method - second. predicted: its sign, or "equal": inside -margin..margin.
    margin: what counts as no difference, in `unit`. over_seeds: where the endpoint compares ways to train; a verdict
    there takes two or more seeds. counted: what the measurement's n counts. not_run: why nothing here decides it.
    """

    section: str
    text: str
    endpoint: str
    predicted: Literal["greater", "less", "equal"]
    margin: float = 2.0
    unit: str = "points"
    notebook: str = ""
    over_seeds: tuple[str, ...] = ()
    counted: str = "images"
    seen: str = ""
    not_run: str = ""


COLUMNS = {False: "photographs", True: "drawn data"}  # whether the data are synthetic -> the column of a verdict
BOTH = tuple(COLUMNS.values())

CLAIMS: dict[str, Claim] = {
    "gap_costs_classification": Claim(
        "3.1", "GAP in place of the fully connected layers costs 1 to 2 points of classification.",
        "top-1 classification error, VGGnet-GAP - VGGnet", "equal", 3.0,
        not_run="takes VGGnet-GAP (the authors' weights or a training on ILSVRC) and VGGnet's own weights",
    ),
    "alexnet_star_recovers": Claim(
        "3.1", "AlexNet loses most by the removal; two more convolutions (AlexNet*) make up for it.",
        "top-1 classification error, AlexNet*-GAP - AlexNet-GAP", "less",
        not_run="takes both networks trained on ILSVRC",
    ),
    "gap_nets_localize_better": Claim(
        "3.2", "GoogLeNet-GAP localizes better than GoogLeNet, though it classifies worse.",
        "top-1 localization error, GoogLeNet-GAP - GoogLeNet", "less",
        not_run="takes GoogLeNet-GAP (the authors' weights or a training on ILSVRC) and GoogLeNet's own weights",
    ),
    "bias_zero": Claim(
        "2", "The bias of the linear layer can be set to 0 with little to no impact.",
        "top-1 classification error, bias as 0 - bias as learnt, first network", "equal",
        notebook="01_ilsvrc_localization",
    ),
    "class_maps_differ": Claim(
        "3.1", "Maps of different classes of one image light up different regions (Figure 4).",
        "overlap (IoU, %) of the regions above 20 % of two of the five best classes' maps, mean of all pairs, - 50",
        "less", notebook="01_ilsvrc_localization",
        seen="ILSVRC, 300 of these photographs: the regions overlap by more than half",
    ),
    "cam_beats_backprop": Claim(
        "3.2", "Boxes of class activation maps are better than those of backprop.",
        "top-1 localization error under the released protocol, CAM - Backprop, first network", "less",
        notebook="01_ilsvrc_localization",
        seen="200 ILSVRC photographs, another network: the released protocol favoured Backprop, the text's rule CAM; "
        "drawn data: Backprop better by 21 to 41 points in six of six networks",
    ),
    "five_guesses": Claim(
        "3.2", "Loose and tight boxes of the best classes beat one box of each of five classes (Table 3).",
        "top-5 localization error under the released protocol, five guesses - five classes, first network", "less",
        notebook="01_ilsvrc_localization", seen="an earlier run on these photographs: 32.1 % against 43.5 %",
    ),
    "gap_gmp_classification": Claim(
        "3.2", "Average and maximum pooling classify alike.",
        "top-1 classification error, GAP - GMP", "equal", notebook="02_gap_vs_gmp", over_seeds=BOTH,
        seen="drawn data, three seeds: +3.1, -0.1, +5.4 points; CUB, five seeds",
    ),
    "gap_gmp_localization": Claim(
        "2, 3.2", "Average pooling localizes better than maximum pooling: it gains from the whole object.",
        "top-1 localization error at 20 %, GAP - GMP", "less", notebook="02_gap_vs_gmp", over_seeds=BOTH,
        seen="drawn data, three seeds, and CUB, five seeds: GAP was better",
    ),
    "telling_parts": Claim(
        "2", "The reason given: the maximum is satisfied by one telling part. With one part both localize alike.",
        "class-known localization error at 20 % on objects with one telling part, GAP - GMP", "equal",
        notebook="10_mapping_resolution", over_seeds=BOTH, seen="a trial with one seed",
    ),
    "mapping_resolution": Claim(
        "3.1", "Localization improves with the resolution of the last maps.",
        "class-known localization error at 20 %, maps of twice the width - the network's own", "less",
        notebook="10_mapping_resolution", over_seeds=("drawn data",),
        seen="the first 300 of the 1,000 photographs: -2.0 [-5.1, +1.1]; all were taken after that",
    ),
    "transfer_competitive": Claim(
        "4", "Pooled features of a GAP network transfer: a linear SVM on them is competitive.",
        "accuracy of a linear SVM on the first dataset, the mapped network's features - pixels", "greater",
        notebook="03_generic_transfer",
        seen="the paper compares with fc7 of AlexNet, which is not at hand; beating pixels is weaker, and was known "
        "(drawn data: +71.4)",
    ),
    "birds_localized": Claim(
        "4.1", "The SVM's maps localize birds (41.0 % against 5.5 % by chance).",
        "boxes at IoU 0.5, the SVM's maps - boxes with two uniformly drawn corners", "greater",
        notebook="04_fine_grained",
        seen="27 classes of CUB: 40.3 % right, and 54.8 % by the best centre box; drawn data: 33.1 above that box",
    ),
    "crops_help_birds": Claim(
        "4.1", "Cropping to the map's box helps to tell bird species apart.",
        "accuracy, SVM on the map's crops - SVM on full images", "greater", notebook="04_fine_grained",
        seen="27 classes of CUB: 83.4 % against 79.7 %; drawn data: +0.9",
    ),
    "actions_on_objects": Claim(
        "4", "Maps of actions fall on the objects of the action, not on the person.",
        "map's mass outside the person's box, actions with an object apart, own map - reassigned actions'", "greater",
        notebook="05_action_objects",
        counted="images of actions whose object lies apart",
        seen="Stanford 40: peaks outside, all actions, 43.3 % (another's 49.0), and each action's, by which the ten "
        "apart come out above 0; mass, apart, 320 images: +2.2, p = 0.185; drawn data: peaks +38.1",
    ),
    "informative_objects": Claim(
        "4.2", "High regions of a scene's maps name objects that tell the scene.",
        "peaks on objects that tell the scene, own map - reassigned scenes'", "greater",
        notebook="06_scene_objects", seen="drawn data: the endpoint before this one +47.0",
    ),
    "concepts": Claim(
        "4.2", "Detectors of short phrases look at what the phrase names.",
        "peaks on what the phrase names, own map - reassigned phrases'", "greater", notebook="07_concepts",
        counted="pairs of image and phrase", seen="drawn data, against another phrase: +52.1",
    ),
    "text": Claim(
        "4.2", "A detector trained on images with and without text looks at the text.",
        "peaks in the words' boxes, map of text - reassigned classes'", "greater", notebook="08_text",
        seen="drawn data, against the other class: +56.1",
    ),
    "class_units": Claim(
        "5", "Single units with a class's largest weights are specific to the class.",
        "area under the ROC curve for the class's images, its three most weighted units - reassigned units", "greater",
        notebook="09_class_units", counted="images, the class as unit",
        seen="an earlier run on these photographs: 67.7 % against 50.0 %; drawn data: +40.0",
    ),
    "vqa": Claim(
        "4.2", "The map of an answer falls on what the question asks about.",
        "no endpoint: the figure shows examples", "greater",
        not_run="the answers of a trained VQA network and its images are not at hand",
    ),
}  # fmt: skip
