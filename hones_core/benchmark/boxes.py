"""Boxes around text, as (x, y, w, h) in pixels from the image's top left corner."""

import math

Box = tuple[float, float, float, float]


def reaches_outside(box: Box, width: int, height: int) -> bool:
    """Whether any part of `box` lies outside its image of `width` x `height` pixels."""
    x, y, w, h = box
    return x < 0 or y < 0 or x + w > width or y + h > height


def clamp_box(box: Box, width: int, height: int) -> Box:
    """Cut a box (x, y, w, h in pixels) to its image; raise ValueError if nothing of it is left.

    A box inside the image is returned as it is, without rounding.
    """
    x, y, w, h = box
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(width), x + w), min(float(height), y + h)
    if not (all(map(math.isfinite, box)) and right > left and bottom > top):
        raise ValueError(f"box {box} lies outside its {width} x {height} image")
    if not reaches_outside(box, width, height):
        return box
    return left, top, right - left, bottom - top
