import base64
import io

import pytest
from PIL import Image, PngImagePlugin

from mllmu_med.errors import DataError
from mllmu_med.report.images import thumbnail


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _decoded(address: str) -> tuple[str, Image.Image, bytes]:
    head, _, body = address.partition(",")
    data = base64.b64decode(body, validate=True)
    return head, Image.open(io.BytesIO(data)), data


def test_small_images_stay_exact() -> None:
    source = Image.linear_gradient("L").resize((64, 48))
    head, image, _ = _decoded(thumbnail(_encoded(source), "x"))
    assert head == "data:image/png;base64"
    assert image.tobytes() == source.tobytes()


def test_large_images_shrink_to_jpeg() -> None:
    head, image, data = _decoded(thumbnail(_encoded(Image.new("RGB", (1200, 600), "navy")), "x"))
    assert head == "data:image/jpeg;base64"
    assert image.size == (256, 128)
    assert len(data) < 5000


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_can_be_shown(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert _decoded(thumbnail(_encoded(Image.new(mode, (20, 20)), kind), "x"))[1].mode in ("L", "RGB")


def test_sixteen_bit_images_keep_their_contrast() -> None:
    deep = Image.new("I;16", (20, 20), 40000)
    deep.paste(10000, (0, 0, 10, 20))
    image = _decoded(thumbnail(_encoded(deep), "x"))[1]
    assert image.getpixel((15, 10)) - image.getpixel((2, 10)) > 60  # type: ignore[operator]


def test_metadata_does_not_travel() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("PatientName", "Lena Okafor")
    data = _encoded(Image.new("L", (30, 30)), pnginfo=info)
    assert b"Okafor" in data
    assert b"Okafor" not in _decoded(thumbnail(data, "x"))[2]


def test_what_is_no_image_is_named() -> None:
    with pytest.raises(DataError, match="record picture-7"):
        thumbnail(b"not an image", "picture-7")
    with pytest.raises(DataError, match="record picture-8"):
        thumbnail(_encoded(Image.effect_noise((300, 300), 40))[:2000], "picture-8")
