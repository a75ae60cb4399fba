// The track from above: a still canvas with the surface, the best lap's line and the spots, and over it one node a car,
// which the browser moves. So cars that drive at 10 Hz cost no drawing of ours.

import { byId, colour, element, forgetColours, kmh, number, plainName, setText } from "./format.js";

const PADDING = 24;
const MOST_CARS = 32;
const RAMP = ["speed-0", "speed-1", "speed-2", "speed-3", "speed-4"];
const SHADES = 32;
const MOST_GLIDING = 2;
/** With more cars than this each event puts them where they are: gliding would cost a frame of the screen sixty times a second. */
const JUMP = 0.2;
/** A car that moves by more than this share of the map between two events was put elsewhere, and does not slide there. */

const track = { shape: null, best: null, spots: [], place: null, mark: null };
const cars = new Map();
let view = null;
let interval = 100;
let lastLive = 0;
let drawn = false;

const base = () => byId("map-base");

export function setTrack(shape) {
  track.shape = shape;
  view = null;
  byId("map-empty").hidden = shape !== null;
  invalidate();
}

/** The best lap's line: a trace with x, y in m and speed in m/s, and what it is called. */
export function setLine(trace, name) {
  track.best = trace ? { ...trace, name } : null;
  byId("speed-scale").hidden = !trace;
  if (trace) {
    const [low, high] = extent(trace.speed);
    setText(byId("speed-low"), number(kmh(low)));
    setText(byId("speed-high"), `${number(kmh(high))} km/h`);
  }
  setText(byId("speed-name"), trace ? `Line: ${name}, by speed` : "");
  invalidate();
}

/** Where episodes ended off the track, [[x, y]...] in m. */
export function setSpots(spots) {
  const last = spots[spots.length - 1];
  const before = track.spots[track.spots.length - 1];
  if (spots.length === track.spots.length && last?.[0] === before?.[0] && last?.[1] === before?.[1]) return;
  track.spots = spots;
  byId("spots-key").hidden = spots.length === 0;
  setText(byId("spots-count"), `${number(spots.length)} ${spots.length === 1 ? "spot" : "spots"} off the track`);
  invalidate();
}

/** Mark a place of the lap that the traces point at. */
export function setPlace(x, y) {
  if (!track.mark) {
    track.mark = element("i", { class: "place-mark", hidden: "" });
    byId("map-cars").append(track.mark);
  }
  track.place = [x, y];
  showPlace();
}

function showPlace() {
  if (!track.place || !view) return;
  const [left, top] = toScreen(...track.place);
  track.mark.hidden = false;
  track.mark.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
}

/** Move the cars to where a live event has them, in the time that passes between two events. */
export function setCars(live, chosen) {
  const now = performance.now();
  if (lastLive) interval = 0.8 * interval + 0.2 * Math.min(400, Math.max(50, now - lastLive));
  lastLive = now;
  if (!view) return;
  const seen = new Set();
  const many = live.length > 1;
  for (const car of live.slice(0, MOST_CARS)) {
    if (!Number.isFinite(car.x) || !Number.isFinite(car.y)) continue;
    seen.add(car.stream);
    place(car, cars.get(car.stream) ?? added(car), many, car.stream === chosen);
  }
  for (const [stream, shown] of cars) {
    if (seen.has(stream)) continue;
    shown.node.remove();
    cars.delete(stream);
  }
}

function added(car) {
  const node = element("div", { class: "car" }, element("i"), element("span"));
  const shown = { node, left: null, top: null };
  cars.set(car.stream, shown);
  byId("map-cars").append(node);
  return shown;
}

function place(car, shown, many, chosen) {
  const { node } = shown;
  const [left, top] = toScreen(car.x, car.y);
  const jumps = shown.left === null || Math.hypot(left - shown.left, top - shown.top) > JUMP * view.width;
  const transition = jumps || cars.size > MOST_GLIDING ? "0s" : `${Math.round(interval)}ms`;
  if (shown.transition !== transition) node.style.transitionDuration = shown.transition = transition;
  if (left !== shown.left || top !== shown.top) {
    node.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
    shown.left = left;
    shown.top = top;
  }
  node.classList.toggle("old", car.age_s > 2);
  node.classList.toggle("chosen", many && chosen);
  setText(node.lastElementChild, many ? plainName(car.bridge, 14) : "");
}

export function removeCars() {
  for (const { node } of cars.values()) node.remove();
  cars.clear();
}

/** What the map shows, in words, for those who do not see it; called when figures come, not when cars move. */
export function describe(count) {
  const { shape, best, spots } = track;
  if (!shape) return;
  const parts = [`Map of ${plainName(shape.name)}, ${number(shape.length_m)} m`];
  if (best) {
    const [low, high] = extent(best.speed);
    parts.push(`${best.name} between ${number(kmh(low))} and ${number(kmh(high))} km/h`);
  }
  if (spots.length) parts.push(`${spots.length} spots where cars left the track`);
  parts.push(count === 1 ? "1 car drives" : `${count} cars drive`);
  const label = `${parts.join("; ")}.`;
  if (base().getAttribute("aria-label") !== label) base().setAttribute("aria-label", label);
}

