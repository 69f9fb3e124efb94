// The drawing page: sends the drawing to the service as it grows, and shows what the model reads.

const element = (id) => document.getElementById(id);
const [canvas, picture, text, sure, message, seen, bars] =
  ["canvas", "picture", "text", "sure", "message", "seen", "bars"].map(element);

const PEN = 0.036; // the pen's width, as a fraction of the paper's shorter side
const SENT = 512; // pixels: the longer side of the drawing sent
const GAP = 0.04; // seconds between an answer and the next request
const LONGEST = 4; // maximum seconds until a retry, unless the service asks for more
const ROWS = 10; // number of classes shown
const BLANK = 7;
const DRAWN = { // the service's messages for photos, reworded for drawings
  [BLANK]: "No digit yet. Draw it larger.",
  9: "These digits touch. Draw them apart.",
  10: "Something touches the digit. Draw it alone.",
};
const BUSY = {
  429: "The service is busy. Trying again…",
  503: "The service is not ready. Trying again…",
  504: "The service took too long. Trying again…",
};

// --- What is on the paper: strokes or a picture. Each change adds a state; undo removes one.

const EMPTY = { strokes: [], file: null };
let states = [EMPTY];
let stroke = null; // the points of the stroke being drawn
let pointer = null; // the pointerId of the mouse, finger or pen drawing it
let version = 0; // incremented with every change of the paper
let sheet = 0; // incremented when the paper changes other than by gaining ink, which makes older answers stale

const current = () => states.at(-1);
const strokes = () => (stroke ? [...current().strokes, stroke] : current().strokes);
const isDot = () => strokes().flat().every(([x, y], _, [[left, top]]) => Math.hypot(x - left, y - top) < 2 * PEN);
const isEmpty = () => !current().file && !strokes().length;

function enter(state) {
  states = [...states, state].slice(-200);
}

function replace(state) {
  stroke = null;
  enter(state);
  replaced();
}

function undo() {
  if (stroke || states.length === 1) return;
  states.pop();
  replaced();
}

function clear() {
  if (!isEmpty()) replace(EMPTY);
}

function replaced() {
  sheet++;
  showPicture();
  changed();
  stop(); // a pending request or wait concerns the previous paper
}

function changed() {
  version++;
  clearTimeout(speaking);
  const { strokes, file } = current();
  canvas.ariaLabel = strokes.length ? "Your drawing" : "Drawing area, empty";
  document.body.classList.toggle("drawn", !isEmpty());
  element("undo").ariaDisabled = states.length === 1; // unlike disabled buttons, these keep the focus
  element("clear").ariaDisabled = isEmpty();
  element("back").hidden = !file;
  requestAnimationFrame(paint);
  read();
}

// --- Drawing. Points are relative to the paper's centre, in units of its shorter side, and so survive a resize.

function view() {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const unit = Math.min(width, height);
  const farthest = (axis) => current().strokes.flat().reduce((most, point) => Math.max(most, Math.abs(point[axis])), 0);
  const scale = Math.min(1, width / unit / 2 / farthest(0), height / unit / 2 / farthest(1)); // all of it stays visible
  return { width, height, unit: unit * scale };
}

function trace(context, points) {
  const [first, last] = [points[0], points.at(-1)];
  context.beginPath();
  context.moveTo(...first);
  for (let i = 1; i < points.length - 1; i++) {
    const [[x, y], [nextX, nextY]] = [points[i], points[i + 1]];
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  context.lineTo(last[0] + 1e-4, last[1]); // a single point is a dot
  context.stroke();
}

function draw(target, ratio, ink, ground) {
  const { width, height, unit } = view();
  const size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  if (target.width !== size.width || target.height !== size.height) Object.assign(target, size);
  const context = target.getContext("2d");
  context.resetTransform();
  context.clearRect(0, 0, target.width, target.height);
  context.fillStyle = ground;
  context.fillRect(0, 0, target.width, target.height);
  context.setTransform(unit * ratio, 0, 0, unit * ratio, target.width / 2, target.height / 2);
  Object.assign(context, { strokeStyle: ink, lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  for (const points of strokes()) trace(context, points);
  return target;
}

const paint = () => draw(canvas, devicePixelRatio, getComputedStyle(canvas).color, "transparent");

function add(event) {
  const { width, height, unit } = view();
  const box = canvas.getBoundingClientRect();
  const clamp = (value, limit) => Math.min(Math.max(value, 0), limit);
  const events = event.getCoalescedEvents?.() ?? [];
  for (const { clientX, clientY } of events.length ? events : [event]) {
    const x = clamp(clientX - box.left, width) - width / 2;
    const y = clamp(clientY - box.top, height) - height / 2;
    stroke.push([x / unit, y / unit]);
  }
  changed();
}

canvas.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button !== 0 || stroke) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  pointer = event.pointerId;
  stroke = [];
  add(event);
});
canvas.addEventListener("pointermove", (event) => stroke && event.pointerId === pointer && add(event));
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => {
    if (!stroke || event.pointerId !== pointer) return;
    enter({ strokes: strokes(), file: null });
    stroke = null;
    changed();
  });
}
new ResizeObserver(paint).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

