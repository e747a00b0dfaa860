"""A result's image: on the host, or on the device that painted it until somebody looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from PIL import Image

if TYPE_CHECKING:
    from fgdm import _core


@dataclass(frozen=True, eq=False)
class Kept:
    """What a request with keep_on_device left on the device.

    image: uint8 (height, width, 3). latents: float32 (1, C, h, w), what it was decoded from.
    """

    image: _core.DeviceArray
    latents: _core.DeviceArray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        height, width, _ = self.image.shape
        return width, height

    def to_host(self) -> Image.Image:
        """A copy of the image as it is now."""
        return Image.fromarray(self.image.numpy())


class PaintedImage:
    """The field of a dataclass that is a picture, or becomes one when it is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> PaintedImage: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Image.Image: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:  # a dataclass asks for a default, and there is none
            raise AttributeError(self._name)
        value = instance.__dict__[self._name]
        if isinstance(value, Kept):
            value = instance.__dict__[self._name] = value.to_host()
        return value

    def __set__(self, instance: object, value: Image.Image | Kept) -> None:
        instance.__dict__[self._name] = value
