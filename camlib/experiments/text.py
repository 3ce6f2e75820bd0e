"""Images with text against outdoor scenes without (paper, Section 4: weakly supervised text detector).

Which of SUN's categories are outdoor is decided here, by their names: those whose name ends in "outdoor" or "exterior",
and those of `OUTDOOR`, written after the names of SUN397. What is both, as an aquarium or a barn, is left out. Scenes
that may hold signs, as streets, are in: the paper takes outdoor scenes as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from camlib import datasets
from camlib.datasets.base import Dataset

_NAMES = """
abbey, alley, amphitheater, amusement park, aqueduct, arch, badlands, bamboo forest, baseball field, basilica, batters
box, bayou, beach, boardwalk, boat deck, boathouse, botanical garden, bridge, building facade, bullring, butte,
campsite, campus, canal/natural, canal/urban, canyon, carrousel, castle, cemetery, chalet, cliff, coast, construction
site, corn field, corral, cottage garden, courthouse, courtyard, creek, crevasse, crosswalk, dam, desert/sand,
desert/vegetation, dock, driveway, electrical substation, excavation, fairway, field/cultivated, field/wild, fire
escape, fishpond, forest path, forest road, forest/broadleaf, forest/needleleaf, formal garden, fountain, garbage
dump, gas station, golf course, harbor, hayfield, heliport, herb garden, highway, hill, hot spring, house, ice floe,
ice shelf, iceberg, igloo, industrial area, islet, kasbah, lake/natural, landfill, landing deck, lift bridge,
lighthouse, lock chamber, mansion, manufactured home, marsh, mausoleum, medina, moat/water, motel, mountain, mountain
snowy, oast house, ocean, office building, oilrig, orchard, pagoda, palace, park, parking lot, pasture, patio,
pavilion, picnic area, playground, plaza, pond, promenade deck, putting green, racecourse, raceway, raft, railroad
track, rainforest, residential neighborhood, restaurant patio, rice paddy, river, rock arch, rope bridge, ruin,
runway, sandbar, sandbox, schoolhouse, sea cliff, shed, shopfront, skatepark, ski resort, ski slope, sky, skyscraper,
slum, snowfield, stadium/baseball, stadium/football, street, swamp, temple/east asia, temple/south asia, toll plaza,
topiary garden, tower, train railway, tree farm, tree house, trench, valley, vegetable garden, veranda, viaduct,
village, vineyard, volcano, water tower, waterfall/block, waterfall/fan, waterfall/plunge, watering hole, wave, wheat
field, wind farm, windmill, yard
"""
OUTDOOR = frozenset(name.strip() for name in _NAMES.replace("\n", " ").split(","))


def is_outdoor(class_names: Sequence[str]) -> np.ndarray:
    """Which of SUN's categories are outdoor: (C,) bool. class_names: as the readers give them, "desert/sand"."""
    ends = ("outdoor", "exterior")
    return np.array([name in OUTDOOR or name.rpartition("/")[2] in ends for name in class_names], bool)


class TextSplit(NamedTuple):
    """Images without words, then those with words, and which of them are fitted on."""

    words: Dataset  # images with words
    others: Dataset  # images without
    labels: np.ndarray  # (N,) of others, then words: 0 and 1
    fit: np.ndarray  # (N,) bool: fitted on
    held: Dataset  # images with boxes of words that are not fitted on


def load_text(data: Mapping[str, Any], others_data: Mapping[str, Any], fit_share: float, seed: int) -> TextSplit:
    """Load both kinds of images, and draw the share of them that is fitted on.

    data: mapping {dataset, split, options}. Where it has two classes, the first is "without"; where it has one, as many
    images are drawn from the outdoor scenes of `others_data`.
    Raises ValueError if these are fewer.
    """
    rng, words = np.random.default_rng(seed), datasets.load_from(data)
    if len(words.classes) == 1:
        scenes = datasets.load_from(others_data)
        outdoor = np.flatnonzero(is_outdoor(scenes.class_names)[scenes.labels])
        if len(outdoor) < len(words):
            raise ValueError(
                f"{scenes.name}: {len(outdoor)} images of outdoor scenes; expected at least {len(words)}, as many as "
                f"{words.name} has with words"
            )
        others = scenes.subset(rng.permutation(outdoor)[: len(words)])
    else:
        others, words = words.subset(words.labels == 0), words.subset(words.labels == 1)
    labels = np.repeat([0, 1], [len(others), len(words)])
    fit = rng.random(len(labels)) < fit_share
    held = words.subset(~fit[len(others) :] & np.array([len(b) > 0 for b in words.boxes]))
    return TextSplit(words, others, labels, fit, held)