// --- Pictures: chosen, pasted or dropped.

function open(file) {
  if (file) replace({ ...current(), file });
}

function showPicture() {
  const { file } = current();
  picture.hidden = !file;
  element("unshown").hidden = true;
  if (!file) return picture.removeAttribute("src");
  picture.alt = `Your picture, ${file.name}`;
  picture.src = URL.createObjectURL(file);
}

picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
picture.addEventListener("error", () => {
  if (!current().file) return;
  picture.hidden = true;
  element("unshown").hidden = false;
  element("unshown").textContent = `${current().file.name}: this browser cannot show it.`;
});

element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", ({ target }) => {
  open(target.files[0]);
  target.value = ""; // lets the same file be chosen again
});
addEventListener("paste", (event) => open(event.clipboardData.files[0]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    const over = kind === "dragenter" || kind === "dragover" || (kind === "dragleave" && event.relatedTarget);
    document.body.classList.toggle("dropping", Boolean(over));
    if (kind === "drop") open(event.dataTransfer.files[0]);
  });
}

// --- Buttons and keys.

element("undo").addEventListener("click", undo);
element("clear").addEventListener("click", clear);
element("back").addEventListener("click", () => {
  replace({ ...current(), file: null });
  element("choose").focus();
});
addEventListener("keydown", (event) => {
  if (event.target.matches("input")) return;
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") undo();
  else if (["Escape", "Delete", "Backspace"].includes(event.key)) clear();
  else return;
  event.preventDefault();
});

// --- Reading: one request at a time; the next sends the newest drawing.

let reading = false;
let answered = 0; // the version of the paper that the current answer belongs to
let token = remembered() ?? "";
let stop = () => {}; // ends the current request, or the wait for the next one

function remembered() {
  try {
    return sessionStorage.getItem("token");
  } catch {
    return null; // storage is blocked: the token lasts as long as the page
  }
}

const pause = (seconds) => new Promise((resolve) => {
  stop = resolve;
  if (seconds < Infinity) setTimeout(resolve, 1000 * seconds);
});

async function read() {
  document.body.classList.toggle("waiting", !isEmpty());
  if (isEmpty()) showNothing();
  if (reading) return;
  reading = true;
  for (let failures = 0; answered !== version; ) {
    const [asked, of, file] = [version, sheet, current().file];
    const answer = isEmpty() ? null : !file && isDot() ? { status: BLANK } : await ask(await contents(file));
    if (of !== sheet) continue;
    if (answer && "wait" in answer) {
      showProblem(answer);
      await pause(Math.max(answer.wait, Math.min(2 ** failures++, LONGEST)));
      continue;
    }
    failures = 0;
    answered = asked;
    if (answer) show(answer, file);
    await pause(GAP);
  }
  reading = false;
  document.body.classList.remove("waiting");
}

function contents(file) {
  if (file) return file;
  const ratio = SENT / Math.max(canvas.clientWidth, canvas.clientHeight);
  const target = draw(document.createElement("canvas"), ratio, "#000", "#fff");
  return new Promise((resolve) => target.toBlob(resolve)); // PNG
}

/** Returns the service's answer, or a `problem`, with `wait`, the minimum seconds before a retry, if one is due. */
async function ask(body) {
  let response, answer;
  const controller = new AbortController();
  stop = () => controller.abort();
  const timer = setTimeout(stop, 60_000);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    response = await fetch("read", { method: "POST", body, headers, signal: controller.signal });
    answer = await response.json();
  } catch {
    if (!response) return { problem: "Cannot reach the service. Trying again…", wait: 0 };
  } finally {
    clearTimeout(timer);
  }
  const { ok, status } = response;
  if (ok && answer) return answer;
  if (status === 401) {
    const problem = token ? "The service rejected this token." : "This service requires a token.";
    return { problem, wait: Infinity, asks: true };
  }
  const wait = Math.min(Number(response.headers.get("Retry-After")) || 0, 60);
  if (status in BUSY) return { problem: BUSY[status], wait };
  return { problem: sentence(answer?.error || `the service answered with status ${status}`) };
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value.trim();
  try {
    sessionStorage.setItem("token", token);
  } catch {
    // storage is blocked
  }
  stop();
});

