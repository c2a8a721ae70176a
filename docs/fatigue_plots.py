# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Measure the fatigue stage on the labelled clips, on made nods and on the demo clip.

Run ``PYTHONPATH=test .venv/bin/python docs/fatigue_plots.py`` from the repository root. The script
rewrites the measured part of ``docs/fatigue.md`` and the plots ``docs/fatigue_*.svg``. The labelled
clips are not part of the repository (``../shared/data``); without them only drawn films are
measured.

The first run reads every clip under every condition and takes some ten minutes. Later runs take
the meshes that the first run kept.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
import itertools
import math
from pathlib import Path
import pickle
import shutil
import sys

from fatigue_films import (
    CACHE, CHANGES, DATA, Film, HALF, index, Labelled, mediapipe_mesh, NOT_POOLED, PLAIN, read_film,
    watch
)
from head_films import Camera, nod_films, other_films
import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.metrics import Detections, match_spans
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.fatigue.eyes import LEFT_EYE, RIGHT_EYE
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.people import People
from aitable_ros.inference.chain import resolve
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.types import (
    FatigueAssessment, FatigueEvent, FatigueEventType, FatigueLevel, Frame, Validity
)

HERE = Path(__file__).resolve().parent
BEGIN, END = '<!-- measured: written by fatigue_plots.py -->', '<!-- end of measured -->'
INK, ACCENT, TRUTH = '#334155', '#2563eb', '#f59e0b'
EVENT = FatigueEventType
CLOSURES = (EVENT.LONG_CLOSURE, EVENT.MICROSLEEP, EVENT.SLEEP)
FAST_FPS, SLOW_FPS = 19.0, 10.0
"""Blinks are pooled from 19 images a second on, and from 10 to below 19."""
NONE = Detections(0, 0, 0)
_NO_TRUTH = Labelled(None, None, [], [], None, 0.0)
Spans = list[FrameSpan]


@dataclass(slots=True)
class Judged:
    """What the fatigue logic said of the primary person of a film."""

    assessments: list[FatigueAssessment | None] = field(default_factory=list)
    events: list[FatigueEvent] = field(default_factory=list)
    usable_s: float = 0.0
    closed_s: float = 0.0

    @property
    def level(self) -> FatigueLevel:
        """The highest."""
        return max(
            (one.level for one in self.assessments if one), default=FatigueLevel.UNKNOWN)

    @property
    def perclos(self) -> float:
        """Closed over usable time of the whole film; NaN without any."""
        return self.closed_s / self.usable_s if self.usable_s else math.nan

    def spans(self, film: Film, *kinds: EVENT) -> Spans:
        """Return the events of some kinds, placed as ``aitable evaluate`` places them."""
        return [
            FrameSpan(film.frame_at(event.start_ns),
                      film.frame_at(event.start_ns + round(event.duration_s * 1e9)))
            for event in self.events if event.type in kinds]


def judge(film: Film, options: FatigueOptions | None = None) -> Judged:
    """Run the logic over a film."""
    people, told = People(options or FatigueOptions()), Judged()
    counted: dict[int, tuple[float, float]] = {}
    last = None
    for seen, readings in zip(film.seen, film.readings):
        judgement = people.judge(seen.stamp_ns, readings, seen.boxes)
        last = seen.primary if seen.primary is not None else last
        told.events += [event for event in judgement.events if event.track_id == last]
        for track, one in judgement.assessments.items():
            usable_s, closed_s = counted.get(track, (0.0, 0.0))
            if track == seen.primary:
                told.usable_s += one.usable_s - usable_s
                told.closed_s += one.closed_s - closed_s
            counted[track] = one.usable_s, one.closed_s
        told.assessments.append(judgement.assessments.get(seen.primary or 0))
    return told


# --- methods that are compared -------------------------------------------------------------------

Method = Callable[[Film], Spans]


def ours(options: FatigueOptions | None = None) -> Method:
    """Return this package's blinks."""
    return lambda film: judge(film, options).spans(film, EVENT.BLINK)


def below(threshold: float) -> Method:
    """Return runs of images below a fixed EAR, on this package's mesh."""
    def method(film: Film) -> Spans:
        readings = [film.primary(k) for k in range(len(film.seen))]
        return _runs([reading is not None and reading.ear < threshold for reading in readings])
    return method


