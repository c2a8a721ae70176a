# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Measure the fatigue stage on the labelled clips and the demo clip; write tables and plots.

Run ``.venv/bin/python docs/fatigue_plots.py`` from the repository root. It rewrites the measured
part of ``docs/fatigue.md`` and the plots ``docs/fatigue_*.svg``. The labelled clips are not part of
the repository (``../shared/data``); without them it says so and measures the demo clip alone. The
first run reads every clip under every condition (some ten minutes), the next ones take what that
one kept (``fatigue_films.py``).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import itertools
import math
from pathlib import Path
import sys

from fatigue_films import BLINK_CLIPS
from fatigue_films import CACHE
from fatigue_films import CALM_CLIPS
from fatigue_films import CHANGES
from fatigue_films import DATA
from fatigue_films import Film
from fatigue_films import LAUGH
from fatigue_films import looped
from fatigue_films import meshes_of
from fatigue_films import read_film
from fatigue_films import readings_of
from fatigue_films import save_meshes
from fatigue_films import TIMINGS
import numpy as np

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.metrics import blink_score
from aitable_ros.evaluation.metrics import TOLERANCE_FRAMES
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.types import EyeReading
from aitable_ros.types import FatigueAssessment
from aitable_ros.types import FatigueEvent
from aitable_ros.types import FatigueEventType
from aitable_ros.types import FatigueLevel
from aitable_ros.types import Frame
from aitable_ros.types import Validity

Counts = tuple[int, int, int]
HERE = Path(__file__).resolve().parent
BEGIN, END = '<!-- measured: written by fatigue_plots.py -->', '<!-- end of measured -->'
INK, ACCENT, TRUTH = '#334155', '#2563eb', '#f59e0b'
PLAIN = 'as it is'
QUIET = (FatigueEventType.BLINK, FatigueEventType.LEVEL_CHANGED)
SLEEPY = (FatigueEventType.MICROSLEEP, FatigueEventType.SLEEP)
ORDER = (FatigueLevel.UNKNOWN, FatigueLevel.ALERT, FatigueLevel.MILD, FatigueLevel.SEVERE,
         FatigueLevel.ASLEEP)
Spans = list[FrameSpan]


def judge(
    readings: Sequence[EyeReading], options: FatigueOptions | None = None,
) -> tuple[list[FatigueAssessment], list[FatigueEvent]]:
    """Run the logic over readings."""
    person = PersonFatigue(1, options or FatigueOptions())
    assessments, events = [], []
    for reading in readings:
        assessment, told = person.update(reading)
        assessments.append(assessment)
        events += told
    return assessments, events


def blinks_of(film: Film, options: FatigueOptions | None = None) -> Spans:
    """Return the blinks found, placed as ``aitable evaluate`` places them."""
    return [
        FrameSpan(film.frame_at(e.start_ns), film.frame_at(e.start_ns + round(e.duration_s * 1e9)))
        for e in judge(film.readings, options)[1] if e.type is FatigueEventType.BLINK]


def below(film: Film, threshold: float) -> Spans:
    """Return what a fixed EAR threshold finds: runs of images below it."""
    spans: Spans = []
    for index, reading in enumerate(film.readings):
        if reading.ear < threshold:
            if spans and spans[-1].end == index - 1:
                spans[-1] = FrameSpan(spans[-1].start, index)
            else:
                spans.append(FrameSpan(index, index))
    return spans


def score(found: Spans, film: Film) -> tuple[int, int, int]:
    """Return found, invented and missed, within two images of what the camera gave."""
    result = blink_score(found, film.blinks, film.shut, TOLERANCE_FRAMES * film.period)
    return result.tp, result.fp, result.fn


def total(films: Iterable[Film], options: FatigueOptions | None = None) -> Counts:
    """Return the summed scores of films."""
    return sum_of(score(blinks_of(film, options), film) for film in films)


def sum_of(counts: Iterable[tuple[int, int, int]]) -> Counts:
    """Add up."""
    return tuple(np.sum(list(counts), axis=0).tolist())


def f1(tp: float, fp: float, fn: float) -> float:
    """Harmonic mean of precision and recall; 0 of nothing."""
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def wilson(hits: int, of: int) -> float:
    """Lower end of the 95 % Wilson interval of a share."""
    z, share = 1.96, hits / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return (middle - spread) / (1 + z * z / of)


