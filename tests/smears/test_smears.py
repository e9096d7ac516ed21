import cv2
import numpy as np
import pytest

from bloodcell.cells.crop import crop_to_nucleus
from bloodcell.cells.measurements import outline_of
from bloodcell.cells.segmentation import find_cell
from bloodcell.smears import CLASSES, Photograph, augmented_copy, render_photograph

SLIDES = range(12)


@pytest.fixture(scope="module")
def photographs() -> dict[str, list[Photograph]]:
    """One of each class on each slide."""
    return {label: [render_photograph(label, slide=slide, seed=0) for slide in SLIDES] for label in CLASSES}


def lobes_of(mask: np.ndarray) -> int:
    """Count the lobes of a nucleus, without its thin bridges."""
    thick = cv2.morphologyEx(
        mask.astype(np.uint8), cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    )
    _, _, stats, _ = cv2.connectedComponentsWithStats(thick)
    return int((stats[1:, cv2.CC_STAT_AREA] > 60).sum())


def solidity(mask: np.ndarray) -> float:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return float(mask.sum() / cv2.contourArea(cv2.convexHull(np.vstack(outlines))))


def test_equal_seeds_give_equal_photographs_and_other_seeds_different_ones():
    first = render_photograph("MONOCYTE", slide=3, seed=4)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    second = render_photograph("MONOCYTE", slide=3, seed=4)
    cv2.setNumThreads(threads)
    for part in ("image", "nucleus", "cell"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))
    for other in ({"slide": 3, "seed": 5}, {"slide": 2, "seed": 4}):
        assert not np.array_equal(first.image, render_photograph("MONOCYTE", **other).image)


def test_unknown_classes_and_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="BASOPHIL"):
        render_photograph("BASOPHIL", slide=0, seed=0)
    with pytest.raises(ValueError, match="-1"):
        render_photograph("MONOCYTE", slide=-1, seed=0)


def test_a_photograph_has_the_kaggle_sets_size_and_its_nucleus_is_in_its_cell(photographs):
    for label in CLASSES:
        for photograph in photographs[label]:
            assert photograph.image.shape == (240, 320, 3)
            assert photograph.image.dtype == np.uint8
            assert photograph.label == label
            assert photograph.nucleus.sum() > 300
            assert not (photograph.nucleus & ~photograph.cell).any()


def test_nuclei_are_the_most_violet_objects_in_photographs_and_copies(photographs):
    for label in CLASSES:
        for photograph in photographs[label][:4]:
            for seed in range(3):
                seen = augmented_copy(photograph, seed=seed) if seed else photograph
                violet = seen.image[..., 2].astype(int) - seen.image[..., 1]
                if seen.nucleus.sum() > 200:
                    assert violet[seen.nucleus].mean() > violet[~seen.cell].mean() + 40


def test_copies_are_transformed_differently_and_filled_with_black(photographs):
    photograph = photographs["EOSINOPHIL"][0]
    copies = [augmented_copy(photograph, seed=seed) for seed in range(20)]
    assert np.array_equal(copies[0].image, augmented_copy(photograph, seed=0).image)
    assert len({copy.image.tobytes() for copy in copies}) == len(copies)
    assert all((copy.label, copy.slide) == (photograph.label, photograph.slide) for copy in copies)
    fill = [float((copy.image.max(axis=2) == 0).mean()) for copy in copies]
    assert 0.05 < np.mean(fill) < 0.3
    elsewhere = augmented_copy(photographs["EOSINOPHIL"][1], seed=0).image
    assert not np.array_equal(elsewhere.max(axis=2) == 0, copies[0].image.max(axis=2) == 0)


def test_segmentation_finds_rendered_nuclei_and_crops_contain_them(photographs):
    overlaps, held = [], []
    for photograph in (photograph for label in CLASSES for photograph in photographs[label]):
        found = find_cell(photograph.image).nucleus > 0
        overlaps.append((found & photograph.nucleus).sum() / (found | photograph.nucleus).sum())
        crop = crop_to_nucleus(photograph.image)
        left, top = max(crop.left, 0), max(crop.top, 0)
        inside = photograph.nucleus[top : crop.top + crop.side, left : crop.left + crop.side]
        held.append(inside.sum() / photograph.nucleus.sum())
    assert np.mean(np.array(overlaps) > 0.5) > 0.8
    assert np.mean(np.array(held) > 0.95) > 0.9


def test_classes_differ_in_their_defining_traits(photographs):
    def median(measure):
        return {label: np.median([measure(photograph) for photograph in photographs[label]]) for label in CLASSES}

    size = median(lambda photograph: photograph.cell.sum())
    assert size["LYMPHOCYTE"] < 0.65 * min(size[label] for label in CLASSES if label != "LYMPHOCYTE")
    filled = median(lambda photograph: photograph.nucleus.sum() / photograph.cell.sum())
    assert filled["LYMPHOCYTE"] > filled["MONOCYTE"] > max(filled["NEUTROPHIL"], filled["EOSINOPHIL"])
    parts = {label: np.mean([lobes_of(photograph.nucleus) for photograph in photographs[label]]) for label in CLASSES}
    assert min(parts["NEUTROPHIL"], parts["EOSINOPHIL"]) > 1.2 > max(parts["LYMPHOCYTE"], parts["MONOCYTE"])
    compact = median(lambda photograph: solidity(photograph.nucleus))
    assert compact["LYMPHOCYTE"] > compact["MONOCYTE"] > max(compact["NEUTROPHIL"], compact["EOSINOPHIL"])


def test_cells_of_one_class_look_different_on_different_slides(photographs):
    red = [
        np.median(photograph.image[~photograph.cell], axis=0) - find_cell(photograph.image).background
        for photograph in photographs["LYMPHOCYTE"]
    ]
    assert np.std(red, axis=0).max() > 2
    lobed = [outline_of(find_cell(photograph.image))[2] for photograph in photographs["NEUTROPHIL"]]
    assert np.std(lobed) > 0.02
