// The page: drawing and photos in, the model's answer out.
import { openModel } from './lenet.js';

const SIZE = 280; // pixels of the drawing, each way
const PEN = 22;
const MOST_BARS = 10;
const WIDE = 264; // pixels of what is shown of a layer, if its maps are no wider
const MEASURED_MS = 3; // clocks of browsers are coarse, so short runs are repeated

const find = (id) => document.getElementById(id);
const [pad, cursor, drop, answer, bars, maps] =
  ['pad', 'cursor', 'drop', 'answer', 'bars', 'maps'].map(find);
const pen = pad.getContext('2d', { willReadFrequently: true });

let model = null; // of lenet.js
let about = null; // model.json: name, classes, output_role
let server = null; // the name of the model's input there
let draws = true; // the model takes drawings, not only photos
let empty = true;
let photo = null; // what was chosen, at its full size
let settled = 0; // counts images, so that late answers of the server are left out

// ---- the model

async function get(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

const bytes = async (name) => new Uint8Array(await (await get(name)).arrayBuffer());

async function load() {
  const [module, description, program, params, preprocess] = await Promise.all([
    ...['lenet.wasm', 'model.json'].map(get),
    ...['model.pdmodel', 'model.pdiparams', 'preprocess.json'].map(bytes),
  ]);
  about = await description.json().catch(() => {
    throw new Error('model.json is damaged');
  });
  // Servers that do not know the type of .wasm: then it is compiled from its bytes.
  const typed = module.headers.get('Content-Type') === 'application/wasm';
  const source = typed ? module : await module.arrayBuffer();
  model = await openModel(source, { program, params, preprocess });
  const ready = performance.now();
  offer(JSON.parse(new TextDecoder().decode(preprocess)));
  const count = about.classes.length;
  const classes = count > MOST_BARS ? `, ${count} classes` : '';
  if (empty) invite(`Ready: ${about.name}${classes}. ${draws ? 'Draw, or choose' : 'Choose'} a photo.`);
  else settle();
  performance.measure('lenet-ready', { start: 0, end: ready });
  // lenet_serve says so of its files: no other server is asked for what it does not have.
  if (description.headers.get('Link')?.includes('service-meta')) findServer();
}

// Offers what suits the model, whose preprocessing this is. A drawing is black and white, so models of
// colour images get photos alone. The examples are photos of digits.
function offer({ mode, steps }) {
  draws = mode === 'L';
  const digits = steps.some(({ type }) => type === 'Digit');
  find('examples').hidden = find('credit').hidden = !digits;
  if (digits) return;
  find('title').textContent = draws ? 'Draw, or choose a photo' : 'Choose a photo';
  if (draws) return;
  find('drawing-help').hidden = true;
  document.body.classList.add('photos');
  pad.setAttribute('role', 'img');
  pad.setAttribute('aria-label', 'The photo');
  pad.removeAttribute('tabindex');
  if (photo) return;
  white(); // without what was drawn while the model was loaded
  empty = true;
}

// Shows the classes with empty bars, and says why.
function invite(text) {
  tell(text);
  show([]);
  drop.classList.toggle('asking', !draws);
}

// What is shown of an output: probabilities of logits, others as they are.
function shown(output) {
  // As in cpp/src/description/outputs.cc: no class is made of NaN, nor of logits without a softmax.
  if (output.some(Number.isNaN)) throw new Error('the model gives no class: an output is NaN');
  if (about.output_role !== 'logits') return output;
  const largest = Math.max(...output);
  if (!Number.isFinite(largest)) throw new Error('the model gives no class: an output is infinite');
  const powers = output.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

const classOf = (index) => about.classes[index] ?? String(index);
const valueText = (share) =>
  about.output_role === 'unknown' ? `score ${share.toFixed(4)}` : `${(100 * share).toFixed(1)} %`;
const best = (shares) => shares.indexOf(Math.max(...shares));

function inWords(shares) {
  const first = best(shares);
  return `${classOf(first)}, ${valueText(shares[first])}`;
}

function duration(ms) {
  return ms < 1 ? `${Math.round(ms * 1000)} µs` : `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
}

// ---- the image

function white() {
  pen.globalCompositeOperation = 'source-over';
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, SIZE, SIZE);
}

function clear() {
  white();
  empty = true;
  photo = null;
  settled += 1;
  maps.replaceChildren();
  if (!model) return;
  find('time').textContent = find('server').textContent = 'not run yet';
  invite(draws ? 'The drawing is empty.' : 'No photo is chosen.');
}

function withoutAlpha({ data, width, height }) {
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < pixels.length; from += 4) {
    pixels[to++] = data[from];
    pixels[to++] = data[from + 1];
    pixels[to++] = data[from + 2];
  }
  return { pixels, width, height, channels: 3 };
}

const image = () => photo ?? withoutAlpha(pen.getImageData(0, 0, SIZE, SIZE));

async function choose(file) {
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none' });
    const { width, height } = bitmap;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const full = canvas.getContext('2d', { willReadFrequently: true });
    full.fillStyle = '#fff';
    full.fillRect(0, 0, width, height);
    full.drawImage(bitmap, 0, 0);
    clear();
    const scale = SIZE / Math.max(width, height);
    pen.drawImage(canvas, (SIZE - width * scale) / 2, (SIZE - height * scale) / 2,
                  width * scale, height * scale);
    photo = withoutAlpha(full.getImageData(0, 0, width, height));
    empty = false;
    drop.classList.remove('asking');
    settle();
  } catch {
    tell(`${file.name} is not an image that this browser reads.`);
  }
}

async function chooseExample(name) {
  try {
    const content = await (await get(name)).blob();
    await choose(new File([content], name));
  } catch (error) {
    tell(`The example cannot be loaded: ${error.message}`);
  }
}

// ---- what is shown

// Screen readers wait until `drawing` is over, and then say the text once.
function tell(text, drawing = false) {
  answer.setAttribute('aria-busy', drawing);
  answer.textContent = text;
}

// Bars of few classes stay in their places; of many, the most probable ones come first.
function show(shares) {
  const order = [...about.classes.keys()];
  if (order.length > MOST_BARS && shares.length) order.sort((a, b) => shares[b] - shares[a]);
  order.splice(MOST_BARS);
  while (bars.children.length < order.length) {
    const row = document.createElement('li');
    const [name, track, value] = ['name', 'track', 'value'].map((part) => {
      const element = document.createElement(part === 'track' ? 'div' : 'span');
      element.className = part;
      return element;
    });
    track.append(Object.assign(document.createElement('div'), { className: 'bar' }));
    row.append(name, track, value);
    bars.append(row);
  }
  const first = best(shares);
  order.forEach((index, i) => {
    const row = bars.children[i];
    row.classList.toggle('best', index === first);
    row.querySelector('.name').textContent = classOf(index);
    row.querySelector('.value').textContent = shares.length ? valueText(shares[index]) : '';
    row.querySelector('.bar').style.setProperty('--share', `${100 * Math.min(Math.max(shares[index] ?? 0, 0), 1)}%`);
  });
}

// Draws images of one size side by side. `at(image, place)` gives a pixel: red, green and blue.
function figure(text, count, height, width, at) {
  // As many as fit three times as large; small maps are hard to see otherwise.
  const across = Math.min(count, 8, Math.max(2, Math.floor(WIDE / (3 * width + 3))));
  const down = Math.ceil(count / across);
  const canvas = document.createElement('canvas');
  canvas.width = across * (width + 1) - 1;
  canvas.height = down * (height + 1) - 1;
  const scale = Math.max(1, Math.min(4, Math.floor(WIDE / canvas.width)));
  canvas.style.width = `${canvas.width * scale}px`;
  const context = canvas.getContext('2d');
  for (let i = 0; i < count; i++) {
    const pixels = context.createImageData(width, height);
    for (let p = 0; p < height * width; p++) pixels.data.set([...at(i, p), 255], 4 * p);
    context.putImageData(pixels, (i % across) * (width + 1), Math.floor(i / across) * (height + 1));
  }
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', text);
  const shown = document.createElement('figure');
  const caption = Object.assign(document.createElement('figcaption'), { textContent: text });
  shown.append(canvas, caption);
  return shown;
}

function showLayers(seen) {
  const [height, width, channels] = seen.shape;
  const input = figure(`The input: ${width} × ${height} pixels`, 1, height, width, (_, p) =>
    [0, 1, 2].map((c) => seen.pixels[p * channels + (channels === 3 ? c : 0)]));
  const layers = model.layers().map(({ shape, values }, i) => {
    const [, count, rows, columns] = shape;
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const text = `Convolution ${i + 1}: ${count} maps of ${columns} × ${rows}`;
    return figure(text, Math.min(count, 64), rows, columns, (map, p) => {
      const grey = (255 * (values[map * rows * columns + p] - low)) / (high - low || 1);
      return [grey, grey, grey];
    });
  });
  maps.replaceChildren(input, ...layers);
}

// ---- an answer

// Runs the image and shows the answer, in words and bars. While the pen is down (`drawing`), an image
// without an answer is no mistake: it is not finished.
function follow(drawing) {
  if (!model || empty) return null;
  try {
    const result = model.classify(image());
    const shares = shown(result.answer);
    show(shares);
    tell(inWords(shares), drawing);
    return result;
  } catch (error) {
    show([]);
    tell(drawing ? 'No answer yet' : error.message, drawing);
    return null;
  }
}

// When the pen rests: the answer, the time, the layers, the server.
function settle() {
  const result = follow(false);
  if (!result) return;
  const start = performance.now();
  let runs = 0;
  do {
    model.again();
    runs += 1;
  } while (performance.now() - start < MEASURED_MS);
  find('time').textContent = duration((performance.now() - start) / runs);
  showLayers(result.seen);
  settled += 1;
  if (server) ask(settled);
}

// ---- the server, where there is one

const endpoint = () => `/v2/models/${encodeURIComponent(about.name)}`;

async function findServer() {
  try {
    const served = await (await fetch('/v2/repository/index', { method: 'POST' })).json();
    if (!served.some(({ name, state }) => name === about.name && state === 'READY')) return;
    const metadata = await (await fetch(endpoint())).json();
    server = metadata.inputs[0].name;
    document.querySelectorAll('.server').forEach((element) => (element.hidden = false));
    if (!empty) ask(settled);
  } catch {
    // The server has gone, or wants a token: the page alone answers.
  }
}

async function ask(number) {
  const { shape, values } = model.prepared();
  const data = Array.from(values);
  const body = JSON.stringify({ inputs: [{ name: server, shape, datatype: 'FP32', data }] });
  const start = performance.now();
  let text;
  try {
    const response = await fetch(`${endpoint()}/infer`, { method: 'POST', body });
    const reply = await response.json();
    if (!response.ok) throw new Error(reply.error);
    const time = performance.now() - start;
    text = `${inWords(shown(reply.outputs[0].data))}, ${duration(time)} there and back`;
  } catch (error) {
    text = `no answer: ${error.message}`;
  }
  if (number === settled) find('server').textContent = text;
}

// ---- drawing

let last = null; // where the pen is down
let asked = false;
let at = [SIZE / 2, SIZE / 2]; // of the keyboard
let down = false;

function stroke(to) {
  if (photo) clear();
  empty = false;
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = 'round';
  pen.strokeStyle = '#000';
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...to);
  pen.stroke();
  last = to;
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (last) follow(true);
  });
}

function place(event) {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) * SIZE) / box.width,
          ((event.clientY - box.top) * SIZE) / box.height];
}

pad.addEventListener('pointerdown', (event) => {
  if (!draws || event.button !== 0) return;
  pad.setPointerCapture(event.pointerId);
  last = place(event);
  cursor.hidden = true;
  stroke(last);
});
pad.addEventListener('pointermove', (event) => {
  if (!last || !pad.hasPointerCapture(event.pointerId)) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  (moves.length ? moves : [event]).forEach((move) => stroke(place(move)));
});
for (const end of ['pointerup', 'pointercancel']) {
  pad.addEventListener(end, () => {
    if (last) settle();
    last = null;
  });
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function showCursor() {
  cursor.hidden = false;
  cursor.classList.toggle('down', down);
  cursor.style.left = `${(100 * at[0]) / SIZE}%`;
  cursor.style.top = `${(100 * at[1]) / SIZE}%`;
}

pad.addEventListener('keydown', (event) => {
  if (!draws) return;
  const step = event.shiftKey ? 4 : 10;
  if (event.key in MOVES) {
    at = at.map((value, i) => Math.min(SIZE, Math.max(0, value + step * MOVES[event.key][i])));
    if (down) stroke(at);
  } else if (event.key === ' ') {
    down = !down;
    last = down ? at : null;
    if (down) stroke(at);
    else settle();
  } else if (event.key === 'Delete' || event.key === 'Backspace') {
    clear();
  } else {
    return;
  }
  event.preventDefault();
  showCursor();
});
pad.addEventListener('blur', () => {
  if (down) settle();
  down = false;
  last = null;
  cursor.hidden = true;
});

// ---- the controls

find('clear').addEventListener('click', clear);
pad.addEventListener('click', () => {
  if (!draws) find('photo').click();
});
for (const button of document.querySelectorAll('#examples button')) {
  const name = button.querySelector('img').getAttribute('src');
  button.addEventListener('click', () => chooseExample(name));
}
find('photo').addEventListener('change', (event) => {
  choose(event.target.files[0]);
  event.target.value = ''; // so that the same file can be chosen again
});
for (const name of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle('over', name === 'dragover');
    if (name === 'drop') choose(event.dataTransfer.files[0]);
  });
}
document.addEventListener('paste', (event) => choose(event.clipboardData.files[0]));

white();
load().catch((error) => {
  const refused = error instanceof WebAssembly.CompileError;
  tell(refused
    ? 'lenet.wasm is damaged, or this browser is too old: it needs WebAssembly with SIMD and exceptions.'
    : `The model cannot be loaded: ${error.message}`);
}).finally(() => {
  // Not earlier, because it asks for all files again, mostly from the browser's own cache.
  if (window.isSecureContext) navigator.serviceWorker?.register('sw.js').catch(() => {});
});