def bootstrap(
    clips: Sequence[Sequence[Counts]], rounds: int = 2000,
) -> tuple[float, float]:
    """
    Return the 95 % interval of the pooled F1.

    :param clips: counts under each condition, by clip: draws clips, then a condition of each
    """
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(rounds):
        drawn = [clips[k] for k in rng.integers(0, len(clips), len(clips))]
        scores.append(f1(*sum_of(rows[rng.integers(0, len(rows))] for rows in drawn)))
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def blink_table(clips: Sequence[Film], plain: Sequence[Film]) -> list[str]:
    """Return the comparison of methods as a table."""
    rows = ['| method | ' + ' | '.join(clip.name for clip in clips) + ' | pooled F1 |',
            '|---|' + '---|' * (len(clips) + 1)]
    methods = {
        'dips, attention mesh (this package)': [blinks_of(clip) for clip in clips],
        'EAR < 0.20, attention mesh': [below(clip, 0.20) for clip in clips],
        'EAR < 0.22, attention mesh': [below(clip, 0.22) for clip in clips],
        'dips, 468 mesh': [blinks_of(clip) for clip in plain],
        'EAR < 0.20, 468 mesh': [below(clip, 0.20) for clip in plain],
        'EAR < 0.22, 468 mesh': [below(clip, 0.22) for clip in plain],
    }
    for name, found in methods.items():
        counts = [score(spans, clip) for spans, clip in zip(found, clips)]
        pooled = sum_of(c for c, clip in zip(counts, clips) if clip.name != 'laugh_dark')
        cells = [f'{f1(*c):.2f} ({c[0]}/{c[1]}/{c[2]})' for c in counts]
        rows.append(f'| {name} | ' + ' | '.join(cells) + f' | **{f1(*pooled):.3f}** |')
    counts = total(clips)
    asked = counts[0] + counts[2]
    rows += ['', 'F1 (found/invented/missed), pooled without laugh_dark, whose labels leave room '
             f'for opinion. Of single blinks, {counts[0]} of {asked} were found: with so few, the '
             f'true recall may be as low as {wilson(counts[0], asked):.2f} (Wilson, 95 %) for '
             'people like these.']
    return rows


def conditions(names: Sequence[str]) -> Iterator[tuple[str, list[list[Film]]]]:
    """Yield each condition with the films of each clip under it."""
    for change in CHANGES:
        yield change, [[read_film(name, change)] for name in names]
    for timing, change_time in TIMINGS.items():
        yield timing, [change_time(read_film(name)) for name in names]


def general_table() -> list[str]:
    """Return blink scores under every condition."""
    names = (*BLINK_CLIPS, LAUGH)
    rows = ['| what was done to the clips | ' + ' | '.join(Path(name).stem for name in names)
            + ' | pooled F1 |', '|---|' + '---|' * (len(names) + 1)]
    clips: list[list[Counts]] = [[] for _ in names]
    pooled = []
    for condition, by_clip in conditions(names):
        counts = [total(films) for films in by_clip]
        for clip, count in zip(clips, counts):
            clip.append(count)
        pooled.append(f1(*sum_of(counts[:-1])))
        cells = [f'{f1(*c):.2f} ({c[0]}/{c[1]}/{c[2]})' for c in counts]
        rows.append(f'| {condition} | ' + ' | '.join(cells) + f' | {pooled[-1]:.3f} |')
    cells = [f'{np.mean([f1(*c) for c in clip]):.3f}' for clip in clips]
    rows.append('| **mean** | ' + ' | '.join(cells) + f' | **{np.mean(pooled):.3f}** |')
    low, high = bootstrap(clips[:-1])
    all_low, all_high = bootstrap(clips)
    rows += ['', 'Pooled without laugh_dark. 95 % interval, drawing clips and a condition of each: '
             f'{low:.2f} – {high:.2f}; with laugh_dark {all_low:.2f} – {all_high:.2f}. It is drawn '
             'from three clips of two people (four of three): it says how much the result hangs on '
             'which clip and camera, and little about other people.']
    return rows


LEFT_OUT_GRID = {
    'blink_min_drop': (0.10, 0.12, 0.15), 'blink_noise_factor': (5.0, 7.0, 9.0),
    'blink_wander_factor': (0.25, 0.5, 0.75)}
