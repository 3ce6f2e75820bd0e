"""The embedded data: reproducible, exactly annotated, balanced, and hard for what has no business to solve it."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression

from camlib.datasets import get_source, load
from camlib.datasets.synthetic import VARIANTS, draw, drawing

N = 96


@pytest.fixture(scope="module")
def drawn():
    return {variant: draw(variant, N, seed=3) for variant in VARIANTS}


def bounds(mask):
    """Half-open bounds by an outright search, another way than the module's."""
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def iou(box, boxes):
    """The best IoU of a box with any of some boxes, counted in pixels."""

    def cells(b):
        return {(x, y) for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3]))}

    ours = cells(box)
    return max((len(ours & cells(b)) / len(ours | cells(b)) for b in boxes), default=0.0)


def test_importing_it_does_not_import_torch():
    code = "import sys, camlib.datasets.synthetic; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_variant_is_an_error_that_lists_the_variants():
    with pytest.raises(ValueError, match=re.escape(", ".join(VARIANTS))):
        draw("paintings", 1)


@pytest.mark.parametrize("bad", [{"n": -1}, {"n": 1, "seed": -1}, {"n": 1, "size": 8}])
def test_impossible_numbers_are_errors(bad):
    with pytest.raises(ValueError, match="expected n >= 0"):
        draw("objects", **bad)


@pytest.mark.parametrize("variant", VARIANTS)
def test_image_i_depends_on_variant_seed_and_i_alone(variant, drawn):
    shorter, whole = draw(variant, 10, seed=3), drawn[variant]
    np.testing.assert_array_equal(shorter.images, whole.images[:10])
    for name, mask in shorter.masks.items():
        np.testing.assert_array_equal(mask, whole.masks[name][:10])
    for ours, theirs in zip(shorter.boxes, whole.boxes, strict=False):
        np.testing.assert_array_equal(ours, theirs)
    other = draw(variant, 10, seed=4)
    assert all((ours != theirs).any() for ours, theirs in zip(shorter.images, other.images, strict=True))
    assert len({image.tobytes() for image in whole.images}) == N


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_types_and_balance(variant, drawn):
    scenes = drawn[variant]
    assert scenes.images.shape == (N, 64, 64, 3)
    assert scenes.images.dtype == np.uint8
    assert scenes.labels.dtype == np.int64
    counts = np.bincount(scenes.labels, minlength=len(scenes.class_names))
    assert counts.max() - counts.min() <= 1
    assert len(scenes.boxes) == N
    assert all(boxes.dtype == np.float64 and boxes.shape[1:] == (4,) for boxes in scenes.boxes)
    assert all(mask.shape == (N, 64, 64) and mask.dtype == bool for mask in scenes.masks.values())
    assert scenes.class_names == sorted(scenes.class_names)


@pytest.mark.parametrize("variant", ["objects", "transfer", "finegrained", "actions"])
def test_every_labelled_thing_has_its_box(variant, drawn):
    counts = [len(boxes) for boxes in drawn[variant].boxes]
    assert min(counts) >= 1
    assert max(counts) == (2 if variant in ("objects", "transfer") else 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_boxes_are_the_bounds_of_the_mask(variant, drawn):
    scenes = drawn[variant]
    for boxes, mask in zip(scenes.boxes, scenes.masks["object"], strict=True):
        assert mask.any() == bool(len(boxes))
        if len(boxes):
            assert [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)] == bounds(mask)
        covered = np.zeros_like(mask)
        for x0, y0, x1, y1 in boxes.astype(int):
            assert mask[y0:y1, x0:x1].any(0)[[0, -1]].all()  # each side touches the object
            assert mask[y0:y1, x0:x1].any(1)[[0, -1]].all()
            covered[y0:y1, x0:x1] = True
        assert not (mask & ~covered).any()


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_mask_box_agrees_with_a_search(points):
    mask = np.zeros((9, 12), bool)
    for x, y in points:
        mask[y, x] = True
    assert drawing.mask_box(mask).tolist() == ([bounds(mask)] if points else [])


def test_a_painted_rectangle_fills_the_pixels_it_covers_and_later_paint_hides_earlier():
    canvas = drawing.Canvas(np.random.default_rng(0), 64)
    square = [(drawing.box(0, 0, 1, 1), 0)]
    canvas.put(square, (8 / 64, 16 / 64), 16 / 64, 0.0, [(255, 0, 0)], 1)
    canvas.put(square, (20 / 64, 16 / 64), 16 / 64, 0.0, [(0, 0, 255)], 2)
    owners, image = canvas.owners(), canvas.image()
    assert bounds(owners == 1) == [8, 16, 20, 32]
    assert bounds(owners == 2) == [20, 16, 36, 32]
    assert (image[18:30, 10:18] == (255, 0, 0)).all()
    assert (image[18:30, 22:34] == (0, 0, 255)).all()