def mediapipe_below(threshold: float, change: str, python: str) -> Method:
    """Return runs of images below a fixed EAR, on MediaPipe's own mesh."""
    def method(film: Film) -> Spans:
        ear = _ear(mediapipe_mesh(film.name, change, python))
        return _runs((ear < threshold).tolist())
    return method


def _ear(points: NDArray[np.float32]) -> NDArray[np.float64]:
    both = []
    for eye in (LEFT_EYE, RIGHT_EYE):
        p = points[:, eye].astype(np.float64)
        heights = np.hypot(*(p[:, 1] - p[:, 5]).T) + np.hypot(*(p[:, 2] - p[:, 4]).T)
        both.append(heights / (2 * np.linalg.norm(p[:, 0] - p[:, 3], axis=1)))
    return np.asarray(np.mean(both, axis=0))


def _runs(low: Sequence[bool]) -> Spans:
    spans: Spans = []
    for number, is_low in enumerate(low):
        if is_low and spans and spans[-1].end == number - 1:
            spans[-1] = FrameSpan(spans[-1].start, number)
        elif is_low:
            spans.append(FrameSpan(number, number))
    return spans


def score(method: Method, film: Film) -> Detections:
    """Score blinks as ``aitable evaluate`` does."""
    return match_spans(method(film), film.truth.blinks or [], film.truth.ignore).counts


def films(change: str = PLAIN) -> list[Film]:
    """Return the pooled clips with labelled blinks."""
    every = [read_film(name, change) for name in index() if name != NOT_POOLED]
    return [film for film in every if film.truth.blinks is not None and film.fps >= SLOW_FPS - 0.5]


def pooled(method: Method, clips: Iterable[Film]) -> Detections:
    """Add up."""
    return sum((score(method, film) for film in clips), NONE)


def cell(counts: Detections) -> str:
    """Write F1 and found/invented/missed."""
    return f'{counts.f1:.3f} ({counts.tp}/{counts.fp}/{counts.fn})'


def is_fast(film: Film) -> bool:
    """Whether a film counts among the fast ones."""
    return film.fps >= FAST_FPS


# --- tables --------------------------------------------------------------------------------------


def method_table(python: str | None) -> list[str]:
    """Compare methods, pooled."""
    rows = ['| method | 19 images a second and up | 10 to 19, and every second image |',
            '|---|---|---|']
    both = {PLAIN: films(), HALF: films(HALF)}

    def row(name: str, method: Callable[[str], Method]) -> None:
        fast = pooled(method(PLAIN), filter(is_fast, both[PLAIN]))
        slow = sum((
            pooled(method(change), (film for film in clips if not is_fast(film)))
            for change, clips in both.items()), NONE)
        rows.append(f'| {name} | {cell(fast)} | {cell(slow)} |')
    row('**this package**', lambda change: ours())
    for threshold in (0.20, 0.22):
        row(f'EAR < {threshold:.2f}, same mesh', lambda change, at=threshold: below(at))
    if python:
        for threshold in (0.20, 0.22):
            row(f"EAR < {threshold:.2f}, MediaPipe's own refined mesh",
                lambda change, at=threshold: mediapipe_below(at, change, python))
    return [*rows, '', 'F1 (found/invented/missed). `laugh_dark` is not pooled; a clip of 7 images '
            'a second (every second image of a 15 fps camera) is left out.']


def people_table() -> list[str]:
    """List the people with a mistake, and where the naive rule does better."""
    rows = ['| person, clip | images a second | this package | EAR < 0.20, same mesh | mistakes at '
            'image |', '|---|---|---|---|---|']
    right = Counter[str]()
    for change in (PLAIN, HALF):
        for film in films(change):
            found = ours()(film)
            matching = match_spans(found, film.truth.blinks or [], film.truth.ignore)
            naive = score(below(0.20), film)
            if not matching.invented and not matching.missed:
                right[change] += 1
                continue
            where = ', '.join(
                [f'{span.start} invented' for span in matching.invented]
                + [f'{span.start} missed' for span in matching.missed])
            worse = ' **(naive is better)**' if naive.f1 > matching.counts.f1 + 1e-9 else ''
            rows.append(f'| {film.person}, {film.name} | {film.fps:.1f} | {cell(matching.counts)}'
                        f'{worse} | {cell(naive)} | {where} |')
    return [*rows, '', f'All other clips are without a mistake: {right[PLAIN]} at full rate, '
            f'{right[HALF]} with every second image.']


