"""Scenes for long videos: interviews, lectures, films, screen recordings and sport, as gray frames.

A scene has a template (studio, desktop, pitch, source material), which all videos of one kind share, and a course of
events that depends on the seed. Two seeds are therefore a hard negative: they look alike and are not the same video.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Scene = Callable[[int, float], Iterator[Picture]]  # of a seed and a frame rate
WIDTH, HEIGHT = 192, 108
_QUESTION_S = 10.0

FACE = "WolfgangLanger_Pexels"  # a talking head
FILM = ("bikes", "bigbuckbunny", "cityCC0", "trailer_bbb", "world", "jwpIntro", "testMovie")


def read_clip(path: Path, *, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Return the frames of a video as gray pictures [n, height, width]."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return np.stack([frame.reformat(width, height, "gray").to_ndarray() for frame in frames])


def interview(seed: int, rate: float, face: NDArray[np.uint8]) -> Iterator[Picture]:
    """A talking head in a studio: a random walk over the frames of a real one, with pauses, seen by a moving camera."""
    rng = np.random.default_rng([1, seed])
    position, speed, until = float(rng.uniform(0, len(face))), 1.0, 0
    room = np.array(face.shape[1:]) - (HEIGHT, WIDTH)
    camera, target = room / 2, room / 2
    for number in _count():
        if number >= until:
            until = number + int(rng.uniform(1, 6) * rate)
            speed = float(rng.choice([-1.2, -0.8, 0.15, 0.8, 1.0, 1.2])) * 25 / rate
            target = rng.uniform(0, room)
        position += speed
        if not 0 <= position < len(face) - 1:
            speed, position = -speed, float(np.clip(position, 0, len(face) - 2))
        camera = camera + (target - camera) * min(1, 0.5 / rate)
        top, left = camera.astype(int)
        yield face[int(position), top : top + HEIGHT, left : left + WIDTH]


def lecture(seed: int, rate: float, face: NDArray[np.uint8]) -> Iterator[Picture]:
    """Slides of one template, each shown for up to a minute and a half, with the speaker in a corner."""
    rng = np.random.default_rng([2, seed])
    speaker, until = interview(seed + 1000, rate, face), 0
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in _count():
        if number >= until:
            until = number + int(rng.uniform(15, 90) * rate)
            picture = _slide(rng)
        picture = picture.copy()
        picture[HEIGHT - 27 :, WIDTH - 48 :] = next(speaker)[::4, ::4]
        yield picture


def screen(seed: int, rate: float) -> Iterator[Picture]:
    """A desktop with a fixed background and taskbar: text is typed, pages change, a pointer moves."""
    rng = np.random.default_rng([3, seed])
    desktop = np.tile(np.linspace(60, 120, WIDTH).astype(np.uint8), (HEIGHT, 1))
    desktop[-8:] = 30
    page, line, column = desktop.copy(), 999, 0
    pointer, target = rng.uniform(20, 90, 2), rng.uniform(20, 90, 2)
    while True:
        if line > 74 or rng.random() < 0.01 / rate:
            page = desktop.copy()
            page[8:96, 20:172] = 235
            page[8:14, 20:172] = 80
            line, column = 18, 26
        if rng.random() < 8 / rate:
            width = int(rng.integers(2, 9))
            page[line : line + 3, column : column + width] = rng.integers(20, 120)
            column += width + 2
            if column > 150 or rng.random() < 0.04:
                line, column = line + 5, 26 + 8 * int(rng.integers(0, 4))
        if rng.random() < 0.4 / rate:
            target = rng.uniform(10, 100, 2) * (1, 1.8)
        pointer = pointer + (target - pointer) * min(1, 2 / rate)
        shown = page.copy()
        y, x = pointer.astype(int)
        shown[y : y + 4, x : x + 3] = 0
        yield shown


def sport(seed: int, rate: float) -> Iterator[Picture]:
    """Players on one pitch, followed by a panning camera."""
    rng, ground = np.random.default_rng([4, seed]), _pitch()
    players, pace = rng.uniform(0, 1, (22, 2)), np.zeros((22, 2))
    ball, kick, until = np.array([0.5, 0.5]), np.zeros(2), 0
    camera, shade = 0.5, rng.integers(0, 2, 22) * 150 + 50
    for number in _count():
        if number >= until:
            flight_s = float(rng.uniform(0.8, 3.5))
            until = number + int(flight_s * rate)
            kick = (rng.uniform(0, 1, 2) - ball) / flight_s
        ball = ball + kick / rate
        pace = 0.97 * pace + (0.05 * rng.normal(size=(22, 2)) + 0.12 * (ball - players)) / rate
        players = np.clip(players + pace / rate * 4, 0, 1)
        camera += (ball[1] - camera) * min(1, 1.5 / rate)
        left = int(camera * (ground.shape[1] - WIDTH))
        shown = ground[:, left : left + WIDTH].copy()
        for (y, x), gray in zip([*players, ball], [*shade, 255], strict=True):
            row, column = int(y * (HEIGHT - 12)), int(x * (ground.shape[1] - 5)) - left
            if 0 <= column < WIDTH - 4:
                shown[row : row + 10, column : column + 4] = gray
        yield shown


def film(seed: int, rate: float, clips: Sequence[NDArray[np.uint8]]) -> Iterator[Picture]:
    """Shots of two to eight seconds, cut from real clips [n, 2 * HEIGHT, 2 * WIDTH] at other sizes and speeds."""
    rng = np.random.default_rng([5, seed])
    while True:
        clip = clips[int(rng.integers(len(clips)))]
        frames = int(rng.uniform(2, 8) * rate)
        speed = float(rng.uniform(0.6, 1.2)) * 25 / rate
        first = float(rng.uniform(0, max(1, len(clip) - frames * speed)))
        top, left = int(rng.integers(0, HEIGHT + 1)), int(rng.integers(0, WIDTH + 1))
        for number in range(min(frames, int((len(clip) - first) / speed))):
            yield clip[int(first + number * speed), top : top + HEIGHT, left : left + WIDTH]


def quiz(seed: int, rate: float) -> Iterator[Picture]:
    """Questions of one template, each shown for ten seconds while a bar runs out: all videos have one rhythm."""
    rng = np.random.default_rng([6, seed])
    while True:
        picture = _slide(rng)
        for number in range(round(_QUESTION_S * rate)):
            shown = picture.copy()
            shown[HEIGHT - 6 :, : int(WIDTH * (1 - number / rate / _QUESTION_S))] = 90
            yield shown


def with_cards(pictures: Scene, seed: int, seconds: float, rate: Fraction, *, card_s: float) -> Iterator[Picture]:
    """Yield a scene between a title and an end that are the same for every seed."""
    card, whole = round(card_s * rate), round(seconds * rate)
    yield from itertools.islice(pictures(9999, float(rate)), card)
    yield from itertools.islice(pictures(seed, float(rate)), whole - 2 * card)
    yield from itertools.islice(pictures(9998, float(rate)), card)


def scenes(folder: Path) -> dict[str, Scene]:
    """Return the scenes by name; `folder` has the sample videos."""
    face = read_clip(folder / f"{FACE}.mp4", width=WIDTH + 20, height=HEIGHT + 12)
    clips = [
        read_clip(path, width=2 * WIDTH, height=2 * HEIGHT) for path in sorted(folder.iterdir()) if path.stem in FILM
    ]
    return {
        "interview": lambda seed, rate: interview(seed, rate, face),
        "lecture": lambda seed, rate: lecture(seed, rate, face),
        "screen": screen,
        "sport": sport,
        "film": lambda seed, rate: film(seed, rate, clips),
    }


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _slide(rng: np.random.Generator) -> Picture:
    picture = np.full((HEIGHT, WIDTH), 240, np.uint8)
    picture[:14] = 60
    picture[4:10, 10 : 10 + int(rng.integers(60, 150))] = 220
    for row in range(int(rng.integers(3, 8))):
        picture[24 + 10 * row : 28 + 10 * row, 14 : 14 + int(rng.integers(30, 130))] = 70
    if rng.random() < 0.5:
        top, left, size = rng.integers((20, 90, 20), (50, 130, 50))
        picture[top : top + size, left : left + size] = rng.integers(40, 200)
    return picture


def _pitch() -> Picture:
    rng = np.random.default_rng(0)
    width = int(2.2 * WIDTH)
    ground = (95 + 10 * (np.arange(width) // 24 % 2) + rng.normal(0, 4, (HEIGHT, width))).astype(np.uint8)
    ground[:10] = rng.integers(40, 160, (10, width))
    ground[14:16], ground[-4:-2], ground[:, [4, 5, width // 2, width - 6, width - 5]] = 230, 230, 230
    ground[35:75, [60, width - 61]] = 230
    return ground