def test_the_ring_has_a_hole_and_the_picture_agrees_with_the_owners():
    canvas = drawing.Canvas(np.random.default_rng(0), 64)
    canvas.put([(drawing.ring(), 0)], (0.5, 0.5), 0.4, 0.3, [(255, 255, 255)], 1)
    owners, white = canvas.owners(), (canvas.image() == 255).all(-1)
    assert owners[32, 32] == 0
    assert owners[32, 12] == 1
    assert not (white & (owners == 0)).any()
    area = np.pi * 25.6**2 * (1 - 0.55**2)
    assert abs((owners == 1).sum() / area - 1) < 0.05


def best_centre_square(boxes_of_images):
    return max(
        np.mean([iou((32 - half, 32 - half, 32 + half, 32 + half), boxes) >= 0.5 for boxes in boxes_of_images])
        for half in range(6, 32, 2)
    )


@pytest.mark.parametrize("variant", ["objects", "transfer", "finegrained", "actions"])
def test_trivial_boxes_do_badly(variant, drawn):
    boxes = drawn[variant].boxes
    assert np.mean([iou((0, 0, 64, 64), b) >= 0.5 for b in boxes]) <= 0.02
    assert best_centre_square(boxes) <= 0.35


@pytest.mark.parametrize(
    ("variant", "limit"), [("objects", 0.25), ("transfer", 0.3), ("finegrained", 0.35), ("actions", 0.4)]
)
def test_a_linear_classifier_on_pixels_does_badly(variant, limit):
    train, test = draw(variant, 600, seed=0, size=32), draw(variant, 300, seed=1, size=32)
    pixels, held_out = (s.images.reshape(len(s.images), -1) / 255 - 0.5 for s in (train, test))
    accuracy = LogisticRegression(C=0.01, max_iter=1000).fit(pixels, train.labels).score(held_out, test.labels)
    assert accuracy < limit


def test_no_part_is_shared_between_classes():
    parts = [pair for v in ("objects", "transfer") for pairs in draw(v, 1).info["parts"].values() for pair in pairs]
    assert len(parts) == len(set(parts)) == 3 * (12 + 8)
    assert len({colour for colour, _ in parts}) == len(drawing.COLOURS)  # no colour alone tells a class,
    assert max(sum(shape == s for _, s in parts) for shape in drawing.SHAPES) >= 6  # and no shape


@pytest.mark.parametrize("variant", ["objects", "transfer"])
def test_the_parts_of_its_class_are_in_each_object(variant, drawn):
    """Each of the three colours is found in the object of its class, and most often those of no other class."""
    scenes = drawn[variant]
    parts = list(scenes.info["parts"].values())
    fits = []
    for image, mask, label in zip(scenes.images, scenes.masks["object"], scenes.labels, strict=True):
        seen = image[mask].astype(float)
        misses = [
            sum(np.abs(seen - drawing.COLOURS[colour]).sum(1).min() for colour, _ in pairs) for pairs in parts
        ]  # (C,)
        fits.append(misses[label] <= np.median(misses))
    assert np.mean(fits) > 0.95


def test_the_patch_is_inside_the_bird_and_small(drawn):
    birds, patches = drawn["finegrained"].masks["object"], drawn["finegrained"].masks["part"]
    assert not (patches & ~birds).any()
    share = patches.sum((1, 2)) / birds.sum((1, 2))
    assert share.min() > 0
    assert share.max() < 0.3
    assert birds.mean() < 0.15  # the bird is small in the image: a crop helps


def test_species_differ_in_the_patch_only():
    """The same random numbers with another label give the same picture outside the patch."""
    from camlib.datasets.synthetic.variants import _paint_finegrained

    canvases = [drawing.Canvas(np.random.default_rng(5), 64) for _ in range(2)]
    for canvas, label in zip(canvases, (0, 5), strict=True):
        _paint_finegrained(canvas, label)
    first, second = canvases
    patch = (first.owners() == 2) | (second.owners() == 2)
    differs = (first.image() != second.image()).any(-1)
    assert differs.any()
    grown = np.pad(patch, 1)
    near = sum(grown[1 + dy : 65 + dy, 1 + dx : 65 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)) > 0
    assert not (differs & ~near).any()


def test_person_and_thing_are_apart_and_the_thing_alone_tells_the_action(drawn):
    scenes = drawn["actions"]
    people, things = scenes.masks["person"], scenes.masks["object"]
    assert not (people & things).any()
    assert people.any((1, 2)).all()
    for person, box, mask in zip(scenes.extras["person_boxes"], scenes.boxes, people, strict=True):
        assert person.tolist() == [bounds(mask)]
        assert iou(person[0], box) < 0.5
    assert list(scenes.info["things"]) == scenes.class_names
    assert len(set(scenes.info["things"].values())) == 8


