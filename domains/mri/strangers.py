"""Pictures of what a prior was not made for, drawn at random: limbs, trunks, bottles, X-ray heads, collages, noise.

They teach the judge of `typicality` what to refuse. Each is magnitude near [0, 1] on a square, air around it zero.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE = 96

Picture = np.ndarray
Draw = Callable[[np.random.Generator], Picture]

_Y, _X = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)


def inside(
    centre_y: float, centre_x: float, half_y: float, half_x: float, turn: float = 0, power: float = 2
) -> Picture:
    """Where a (super)ellipse is, bool (SIZE, SIZE)."""
    c, s = np.cos(turn), np.sin(turn)
    u, v = c * (_Y - centre_y) + s * (_X - centre_x), c * (_X - centre_x) - s * (_Y - centre_y)
    return np.abs(u / half_y) ** power + np.abs(v / half_x) ** power < 1


def field(draw: np.random.Generator, smoothness: float) -> Picture:
    """Gaussian noise of unit deviation, smooth over so many pixels."""
    noise = gaussian_filter(draw.standard_normal((SIZE, SIZE)), smoothness)
    return (noise / noise.std()).astype(np.float32)


def limb(draw: np.random.Generator, centre: float = 0.0, size: float = 1.0) -> Picture:
    """A thigh, a knee or an arm across: skin and fat, muscle, one to three bones with their cortex, vessels."""
    u = draw.uniform
    fat, muscle, marrow, cortex = u(0.05, 1), u(0.15, 0.9), u(0, 1), u(0, 1)
    half_y, half_x, turn = size * u(0.55, 0.9), size * u(0.45, 0.9), u(-0.6, 0.6)
    power = u(1.8, 2.8)
    image = np.where(inside(0, centre, half_y, half_x, turn, power), fat, 0.0)
    rim = u(0.7, 0.97)
    image[inside(0, centre, half_y * rim, half_x * rim, turn, power)] = muscle
    if u() < 0.5:  # muscles parted by something thin
        flesh = image == muscle
        places = [(u(-0.8, 0.8) * half_y, centre + u(-0.8, 0.8) * half_x) for _ in range(draw.integers(4, 14))]
        nearest = np.sort([np.hypot(_Y - y, _X - x) for y, x in places], axis=0)
        image[flesh & (nearest[1] - nearest[0] < u(0.02, 0.07) * size)] = u(0, 1)
    for _ in range(draw.integers(0, 4)):  # muscles of their own
        y, x = u(-0.5, 0.5) * half_y, centre + u(-0.5, 0.5) * half_x
        image[inside(y, x, u(0.1, 0.4) * half_y, u(0.1, 0.4) * half_x, u(0, 3))] = muscle * u(0.7, 1.3)
    bones = draw.integers(1, 5)
    for _ in range(bones):
        big = u(0.12, 0.55 if bones < 3 else 0.35)
        y, x, tilt = u(-0.55, 0.55) * half_y, centre + u(-0.5, 0.5) * half_x, u(0, 3)
        half, ratio, bark = big * half_y, u(0.5, 1.2), u(0.6, 0.93)
        image[inside(y, x, half, half * ratio, tilt)] = cortex
        image[inside(y, x, half * bark, half * ratio * bark, tilt)] = marrow
    for _ in range(draw.integers(0, 8)):
        y, x, r = u(-0.6, 0.6) * half_y, centre + u(-0.6, 0.6) * half_x, u(0.02, 0.07)
        image[inside(y, x, r, r * u(0.5, 2), u(0, 3))] = u(0, 1)
    return image


def limbs(draw: np.random.Generator) -> Picture:
    """Two limbs beside each other."""
    return np.maximum(limb(draw, -0.5, 0.5), limb(draw, 0.5, 0.5))


def joint(draw: np.random.Generator) -> Picture:
    """A joint along the limb: two bones that meet, in a band of soft tissue that leaves the picture on both sides."""
    u = draw.uniform
    bend, width, place = u(-0.25, 0.25), u(0.4, 0.75), u(-0.3, 0.3)
    middle = bend * np.sin(u(1, 3) * _Y + u(-1, 1))
    band = np.abs(_X - middle)
    fat, muscle, marrow, cortex, cartilage = u(0.2, 1), u(0.15, 0.8), u(0.2, 1), u(0, 0.5), u(0, 1)
    image = np.where(band < width, fat, 0.0)
    image[band < width * u(0.75, 0.97)] = muscle
    end, shaft = u(0.5, 0.85) * width, u(0.2, 0.5) * width
    for side in (-1, 1):
        head = inside(place + side * u(0.15, 0.3), 0, u(0.12, 0.3), end)
        bone = head | ((np.abs(_X - middle) < shaft) & (side * (_Y - place) > 0.15))
        shell = gaussian_filter(bone.astype(np.float32), 1.2) > 0.1
        image[shell] = cortex
        image[bone] = marrow * u(0.9, 1.1)
    image[(np.abs(_Y - place) < u(0.02, 0.07)) & (np.abs(_X) < end)] = cartilage
    if u() < 0.6:  # a kneecap and its tendon
        image[inside(place + u(-0.3, 0), -width * 0.75, 0.18, 0.07)] = marrow
        image[inside(place + u(0, 0.4), -width * 0.65, 0.25, 0.04, u(-0.2, 0.2))] = cortex
    return image


def trunk(draw: np.random.Generator) -> Picture:
    """A chest or belly across: fat, muscle, lungs or organs, a spine, ribs."""
    u = draw.uniform
    wide, high, power = u(0.75, 1.2), u(0.5, 0.85), u(2, 3)
    fat, soft, bone, lung = u(0.1, 1), u(0.2, 0.9), u(0.1, 1), u(0, 0.35)
    image = np.where(inside(0, 0, high, wide, 0, power), fat, 0.0)
    rim = u(0.8, 0.97)
    image[inside(0, 0, high * rim, wide * rim, 0, power)] = soft
    if u() < 0.5:
        for side in (-1, 1):
            image[inside(u(-0.1, 0.1), side * wide * u(0.4, 0.5), high * u(0.5, 0.75), wide * u(0.25, 0.38))] = lung
        for _ in range(draw.integers(0, 20)):
            r = u(0.01, 0.05)
            image[inside(u(-0.6, 0.6) * high, u(-0.8, 0.8) * wide, r, r * u(0.5, 2), u(0, 3))] = soft
    grain = 1 + u(0, 0.3) * field(draw, u(0.5, 3))
    for _ in range(draw.integers(2, 12)):
        y, x, size = u(-0.6, 0.6) * high, u(-0.7, 0.7) * wide, u(0.1, 1)
        organ = inside(y, x, size * u(0.2, 0.6), size * u(0.2, 0.6), u(0, 3))
        image[organ & (image > 0)] = (u(0, 1) * grain)[organ & (image > 0)]
    image[inside(high * 0.6, 0, u(0.1, 0.17), u(0.1, 0.17))] = bone
    image[inside(high * 0.45, 0, 0.05, 0.07)] = u(0, 1)
    for _ in range(draw.integers(0, 12)):
        angle, r = u(0, 6.3), u(0.03, 0.06)
        image[inside(high * 0.85 * np.sin(angle), wide * 0.88 * np.cos(angle), r, 2.5 * r, angle)] = bone
    return image


def bottle(draw: np.random.Generator) -> Picture:
    """A test object: a disc or box, with rods, wedges or lines, or nothing in it."""
    u = draw.uniform
    half_y, half_x, power = u(0.5, 0.95), u(0.5, 0.95), draw.choice([2.0, 2.0, 8.0])
    image = np.where(inside(0, 0, half_y, half_x, u(-0.5, 0.5), power), u(0.4, 1), 0.0)
    match draw.integers(0, 4):
        case 0:
            count = int(draw.integers(2, 7))
            for y in np.linspace(-0.45, 0.45, count):
                for x in np.linspace(-0.45, 0.45, count):
                    r = u(0.01, 0.4 / count)
                    image[inside(y, x, r, r)] = u(0, 1)
        case 1:
            lines = np.sin(u(8, 60) * (_X * np.cos(turn := u(0, 3)) + _Y * np.sin(turn))) > u(-0.5, 0.8)
            image[lines & inside(0, 0, 0.5 * half_y, 0.5 * half_x, 0, power)] = u(0, 1)
        case 2:
            for _ in range(draw.integers(1, 10)):
                image[inside(u(-0.5, 0.5), u(-0.5, 0.5), u(0.03, 0.3), u(0.03, 0.3), u(0, 3), power)] = u(0, 1)
    return image


def xray_head(draw: np.random.Generator) -> Picture:
    """A head as computed tomography shows it: bright bone around a brain that is almost even."""
    u = draw.uniform
    half_y, half_x, turn = u(0.7, 0.92), u(0.55, 0.8), u(-0.3, 0.3)
    skin, brain = u(0.03, 0.55), u(0.03, 0.6)
    bone = u(max(brain, skin) + 0.3, 1.2)
    ripple = 1 + 0.06 * field(draw, 12)

    def shell(size: float) -> Picture:
        return (
            inside(0, 0, half_y * size, half_x * size, turn, 2.1)
            if u() < 0.5
            else inside(0, 0, half_y * size, half_x * size, turn) & (ripple > 0)
        )

    outer = u(0.85, 0.97)
    inner = outer - u(0.04, 0.16)
    image = np.where(shell(1), skin, 0.0)
    image[shell(outer)] = bone
    image[shell(inner)] = brain
    if u() < 0.6:  # ventricles
        for side in (-1, 1):
            image[inside(u(-0.1, 0.1), side * 0.1, u(0.1, 0.3), u(0.03, 0.08), side * u(0, 0.5))] = brain * u(0.6, 0.95)
    if u() < 0.4:  # the base of the skull
        for _ in range(draw.integers(2, 10)):
            r = u(0.03, 0.15)
            image[inside(u(-0.6, 0.6), u(-0.5, 0.5), r, r * u(0.3, 3), u(0, 3))] = draw.choice([bone, 0.0, bone * 0.6])
    if u() < 0.3:  # absolute values of Hounsfield units: air is bright
        image = np.where(shell(1), image * 0.3, u(0.6, 1.0))
    return image


def collage(draw: np.random.Generator) -> Picture:
    """Pieces that hide each other, whose sizes follow a power law, as in pictures of the world.

    Source: Lee, Mumford, Huang (2001), Occlusion models for natural images, 10.1023/A:1011109015675.
    """
    u = draw.uniform
    image = np.zeros((SIZE, SIZE))
    sharp = draw.choice([2.0, 6.0, 1.0])
    for _ in range(draw.integers(30, 250)):
        r = 0.03 / u(0.03, 1) ** 0.7
        shape = inside(u(-1, 1), u(-1, 1), r * u(0.4, 1), r * u(0.4, 1), u(0, 3), sharp)
        image[shape] = u(0, 1) * (1 + u(0, 0.15) * field(draw, 0.7)[shape] if r > 0.2 else 1)
    return image


def clouds(draw: np.random.Generator) -> Picture:
    """Smooth noise of any coarseness, as it is, as absolute values, or cut at a level."""
    noise = field(draw, np.exp(draw.uniform(0, 2.5))) + draw.uniform(0, 0.6) * field(draw, 0.4)
    match draw.integers(0, 3):
        case 0:
            return np.abs(noise)
        case 1:
            return np.clip(0.5 + 0.25 * noise, 0, 1)
        case _:
            return (noise > draw.uniform(-0.5, 1)) * draw.uniform(0.5, 1) + 0.1 * np.abs(field(draw, 0.4))


def ellipses(draw: np.random.Generator) -> Picture:
    """A Shepp-Logan-like picture: a bright ring, and even ellipses in it."""
    u = draw.uniform
    half_y, half_x = u(0.6, 0.95), u(0.5, 0.9)
    image = np.where(inside(0, 0, half_y, half_x), u(0.5, 1), 0.0)
    thin = u(0.85, 0.97)
    image[inside(0, 0, half_y * thin, half_x * thin)] = u(0.05, 0.6)
    for _ in range(draw.integers(2, 12)):
        image[inside(u(-0.6, 0.6) * half_y, u(-0.6, 0.6) * half_x, u(0.02, 0.35), u(0.02, 0.25), u(0, 3))] += u(
            -0.3, 0.4
        )
    return np.maximum(image, 0)


def windowed(values: Picture, draw: np.random.Generator) -> Picture:
    """A slice of signed values (Hounsfield units, say) as a magnitude, in one of the ways that people make it."""
    low, high = float(values.min()), float(np.percentile(values, 99.9))
    match draw.integers(0, 4) if low < 0 else 3:
        case 0:
            return np.abs(values)
        case 1:
            return values - low
        case 2:
            floor = low * draw.uniform(0.02, 0.3)
            return np.clip(values - floor, 0, high * draw.uniform(0.15, 1) - floor)
        case _:
            return np.maximum(values, 0)


KINDS: tuple[tuple[float, Draw], ...] = (
    (0.2, limb), (0.05, limbs), (0.14, joint), (0.2, trunk), (0.07, bottle),
    (0.12, xray_head), (0.12, collage), (0.05, clouds), (0.05, ellipses),
)  # fmt: skip


def stranger(draw: np.random.Generator) -> Picture:
    """One picture, float32 (SIZE, SIZE), with the texture, blur and field of view that pictures have."""
    weights = np.array([weight for weight, _ in KINDS])
    image = KINDS[draw.choice(len(KINDS), p=weights / weights.sum())][1](draw).astype(np.float32)
    if draw.uniform() < 0.6:
        image = image * (1 + draw.uniform(0, 0.25) * field(draw, np.exp(draw.uniform(-1, 2.5))))
    image = gaussian_filter(image, draw.uniform(0, 1.5))
    if draw.uniform() < 0.25:  # air that is not dark
        image = image + draw.uniform(0, 0.3)
    image = np.maximum(image, 0)
    return image / max(float(np.percentile(image, 99)), 1e-6)
