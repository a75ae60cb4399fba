// Laps beside each other over distance: speed, pedals, steering, and how far the best is behind the others.

import { Chart } from "./chart.js";
import { byId, difference, element, known, kmh, lapTime, memory, number, showColumns, showRows } from "./format.js";
import { setLine, setPlace } from "./map.js";

const KINDS = [
  { kind: "best", name: "Best", colour: "best", width: 2.5 },
  { kind: "newest", name: "Newest", colour: "newest", width: 1.5 },
  { kind: "reference", name: "Reference", colour: "reference", dash: [2, 4] },
  { kind: "human", name: "Human", colour: "human", dash: [8, 4] },
];
const POINTS = 401;
const CHARTS = [
  { name: "speed", title: "Speed", unit: "km/h", height: 184, value: (v) => number(v, 0), of: (t, at) => kmh(t.speed[at]) },
  { name: "pedals", title: "Throttle less brake", unit: "%", height: 112, value: (v) => number(v, 0), of: (t, at) => 100 * t.pedals[at], bars: [-105, 105] },
  { name: "steer", title: "Steering, left positive", unit: "%", height: 112, value: (v) => number(v, 0), of: (t, at) => 100 * t.steer[at] },
];
const COLUMNS = ["Lap", "Time", "Here at", "Speed", "Throttle / brake", "Steering", "Gear", "Best is behind"];
const SYNC = "lap";

let laps = {};
let grid = [];
let pointed = null;
const hidden = new Set((memory.get("hidden") ?? "newest").split(","));
const charts = [];

/** Fetch the laps again. Raises what `get` raises. */
export async function fetchTraces(get) {
  const documents = (await get("/api/traces")) ?? {};
  const length = Math.max(0, ...Object.values(documents).map((trace) => trace.metres[trace.metres.length - 1] ?? 0));
  grid = Array.from({ length: POINTS }, (_, n) => (n * length) / (POINTS - 1));
  laps = {};
  for (const { kind } of KINDS) if (documents[kind]?.metres?.length > 1) laps[kind] = along(documents[kind]);
  const lined = KINDS.map(({ kind }) => kind).find((kind) => kind !== "newest" && documents[kind]?.x?.length);
  const names = { best: "the best lap", human: "the human's best lap", reference: "the reference driver's lap" };
  setLine(lined ? documents[lined] : null, names[lined] ?? "");
  show();
}

/** The trace at the grid's metres. */
function along(trace) {
  const [first, second] = [[], []];
  let at = 0;
  for (const metre of grid) {
    while (at < trace.metres.length - 2 && trace.metres[at + 1] < metre) at += 1;
    const step = trace.metres[at + 1] - trace.metres[at];
    first.push(at);
    second.push(step > 0 ? Math.min(1, Math.max(0, (metre - trace.metres[at]) / step)) : 0);
  }
  const between = (values) => first.map((n, g) => values[n] + second[g] * (values[n + 1] - values[n]));
  const found = { time: trace.time, version: trace.version, gear: first.map((n, g) => trace.gear[second[g] < 0.5 ? n : n + 1]) };
  for (const name of ["seconds", "speed", "steer", "pedals", "x", "y"]) found[name] = trace[name]?.length ? between(trace[name]) : [];
  return found;
}

function show() {
  const kinds = KINDS.filter(({ kind }) => laps[kind]);
  byId("traces-empty").hidden = kinds.length > 0;
  byId("traces-body").hidden = kinds.length === 0;
  showKinds(kinds);
  if (!kinds.length) return;
  if (!charts.length) build();
  for (const { chart, of } of charts) {
    chart.show([grid, ...KINDS.map(({ kind }) => (laps[kind] ? grid.map((_, at) => of(laps[kind], at)) : grid.map(() => null)))]);
  }
  hide();
  choose(Number(byId("place").value));
}

function build() {
  const shared = { sync: SYNC, xName: (x) => `${number(x)} m`, onCursor: (at) => at !== null && choose(at, true) };
  const delta = {
    name: "delta",
    title: "Best lap behind the others",
    unit: "s, above zero is slower",
    height: 112,
    value: (v) => number(v, 2),
    of: (trace, at) => (laps.best && trace !== laps.best ? laps.best.seconds[at] - trace.seconds[at] : null),
  };
  for (const { of, ...options } of [...CHARTS, delta]) {
    charts.push({ of, chart: new Chart(byId("traces"), { ...shared, ...options, lines: KINDS }) });
  }
}

function showKinds(kinds) {
  const holder = byId("trace-kinds");
  if (holder.children.length !== kinds.length) holder.replaceChildren(...kinds.map(choice));
}

function choice({ kind, name, colour, dash }) {
  const box = element("input", { type: "checkbox" });
  box.checked = !hidden.has(kind);
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(kind);
    else hidden.add(kind);
    memory.set("hidden", [...hidden].join(","));
    hide();
    choose(pointed ?? 0);
  });
  const sample = element("i", { "aria-hidden": "true" });
  sample.style.setProperty("--line", `var(--${colour})`);
  if (dash) sample.dataset.dash = "";
  return element("label", { class: "key" }, box, sample, name);
}

function hide() {
  for (const { chart } of charts) KINDS.forEach(({ kind }, at) => chart.hideLine(at, hidden.has(kind)));
}

/** Point at a place of the lap, by its index in the grid: in the table, on the map, and in the charts. */
function choose(at, fromChart = false) {
  if (fromChart && at === pointed) return;
  if (at > 0 || pointed !== null) pointed = at;
  const slider = byId("place");
  if (Number(slider.value) !== at) slider.value = String(at);
  const metres = `${number(grid[at])} m`;
  if (slider.getAttribute("aria-valuetext") !== metres) slider.setAttribute("aria-valuetext", metres);
  const shown = KINDS.filter(({ kind }) => laps[kind] && !hidden.has(kind));
  showColumns(byId("readout").tHead, COLUMNS);
  showRows(byId("readout").tBodies[0], COLUMNS, shown.map(({ kind, name }) => figures(laps[kind], name, at)));
  const lap = laps.best ?? laps.human ?? laps.reference;
  if (pointed !== null && lap?.x.length) setPlace(lap.x[at], lap.y[at]);
  if (!fromChart && pointed !== null) for (const { chart } of charts) chart.point(at);
}

function figures(lap, name, at) {
  const behind = laps.best && lap !== laps.best ? laps.best.seconds[at] - lap.seconds[at] : null;
  return [
    name,
    lapTime(lap.time),
    lapTime(lap.seconds[at]),
    `${number(kmh(lap.speed[at]))} km/h`,
    `${number(100 * lap.pedals[at])} %`,
    `${number(100 * lap.steer[at])} %`,
    number(lap.gear[at]),
    known(behind) ? difference(behind, 2) : "–",
  ];
}

byId("place").addEventListener("input", (event) => choose(Number(event.target.value)));
