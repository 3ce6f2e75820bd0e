"""Where the object of an action lies with respect to the person's box, judged by its name, and what that predicts.

The box of a person holds what the person holds, wears or sits on, at least in part, so "outside the person's box" is
not "on the object". The groups were made from the names of the actions' objects. A ranking of the 40 actions by peaks
outside the person's box lay in the repository then (commit cefbbe7):

    apart           the object stands or moves beside the person, who at most touches it
    touching        the object carries the person, or reaches from the hands well beyond the body
    held or worn    the object is in the hands, at the face or on the body, and about as small as they are
    none            a movement of the body; no object tells it

The prediction is about the share of a map's positive part that lies outside the person's box: the map of the image's
action against the maps of reassigned actions. It is more where the object is apart (the primary endpoint) or reaches
beyond the body, and not more where it is held or worn. Nothing is predicted where no object tells the action.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from camlib.experiments.controls import PermutationTest, compare_classes, permute_classes
from camlib.stats import Comparison

Group = Literal["apart", "touching", "held or worn", "none"]
PREDICTIONS: dict[Group, Literal["more", "not more", ""]] = {
    "apart": "more",
    "touching": "more",
    "held or worn": "not more",
    "none": "",
}

_APART = {
    "feeding_a_horse": "the horse stands before the person",
    "fixing_a_bike": "the bike stands or lies before the person",
    "fixing_a_car": "the car is larger than the person and beside",
    "gardening": "plants and soil lie around the person",
    "pushing_a_cart": "the cart is ahead of the hands",
    "throwing_frisby": "the disc is in the air, or at the end of a stretched arm",
    "walking_the_dog": "the dog is a leash away",
    "washing_dishes": "sink and dishes lie before the person",
    "watching_TV": "the television is across the room",
    "writing_on_a_board": "the board is a wall before the person",
}
_TOUCHING = {
    "cleaning_the_floor": "the mop reaches from the hands to the floor",
    "climbing": "rock or wall is around the whole person",
    "cooking": "pan and stove begin at the hands and lie before the body",
    "cutting_trees": "the tree begins where the saw ends",
    "cutting_vegetables": "board and vegetables lie under the hands",
    "fishing": "the rod reaches from the hands over the water",
    "holding_an_umbrella": "the umbrella spreads above the head, wider than the body",
    "looking_through_a_microscope": "the microscope stands at the eye, on a table",
    "looking_through_a_telescope": "the telescope reaches from the eye, on its stand",
    "riding_a_bike": "the bike is under the person, wheels before and behind",
    "riding_a_horse": "the horse is under the person, longer than the rider is wide",
    "rowing_a_boat": "the boat is around and under the person, oars to the sides",
    "shooting_an_arrow": "the bow is higher than the reach of the arms",
    "using_a_computer": "the computer is before the hands, on a table",
}
_HELD = {
    "blowing_bubbles": "the ring is at the mouth; few bubbles leave the person's surroundings",
    "brushing_teeth": "the brush is in the mouth",
    "drinking": "the cup is at the mouth",
    "phoning": "the phone is at the ear",
    "playing_guitar": "the guitar is before the belly",
    "playing_violin": "the violin is under the chin",
    "pouring_liquid": "bottle and glass are in the hands",
    "reading": "the book is in the hands",
    "smoking": "the cigarette is at the mouth",
    "taking_photos": "the camera is at the eye",
    "texting_message": "the phone is in the hands",
    "writing_on_a_book": "the book is under the hand that writes",
}
_NONE = {
    "applauding": "hands alone",
    "jumping": "the body alone",
    "running": "the body alone",
    "waving_hands": "hands alone",
}
_DRAWN = "drawn beside the person"
ACTIONS: dict[str, dict[str, tuple[Group, str]]] = {  # dataset -> class -> (group, reason)
    "action40": {
        **{name: ("apart", why) for name, why in _APART.items()},
        **{name: ("touching", why) for name, why in _TOUCHING.items()},
        **{name: ("held or worn", why) for name, why in _HELD.items()},
        **{name: ("none", why) for name, why in _NONE.items()},
    },
    "synthetic-actions": {
        "climbing ladder": ("apart", _DRAWN),
        "drinking": ("apart", _DRAWN),
        "flying kite": ("apart", _DRAWN),
        "holding umbrella": ("apart", _DRAWN),
        "playing ball": ("apart", _DRAWN),
        "playing guitar": ("apart", _DRAWN),
        "reading": ("apart", _DRAWN),
        "riding bicycle": ("apart", _DRAWN),
    },
}


def group_actions(dataset_name: str, classes: Sequence[str], labels: np.ndarray) -> dict[Group, np.ndarray]:
    """Which images have an action of each group: labels (N,) int, indices into `classes` -> group -> (N,) bool.

    Groups without an image are left out. Raises ValueError, naming it, for a dataset or an action without a group.
    """
    groups = ACTIONS.get(dataset_name)
    if groups is None or not set(classes) <= set(groups):
        unknown = f"actions {sorted(set(classes) - set(groups))} of" if groups else "dataset"
        raise ValueError(f"{unknown} {dataset_name}: no group in ACTIONS, expected one of {', '.join(PREDICTIONS)}")
    own = np.array([groups[name][0] for name in classes])[labels]  # (N,)
    return {group: own == group for group in PREDICTIONS if (own == group).any()}


def compare_groups(
    scores: np.ndarray, labels: np.ndarray, groups: Mapping[Group, np.ndarray], permutations: int, seed: int = 0
) -> dict[Group, tuple[tuple[np.ndarray, np.ndarray], PermutationTest, PermutationTest]]:
    """Own against reassigned actions, group by group; the classes are reassigned among all images.

    scores (N, C): share of each action's map outside the person's box; labels (N,); groups: of `group_actions`.
    -> group -> (own shares (n,) and expected ones (n,)), test that it is more, test that it is less.
    """
    found = {}
    for group, own in groups.items():
        given = scores[own], labels[own], labels[~own]
        more, less = (permute_classes(*given, permutations, seed, side) for side in (True, False))
        found[group] = compare_classes(*given), more, less
    return found


def describe_group(
    group: Group, found: Comparison, more: PermutationTest, less: PermutationTest, n: int
) -> dict[str, Any]:
    """A group's row of a table. found: own against reassigned, in points; n: images."""
    return {
        "images": n,
        "predicted": PREDICTIONS[group],
        "own - reassigned, points": f"{found.difference:+.1f} [{found.low:+.1f}, {found.high:+.1f}]",
        "p (more)": more.p,
        "p (less)": less.p,
    }