GRID: dict[str, tuple[float, ...]] = {
    'blink_min_drop': (0.2, 0.25, 0.3, 0.35, 0.4),
    'blink_min_area_s': (0.0105, 0.012, 0.0135, 0.015),
    'blink_noise_factor': (5.0, 6.0, 7.5, 9.0)}


def left_out_table() -> list[str]:
    """Choose the constants of a blink without each person, and score them on that person."""
    settings = [FatigueOptions(**dict(zip(GRID, values, strict=True)))
                for values in itertools.product(*GRID.values())]
    clips = [*films(), *films(HALF)]
    people = sorted({film.person for film in clips})
    table: dict[tuple[int, str, bool], Detections] = {}
    for number, options in enumerate(settings):
        for film in clips:
            key = number, film.person, is_fast(film)
            table[key] = table.get(key, NONE) + score(ours(options), film)
    places = np.array(list(itertools.product(*(range(len(v)) for v in GRID.values()))), float)
    total, chosen = {True: NONE, False: NONE}, Counter[tuple[float, ...]]()
    for left_out in people:
        worth = np.array([
            sum(sum((table.get((number, person, fast), NONE) for person in people
                     if person != left_out), NONE).f1 for fast in (True, False))
            for number in range(len(settings))])
        best = places[worth >= worth.max() - 0.005]  # the middle of what is as good
        pick = int(((places - best.mean(axis=0)) ** 2).sum(axis=1).argmin())
        chosen[tuple(getattr(settings[pick], name) for name in GRID)] += 1
        for fast in total:
            total[fast] += table.get((pick, left_out, fast), NONE)
    picks = '; '.join(f"{', '.join(f'{v:g}' for v in values)} ({count} times)"
                      for values, count in chosen.most_common())
    return ['| constants chosen | 19 images a second and up | slower |', '|---|---|---|',
            f'| without the person | {cell(total[True])} | {cell(total[False])} |',
            f'| defaults | {cell(pooled(ours(), filter(is_fast, clips)))} | '
            f'{cell(pooled(ours(), (film for film in clips if not is_fast(film))))} |', '',
            f"{len(people)} people. Chosen ({', '.join(f'`{name}`' for name in GRID)}): {picks}."]


def condition_table() -> list[str]:
    """Score blinks as other cameras would have filmed them."""
    rows = ['| what was done to the images | 19 images a second and up | slower |', '|---|---|---|']
    for change in CHANGES:
        clips = films(change)
        fast = pooled(ours(), filter(is_fast, clips))
        slow = pooled(ours(), (film for film in clips if not is_fast(film)))
        rows.append(f"| {change} | {cell(fast) if fast != NONE else '–'} | {cell(slow)} |")
    return rows


