"""The report's pictures beside the page: the best lap, the curves, and the lap as an animation; drawn by matplotlib.

Whoever calls sees to it that matplotlib is there; nothing is shown on a screen, and no display is needed.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from racing.car import FloatArray
from racing.track import Track
from train_cloud.report.courses import Course, behind
from train_cloud.report.curves import broken, interruptions, present, times_of, values_of
from train_cloud.report.facts import Facts
from train_cloud.report.numbers import lap, signed
from train_cloud.report.track_map import SPEED_COLOURS, line_of

GIF_BYTES: Final = 2_000_000
_FRAMES: Final = 120
_FRAME_MS: Final = 60
_COLOURS = {"policy": "#0b62c4", "human": "#b8500c", "reference": "#6a727c"}


def plain_text(text: str) -> str:
    """A text that matplotlib does not take for a formula."""
    return "".join(sign if sign.isprintable() else " " for sign in text).replace("$", r"\$")[:80]


def draw_lap(file: Path, track: Track, best: Course, others: "list[tuple[Course, str]]") -> None:
    """Save a PNG: the best lap on the map, and its speed and delta beside others', each with its kind."""
    pyplot = _pyplot()
    rows = [1.6, 1.0] if others else [1.0]
    figure = pyplot.figure(figsize=(13, 6.4), dpi=120, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.05, 1.0])
    axes = left.subplots()
    coloured = _draw_map(axes, track, best)
    left.colorbar(coloured, ax=axes, label="km/h", shrink=0.7)
    axes.set_title(f"{plain_text(track.name)}: {lap(best.time)}, {best.name}", loc="left", fontsize=11)
    strips = np.atleast_1d(right.subplots(len(rows), 1, sharex=True, gridspec_kw={"height_ratios": rows}))
    for one, kind in [*others, (best, "policy")]:
        style = "--" if kind == "reference" else "-"
        strips[0].plot(one.metres, 3.6 * one.speed, style, color=_COLOURS[kind], linewidth=1.2, label=one.name)
    strips[0].set_ylabel("speed, km/h")
    strips[0].legend(frameon=False, fontsize=9)
    for one, kind in others:
        delta = behind(best, one)
        label = f"against {one.name}: {signed(float(delta[-1]))} s"
        strips[1].plot(best.metres, delta, color=_COLOURS[kind], linewidth=1.2, label=label)
    if others:
        strips[1].axhline(0.0, color="0.5", linewidth=0.6)
        strips[1].set_ylabel("delta, s")
        strips[1].legend(frameon=False, fontsize=9)
    strips[-1].set_xlabel("m from the line")
    for strip in strips:
        _quiet(strip)
    _save(figure, file)