function invalidate() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    draw();
  });
}

function fit() {
  const canvas = base();
  const { clientWidth: width, clientHeight: height } = canvas;
  const points = [...track.shape.left, ...track.shape.right];
  const xs = extent(points.map((p) => p[0]));
  const ys = extent(points.map((p) => p[1]));
  const [wide, tall] = [xs[1] - xs[0], ys[1] - ys[0]];
  // A tall track in a wide panel lies on its side.
  const turned = wide > tall !== width > height;
  const [across, up] = turned ? [tall, wide] : [wide, tall];
  const scale = Math.max(1e-9, Math.min((width - 2 * PADDING) / across, (height - 2 * PADDING) / up));
  view = { width, height, scale, turned, x: (xs[0] + xs[1]) / 2, y: (ys[0] + ys[1]) / 2 };
}

/** World metres (right-handed, seen from above) to CSS px of the map. */
function toScreen(x, y) {
  const { width, height, scale, turned } = view;
  const [dx, dy] = [x - view.x, y - view.y];
  return turned ? [width / 2 + scale * dy, height / 2 + scale * dx] : [width / 2 + scale * dx, height / 2 - scale * dy];
}

function draw() {
  const canvas = base();
  const ratio = devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (width === 0 || height === 0) return;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    view = null;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!track.shape) return;
  if (!view) fit();
  context.lineJoin = context.lineCap = "round";
  drawSurface(context);
  drawSpots(context);
  if (track.best) drawLine(context, track.best);
  drawStart(context);
  showPlace();
}

function path(context, points) {
  points.forEach(([x, y], at) => {
    const [left, top] = toScreen(x, y);
    if (at === 0) context.moveTo(left, top);
    else context.lineTo(left, top);
  });
  context.closePath();
}

function drawSurface(context) {
  const { left, right } = track.shape;
  context.beginPath();
  path(context, left);
  path(context, [...right].reverse());
  context.fillStyle = colour("asphalt");
  context.fill("evenodd");
  context.strokeStyle = colour("edge");
  context.lineWidth = 1.25;
  for (const edge of [left, right]) {
    context.beginPath();
    path(context, edge);
    context.stroke();
  }
}

function drawStart(context) {
  const from = toScreen(...track.shape.left[0]);
  const to = toScreen(...track.shape.right[0]);
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy) || 1;
  const [ex, ey] = [(4 * dx) / length, (4 * dy) / length];
  context.beginPath();
  context.moveTo(from[0] - ex, from[1] - ey);
  context.lineTo(to[0] + ex, to[1] + ey);
  context.strokeStyle = colour("text");
  context.lineWidth = 3;
  context.stroke();
}

function drawSpots(context) {
  context.strokeStyle = colour("spot");
  context.lineWidth = 1.75;
  context.beginPath();
  for (const [x, y] of track.spots) {
    const [left, top] = toScreen(x, y);
    context.moveTo(left - 3, top - 3);
    context.lineTo(left + 3, top + 3);
    context.moveTo(left + 3, top - 3);
    context.lineTo(left - 3, top + 3);
  }
  context.stroke();
}

function drawLine(context, trace) {
  const [low, high] = extent(trace.speed);
  const shades = ramp();
  const count = Math.min(trace.x.length, trace.y.length);
  context.lineWidth = 3.5;
  for (let at = 1; at < count; at += 1) {
    const share = (trace.speed[at] - low) / Math.max(1e-9, high - low);
    context.strokeStyle = shades[Math.min(SHADES - 1, Math.max(0, Math.floor(share * SHADES)))];
    context.beginPath();
    context.moveTo(...toScreen(trace.x[at - 1], trace.y[at - 1]));
    context.lineTo(...toScreen(trace.x[at], trace.y[at]));
    context.stroke();
  }
}

/** SHADES colours from slow to fast, between the stops that the style sheet names. */
function ramp() {
  const stops = RAMP.map((name) => [1, 3, 5].map((at) => parseInt(colour(name).slice(at, at + 2), 16)));
  return Array.from({ length: SHADES }, (_, n) => {
    const at = (n / (SHADES - 1)) * (stops.length - 1);
    const first = Math.min(stops.length - 2, Math.floor(at));
    const mixed = stops[first].map((value, c) => Math.round(value + (stops[first + 1][c] - value) * (at - first)));
    return `rgb(${mixed.join(",")})`;
  });
}

export function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** After a change of theme. */
export function repaint() {
  forgetColours();
  invalidate();
}

new ResizeObserver(() => {
  if (view && view.width === base().clientWidth && view.height === base().clientHeight) return;
  view = null;
  for (const shown of cars.values()) shown.left = null;
  invalidate();
}).observe(byId("map"));