def event_table() -> list[str]:
    """Count the events other than blinks, over all clips."""
    rows = ['| | full rate | every second image |', '|---|---|---|']
    columns: list[dict[str, str]] = []
    for change in (PLAIN, HALF):
        counts, closures, off = Counter[str](), NONE, []
        seconds = 0.0
        for name in index():
            film = read_film(name, change)
            told = judge(film)
            seconds += film.duration_s
            for kind in (EVENT.NOD, EVENT.YAWN):
                counts[kind.name] += len(told.spans(film, kind))
            if film.truth.closures is not None:
                closures += match_spans(
                    told.spans(film, *CLOSURES), film.truth.closures, film.truth.ignore).counts
            awake = film.truth.longest_closure_s < 1.5 and name != NOT_POOLED
            if awake and (told.spans(film, EVENT.MICROSLEEP, EVENT.SLEEP)
                          or told.level in (FatigueLevel.SEVERE, FatigueLevel.ASLEEP)):
                counts['sleep'] += 1
            if film.truth.perclos is not None and film.duration_s >= 10:
                off.append(abs(told.perclos - film.truth.perclos))
        hours = seconds / 3600
        columns.append({
            'labelled closures over 0.5 s (found/invented/missed)':
                f'{closures.tp}/{closures.fp}/{closures.fn}',
            'nods reported (none is real)': str(counts['NOD']),
            'yawns reported (none is 1.5 s long)': str(counts['YAWN']),
            'clips of people awake with MICROSLEEP, SLEEP, SEVERE or ASLEEP': str(counts['sleep']),
            'the same, an hour': f"{counts['sleep'] / hours:.1f}",
            'PERCLOS against its label, clips of 10 s and more: mean and largest difference':
                f'{np.mean(off):.3f}, {np.max(off):.3f} ({len(off)} clips)',
            'seconds of film': f'{seconds:.0f}'})
    rows += [f'| {name} | {columns[0][name]} | {columns[1][name]} |' for name in columns[0]]
    crown = read_film('webcam_strong_motion').cut(0, 350).looped(60)
    told = judge(crown)
    with_mesh = np.mean([seen.primary in seen.meshes for seen in crown.seen])
    usable = Counter(one.validity.name if one else 'no face' for one in told.assessments)
    shares = ', '.join(f'{k} {v / len(told.assessments):.2f}' for k, v in usable.most_common())
    return [*rows, '', 'The crown of a head (`webcam_strong_motion`, images 0 – 349, shown for a '
            f'minute): highest level {told.level.name}; a mesh in {with_mesh:.2f} of the images; '
            f'validity {shares}.']


SWEEPS: dict[str, Sequence[float]] = {
    'blink_min_drop': (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45),
    'blink_min_area_s': (0.0075, 0.009, 0.0105, 0.012, 0.0135, 0.015, 0.018),
    'blink_noise_factor': (0, 3, 5, 6, 7, 8, 9, 10, 12),
    'blink_shoulder_s': (0.4, 0.5, 0.6, 0.7, 0.8),
    'blink_partial_max_s': (0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    'ear_prior': (0.20, 0.24, 0.28, 0.32, 0.36),
}


def sweep() -> dict[str, list[float]]:
    """Return the pooled F1, full rate and every second image, around each default."""
    clips = [*films(), *films(HALF)]
    return {
        name: [pooled(ours(FatigueOptions(**{name: float(value)})), clips).f1 for value in values]
        for name, values in SWEEPS.items()}


def demo_table() -> list[str]:
    """Return PERCLOS and the times of events on the demo clip, by frame rate."""
    script = ScriptedClip(fps=60.0)
    kept = CACHE / 'demo_60.pkl'
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        seen = watch(Frame(np.ascontiguousarray(frame.image), round(k / 60 * 1e9))
                     for k, (frame, _) in enumerate(script))
        kept.write_bytes(pickle.dumps(seen))
    seen = pickle.loads(kept.read_bytes())  # noqa: S301 - written by this script
    kinds = {'blink': EVENT.BLINK, 'long_closure': EVENT.LONG_CLOSURE,
             'microsleep': EVENT.MICROSLEEP}
    rows = ['| frame rate | PERCLOS (script: '
            f'{script.truth.perclos:.3f}) | P80 | missed | invented | start off by, ms | end, ms |',
            '|---|---|---|---|---|---|---|']
    rng = np.random.default_rng(0)
    for step, drop in ((1, 0), (2, 0), (3, 0), (4, 0), (6, 0), (2, 0.2), (4, 0.2)):
        chosen = [one for one in seen[::step] if rng.random() >= drop]
        told = judge(Film('demo', 'demo', 60 / step, chosen, _NO_TRUTH))
        left = [event for event in told.events if event.type is not EVENT.LEVEL_CHANGED]
        starts, ends, missed = [], [], 0
        for real in script.truth.closures:
            near = [event for event in left if event.type is kinds[real.kind]
                    and abs(event.start_ns * 1e-9 - real.start_s) < 0.4]
            if not near:
                missed += 1
                continue
            left.remove(near[0])
            starts.append(1e3 * (near[0].start_ns * 1e-9 - real.start_s))
            ends.append(1e3 * (near[0].start_ns * 1e-9 + near[0].duration_s - real.end_s))
        final = [one for one in told.assessments if one][-1]
        rows.append(
            f"| {60 / step:g}{', 20 % dropped' if drop else ''} | {final.perclos:.3f} | "
            f'{final.perclos_p80:.3f} | {missed} | {len(left)} | '
            f'{min(starts):+.0f} … {max(starts):+.0f} | {min(ends):+.0f} … {max(ends):+.0f} |')
    return rows


def nod_table() -> list[str]:
    """Return the results on films of a head turned in 3D; the script is the truth."""
    kept = CACHE / 'head_films.pkl'
    films_ = (*nod_films(), *other_films())
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        backend = resolve(FatigueOptions()).backend
        assert backend is not None
        with backend:
            camera = Camera(FaceMesh(backend))
            kept.write_bytes(pickle.dumps({
                film.name: watch(shot.frame for shot in camera.film(film)) for film in films_}))
    seen = pickle.loads(kept.read_bytes())  # noqa: S301 - written by this script
    counts: dict[str, list[int]] = {}
    for script in films_:
        told = judge(Film(script.name, '', script.fps, seen[script.name], _NO_TRUTH))
        nods = [(event.start_ns * 1e-9, event.start_ns * 1e-9 + event.duration_s)
                for event in told.events if event.type is EVENT.NOD]
        real = [any(first <= end and start <= last for first, last in script.nods)
                for start, end in nods]
        row = counts.setdefault(script.kind, [0, 0, 0, 0])
        for place, number in enumerate((1, len(script.nods), sum(real), len(nods) - sum(real))):
            row[place] += number
    return ['| made films | films | nods in them | found | invented |', '|---|---|---|---|---|', *(
        f"| {kind} | {' | '.join(map(str, row))} |" for kind, row in counts.items())]


# --- plots ---------------------------------------------------------------------------------------


def polyline(x: Sequence[float], y: Sequence[float], colour: str) -> str:
    """Return a line, broken where a value is NaN."""
    parts: list[list[str]] = [[]]
    for a, b in zip(x, y):
        if math.isnan(b):
            parts.append([])
        else:
            parts[-1].append(f'{a:.1f},{b:.1f}')
    return ''.join(
        f'<polyline points="{" ".join(part)}" fill="none" stroke="{colour}" stroke-width="1.2"/>'
        for part in parts if part)


def svg(width: int, height: int, body: str) -> str:
    """Return a whole drawing."""
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="11" fill="{INK}">'
            f'<rect width="{width}" height="{height}" fill="white"/>{body}</svg>\n')


