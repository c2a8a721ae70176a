// Copyright 2026 aitable_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The page: one WebSocket in, nothing out but which camera is looked at and "got it".

import {drawTimeline, EXPRESSIONS, STEPS, STEPS_A_SECOND} from './timeline.js';

const SILENT_S = 2;      // without an answered image for so long, what is shown is not now
const LOST_MS = 4000;    // without a word from the monitor for so long
const AGAIN_MS = 1500;
const SPEAK_MS = 5000;
const STAGES = {face: ['faces', 'face_detector'], mesh: ['eyes', 'fatigue'], emotion: ['expression', 'emotion'], posture: ['posture', 'posture']};
const VALIDITY = {
  WARMING_UP: 'warming up', NO_FACE: 'no face', LOW_FRAME_RATE: 'frame rate too low',
  POSE_OUT_OF_RANGE: 'head turned away', OCCLUDED: 'eyes hidden',
};
const SITTING = {NO_BODY: 'no body', PARTIAL: 'shoulders or head hidden', WARMING_UP: 'warming up'};
const STATES = ['OK', 'WARN', 'ERROR', 'STALE'];
const USABLE_S = 30;     // PERCLOS is told from then on (docs/fatigue.md)
const FULL_PERCLOS = 0.3;

const at = (id) => document.getElementById(id);
const wish = {camera: '', picture: true};
const people = new Map();  // key -> {panel, bins, told}
let socket = null;
let heardMs = 0;
let epoch = null;
let paused = false;
let bitmap = null;
let shown = null;        // the header of the picture on show
let spoken = {level: new Map(), ms: 0};

// Link

