// Copyright 2026 aitable_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The last three minutes of one person, in image time: events, eyes, PERCLOS, level, expression.

export const STEPS_A_SECOND = 5;
export const STEPS = 180 * STEPS_A_SECOND;
export const LEVELS = ['UNKNOWN', 'ALERT', 'MILD', 'SEVERE', 'ASLEEP'];
export const EXPRESSIONS = ['neutral', 'happy', 'sad', 'surprise', 'fear', 'disgust', 'anger', 'contempt'];
// Muted, of like brightness: a change shows, and the name is written where there is room.
const HUES = [215, 45, 230, 300, 275, 110, 5, 25];
const GAP = 4;          // steps without a figure that a line does not bridge
const TOP = 0.3;        // full scale of PERCLOS
const MARKS = [0.08, 0.15];  // MILD and SEVERE begin there (docs/fatigue.md)
const KINDS = {
  LONG_CLOSURE: 'long', MICROSLEEP: 'microsleep', SLEEP: 'sleep', YAWN: 'yawn', NOD: 'nod',
  SLUMPED: 'slumped',
};

export function drawTimeline(canvas, bins, events, now) {
  const ratio = window.devicePixelRatio || 1;
  const style = getComputedStyle(canvas);
  const inner = (first, second) => parseFloat(style[first]) + parseFloat(style[second]);
  const width = canvas.clientWidth - inner('paddingLeft', 'paddingRight');
  const height = canvas.clientHeight - inner('paddingTop', 'paddingBottom');
  if (width < 60 || height < 60) return;
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const font = `11px ${style.fontFamily}`;
  pen.font = font;
  pen.textBaseline = 'middle';

  const left = width < 480 ? 46 : 64;
  const right = width - 4;
  const x = (step) => left + (right - left) * (1 - (now - step) / STEPS);
  const band = 14;
  const axis = 14;
  const rows = {events: [0, 15]};
  const rest = height - 15 - 2 * (band + 3) - axis - 6;
  rows.eyes = [17, rest * 0.6];
  rows.perclos = [rows.eyes[0] + rows.eyes[1] + 5, rest * 0.4 - 3];
  const small = rest < 66;
  if (small) rows.eyes = rows.perclos = [17, rest + 2];  // both in one, told apart by colour
  rows.level = [rows.perclos[0] + rows.perclos[1] + 5, band];
  rows.mood = [rows.level[0] + band + 3, band];
  const bottom = rows.mood[0] + band;

  // Minutes
  pen.strokeStyle = colour('rule');
  pen.fillStyle = colour('soft');
  pen.lineWidth = 1;
  for (let second = 0; second <= 180; second += 30) {
    const at = Math.round(x(now - second * STEPS_A_SECOND)) - 0.5;
    pen.globalAlpha = second % 60 ? 0.5 : 1;
    pen.beginPath(); pen.moveTo(at, 15); pen.lineTo(at, bottom); pen.stroke();
    pen.globalAlpha = 1;
    if (second % 60 === 0) {
      pen.textAlign = second === 0 ? 'right' : second === 180 ? 'left' : 'center';
      pen.fillText(second ? `−${second / 60} min` : 'now', at, bottom + axis / 2 + 2);
    }
  }
  pen.textAlign = 'left';
  for (const [name, text] of [['eyes', 'eyes'], ['perclos', 'PERCLOS'], ['level', 'level'], ['mood', left < 60 ? 'expr.' : 'expression']]) {
    const [top, tall] = rows[name];
    const shift = small ? {eyes: -8, perclos: 8}[name] || 0 : 0;
    if (small) pen.fillStyle = colour({eyes: 'line', perclos: 'second'}[name] || 'soft');
    pen.fillText(text, 0, top + tall / 2 + shift, left - 4);
  }
  if (rows.eyes[1] > 60) {
    pen.fillText('open', 0, rows.eyes[0] + 7);
    pen.fillText('shut', 0, rows.eyes[0] + rows.eyes[1] - 7);
  }

  // Eyes: what is under the line is how far they are open
  const scale = (row, top) => (value) => row[0] + row[1] * (1 - Math.min(Math.max(value / top, 0), 1));
  frame(pen, rows.eyes, left, right, colour('rule'));
  curve(pen, bins, 1, x, scale(rows.eyes, 1), colour('line'), colour('fill'), rows.eyes[0] + rows.eyes[1]);
  // PERCLOS, with the marks of the levels
  frame(pen, rows.perclos, left, right, colour('rule'));
  const height15 = scale(rows.perclos, TOP);
  pen.setLineDash([3, 3]);
  pen.strokeStyle = colour('soft');
  for (const mark of MARKS) {
    const y = Math.round(height15(mark)) + 0.5;
    pen.beginPath(); pen.moveTo(left, y); pen.lineTo(right, y); pen.stroke();
    pen.fillStyle = colour('soft');
    if (rows.perclos[1] > 44) pen.fillText(`${Math.round(mark * 100)} %`, left + 3, y - 6);
  }
  pen.setLineDash([]);
  curve(pen, bins, 2, x, height15, colour('second'), null, 0);

  // Bands
  spans(bins, 3, (from, to, value) => block(
    pen, x(from), x(to), rows.level, colour(value ? LEVELS[value] : 'track'), colour(value ? 'on' : 'soft'), LEVELS[value] || '', left));
  const dark = colour('ink').startsWith('#e');
  spans(bins, 4, (from, to, value) => {
    if (value === 255) return;
    const grey = value === 0 ? 12 : 42;
    block(pen, x(from), x(to), rows.mood, `hsl(${HUES[value]} ${grey}% ${dark ? 38 : 80}%)`, colour('ink'), EXPRESSIONS[value], left);
  });

  // Events, and their time across the eyes
  const written = [];  // newest first: where two names would lie on each other, it stays
  for (const [kind, start, duration] of [...events.filter(([kind]) => kind === 'BLINK'), ...events.filter(([kind]) => kind !== 'BLINK').reverse()]) {
    const from = x(start);
    const to = Math.max(x(start + duration * STEPS_A_SECOND), from + 1.5);
    if (to < left) continue;
    if (kind === 'BLINK') {
      pen.fillStyle = colour('soft');
      pen.fillRect(Math.max(from, left), 9, 1.5, 5);
      continue;
    }
    if (!(kind in KINDS)) continue;
    const lid = !['YAWN', 'NOD', 'SLUMPED'].includes(kind);
    pen.fillStyle = lid ? colour('bad') : colour('accent');
    pen.fillRect(Math.max(from, left), 3, to - Math.max(from, left), 10);
    if (lid) {
      pen.globalAlpha = 0.16;
      pen.fillRect(Math.max(from, left), rows.eyes[0], to - Math.max(from, left), rows.eyes[1]);
      pen.globalAlpha = 1;
    }
    const text = duration >= 1 ? `${KINDS[kind]} ${duration.toFixed(1)} s` : KINDS[kind];
    const wide = pen.measureText(text).width + 6;
    const begin = to + wide < right ? Math.max(to, left) + 1 : from - wide - 1;
    if (begin < left || written.some(([first, last]) => begin < last && begin + wide > first)) continue;
    written.push([Math.min(begin, from), Math.max(begin + wide, to)]);
    pen.fillStyle = colour('panel');
    pen.fillRect(begin, 1, wide, 14);
    pen.fillStyle = colour('ink');
    pen.fillText(text, begin + 3, 8);
  }
}