LEFT_OUT_ON = (PLAIN, 'size × 0.35', 'dark and noisy', 'JPEG quality 15')


def left_out_table() -> list[str]:
    """Choose the depth of a blink on all people but one, and score that one."""
    people = {'man with glasses': BLINK_CLIPS[:2], 'talking woman': BLINK_CLIPS[2:],
              'laughing woman': (LAUGH,)}
    settings = [
        FatigueOptions(**dict(zip(LEFT_OUT_GRID, values)))
        for values in itertools.product(*LEFT_OUT_GRID.values())]
    table = {
        person: [
            total((read_film(name, change) for name in names for change in LEFT_OUT_ON), options)
            for options in settings]
        for person, names in people.items()}
    default = [k for k, options in enumerate(settings) if options == FatigueOptions()]
    rows = ['| person left out | chosen on the others: drop, noise, wander | F1 on the one left '
            'out | with the defaults |', '|---|---|---|---|']
    for person in people:
        others = [
            f1(*sum_of(table[other][k] for other in people if other != person))
            for k in range(len(settings))]
        # The middle of all that are as good: the first of them would be a matter of the order.
        best = [k for k, value in enumerate(others) if value >= max(others) - 1e-9]
        chosen = best[len(best) // 2]
        options = settings[chosen]
        rows.append(
            f'| {person} | {options.blink_min_drop}, {options.blink_noise_factor:g}, '
            f'{options.blink_wander_factor} (of {len(best)} as good) | '
            f'{f1(*table[person][chosen]):.3f} | {f1(*table[person][default[0]]):.3f} |')
    return rows


def calm_table() -> list[str]:
    """Return the worst that was told of clips in which nobody sleeps, under any condition."""
    rows = ['| clip | as it is: events beside blinks; validity | under all conditions: '
            'LONG_CLOSURE, sleepy events, NOD; worst level | the same for 3 minutes: highest '
            'PERCLOS, sleepy events; worst level |', '|---|---|---|---|']
    for name in (*CALM_CLIPS, *BLINK_CLIPS, LAUGH):
        assessments, events = judge(read_film(name).readings)
        told = Counter(e.type.name for e in events if e.type not in QUIET)
        shares = Counter(a.validity.name for a in assessments)
        cells = [(', '.join(f'{v} {k}' for k, v in told.items()) or 'none') + '; '
                 + ', '.join(f'{k} {v / len(assessments):.2f}' for k, v in shares.items())]
        for seconds in (0.0, 180.0):
            kinds: Counter[FatigueEventType] = Counter()
            worst, highest = FatigueLevel.UNKNOWN, 0.0
            for _, [films] in conditions([name]):
                for film in films:
                    shown = looped(film, seconds) if seconds else film
                    assessments, events = judge(shown.readings)
                    kinds.update(e.type for e in events)
                    worst = max([worst, *(a.level for a in assessments)], key=ORDER.index)
                    highest = max([highest, *(
                        a.perclos for a in assessments if not math.isnan(a.perclos))])
            sleepy = sum(kinds[kind] for kind in SLEEPY)
            cells.append(
                f'{highest:.3f}, {sleepy}; {worst.name}' if seconds else
                f'{kinds[FatigueEventType.LONG_CLOSURE]}, {sleepy}, {kinds[FatigueEventType.NOD]}; '
                f'{worst.name}')
        rows.append(f'| {Path(name).stem} | ' + ' | '.join(cells) + ' |')
    return rows


SWEEPS: dict[str, Sequence[float]] = {
    'blink_min_drop': (0.06, 0.08, 0.10, 0.12, 0.15, 0.18, 0.20, 0.25),
    'blink_noise_factor': (0, 2, 4, 6, 8, 10, 14),
    'blink_shoulder_s': (0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    'blink_wander_factor': (0, 0.25, 0.5, 0.75, 1.0, 1.5),
    'blink_partial_max_s': (0.15, 0.2, 0.25, 0.35, 0.5),
    'ear_prior': (0.20, 0.24, 0.28, 0.32, 0.36),
}


def sweep(clips: Sequence[Film]) -> dict[str, list[float]]:
    """Return the pooled F1 (all clips with blink labels) around each default."""
    return {
        name: [f1(*total(clips, FatigueOptions(**{name: float(value)}))) for value in values]
        for name, values in SWEEPS.items()}


def gaze_sweep() -> list[str]:
    """Return the false long closures of calm clips around the default of the look-down gate."""
    rows = ['| gaze_pitch, rad | LONG_CLOSURE | MICROSLEEP and SLEEP |', '|---|---|---|']
    films = [read_film(name, change) for name in (*CALM_CLIPS, LAUGH) for change in CHANGES]
    for pitch in (0.04, 0.06, 0.08, 0.10, 0.12, 0.3):
        options = FatigueOptions(gaze_pitch=pitch)
        told = Counter(e.type for film in films for e in judge(film.readings, options)[1])
        rows.append(
            f'| {pitch} | {told[FatigueEventType.LONG_CLOSURE]} | '
            f'{sum(told[kind] for kind in SLEEPY)} |')
    return rows


def demo_readings() -> list[EyeReading]:
    """Read the demo clip at 60 images a second, or take the meshes that an earlier run kept."""
    kept = CACHE / 'demo_60.npz'
    if not kept.is_file():
        frames = (
            Frame(np.ascontiguousarray(frame.image), round(k / 60 * 1e9))
            for k, (frame, _) in enumerate(ScriptedClip(fps=60.0)))
        save_meshes(kept, meshes_of(frames, 'facemesh'))
    return readings_of(kept)[0]


def demo_table() -> list[str]:
    """Return PERCLOS and the times of events on the demo clip, by frame rate."""
    script = ScriptedClip(fps=60.0)
    readings = demo_readings()
    kinds = {'blink': FatigueEventType.BLINK, 'long_closure': FatigueEventType.LONG_CLOSURE,
             'microsleep': FatigueEventType.MICROSLEEP}
    rows = ['| frame rate | PERCLOS (script: '
            f'{script.truth.perclos:.3f}) | P80 | missed | invented | start off by, ms | end, ms |',
            '|---|---|---|---|---|---|---|']
    rng = np.random.default_rng(0)
    for step, drop in ((1, 0), (2, 0), (3, 0), (4, 0), (6, 0), (2, 0.2), (4, 0.2)):
        chosen = [r for r in readings[::step] if rng.random() >= drop]
        assessments, events = judge(chosen)
        left = [e for e in events if e.type is not FatigueEventType.LEVEL_CHANGED]
        starts, ends, missed = [], [], 0
        for real in script.truth.closures:
            near = [e for e in left if e.type is kinds[real.kind]
                    and abs(e.start_ns * 1e-9 - real.start_s) < 0.4]
            if not near:
                missed += 1
                continue
            left.remove(near[0])
            starts.append(1e3 * (near[0].start_ns * 1e-9 - real.start_s))
            ends.append(1e3 * (near[0].start_ns * 1e-9 + near[0].duration_s - real.end_s))
        rows.append(
            f"| {60 / step:g}{', 20 % dropped' if drop else ''} | {assessments[-1].perclos:.3f} | "
            f'{assessments[-1].perclos_p80:.3f} | '
            f'{missed} | {len(left)} | {min(starts):+.0f} … {max(starts):+.0f} | '
            f'{min(ends):+.0f} … {max(ends):+.0f} |')
    return rows


def polyline(x: Sequence[float], y: Sequence[float], colour: str) -> str:
    """Return a line, broken where a value is NaN."""
    parts, current = [], []
    for a, b in zip(x, y):
        if math.isnan(b):
            parts.append(current)
            current = []
        else:
            current.append(f'{a:.1f},{b:.1f}')
    return ''.join(
        f'<polyline points="{" ".join(part)}" fill="none" stroke="{colour}" stroke-width="1.2"/>'
        for part in [*parts, current] if part)


def svg(width: int, height: int, body: str) -> str:
    """Return a whole drawing."""
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="11" fill="{INK}">'
            f'<rect width="{width}" height="{height}" fill="white"/>{body}</svg>\n')


def plot_timeline(clip: Film, title: str, first: int = 0, last: int | None = None) -> str:
    """Return openness over time, the labelled spans behind it and the found blinks below."""
    assessments, events = judge(clip.readings)
    shown = assessments[first:last]
    begin, end = shown[0].stamp_ns * 1e-9, shown[-1].stamp_ns * 1e-9
    width, height, left = 900, 190, 40

    def x(t: float) -> float:
        return left + (width - left - 10) * (t - begin) / (end - begin)

    def y(value: float) -> float:
        return 30 + 110 * (1 - value)
    body = [f'<text x="{left}" y="18" font-weight="bold">{title}</text>']
    for span in [*clip.blinks, *clip.shut]:
        start = float(clip.clock[span.start]) * 1e-9
        if begin <= start <= end:
            wide = max(2, x(start + (span.end + 1 - span.start) / clip.fps) - x(start))
            body.append(f'<rect x="{x(start):.1f}" y="30" height="110" fill="{TRUTH}" '
                        f'opacity="0.35" width="{wide:.1f}"/>')
    body += [
        f'<line x1="{left}" x2="{width - 10}" y1="{y(value)}" y2="{y(value)}" stroke="#cbd5e1"/>'
        f'<text x="8" y="{y(value) + 4}">{value:g}</text>' for value in (0.0, 0.3, 0.5, 1.0)]
    body.append(polyline(
        [x(a.stamp_ns * 1e-9) for a in shown], [y(a.openness) for a in shown], INK))
    for e in events:
        at = e.start_ns * 1e-9
        if begin <= at <= end and e.type is not FatigueEventType.LEVEL_CHANGED:
            body.append(f'<rect x="{x(at):.1f}" y="146" height="8" fill="{ACCENT}" '
                        f'width="{max(2, x(at + e.duration_s) - x(at)):.1f}"/>')
            if e.type is not FatigueEventType.BLINK:
                body.append(f'<text x="{x(at):.1f}" y="166">{e.type.name}</text>')
    down = [a for a in shown if a.validity is Validity.POSE_OUT_OF_RANGE]
    body += [f'<rect x="{x(a.stamp_ns * 1e-9):.1f}" y="156" width="2.5" height="4" fill="#94a3b8"/>'
             for a in down]
    body.append(f'<text x="{left}" y="184">{begin:.0f} s to {end:.0f} s · openness · orange: '
                'labelled blinks or closed-or-gaze-down · blue: told'
                + (' · grey: taken for a look down' if down else '') + '</text>')
    return svg(width, height, ''.join(body))


def plot_sweep(results: dict[str, list[float]]) -> str:
    """Return pooled F1 around each default, one small panel an option."""
    body = ['<text x="12" y="18" font-weight="bold">Blink F1, pooled over the labelled clips, '
            'around each default (orange)</text>']
    for panel, (name, scores) in enumerate(results.items()):
        left, top = 40 + 290 * (panel % 3), 50 + 150 * (panel // 3)
        values = SWEEPS[name]
        default = getattr(FatigueOptions(), name)
        xs = [left + 220 * (v - values[0]) / (values[-1] - values[0]) for v in values]
        ys = [top + 90 * (1 - s) / 0.3 for s in scores]
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
    argparse.ArgumentParser(description=__doc__.strip().splitlines()[0]).parse_args()
    lines: list[str] = []
    there = (DATA / 'video').is_dir()
    if there:
        names = (*BLINK_CLIPS, LAUGH)
        clips = [read_film(name) for name in names]
        plain = [read_film(name, mesh='facemesh_468') for name in names]
        lines += ['### Blinks', '', *blink_table(clips, plain), '',
                  '### Blinks with other cameras', '', *general_table(), '',
                  '### Chosen without one person, scored on that one', '', *left_out_table(), '',
                  '### Clips in which nobody sleeps', '', *calm_table(), '',
                  '### The look-down gate around its default, all conditions', '',
                  *gaze_sweep(), '']
        (HERE / 'fatigue_sweep.svg').write_text(plot_sweep(sweep(clips)))
        (HERE / 'fatigue_blinks.svg').write_text(
            plot_timeline(clips[1], 'webcam_glasses_15fps: partial blinks at 14.6 images a second'))
        (HERE / 'fatigue_gaze.svg').write_text(plot_timeline(
            read_film('posed_expressions.mp4'),
            'posed_expressions: eyes lowered with the head, twice'))
    else:
        sys.stdout.write(f'skipped the labelled clips: no folder {DATA}\n')
    lines += ['### The demo clip', '', *demo_table(), '']
    sys.stdout.write('\n'.join(lines))
    page = HERE / 'fatigue.md'
    if page.is_file() and there:
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f'{before}{BEGIN}\n\n' + '\n'.join(lines) + f'\n{END}{after}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