function connect() {
  socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/live`);
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => { heardMs = performance.now(); ask(); };
  socket.onmessage = async ({data}) => {
    heardMs = performance.now();
    const mine = socket;
    const text = typeof data === 'string';
    try {
      if (text) tell(JSON.parse(data)); else await show(data);
    } finally {
      if (mine.readyState === WebSocket.OPEN) mine.send(text ? 'heard' : 'seen');
    }
  };
  socket.onclose = () => { lose(); setTimeout(connect, AGAIN_MS); };
}

function ask() {
  wish.picture = !paused && !document.hidden;
  people.forEach((person) => person.panel.remove());
  people.clear();
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
}

function lose() {
  link('lost', 'not connected');
  alarm('The monitor does not answer – what is shown is old. Trying again …');
  document.querySelector('main').classList.add('stale');
}

setInterval(() => {
  if (socket && socket.readyState === WebSocket.OPEN && performance.now() - heardMs > LOST_MS) lose();
}, 1000);

function link(state, text) {
  put(at('link'), text);
  at('link').dataset.state = state;
}

function alarm(text) {
  const line = at('alarm');
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
}

// Figures

const known = (value) => value !== null && value !== undefined;
const percent = (value, digits = 0) => (known(value) ? `${(value * 100).toFixed(digits)} %` : '–');
const signed = (value, digits) => (known(value) ? (value < 0 ? '−' : '+') + Math.abs(value).toFixed(digits) : '–');
const seconds = (value) => (value < 10 ? value.toFixed(1) : value < 120 ? value.toFixed(0) : `${Math.floor(value / 60)} min ${Math.round(value % 60)}`);

function put(element, ...parts) {
  const text = parts.map((part) => (typeof part === 'string' ? part : part.small)).join('');
  if (element.textContent === text && parts.length === 1) return;
  element.replaceChildren(...parts.map((part) => {
    if (typeof part === 'string') return part;
    const small = document.createElement('small');
    small.textContent = part.small;
    return small;
  }));
}

function tell(told) {
  const camera = told.camera;
  cameras(told);
  at('view').hidden = !told.pictures;
  document.querySelector('main').classList.toggle('blind', !told.pictures);
  if (!camera) {
    link('wait', 'no pipeline');
    alarm('');
    nobody('No pipeline found', 'No namespace publishes faces, fatigue or emotion yet. Start one:', 'aitable run --image /camera/image_raw');
    return;
  }
  if (epoch !== `${camera.name} ${camera.epoch}`) {
    epoch = `${camera.name} ${camera.epoch}`;
    people.forEach((person) => { person.bins = []; });
  }
  state(camera);
  put(at('facts'), known(camera.silent_s) ? `${camera.fps.toFixed(1)} fps · ${clock(camera.stamp_s)}` : '');
  everyone(camera);
  running(camera);
  diagnostics(camera);
}

function clock(stamp) {
  // Stamps of a simulation or a bag may count from 0.
  return stamp > 1e9 ? `image of ${new Date(stamp * 1000).toLocaleTimeString([], {hour12: false})}` : `image at ${stamp.toFixed(1)} s`;
}

function state(camera) {
  const silent = camera.silent_s;
  const stale = !known(silent) || silent > SILENT_S;
  document.querySelector('main').classList.toggle('stale', stale);
  if (!known(silent)) {
    link('wait', 'waiting');
    alarm(`${camera.name}: no message yet. ${blame(camera)}`);
  } else if (stale) {
    link('lost', 'silent');
    alarm(`No messages for ${seconds(silent)} s – what is shown is old. ${blame(camera)}`);
  } else {
    link('live', 'live');
    alarm('');
  }
}

function blame(camera) {
  const alive = camera.diagnostics.filter((one) => one.own && one.age_s < 3);
  if (!alive.length) return 'The nodes are silent, too.';
  const worst = alive.reduce((a, b) => (b.level > a.level ? b : a));
  return worst.level ? `${worst.name.split(': ').pop()}: ${worst.message}.` : 'The nodes are running.';
}

function cameras(told) {
  const bar = at('cameras');
  const names = told.cameras.map((one) => one.name);
  if ([...bar.children].map((one) => one.dataset.name).join() !== names.join()) {
    bar.replaceChildren(...names.map((name) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.dataset.name = name;
      button.append(name, document.createElement('small'));
      button.onclick = () => { wish.camera = name; blank(); ask(); };
      return button;
    }));
  }
  told.cameras.forEach((one, index) => {
    const button = bar.children[index];
    const old = !known(one.silent_s) || one.silent_s > SILENT_S;
    put(button.lastChild, old ? 'silent' : one.people ? `${one.people > 1 ? `${one.people} people, ` : ''}${one.level}` : 'nobody');
    button.style.setProperty('--level', `var(--${old ? 'UNKNOWN' : one.level})`);
    button.setAttribute('aria-pressed', String(told.camera.name === one.name));
  });
}

// People

function nobody(title, text, code) {
  people.forEach((person) => person.panel.remove());
  people.clear();
  const box = at('people');
  const key = [title, text, code].join();
  if (box.dataset.note === key) return;
  const note = document.createElement('p');
  const strong = document.createElement('strong');
  strong.textContent = title;
  note.className = 'note panel';
  note.append(strong, text);
  if (code) {
    const example = document.createElement('code');
    example.textContent = code;
    note.append(' ', example);
  }
  box.replaceChildren(note);
  box.dataset.note = key;
  box.dataset.count = 0;
  document.title = 'aitable monitor';
}

function everyone(camera) {
  if (!camera.people.length) {
    nobody('Nobody to see', known(camera.silent_s) ? 'The last image shows no face.' : 'No image was answered yet.', '');
    return;
  }
  const box = at('people');
  if (box.dataset.note) { box.replaceChildren(); delete box.dataset.note; }
  const keys = new Set(camera.people.map((one) => one.key));
  for (const [key, person] of people) {
    if (!keys.has(key)) { person.panel.remove(); people.delete(key); }
  }
  const now = camera.stamp_s * STEPS_A_SECOND;
  camera.people.forEach((one, index) => {
    let person = people.get(one.key);
    if (!person) {
      person = {panel: panelOf(), bins: []};
      people.set(one.key, person);
    }
    if (box.children[index] !== person.panel) box.insertBefore(person.panel, box.children[index] || null);
    person.bins = merged(person.bins, one.bins, now);
    fill(person.panel, one);
    if (!document.hidden) drawTimeline(person.panel.querySelector('.timeline'), person.bins, one.events, now);
  });
  box.dataset.count = camera.people.length;
  box.style.setProperty('--count', camera.people.length);
  const here = camera.people.filter((one) => one.here && one.fatigue);
  const worst = ['ASLEEP', 'SEVERE', 'MILD', 'ALERT'].find((level) => here.some((one) => one.fatigue.level === level));
  document.title = worst ? `${worst} · aitable monitor` : 'aitable monitor';
  speak(here);
}

function merged(old, fresh, now) {
  const first = fresh.length ? fresh[0][0] : Infinity;
  return [...old.filter((bin) => bin[0] < first && bin[0] > now - STEPS), ...fresh];
}

function panelOf() {
  const panel = at('person').content.firstElementChild.cloneNode(true);
  panel.querySelector('.classes').append(...EXPRESSIONS.map((name) => {
    const item = document.createElement('li');
    const bar = document.createElement('span');
    bar.className = 'bar';
    bar.append(document.createElement('i'));
    item.append(name, bar);
    return item;
  }));
  return panel;
}

function fill(panel, one) {
  const fatigue = one.fatigue;
  const level = fatigue ? fatigue.level : 'UNKNOWN';
  panel.classList.toggle('away', !one.here);
  panel.style.setProperty('--level', `var(--${level})`);
  panel.dataset.person = one.id;
  panel.dataset.level = level;
  panel.querySelector('.level').classList.toggle('loud', one.here && ['MILD', 'SEVERE', 'ASLEEP'].includes(level));
  const word = panel.querySelector('.word');
  put(word, one.here ? level : 'LEFT');
  word.classList.toggle('long', one.here && level.length > 6);
  const who = panel.querySelector('.who');
  const role = one.here ? (one.primary ? 'primary' : '') : `was ${level}`;
  if (who.textContent !== `Person ${one.id}${role}`) {
    const second = document.createElement('b');
    second.textContent = role;
    who.replaceChildren(`Person ${one.id}`, second);
  }
  put(panel.querySelector('.why'), one.here ? why(fatigue) : `not seen for ${seconds(one.absent_s)} s`);
  if (fatigue) figures(panel, fatigue);
  sitting(panel.querySelector("[data-of='posture']"), one.posture);
  mood(panel, one.emotion);
  panel.querySelector('.timeline').setAttribute('aria-label', `Last three minutes of person ${one.id}: level ${level}, PERCLOS ${percent(fatigue && fatigue.perclos, 1)}`);
}

function why(fatigue) {
  if (!fatigue) return 'eyes are not read';
  if (fatigue.level !== 'UNKNOWN' && fatigue.reasons.length) return reasons(fatigue);
  if (fatigue.validity === 'WARMING_UP') {
    const usable = Math.round((fatigue.coverage || 0) * 60);
    return usable < USABLE_S ? `warming up: ${usable}\u00a0of\u00a0${USABLE_S}\u00a0s` : 'warming up';
  }
  return VALIDITY[fatigue.validity] || reasons(fatigue);
}

function reasons(fatigue) {
  return fatigue.reasons.map((reason) => (reason.startsWith('PERCLOS') ? reason.replace('_LONG', ' 3 min') : reason.replace('_', ' ').toLowerCase())).join(', ');
}

function figures(panel, fatigue) {
  const part = (name) => panel.querySelector(`[data-of='${name}']`);
  const eyes = part('eyes');
  const value = eyes.querySelector('.value');
  value.classList.toggle('shut', fatigue.closed);
  if (fatigue.closed) put(value, 'SHUT ', {small: `${fatigue.closure_s.toFixed(1)} s`}); else put(value, percent(fatigue.openness && Math.max(fatigue.openness, 0)));
  bar(eyes, fatigue.openness);
  put(eyes.querySelector('.more'), known(fatigue.openness) ? (fatigue.calibrated ? 'of own baseline' : 'of usual baseline') : 'not measured');
  for (const [name, coverage] of [['perclos', fatigue.coverage], ['perclos_long', fatigue.coverage_long]]) {
    const box = part(name);
    put(box.querySelector('.value'), percent(fatigue[name], 1));
    bar(box, known(fatigue[name]) ? fatigue[name] / FULL_PERCLOS : null);
    put(box.querySelector('.more'), `${percent(coverage)} of it seen`);
  }
  const blinks = part('blinks');
  put(blinks.querySelector('.value'), known(fatigue.blink_rate) ? fatigue.blink_rate.toFixed(0) : '–', {small: ' /min'});
  put(blinks.querySelector('.more'), `${fatigue.blinks}${known(fatigue.blink_s) ? ` of ${fatigue.blink_s.toFixed(2)} s` : ' so far'}`);
  put(part('yawns').querySelector('.value'), String(fatigue.yawns));
  put(part('yawns').querySelector('.more'), fatigue.yawning ? 'yawning now' : 'so far');
  head(part('head'), fatigue.head);
}

function sitting(box, posture) {
  box.hidden = !posture;
  if (!posture) return;
  const value = box.querySelector('.value');
  value.classList.toggle('shut', posture.state === 'HEAD_DOWN');
  if (posture.state === 'UNKNOWN') put(value, SITTING[posture.validity] || 'unknown');
  else put(value, posture.state.replace('_', ' ').toLowerCase(), {small: ` ${seconds(posture.state_s)} s`});
  const lean = (angle, plus, minus) => (known(angle) ? `${Math.abs(Math.round(angle * 180 / Math.PI))}° ${angle < 0 ? minus : plus}` : '');
  put(box.querySelector('.more'), [
    lean(posture.lean[0], 'forward', 'back'), lean(posture.lean[1], 'to the right', 'to the left'),
    lean(posture.neck, 'neck', 'neck back'), lean(posture.tilt, 'shoulders, right lower', 'shoulders, left lower'),
    known(posture.drop) ? `head sank ${percent(Math.max(posture.drop, 0))}` : '', posture.supported ? 'hand at the head' : '',
  ].filter((text) => text).join(' · ') || 'not measured');
}

function bar(box, share) {
  box.querySelector('.bar i').style.width = `${known(share) ? Math.min(Math.max(share, 0), 1) * 100 : 0}%`;
}

function head(box, [roll, pitch, yaw]) {
  const degrees = (angle) => (known(angle) ? Math.round(angle * 180 / Math.PI) : null);
  const turn = degrees(yaw);
  box.querySelector('svg').style.visibility = turn === null ? 'hidden' : 'visible';
  if (turn === null) {
    put(box.querySelector('.value span'), '–');
    put(box.querySelector('.more'), 'not measured');
    return;
  }
  const limit = (angle) => Math.max(-0.8, Math.min(0.8, Math.sin(angle) * 1.1));
  // Seen by the camera: the person's left is the picture's right.
  const nose = box.querySelector('.nose');
  nose.setAttribute('cx', limit(yaw).toFixed(2));
  nose.setAttribute('cy', limit(pitch).toFixed(2));
  box.querySelector('.tilt').setAttribute('transform', `rotate(${-degrees(roll)})`);
  const way = (angle, plus, minus) => (angle === 0 ? '' : ` ${angle > 0 ? plus : minus}`);
  put(box.querySelector('.value span'), `${Math.abs(turn)}°${way(turn, 'left', 'right')}`);
  const nod = degrees(pitch);
  put(box.querySelector('.more'), `${Math.abs(nod)}°${way(nod, 'down', 'up')}, tilt ${Math.abs(degrees(roll))}°`);
}

function mood(panel, emotion) {
  const line = panel.querySelector('.expression');
  const unread = !emotion || emotion.expression === 'UNKNOWN';
  panel.querySelector('.mood').style.visibility = emotion ? 'visible' : 'hidden';
  if (unread) put(line, 'unknown'); else put(line, emotion.expression.toLowerCase(), {small: ` ${percent(emotion.confidence)}`});
  [...panel.querySelector('.classes').children].forEach((item, index) => {
    bar(item, unread ? 0 : emotion.probabilities[index]);
    item.classList.toggle('top', !unread && EXPRESSIONS[index] === emotion.expression.toLowerCase());
    item.title = unread ? '' : percent(emotion.probabilities[index]);
  });
  const figure = panel.querySelector('.affect');
  const dot = figure.querySelector('circle');
  const felt = emotion && known(emotion.valence) && known(emotion.arousal);
  dot.style.visibility = felt ? 'inherit' : 'hidden';
  if (felt) {
    dot.setAttribute('cx', emotion.valence.toFixed(2));
    dot.setAttribute('cy', (-emotion.arousal).toFixed(2));
  }
  put(figure.querySelector('figcaption'), felt ? `valence ${signed(emotion.valence, 2)}\narousal ${signed(emotion.arousal, 2)}` : 'valence –\narousal –');
}

function speak(here) {
  // Only changes of level, and not one upon the other.
  const now = performance.now();
  if (now - spoken.ms < SPEAK_MS) return;
  const lines = [];
  const levels = new Map(here.map((one) => [one.id, one.fatigue.level]));
  for (const [id, level] of levels) {
    const before = spoken.level.get(id);
    if (before !== undefined && before !== level) lines.push(`Person ${id}: ${level.toLowerCase()}.`);
  }
  spoken.level = levels;
  if (lines.length) {
    spoken.ms = now;
    at('spoken').textContent = lines.join(' ');
  }
}

// Tables

function rows(section, key, make) {
  const body = at(section).querySelector('tbody');
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  body.replaceChildren(...make());
}

function row(cells, name = '') {
  const line = document.createElement('tr');
  line.className = name;
  line.append(...cells.map((cell) => {
    if (cell instanceof Element) return cell;
    const box = document.createElement('td');
    box.textContent = cell;
    return box;
  }));
  return line;
}

function cell(text, name, more) {
  const box = document.createElement('td');
  box.className = name || '';
  box.textContent = text;
  if (more) {
    const small = document.createElement('small');
    small.textContent = more;
    box.append(small);
  }
  return box;
}

function running(camera) {
  const told = (node) => camera.diagnostics.find((one) => one.own && one.name.endsWith(`: ${node}`));
  const stages = Object.entries(STAGES).map(([stage, [name, node]]) => {
    const values = (told(node) || {values: {}}).values;
    const model = camera.models[stage] || [values.model, values.backend, values.precision].map((text) => text || '');
    const steps = Object.keys(values).filter((key) => key.startsWith('attempt_')).map((key) => values[key]);
    return {name, model, over: steps.filter((step) => !step.endsWith(': runs'))};
  }).filter((stage) => stage.model[0] || stage.over.length);
  rows('running', JSON.stringify(stages), () => stages.flatMap(({name, model, over}) => {
    const line = row([name, model[0] || 'off', model[1] || '–', model[2] || '–']);
    if (!over.length) return [line];
    const box = cell('', '');
    const list = document.createElement('ul');
    box.colSpan = 3;
    list.append(...over.map((step) => {
      const item = document.createElement('li');
      item.textContent = step;
      return item;
    }));
    box.append(list);
    return [line, row([cell('passed over', ''), box], 'reason')];
  }));
}

function diagnostics(camera) {
  const figure = (text) => (text === undefined || text === 'nan' ? '–' : text);
  const list = camera.diagnostics.map((one) => {
    const old = one.age_s > 3;
    const values = one.values;
    const failed = Number(values.failed || 0) + Number(values.malformed || 0);
    return {
      name: one.name.includes(': ') && one.own ? one.name.split(': ').pop() : one.name,
      level: old ? 3 : one.level,
      state: old ? `silent ${seconds(Math.floor(one.age_s))} s` : STATES[one.level] || '?',
      message: one.level ? one.message : '',
      figures: values.fps === undefined ? ['', '', '', ''] : [
        figure(values.fps), `${figure(values.latency_p50_ms)} · ${figure(values.latency_p95_ms)}`,
        figure(values.dropped), String(failed)],
    };
  });
  rows('diagnostics', JSON.stringify(list), () => (list.length ? list.map((one) => {
    const state = cell(one.state, 'state', '');
    state.dataset.level = one.level;
    return row([cell(one.name, '', one.message), state, ...one.figures.map((text) => cell(text, 'n'))]);
  }) : [row(['nothing heard yet'])]));
}

// Picture

async function show(data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const fresh = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], {type: 'image/jpeg'}));
  if (bitmap) bitmap.close();
  bitmap = fresh;
  shown = header;
  paint();
}

function blank() {
  if (bitmap) bitmap.close();
  bitmap = shown = null;
  const canvas = at('picture');
  canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);
  put(at('caption'), 'waiting for a picture');
}

function paint() {
  if (!bitmap) return;
  const canvas = at('picture');
  const ratio = window.devicePixelRatio || 1;
  canvas.style.aspectRatio = `${shown.size[0]} / ${shown.size[1]}`;
  const size = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext('2d');
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const scale = canvas.width / shown.size[0];
  const style = getComputedStyle(document.body);
  for (const face of shown.faces || []) box(pen, face, scale, ratio, style);
  put(at('caption'), shown.faces === null ? 'no answer to this image: without boxes' : shown.boxed || shown.faces.length ? '' : 'no face in this image');
}

function box(pen, face, scale, ratio, style) {
  const [x1, y1, x2, y2] = face.box.map((value) => value * scale);
  const colour = style.getPropertyValue(`--${face.level}`).trim();
  const arm = Math.min(x2 - x1, y2 - y1) * 0.22;
  pen.lineWidth = (face.primary ? 3.5 : 2) * ratio;
  pen.lineCap = 'round';
  pen.strokeStyle = colour;
  pen.beginPath();
  for (const [x, dx] of [[x1, arm], [x2, -arm]]) {
    for (const [y, dy] of [[y1, arm], [y2, -arm]]) {
      pen.moveTo(x + dx, y); pen.lineTo(x, y); pen.lineTo(x, y + dy);
    }
  }
  pen.stroke();
  const text = face.level === 'UNKNOWN' ? String(face.id) : `${face.id} ${face.level}`;
  pen.font = `650 ${Math.round(14 * ratio)}px ${style.fontFamily}`;
  pen.textBaseline = 'middle';
  const wide = pen.measureText(text).width + 12 * ratio;
  const tall = 21 * ratio;
  const left = Math.max(0, Math.min(x1, pen.canvas.width - wide));
  const top = y1 > tall + 4 * ratio ? y1 - tall - 4 * ratio : y1 + 4 * ratio;
  pen.fillStyle = colour;
  pen.fillRect(left, top, wide, tall);
  pen.fillStyle = style.getPropertyValue('--on').trim();
  pen.fillText(text, left + 6 * ratio, top + tall / 2 + ratio / 2);
}

// Controls

at('pause').onclick = () => {
  paused = !paused;
  put(at('pause'), paused ? 'Resume picture' : 'Pause picture');
  at('pause').setAttribute('aria-pressed', String(paused));
  ask();
};
at('theme').onclick = () => {
  const order = ['auto', 'light', 'dark'];
  const next = order[(order.indexOf(at('theme').textContent) + 1) % 3];
  at('theme').textContent = next;
  if (next === 'auto') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = next;
  paint();
};
document.addEventListener('visibilitychange', ask);
window.addEventListener('resize', paint);
blank();
connect();