function frame(pen, [top, tall], left, right, colour) {
  pen.strokeStyle = colour;
  pen.strokeRect(left + 0.5, Math.round(top) + 0.5, right - left - 1, Math.round(tall) - 1);
}

function curve(pen, bins, column, x, y, colour, fill, base) {
  let run = [];
  const flush = () => {
    if (run.length) {
      pen.beginPath();
      run.forEach(([px, py], index) => (index ? pen.lineTo(px, py) : pen.moveTo(px, py)));
      if (run.length === 1) pen.lineTo(run[0][0] + 1, run[0][1]);
      pen.strokeStyle = colour;
      pen.lineWidth = 1.5;
      pen.lineJoin = 'round';
      pen.stroke();
      if (fill) {
        pen.lineTo(run[run.length - 1][0], base);
        pen.lineTo(run[0][0], base);
        pen.fillStyle = fill;
        pen.fill();
      }
      pen.lineWidth = 1;
    }
    run = [];
  };
  let last = -Infinity;
  for (const bin of bins) {
    if (bin[column] === null) continue;
    if (bin[0] - last > GAP) flush();
    run.push([x(bin[0] + 0.5), y(bin[column])]);
    last = bin[0];
  }
  flush();
}

function spans(bins, column, draw) {
  let from = null;
  let value = null;
  let last = 0;
  for (const bin of bins) {
    // An expression is read now and then: a step without one belongs to the last.
    if (column === 4 && bin[4] === 255 && value !== null && bin[0] - last <= GAP) continue;
    if (from !== null && (bin[column] !== value || bin[0] - last > GAP)) {
      draw(from, bin[0] - last > GAP ? last + 1 : bin[0], value);
      from = null;
    }
    if (from === null) [from, value] = [bin[0], bin[column]];
    last = bin[0];
  }
  if (from !== null) draw(from, last + 1, value);
}

function block(pen, from, to, [top, tall], colour, ink, text, left) {
  const start = Math.max(from, left);
  if (to <= start) return;
  pen.fillStyle = colour;
  pen.fillRect(start, top, to - start, tall);
  if (pen.measureText(text).width + 8 <= to - start) {
    pen.fillStyle = ink;
    pen.fillText(text, start + 4, top + tall / 2 + 0.5);
  }
}
