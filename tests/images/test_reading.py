import io
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from bloodcell.images import reading
from bloodcell.images.reading import (
    FORMATS,
    PLUGINS,
    SUFFIXES,
    UnreadableImage,
    decode_image,
    read_header,
    read_image,
    read_image_to_show,
)

WHITE = [255, 255, 255]
KINDS = {suffix: kind for kind, suffixes in (FORMATS | PLUGINS).items() for suffix in suffixes}
LOSSLESS = {
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "HEIF": {"quality": -1, "matrix_coefficients": 0, "chroma": 444},
    "JPEG": {"quality": 100, "subsampling": 0},
    "JXL": {"lossless": True},
    "WEBP": {"lossless": True},
}
CORNERS = np.array([[(200, 30, 30), (30, 200, 30), (30, 30, 200)], [(10, 10, 10), (128, 128, 128), (250, 250, 90)]])
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def blocks(side: int = 1) -> NDArray[np.uint8]:
    return CORNERS.astype(np.uint8).repeat(side, axis=0).repeat(side, axis=1)


def png_of_16_bits(pixels: NDArray[np.uint16]) -> bytes:
    """Write an RGB PNG of 16 bits a channel, which Pillow does not."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )


def test_a_photograph_is_read_as_pillow_shows_it(cells: Path) -> None:
    file = next((cells / "TRAIN" / "MONOCYTE").iterdir())
    with Image.open(file) as image:
        expected = np.asarray(image)
    assert expected.shape == (240, 320, 3)
    np.testing.assert_array_equal(read_image(file), expected)
    np.testing.assert_array_equal(read_image(str(file).encode()), expected)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_format_with_an_image_suffix_can_be_read(suffix: str) -> None:
    kind = KINDS[suffix]
    if kind in PLUGINS:
        pytest.importorskip("pillow_heif" if kind == "HEIF" else "pillow_jxl", reason="needs the extra formats")
        reading._formats()  # registers the plug-ins
    read = decode_image(encoded(Image.fromarray(blocks(16)), kind, **LOSSLESS.get(kind, {})))
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read, blocks(16).astype(int), atol=3 if kind in ("AVIF", "JPEG") else 0)


@pytest.mark.parametrize(("kind", "module"), [("HEIF", "pillow_heif"), ("JXL", "pillow_jxl")])
def test_a_format_whose_plug_in_is_missing_is_named(kind: str, module: str, monkeypatch) -> None:
    pytest.importorskip(module, reason="needs the extra formats")
    reading._formats()
    data = encoded(Image.fromarray(blocks(16)), kind)
    monkeypatch.setattr(reading, "_formats", lambda: tuple(FORMATS))
    with pytest.raises(UnreadableImage, match=rf"{kind} needs pip install 'bloodcell\[formats\]'"):
        decode_image(data)


def test_greyscale_has_three_equal_channels() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(grey), kind)), np.dstack([grey] * 3))


def test_one_bit_pixels_are_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    assert decode_image(encoded(image)).tolist() == [[[0, 0, 0], WHITE, [0, 0, 0]]]


def test_opaque_pixels_of_an_image_with_an_alpha_channel_keep_their_colour() -> None:
    opaque = np.dstack([blocks(), np.full((2, 3), 255, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(opaque))), blocks())


def test_transparent_pixels_are_shown_on_white() -> None:
    pixels = np.array([[(255, 0, 0, 0), (255, 0, 0, 255), (255, 0, 0, 128)]], np.uint8)
    assert decode_image(encoded(Image.fromarray(pixels))).tolist() == [[WHITE, [255, 0, 0], [255, 127, 127]]]
    grey = Image.fromarray(np.array([[(7, 0), (7, 255)]], np.uint8))
    assert grey.mode == "LA"
    assert decode_image(encoded(grey)).tolist() == [[WHITE, [7, 7, 7]]]


@pytest.mark.parametrize(("mode", "clear", "solid"), [("RGB", (1, 2, 3), (9, 8, 7)), ("L", 5, 6)])
def test_a_colour_that_is_declared_transparent_is_shown_white(mode: str, clear: Any, solid: Any) -> None:
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), solid)
    shown = list(solid) if mode == "RGB" else [solid] * 3
    assert decode_image(encoded(image, transparency=clear)).tolist() == [[WHITE, shown]]
    assert decode_image(encoded(image))[0, 1].tolist() == shown


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    image.putdata([0, 1, 2])
    assert decode_image(encoded(image)).tolist() == [[[10, 20, 30], [200, 100, 50], [1, 2, 3]]]
    assert decode_image(encoded(image, transparency=1)).tolist() == [[[10, 20, 30], WHITE, [1, 2, 3]]]
    assert decode_image(encoded(image, transparency=b"\x00\xff\xff")).tolist() == [[WHITE, [200, 100, 50], [1, 2, 3]]]
    assert decode_image(encoded(image, "GIF", transparency=2)).tolist() == [[[10, 20, 30], [200, 100, 50], WHITE]]


@pytest.mark.parametrize(
    ("inks", "seen"),
    [
        ((0, 0, 0, 0), WHITE),
        ((255, 0, 0, 0), [0, 255, 255]),
        ((0, 255, 255, 0), [255, 0, 0]),
        ((0, 0, 0, 255), [0, 0, 0]),
    ],
)
def test_inks_of_a_cmyk_photograph_become_the_colours_they_print(inks: tuple[int, ...], seen: list[int]) -> None:
    read = decode_image(encoded(Image.new("CMYK", (16, 16), inks), "JPEG", quality=95))
    np.testing.assert_allclose(read.astype(int), np.broadcast_to(seen, (16, 16, 3)), atol=4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_16_bit_grey_the_upper_8_are_kept(kind: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = decode_image(encoded(Image.fromarray(values), kind))
    np.testing.assert_array_equal(read, np.dstack([values >> 8] * 3))


def test_of_16_bit_colour_the_upper_8_are_kept() -> None:
    pixels = np.array([[(0x1234, 0x80FF, 0xFF00), (0x00FF, 0x0100, 0xFFFF)]], np.uint16)
    assert decode_image(png_of_16_bits(pixels)).tolist() == [[[0x12, 0x80, 0xFF], [0x00, 0x01, 0xFF]]]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photographs_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = UPRIGHT[orientation](blocks(16))
    for kind, tolerance in (("PNG", 0), ("TIFF", 0), ("JPEG", 4)):
        options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        read = decode_image(encoded(Image.fromarray(blocks(16)), kind, exif=exif, **options))
        assert read.shape == expected.shape
        np.testing.assert_allclose(read.astype(int), expected.astype(int), atol=tolerance)


def test_of_an_animation_the_first_frame_is_read() -> None:
    red, blue = (Image.new("RGB", (4, 3), colour) for colour in ("red", "blue"))
    read = decode_image(encoded(red, "GIF", save_all=True, append_images=[blue]))
    assert read.shape == (3, 4, 3)
    assert np.unique(read.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


def test_pixels_that_cannot_be_brought_to_8_bits_are_refused_with_advice() -> None:
    for value in (np.nan, np.inf, -1.0, 70_000.0):
        with pytest.raises(UnreadableImage):
            decode_image(encoded(Image.fromarray(np.array([[0, value]], np.float32)), "TIFF"))
    with pytest.raises(UnreadableImage, match=r"more than 16 bits.*save it with 8 or 16 bits"):
        decode_image(encoded(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF"))


def test_what_is_no_whole_image_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="the file is empty"):
        decode_image(b"")
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(b"patient 17, slide 3\n")
    with pytest.raises(UnreadableImage, match="No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage, match="directory"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore:(Truncated File Read|Corrupt EXIF data)")
@given(kind=st.sampled_from(sorted(FORMATS)), share=st.floats(0, 0.9))
def test_a_truncated_file_is_never_read_as_an_image(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImage):
        decode_image(whole[: int(share * len(whole))])


def test_a_small_file_of_a_large_image_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(Image.new("1", (8001, 8000)))
    assert len(bomb) < 20_000
    with pytest.raises(UnreadableImage, match="8001 x 8000 pixels"):
        decode_image(bomb)


def test_formats_that_start_programs_are_no_images() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(postscript)


def test_too_little_memory_is_not_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(MemoryError):
        decode_image(b"an image")


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(reading, "LARGE", 15)
    monkeypatch.setattr(reading, "STRIP", 2)
    at_once, most = 0, 0
    load = ImageFile.ImageFile.load

    def counted(image):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.02)
        at_once -= 1
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    contents = [encoded(Image.fromarray(blocks(side))) for side in (2, 3, 4, 5)]
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(decode_image, contents))
    assert most == 1
    for side, pixels in zip((2, 3, 4, 5), decoded, strict=True):
        np.testing.assert_array_equal(pixels, blocks(side))


def test_the_pixels_of_a_large_image_take_little_more_than_twice_their_size(tmp_path):
    # In a process of its own, as the peak is the process's.
    (tmp_path / "large.png").write_bytes(encoded(Image.new("RGB", (6000, 6000), "white")))
    program = (
        "import resource, sys; from bloodcell.images.reading import read_image; from PIL import Image; Image.init()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); pixels = read_image(sys.argv[1]); print((peak() - before) / pixels.nbytes)"
    )
    shown = subprocess.run([sys.executable, "-c", program, tmp_path / "large.png"], capture_output=True, check=True)
    assert float(shown.stdout) < 2.8


@pytest.mark.parametrize("size", [(40, 10), (10, 40)])
def test_an_image_in_a_plot_is_reduced_in_proportion(tmp_path, monkeypatch, size):
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "wide.png")
    whole = read_image_to_show(tmp_path / "wide.png")
    assert whole.shape == (size[1], size[0], 3)
    monkeypatch.setattr(reading, "MAX_SHOWN", 100)
    shown = read_image_to_show(tmp_path / "wide.png")
    assert shown.shape[0] * shown.shape[1] <= 100
    assert shown.shape[1] / shown.shape[0] == pytest.approx(size[0] / size[1], rel=0.7)
    assert (shown == (9, 8, 7)).all()


def test_a_pipe_a_device_and_a_file_without_end_are_no_images(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    (tmp_path / "long.png").write_bytes(b"x" * 101)
    for name in ("pipe.png", "zero.png", "long.png"):
        with pytest.raises(UnreadableImage):
            read_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", b"GIF89a\xff\xff\xff\xff"])
def test_a_header_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    for source in (content, tmp_path / "a.png"):
        with pytest.raises(UnreadableImage):
            read_header(source)


def test_every_image_file_is_read_by_this_module():
    # Some decode what they encoded; one compares with a program that uses Keras alone.
    other_reader = re.compile(
        r"Image\.open|imread|imdecode|load_img|image_dataset_from|tf\.i(?:o|mage)\.decode|imageio"
    )
    code = [path for top in ("bloodcell", "experiments") for path in (REPOSITORY / top).rglob("*.py")]
    found = {path.relative_to(REPOSITORY).as_posix() for path in code if other_reader.search(path.read_text("utf-8"))}
    benchmarks = {"experiments/benchmarks/copies.py", "experiments/benchmarks/finetune.py"}
    own = {"bloodcell/smears/camera.py", "bloodcell/tracking/galleries.py", "experiments/run_notebook.py"}
    others = {*own, *benchmarks}
    assert found == {"bloodcell/images/depth.py", "bloodcell/images/reading.py", *others}