def plot_timeline(film: Film, title: str) -> str:
    """Return openness over time, the labelled spans behind it and the found events below."""
    told = judge(film)
    stamps = [seen.stamp_ns * 1e-9 for seen in film.seen]
    begin, end = stamps[0], stamps[-1]
    width, height, left = 900, 190, 40

    def x(t: float) -> float:
        return left + (width - left - 10) * (t - begin) / (end - begin)

    def y(value: float) -> float:
        return 30 + 110 * (1 - value)
    body = [f'<text x="{left}" y="18" font-weight="bold">{title}</text>']
    for span in [*(film.truth.blinks or ()), *(film.truth.closures or ()), *film.truth.ignore]:
        wide = max(2.0, x(stamps[min(span.end + 1, len(stamps) - 1)]) - x(stamps[span.start]))
        colour = '#cbd5e1' if span in film.truth.ignore else TRUTH
        body.append(f'<rect x="{x(stamps[span.start]):.1f}" y="30" height="110" fill="{colour}" '
                    f'opacity="0.35" width="{wide:.1f}"/>')
    body += [
        f'<line x1="{left}" x2="{width - 10}" y1="{y(value)}" y2="{y(value)}" stroke="#cbd5e1"/>'
        f'<text x="8" y="{y(value) + 4}">{value:g}</text>' for value in (0.0, 0.3, 0.5, 1.0)]
    body.append(polyline(
        [x(t) for t in stamps], [y(one.openness) if one else math.nan for one in told.assessments],
        INK))
    for event in told.events:
        at = event.start_ns * 1e-9
        if event.type is not EVENT.LEVEL_CHANGED:
            body.append(f'<rect x="{x(at):.1f}" y="146" height="8" fill="{ACCENT}" '
                        f'width="{max(2, x(at + event.duration_s) - x(at)):.1f}"/>')
            if event.type is not EVENT.BLINK:
                body.append(f'<text x="{x(at):.1f}" y="166">{event.type.name}</text>')
    down = [t for t, one in zip(stamps, told.assessments)
            if one and one.validity is Validity.POSE_OUT_OF_RANGE]
    body += [f'<rect x="{x(t):.1f}" y="156" width="2.5" height="4" fill="#94a3b8"/>' for t in down]
    body.append(f'<text x="{left}" y="184">{begin:.0f} s to {end:.0f} s · openness · orange: '
                'labelled · blue: reported' + (' · grey: a look down' if down else '') + '</text>')
    return svg(width, height, ''.join(body))