def draw_curves(file: Path, facts: Facts) -> bool:
    """Save a PNG of the run's curves over its steps; whether there was any to draw."""
    curves = present(facts)
    laps = facts.history.laps
    count = len(curves) + bool(laps)
    if not count:
        return False
    figure, grid = _pyplot().subplots(
        (count + 1) // 2,
        min(count, 2),
        figsize=(12, 2.5 * ((count + 1) // 2)),
        dpi=120,
        layout="constrained",
        squeeze=False,
    )
    places = list(grid.flat)
    for spare in places[count:]:
        spare.set_visible(False)
    times, cuts = times_of(facts.points), interruptions(facts.points)
    if laps:
        for kind, rows in (
            ("policy", [row for row in laps if row.version]),
            ("human", [row for row in laps if not row.version]),
        ):
            steps, seconds = [row.steps for row in rows], [row.time for row in rows]
            if rows:
                places[0].plot(steps, seconds, ".", color=_COLOURS[kind], markersize=4, label=kind)
        best = min(row.time for row in laps)
        places[0].set_ylim(top=min(max(row.time for row in laps), 1.5 * best) + 0.05 * best)
        places[0].set_title("Clean laps, s", loc="left", fontsize=10)
        places[0].legend(frameon=False, fontsize=8)
    for axes, curve in zip(places[bool(laps) :], curves, strict=False):
        for name, tag, kind in curve.lines:
            y = (100.0 if curve.share else 1.0) * values_of(facts.points, tag)
            axes.plot(*broken(times.steps, y, times.breaks), color=_COLOURS[kind], linewidth=1.1, label=name)
        axes.set_title(f"{curve.title}{', ' if curve.unit else ''}{curve.unit}", loc="left", fontsize=10)
        if len(curve.lines) > 1:
            axes.legend(frameon=False, fontsize=8)
    for axes in places[:count]:
        for cut in cuts:
            axes.axvline(cut.stopped_at_steps, color="#b3202c", linestyle=":", linewidth=0.9)
        _quiet(axes)
    for axes in places[max(0, count - 2) : count]:
        axes.set_xlabel("environment steps")
    _save(figure, file)
    return True


def animate_lap(file: Path, track: Track, best: Course, other: Course | None) -> None:
    """Save a GIF of at most GIF_BYTES: the best lap driven on the map, beside `other` where there is one."""
    for frames, colours in ((_FRAMES, 64), (_FRAMES // 2, 32), (_FRAMES // 4, 16)):
        images = _frames(track, best, other, frames, colours)
        duration = _FRAME_MS * _FRAMES // frames
        images[0].save(file, save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)
        if file.stat().st_size <= GIF_BYTES:
            return
    file.unlink()
    raise ValueError(f"the animation would be larger than {GIF_BYTES} bytes")


def _frames(track: Track, best: Course, other: Course | None, count: int, colours: int) -> list[Any]:
    """The frames as palette images, all of the first one's palette."""
    from PIL import Image

    figure = _pyplot().figure(figsize=(5.6, 4.6), dpi=100)
    axes = figure.add_axes((0.02, 0.14, 0.96, 0.84))
    _draw_map(axes, track, best)
    canvas: Any = figure.canvas
    axes.axis("off")
    cars = [(best, _COLOURS["policy"])] + ([(other, _COLOURS["reference"])] if other is not None else [])
    dots = [
        axes.plot([], [], "o", color=colour, markersize=9, markeredgecolor="white", markeredgewidth=1.4, animated=True)[
            0
        ]
        for _, colour in reversed(cars)
    ]
    text = figure.text(0.04, 0.05, "", fontsize=11, family="monospace", animated=True)
    note = f"{best.name} in blue" + (f", {other.name} in grey" if other is not None else "")
    figure.text(0.04, 0.008, plain_text(note), fontsize=8, color="0.4")
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    images: list[Any] = []
    lines = [line_of(track, course) for course, _ in reversed(cars)]
    for now in np.linspace(0.0, best.time, count):
        canvas.restore_region(background)
        for dot, line, (course, _) in zip(dots, lines, reversed(cars), strict=True):
            at = [float(np.interp(now, course.seconds, line[:, axis])) for axis in (0, 1)]
            dot.set_data([at[0]], [at[1]])
            axes.draw_artist(dot)
        speed, pedals = (float(np.interp(now, best.seconds, getattr(best, name))) for name in ("speed", "pedals"))
        pedal = f"throttle {100 * pedals:3.0f} %" if pedals >= 0 else f"brake    {-100 * pedals:3.0f} %"
        text.set_text(f"{lap(now)}  {3.6 * speed:3.0f} km/h  {pedal}")
        figure.draw_artist(text)
        frame = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
        if images:
            images.append(frame.quantize(palette=images[0], dither=Image.Dither.NONE))
        else:
            images.append(frame.quantize(colours, dither=Image.Dither.NONE))
    _pyplot().close(figure)
    return images


def _draw_map(axes: Any, track: Track, course: Course) -> Any:
    """The track's edges, the start line, the lap by its speed; returns what a scale is drawn of."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    edges = [_closed(track.position_at(track.s, gap)) for gap in (track.width_left, -track.width_right)]
    for edge in edges:
        axes.plot(edge[:, 0], edge[:, 1], color="0.6", linewidth=0.8)
    start = np.stack([edge[0] for edge in edges])
    axes.plot(start[:, 0], start[:, 1], color="black", linewidth=2.5)
    points = line_of(track, course)
    colours = LinearSegmentedColormap.from_list("speed", SPEED_COLOURS)
    coloured = LineCollection(list(np.stack([points[:-1], points[1:]], axis=1)), cmap=colours, linewidth=2.6)
    coloured.set_array(3.6 * course.speed[:-1])
    axes.add_collection(coloured)
    axes.set(aspect="equal")
    axes.axis("off")
    return coloured


def _closed(points: FloatArray) -> FloatArray:
    return np.concatenate([points, points[:1]])


def _quiet(axes: Any) -> None:
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file)
    _pyplot().close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
