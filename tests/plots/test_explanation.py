import numpy as np
import pytest
from matplotlib.text import Text

from bloodcell.plots.explanation import Explained, Heat, explanation_gallery, heat_over


def explained(*, label: str = "A", predicted: str = "B", n_heats: int = 1, nucleus: bool = True) -> Explained:
    heat = np.zeros((30, 40), np.float32)
    heat[10, 25] = 1
    return Explained(
        pixels=np.full((30, 40, 3), 200, np.uint8),
        nucleus=heat > 0 if nucleus else None,
        heats=[Heat(name=f"for {number}", heat=heat) for number in range(n_heats)],
        label=label,
        predicted=predicted,
        probability=0.876,
        name="cell.jpeg",
    )


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(match=Text))


def crosses(axes) -> list[tuple[float, float]]:
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines]


def test_a_photograph_is_next_to_its_heat_with_the_peak_marked():
    figure = explanation_gallery([explained()], title="Title")
    photograph, heat = figure.axes
    assert crosses(photograph) == []
    assert crosses(heat) == [(25, 10)]
    shown_texts = texts(figure)
    assert all(part in shown_texts for part in ("Title", "A\npredicted as B\nconfidence 87.6%\ncell.jpeg", "for 0"))


def test_a_correct_classification_is_named():
    assert "classified correctly" in texts(explanation_gallery([explained(predicted="A")], title="Title"))


def test_several_heat_maps_are_next_to_one_photograph():
    assert len(explanation_gallery([explained(n_heats=2)] * 3, title="Title").axes) == 9


def test_a_photograph_without_nucleus_or_heat_is_shown():
    empty = explained(nucleus=False)
    empty.heats[0].heat[:] = 0
    figure = explanation_gallery([empty], title="Title")
    assert crosses(figure.axes[1]) == []


def test_pictures_neither_overlap_nor_exceed_the_figure():
    figure = explanation_gallery([explained()] * 5, title="Title")
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_without_photographs_there_is_a_sentence():
    assert "No image was misclassified." in texts(
        explanation_gallery([], title="Title", nothing="No image was misclassified.")
    )


def test_heat_of_another_size_is_refused():
    wrong = explained()
    with pytest.raises(ValueError, match="size"):
        explanation_gallery([Explained(**{**wrong.__dict__, "pixels": np.zeros((31, 40, 3), np.uint8)})], title="Title")
    with pytest.raises(ValueError, match="same number"):
        explanation_gallery([explained(), explained(n_heats=2)], title="Title")


def test_more_heat_is_brighter():
    heat = np.linspace(0, 1, 40, dtype=np.float32)[np.newaxis].repeat(30, axis=0)
    shown = heat_over(np.full((30, 40, 3), 120, np.uint8), heat).sum(axis=2)[0]
    assert shown[-1] > shown[20] > shown[8]
    assert 0 <= shown.min() <= shown.max() <= 3