def plot_sweep(results: dict[str, list[float]]) -> str:
    """Return pooled F1 around each default, one small panel an option."""
    body = ['<text x="12" y="18" font-weight="bold">Blink F1 of all clips at full rate and with '
            'every second image, around each default (orange)</text>']
    for panel, (name, scores) in enumerate(results.items()):
        left, top = 40 + 290 * (panel % 3), 50 + 150 * (panel // 3)
        values = SWEEPS[name]
        default = getattr(FatigueOptions(), name)
        xs = [left + 220 * (v - values[0]) / (values[-1] - values[0]) for v in values]
        ys = [top + 90 * min(1.0, (1 - s) / 0.3) for s in scores]
        at = left + 220 * (default - values[0]) / (values[-1] - values[0])
        body.append(f'<text x="{left}" y="{top - 10}">{name} = {default:g}</text>'
                    f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + 90}" '
                    f'stroke="{TRUTH}" stroke-width="3"/>')
        for level in (1.0, 0.9, 0.8, 0.7):
            y = top + 90 * (1 - level) / 0.3
            body.append(f'<line x1="{left}" x2="{left + 220}" y1="{y}" y2="{y}" stroke="#e2e8f0"/>'
                        f'<text x="{left - 26}" y="{y + 4}">{level:.1f}</text>')
        body.append(polyline(xs, ys, ACCENT))
        body += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{ACCENT}"/>'
                 for a, b in zip(xs, ys)]
        body.append(f'<text x="{left}" y="{top + 106}">{values[0]:g}</text>'
                    f'<text x="{left + 205}" y="{top + 106}">{values[-1]:g}</text>')
    return svg(900, 340, ''.join(body))


def main() -> int:
    """Measure, write, return the exit status."""
    ask = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    ask.add_argument('--fresh', action='store_true', help='read all clips again')
    ask.add_argument('--mediapipe', metavar='PYTHON',
                     help='interpreter with mediapipe==0.10.21, to compare with its own mesh')
    arguments = ask.parse_args()
    if arguments.fresh:
        shutil.rmtree(CACHE, ignore_errors=True)
    lines: list[str] = []
    there = (DATA / 'video').is_dir()
    if there:
        lines += ['### Blinks', '', *method_table(arguments.mediapipe), '',
                  '### Blinks by person', '', *people_table(), '',
                  '### Constants chosen without the person', '', *left_out_table(), '',
                  '### Blinks with other cameras', '', *condition_table(), '',
                  '### Closures, nods, yawns, sleep, PERCLOS', '', *event_table(), '']
        (HERE / 'fatigue_sweep.svg').write_text(plot_sweep(sweep()))
        (HERE / 'fatigue_blinks.svg').write_text(plot_timeline(
            read_film('webcam_glasses_15fps'),
            'webcam_glasses_15fps: partial blinks at 14.6 images a second'))
        (HERE / 'fatigue_gaze.svg').write_text(plot_timeline(
            read_film('posed_expressions'), 'posed_expressions: eyes lowered with the head, twice'))
    else:
        sys.stdout.write(f'skipped the labelled clips: no folder {DATA}\n')
    lines += ['### Made nods', '', *nod_table(), '', '### The demo clip', '', *demo_table(), '']
    sys.stdout.write('\n'.join(lines))
    page = HERE / 'fatigue.md'
    if page.is_file() and there:
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f'{before}{BEGIN}\n\n' + '\n'.join(lines) + f'\n{END}{after}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
