import numpy as np
import pandas as pd
import pytest

from bloodcell.plots.gallery import augmentation_samples, error_gallery

RNG = np.random.default_rng(0)


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def errors_of(n: int, *, path: str = "TEST/EOSINOPHIL/_0_5239.jpeg", predicted: str = "NEUTROPHIL") -> pd.DataFrame:
    return pd.DataFrame(
        {"path": path, "label": "EOSINOPHIL", "predicted": predicted, "probability": np.linspace(0.999, 0.4, n)}
    )


@pytest.mark.parametrize("n", [1, 2, 4, 9])
def test_every_error_is_shown_with_truth_prediction_confidence_and_file_name(n, texts_of, check_legible):
    images = [noise(60, 80) for _ in range(n)]
    figure = error_gallery(images, errors=errors_of(n), title="Errors")
    assert len(figure.axes) == n
    for axes, image in zip(figure.axes, images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    assert texts_of(figure).count("Errors") == 1
    assert "EOSINOPHIL → NEUTROPHILconfidence 99.9%_0_5239.jpeg" in texts_of(figure)
    check_legible(figure)


def test_long_names_in_a_gallery_are_folded_and_not_cut(texts_of, check_legible):
    name = "ein_sehr_langer_dateiname_" * 4 + "ß.jpeg"
    predicted = "plasma cell, atypical and of a very long name"
    figure = error_gallery([noise(90, 60), noise(60, 90)], errors=errors_of(2, path=f"a/{name}", predicted=predicted))
    assert all(name in text for text in texts_of(figure) if "→" in text)
    check_legible(figure)


def test_a_gallery_without_errors_has_a_sentence(texts_of, check_legible):
    figure = error_gallery([], errors=errors_of(0), title="Errors")
    assert "No image was misclassified." in texts_of(figure)
    check_legible(figure)


def test_a_gallery_needs_one_image_per_error_and_rgb_bytes():
    with pytest.raises(ValueError, match="1 errors, 0 images"):
        error_gallery([], errors=errors_of(1))
    with pytest.raises(ValueError, match="uint8"):
        error_gallery([np.zeros((4, 4, 3), dtype=np.float32)], errors=errors_of(1))
    with pytest.raises(ValueError, match="uint8"):
        error_gallery([np.zeros((4, 4), dtype=np.uint8)], errors=errors_of(1))


def test_augmentation_rows_begin_with_the_image_itself(texts_of, check_legible):
    originals = [noise(30, 40), noise(30, 40)]
    views = [[image[::-1], image[:, ::-1], 255 - image] for image in originals]
    figure = augmentation_samples(
        originals, views=views, names=["EOSINOPHIL", "plasma cell, atypical and of a long name"]
    )
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    expected = [image for original, row in zip(originals, views, strict=True) for image in (original, *row)]
    assert len(shown) == 8
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    texts = texts_of(figure)
    assert [text for text in texts if text.startswith(("image", "view"))] == ["image", "view 1", "view 2", "view 3"]
    assert "EOSINOPHIL" in texts
    check_legible(figure)


def test_photographs_keep_their_shape_in_a_gallery(photographs, check_legible):
    images = photographs(5)
    figure = error_gallery(images, errors=errors_of(len(images)))
    check_legible(figure)
    for axes, image in zip(figure.axes, images, strict=True):
        box = axes.get_window_extent()
        assert box.width / box.height == pytest.approx(image.shape[1] / image.shape[0], rel=0.01)


def test_every_image_needs_as_many_views_and_a_name():
    image = noise(4, 4)
    for views, names in (([[image], []], ["a", "b"]), ([[image]], ["a", "b"])):
        with pytest.raises(ValueError, match=r"to unpack|zip"):
            augmentation_samples([image, image], views=views, names=names)
