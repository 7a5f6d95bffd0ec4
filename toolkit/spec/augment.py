"""`augment`: how views of an image are made. What is left open follows from the kind of images."""

from typing import Annotated

from pydantic import Field

from toolkit.spec.data import Data
from toolkit.spec.images import AudioSource, DigitsSource
from toolkit.spec.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Crop(Section):
    """Cut out a part and resize it to the whole (Szegedy 2015)."""

    smallest: float = Field(default=0.2, gt=0, le=1)
    """Least area of the part, as a share of the image's."""
    stretch: float = Field(default=1.33, ge=1)
    """Most that the part's shape is stretched, either way."""


class Flip(Section):
    """Mirror left to right. Leave it out where that changes the meaning: text, digits, spectrograms."""

    share: Share = 0.5


class Turn(Section):
    """Turn and shear by a small angle: how handwriting varies."""

    degrees: float = Field(default=15.0, ge=0, le=180)
    """Most that an image is turned, either way."""
    shear: float = Field(default=0.2, ge=0, le=2)
    """Most that it is sheared, either way, as a share of its width."""


class Colour(Section):
    """Change brightness, contrast, saturation and hue; now and then take the colour out (Chen 2020)."""

    share: Share = 0.8
    strength: float = Field(default=0.5, gt=0, le=2)
    """1 changes brightness, contrast and saturation by up to 80 %, and hue by up to a fifth of the circle."""
    grey: Share = 0.2
    """Share of the images that lose their colour."""


class Blur(Section):
    """Blur by a Gaussian (Chen 2020)."""

    share: Share = 0.5
    largest: float = Field(default=0.05, gt=0, le=1)
    """Largest standard deviation, as a share of the image's height."""


class Augment(Section):
    """One table for each thing done to a view. A table left out is filled in by the kind of images."""

    crop: Crop | None = None
    flip: Flip | None = None
    turn: Turn | None = None
    colour: Colour | None = None
    blur: Blur | None = None


_NO_FLIP, _NO_TURN, _NO_COLOUR, _NO_BLUR = (
    Flip(share=0),
    Turn(degrees=0, shear=0),
    Colour(share=0, grey=0),
    Blur(share=0),
)
_DIGITS = Augment(
    crop=Crop(smallest=0.5, stretch=1.2), flip=_NO_FLIP, turn=Turn(), colour=_NO_COLOUR, blur=_NO_BLUR
)
_PHOTOGRAPHS = Augment(crop=Crop(), flip=Flip(), turn=_NO_TURN, colour=Colour(), blur=Blur())
_SPECTROGRAMS = Augment(
    crop=Crop(smallest=0.6, stretch=1.2),
    flip=_NO_FLIP,
    turn=_NO_TURN,
    colour=Colour(share=0.8, strength=0.5, grey=0),
    blur=_NO_BLUR,
)
_SMALL = 64
"""Pixels of height below which a blur leaves nothing of a photograph (Chen 2020 has none on CIFAR)."""


def filled_in(augment: Augment, data: Data) -> Augment:
    """`augment` with the tables it leaves out, by the kind of `data`: digits, photographs or sound."""
    match data.sources[0]:
        case DigitsSource():
            usual = _DIGITS
        case AudioSource():
            usual = _SPECTROGRAMS
        case _:
            small = data.image_shape[1] < _SMALL
            usual = _PHOTOGRAPHS.model_copy(update={"blur": _NO_BLUR}) if small else _PHOTOGRAPHS
    given = {name: table for name in Augment.model_fields if (table := getattr(augment, name)) is not None}
    return usual.model_copy(update=given)