// --- Showing.

let chosen = null; // the digit whose probabilities are shown, counted from 0; null: the last
let digits = []; // the digits of the current answer
let speaking; // the timer for screen-reader announcements

const sentence = (words) => words[0].toUpperCase() + words.slice(1).replace(/[^.…!?]$/, "$&.");
const percent = (share) => (share > 0.999 && share < 1 ? "99.9%" : `${(100 * share).toFixed(1)}%`);

function showNothing() {
  digits = [];
  chosen = null;
  answered = version;
  showWords({ message: "The answer appears here as you draw.", kind: "idle" });
  showDigits();
  document.body.classList.remove("waiting");
}

function showProblem({ problem, asks = false }) {
  digits = [];
  showWords({ message: problem, kind: "problem" });
  element("ask").hidden = !asks;
  speak(problem);
  showDigits();
}

function show(answer, file) {
  if (answer.problem) return showProblem(answer);
  digits = answer.status === 0 ? answer.digits : [];
  const read = digits.length > 0;
  const least = Math.min(...digits.map((digit) => digit.confidence));
  const because = sentence((!file && DRAWN[answer.status]) || answer.message || "not read");
  showWords({
    text: read ? answer.text : "",
    sure: read ? howSure(least) : "",
    message: read || stroke ? "" : because, // a half-drawn digit is no reason to complain
  });
  showDigits();
  if (!stroke) speak(read ? `${answer.text}, ${sure.textContent}` : because);
}

function howSure(least) {
  if (!digits.every((digit) => digit.sure)) return `Not sure: ${percent(least)}`;
  return `${digits.length > 1 ? "At least " : ""}${percent(least)} sure`;
}

function showWords({ text: read = "", sure: share = "", message: because = "", kind = "" }) {
  text.textContent = read;
  text.classList.toggle("long", read.length > 5);
  sure.textContent = share;
  message.textContent = because;
  message.className = kind;
  element("ask").hidden = true;
}

/** Tells a screen reader, once nothing has changed for a second. */
function speak(words) {
  clearTimeout(speaking);
  speaking = setTimeout(() => (element("spoken").textContent = words), 1000);
}

function showDigits() {
  if (chosen >= digits.length) chosen = null;
  const index = chosen ?? digits.length - 1;
  while (seen.children.length > digits.length) seen.lastChild.remove();
  while (seen.children.length < digits.length) seen.append(makeTile(seen.children.length));
  digits.forEach((digit, i) => fillTile(seen.children[i], digit, i, index));
  element("which").textContent =
    digits.length > 1 ? `Probabilities of digit ${index + 1} of ${digits.length}` : "Probabilities";
  fillBars(digits[index]?.probabilities ?? {});
}

function makeTile(i) {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.append(document.createElement("canvas"));
  tile.addEventListener("click", () => {
    chosen = i;
    showDigits();
  });
  return tile;
}

function fillTile(tile, digit, i, index) {
  const rows = digit.normalized;
  const image = tile.firstChild;
  [image.width, image.height] = [rows[0].length, rows.length];
  const context = image.getContext("2d");
  const pixels = context.createImageData(image.width, image.height);
  rows.flat().forEach((grey, at) => pixels.data.set([grey, grey, grey, 255], 4 * at));
  context.putImageData(pixels, 0, 0);
  tile.title = `What the model saw, in ${image.width}×${image.height} pixels`;
  tile.setAttribute("aria-label", `${tile.title}: read as ${digit.class}, ${percent(digit.confidence)}`);
  tile.ariaPressed = digits.length > 1 ? i === index : null;
  tile.disabled = digits.length === 1;
}

function fillBars(probabilities) {
  let best = Object.entries(probabilities);
  const most = best.reduce((a, b) => (b[1] > a[1] ? b : a), ["", 0])[0];
  if (best.length > ROWS) best = best.sort((a, b) => b[1] - a[1]).slice(0, ROWS);
  if (best.length) bars.classList.toggle("named", best.some(([name]) => name.length > 1));
  for (let i = 0; i < ROWS; i++) {
    const row = bars.children[i] ?? makeRow();
    const [name, share] = best[i] ?? [row.firstChild.textContent, 0];
    row.hidden = best.length > 0 && i >= best.length;
    row.classList.toggle("best", best.length > 0 && name === most);
    row.firstChild.textContent = row.firstChild.title = name;
    row.children[1].style.setProperty("--share", share);
    row.lastChild.textContent = best.length ? percent(share) : "";
  }
}

function makeRow() {
  const row = document.createElement("li");
  row.append(...["b", "i", "span"].map((kind) => document.createElement(kind)));
  bars.append(row);
  return row;
}

changed();
