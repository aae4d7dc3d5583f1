"""Scenes as pictures."""

import math
from typing import assert_never

from PIL import Image, ImageDraw

from pairstill.data.sources.scenes.scene import Background, Colour, Scene, SceneObject

# Drawn larger, then averaged: Pillow's shapes have hard edges.
_OVERSAMPLING = 4

_COLOURS: dict[Colour, tuple[int, int, int]] = {
    "red": (225, 25, 30),
    "green": (30, 165, 50),
    "blue": (45, 85, 245),
    "yellow": (255, 225, 25),
    "purple": (150, 40, 190),
    "orange": (255, 130, 10),
    "cyan": (60, 220, 235),
    "white": (255, 255, 255),
}
_CROSS = (
    (-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33),
    (0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33),
)  # fmt: skip


def render(scene: Scene, size: int) -> Image.Image:
    """Return the scene as an RGB picture.

    Args:
        scene: what to draw.
        size: side of the square picture in pixels; shapes can be told apart from 16 pixels on.
    """
    side = size * _OVERSAMPLING
    image = Image.new("RGB", (side, side))
    _draw_background(image, scene.background, scene.phase)
    for item in scene.objects:
        image.paste(_COLOURS[item.colour], mask=_mask(item, side))
    return image.resize((size, size), Image.Resampling.BOX)


def _draw_background(image: Image.Image, background: Background, phase: float) -> None:
    draw, side = ImageDraw.Draw(image), image.width
    match background:
        case "black":
            draw.rectangle((0, 0, side, side), fill=(8, 8, 8))
        case "grey_stripes":
            draw.rectangle((0, 0, side, side), fill=(70, 70, 70))
            step = side / 8
            for number in range(-1, 8, 2):
                left = (number + 2 * phase) * step
                draw.rectangle((left, 0, left + step, side), fill=(125, 125, 125))
        case "brown_checks":
            draw.rectangle((0, 0, side, side), fill=(70, 42, 22))
            step = side / 4
            for row in range(-1, 5):
                for column in range(row % 2 - 2, 5, 2):
                    left, top = (column + phase) * step, (row + phase) * step
                    draw.rectangle((left, top, left + step, top + step), fill=(112, 72, 42))
        case "sand_dots":
            draw.rectangle((0, 0, side, side), fill=(205, 185, 140))
            step, radius = side / 5, side / 22
            for row in range(-1, 6):
                for column in range(-1, 6):
                    x, y = (column + phase) * step, (row + phase) * step
                    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(150, 125, 85))
        case "navy_fade":
            for y in range(side):
                light = (y / side + 0.3 * phase) / 1.3
                draw.line((0, y, side, y), fill=(int(8 + 24 * light), int(12 + 34 * light), int(45 + 75 * light)))
        case _:
            assert_never(background)


def _mask(item: SceneObject, side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    x, y, radius = item.x * side, item.y * side, item.radius * side
    match item.shape:
        case "circle":
            draw.ellipse(_box(x, y, radius), fill=255)
        case "ring":
            draw.ellipse(_box(x, y, radius), fill=255)
            draw.ellipse(_box(x, y, 0.55 * radius), fill=0)
        case "moon":
            draw.ellipse(_box(x, y, radius), fill=255)
            draw.ellipse(_box(x + 0.55 * radius, y - 0.2 * radius, 0.85 * radius), fill=0)
        case "square":
            draw.rectangle(_box(x, y, 0.85 * radius), fill=255)
        case "diamond":
            draw.polygon(_points(item, side, ((0, -1.1), (0.7, 0), (0, 1.1), (-0.7, 0))), fill=255)
        case "triangle":
            draw.polygon(_points(item, side, ((0, -1), (1, 0.85), (-1, 0.85))), fill=255)
        case "cross":
            draw.polygon(_points(item, side, _CROSS), fill=255)
        case "star":
            draw.polygon(_points(item, side, _star()), fill=255)
        case _:
            assert_never(item.shape)
    return mask


def _box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return (x - radius, y - radius, x + radius, y + radius)


def _points(item: SceneObject, side: int, outline: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    return [((item.x + dx * item.radius) * side, (item.y + dy * item.radius) * side) for dx, dy in outline]


def _star() -> tuple[tuple[float, float], ...]:
    tips = [(1.15 if tip % 2 == 0 else 0.45, math.pi * tip / 5) for tip in range(10)]
    return tuple((length * math.sin(angle), -length * math.cos(angle)) for length, angle in tips)