def test_common_things_are_more_frequent_than_telling_things():
    scenes = draw("scenes", 400)
    informative, names = scenes.info["informative"], scenes.info["object_names"]
    assert len(names) >= 12
    common = [name for name in names if not any(name in own for own in informative.values())]
    present = np.array([[name in {o[0] for o in objects} for name in names] for objects in scenes.extras["objects"]])
    rate = {
        room: dict(zip(names, present[scenes.labels == k].mean(0), strict=True)) for k, room in enumerate(informative)
    }
    for room, own in informative.items():
        assert min(rate[room][name] for name in common) > max(rate[room][name] for name in own)
        for name in own:
            assert rate[room][name] > 3 * max(rate[other][name] for other in informative if other != room)
    spread = [max(r[name] for r in rate.values()) - min(r[name] for r in rate.values()) for name in common]
    assert max(spread) < 0.35  # common things tell next to nothing


def test_scene_objects_carry_their_masks(drawn):
    extras, info = drawn["scenes"].extras, drawn["scenes"].info
    for objects, masks, boxes, label in zip(
        extras["objects"], extras["object_masks"], drawn["scenes"].boxes, drawn["scenes"].labels, strict=True
    ):
        assert (masks.sum(0) <= 1).all()  # what is seen belongs to one thing
        assert [index for _, _, index in objects] == list(range(len(masks)))
        assert all(box.tolist() == bounds(masks[index]) for _, box, index in objects)
        own = list(info["informative"].values())[label]
        assert boxes.tolist() == [box.tolist() for name, box, _ in objects if name in own]


def test_captions_name_what_the_phrase_masks_show():
    scenes = draw("concepts", 400)
    phrase_masks = scenes.extras["phrase_masks"]
    assert set(phrase_masks) == set(scenes.info["phrases"])
    shown = {phrase: mask.any((1, 2)) for phrase, mask in phrase_masks.items()}
    for phrase, there in shown.items():
        said = np.array([f" {phrase}" in f" {caption}" for caption in scenes.extras["captions"]])
        np.testing.assert_array_equal(said, there)
        assert 0.27 < there.mean() < 0.43
    correlation = np.corrcoef([there.astype(float) for there in shown.values()]) - np.eye(len(shown))
    assert np.abs(correlation).max() < 0.2  # they come independently
    np.testing.assert_array_equal(sum(phrase_masks.values()), scenes.masks["object"])
    text = " ".join(scenes.extras["captions"])
    assert all(near in text for near in ("red square", "blue ball", "striped ball"))  # near misses


def test_words_are_printed_where_the_boxes_say_and_nowhere_else():
    scenes = draw("text", 60)
    for label, boxes, words in zip(scenes.labels, scenes.extras["word_boxes"], scenes.extras["words"], strict=True):
        assert len(boxes) == len(words)
        assert bool(len(words)) == bool(label)
    np.testing.assert_array_equal(scenes.masks["text"].any((1, 2)), scenes.labels == 1)
    assert all(word.isalpha() and 3 <= len(word) <= 6 for words in scenes.extras["words"] for word in words)


def test_ink_stays_within_the_bounds_that_are_claimed_for_it():
    canvas = drawing.Canvas(np.random.default_rng(0), 64)
    before = canvas.image()
    left, top, right, bottom = drawing.text_bounds("RABAMU", 36)
    half = (
        np.array([right - left, bottom - top]) / 2 / canvas.side + 1.5 / 64
    )  # a pixel and a half for the blurred edge
    canvas.put([(drawing.box(*-half, *half), 0)], (0.5, 0.5), 1, 0.4, [None], 1)
    canvas.write("RABAMU", (0.5, 0.5), 36, 0.4, (0, 0, 0))
    changed = (canvas.image() != before).any(-1)
    assert changed.sum() > 60
    assert not (changed & (canvas.owners() == 0)).any()


def test_synthetic_splits_are_disjoint_and_repeat():
    parts = {split: load("synthetic-objects", split=split, n=12) for split in ("train", "val", "test")}
    parts["other seed"] = load("synthetic-objects", split="train", n=12, seed=1)
    pictures = {image.tobytes() for ds in parts.values() for image in ds.images}
    assert len(pictures) == 48
    assert len({ds.fingerprint for ds in parts.values()}) == 4
    again = load("synthetic-objects", split="train", n=12)
    assert again.fingerprint == parts["train"].fingerprint
    assert again.synthetic
    assert again.source == "synthetic (seed 0)"
    assert np.array_equal(np.asarray(again[3]), again.images[3])
    assert {mask.shape for mask in again.extras["masks"].values()} == {(12, 64, 64)}


# ------------------------------------------------- the dials of objects


def test_dials_left_alone_draw_what_was_always_drawn():
    """The digest was taken before there were dials."""
    own = {name: value for name, value in get_source("synthetic-objects").options.items() if name not in ("n", "seed")}
    assert own == {"size": 64, "telling_parts": 3, "clutter": 1, "object_size": 1.0}
    for scenes in (draw("objects", 48, seed=3), draw("objects", 48, seed=3, **own)):
        drawn = scenes.images.tobytes() + np.concatenate(scenes.boxes).tobytes()
        assert hashlib.sha256(drawn).hexdigest() == "40177872bef5e44018c47e80a3e3db44ebac2278ee350ac2a6f7449bab347dcd"
    assert load("synthetic-objects", n=48).fingerprint == "46dcdbed0d96bba6"
    assert load("synthetic-objects", n=48, **own).fingerprint == "46dcdbed0d96bba6"


@pytest.mark.parametrize("telling", [1, 2, 3])
def test_only_the_telling_parts_tell(telling):
    """The same random numbers with another label give the same picture outside the telling parts."""
    from camlib.datasets.synthetic.rows import paint_objects

    differing = []
    for seed in range(20):
        canvases = [drawing.Canvas(np.random.default_rng(seed), 64) for _ in range(2)]
        painted = [paint_objects(canvas, label, telling) for canvas, label in zip(canvases, (0, 7), strict=True)]
        first, second = canvases
        differs = (first.image() != second.image()).any(-1)
        differing.append(differs.any())
        parts = np.zeros((64, 64), bool)
        for one, canvas in zip(painted, canvases, strict=True):
            parts |= drawing.seen_mask(canvas.owners(), one.masks["telling"])
        assert not (differs & ~binary_dilation(parts, iterations=2)).any()  # the tips of stars are thin
    assert all(differing)


def test_more_telling_parts_cover_more_of_an_object_that_stays_where_it_was():
    drawn = [draw("objects", 60, seed=2, telling_parts=telling) for telling in (1, 2, 3)]
    shares = [(s.masks["telling"].sum((1, 2)) / s.masks["object"].sum((1, 2))).mean() for s in drawn]
    assert 0.2 < shares[0] < 0.45
    assert shares[0] + 0.15 < shares[1] < shares[2] - 0.15
    whole = np.concatenate(drawn[2].boxes)
    for scenes in drawn:
        assert not (scenes.masks["telling"] & ~scenes.masks["object"]).any()
        assert [len(boxes) for boxes in scenes.extras["telling_boxes"]] == [len(boxes) for boxes in drawn[2].boxes]
        assert np.abs(np.concatenate(scenes.boxes) - whole).mean() < 1  # px: another shape ends a little elsewhere
    telling = np.concatenate(drawn[0].extras["telling_boxes"])
    assert (telling[:, 2:] - telling[:, :2]).prod(1).mean() < 0.5 * (whole[:, 2:] - whole[:, :2]).prod(1).mean()


def test_the_facts_name_the_telling_parts_alone():
    parts = draw("objects", 1, telling_parts=1).info["parts"]
    assert {len(pairs) for pairs in parts.values()} == {1}
    assert len({pair for pairs in parts.values() for pair in pairs}) == 12  # one per class


def test_clutter_and_size_do_what_they_say():
    def edges(scenes):
        """How often colour jumps outside the objects."""
        jumps = np.abs(np.diff(scenes.images.astype(int), axis=2)).sum(-1) > 60
        return jumps[~scenes.masks["object"][:, :, 1:]].mean()

    none, usual, much = (edges(draw("objects", 40, seed=2, clutter=clutter)) for clutter in (0, 1, 4))
    assert none < 0.5 * usual
    assert usual < 0.7 * much
    small, large = (draw("objects", 40, seed=2, object_size=size) for size in (0.5, 1.25))
    areas = [scenes.masks["object"].sum((1, 2)).mean() for scenes in (small, large)]
    assert areas[1] / areas[0] == pytest.approx(2.5**2, rel=0.2)


@pytest.mark.parametrize(
    ("variant", "dials", "message"),
    [
        ("objects", {"telling_parts": 0}, "telling_parts is 0; expected int, 1 to 3"),
        ("objects", {"telling_parts": 1.5}, "telling_parts is 1.5; expected int"),
        ("objects", {"clutter": -1}, "clutter is -1"),
        ("objects", {"object_size": 2}, "object_size is 2; expected float, 0.25 to 1.25"),
        ("objects", {"colour": 2}, "no dial 'colour'; expected telling_parts, clutter, object_size"),
        ("text", {"clutter": 2}, "text has no dial 'clutter'; expected none"),
    ],
)
def test_impossible_dials_are_errors(variant, dials, message):
    with pytest.raises(ValueError, match=message):
        draw(variant, 1, **dials)
