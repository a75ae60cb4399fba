// How learning went: the history's points, thinned by the server, as curves over steps or hours.

import { Chart } from "./chart.js";
import { byId, lapTime, memory, number, setText, tick } from "./format.js";

const MOST_POINTS = 4000;
const LOSSES = ["train/critic_loss", "train/actor_loss", "train/value_loss", "train/loss", "train/ent_coef", "train/policy_gradient_loss"];
const NAMES = {
  "train/critic_loss": "Critic loss",
  "train/actor_loss": "Actor loss",
  "train/value_loss": "Value loss",
  "train/loss": "Loss",
  "train/ent_coef": "Entropy coefficient",
  "train/policy_gradient_loss": "Policy loss",
};
const MOST_LOSSES = 3;

const history = { lastId: 0, at: [], steps: [], life: [], series: {} };
const charts = new Map();
let over = memory.get("over") === "hours" ? "hours" : "steps";
let marks = [];
let facts = { referenceTime: null, judgedLaps: null, racing: true };

const main = {
  return: {
    title: "Return of an episode",
    lines: [{ name: "mean", colour: "best", tag: "drive/mean_reward" }],
    empty: "The first episodes have not ended yet.",
  },
  lap: {
    title: "Lap time",
    unit: "clean laps",
    value: (v) => lapTime(v),
    tick: (v) => lapTime(v, true),
    lines: [
      { name: "newest", colour: "newest", tag: "drive/newest_lap_s", width: 1.5 },
      { name: "best", colour: "best", tag: "drive/policy_lap_s", stepped: true },
      { name: "human", colour: "human", tag: "drive/human_lap_s", dash: [8, 4] },
      { name: "reference", colour: "reference", tag: null, dash: [2, 4] },
    ],
    empty: "No clean lap yet.",
    racing: true,
  },
  success: {
    title: "Clean laps when judged",
    value: (v) => number(v),
    whole: true,
    lines: [
      { name: "newest", colour: "newest", tag: "judged/newest_clean_laps", stepped: true },
      { name: "best", colour: "best", tag: "judged/best_clean_laps", stepped: true, dash: [8, 4] },
    ],
    empty: "No policy has been judged yet: each checkpoint's is.",
    racing: true,
  },
};

/** Fetch what is new of the history and draw it. Raises what `get` raises. */
export async function fetchHistory(get) {
  let document = await get(`/api/history?after=${history.lastId}`);
  // A thinned or another run's history begins anew.
  if (history.lastId && (document.last_id < history.lastId || history.at.length > MOST_POINTS)) {
    forget();
    document = await get("/api/history?after=0");
  }
  if (document.last_id === history.lastId && history.lastId) return;
  add(document);
  draw();
}

export function forget() {
  Object.assign(history, { lastId: 0, at: [], steps: [], life: [], series: {} });
}

function add(document) {
  const before = history.at.length;
  const count = document.at.length;
  for (const name of ["at", "steps", "life"]) history[name].push(...document[name]);
  for (const tag of new Set([...Object.keys(history.series), ...Object.keys(document.series)])) {
    history.series[tag] ??= new Array(before).fill(null);
    history.series[tag].push(...(document.series[tag] ?? new Array(count).fill(null)));
  }
  history.lastId = document.last_id;
}

/** What the curves take from the newest figures: the reference's lap time in s, and how many laps a policy is judged by. */
export function setFacts(next) {
  if (Object.keys(next).every((key) => next[key] === facts[key])) return;
  facts = next;
  if (history.at.length) draw();
}

/** Indices of points that count: a resumed run goes on at its checkpoint, and what the life before had beyond it is gone. */
function counting() {
  const kept = [];
  const x = over === "steps" ? history.steps : history.at;
  for (let at = 0; at < x.length; at += 1) {
    while (kept.length && x[kept[kept.length - 1]] >= x[at]) kept.pop();
    kept.push(at);
  }
  return kept;
}

function draw() {
  const kept = counting();
  byId("curves-empty").hidden = kept.length > 0;
  byId("curves-body").hidden = kept.length === 0;
  if (!kept.length) return;
  const start = history.at[0] ?? 0;
  const place = (at) => (over === "steps" ? history.steps[at] : (history.at[at] - start) / 3600);
  const x = kept.map(place);
  marks = kept.filter((at, n) => n > 0 && history.life[at] !== history.life[kept[n - 1]]).map(place);
  for (const [name, options] of Object.entries(main)) {
    if (options.racing && !facts.racing) charts.get(name)?.remove();
    else show(name, options, byId("curves"), x, kept);
  }
  const ratio = { title: "Updates per step", height: 128, lines: [{ name: "lately", colour: "best", tag: "rate/update_ratio" }] };
  show("ratio", ratio, byId("losses"), x, kept);
  for (const tag of LOSSES.filter((name) => name in history.series).slice(0, MOST_LOSSES)) {
    show(tag, { title: NAMES[tag], height: 128, lines: [{ name: "last", colour: "newest", tag, width: 1.5 }] }, byId("losses"), x, kept);
  }
  showLives();
}

function show(name, options, parent, x, kept) {
  if (!charts.has(name)) charts.set(name, new Chart(parent, { ...options, xName, marks: () => marks }));
  const chart = charts.get(name);
  if (name === "success" && facts.judgedLaps) chart.options.bars = [0, facts.judgedLaps];
  const lines = options.lines.map(({ tag }) => {
    if (tag === null) return x.map((_, n) => (n === 0 || n === x.length - 1 ? facts.referenceTime : null));
    const values = history.series[tag];
    return kept.map((at) => values?.[at] ?? null);
  });
  // A yardstick alone is no curve.
  const own = options.lines.some(({ tag }, n) => tag !== null && lines[n].some((value) => value !== null));
  chart.show(own ? [x, ...lines] : [x, ...lines.map(() => x.map(() => null))]);
}

const xName = (x) => (over === "steps" ? tick(Math.round(x)) : `${number(x, x < 10 ? 1 : 0)} h`);

function showLives() {
  byId("lives-key").hidden = marks.length === 0;
  const times = marks.length === 1 ? "once" : `${number(marks.length)} times`;
  setText(byId("lives-text"), `Interrupted ${times}, and went on from the last checkpoint`);
}

for (const button of document.querySelectorAll("[data-over]")) {
  button.addEventListener("click", () => choose(button.dataset.over));
}

function choose(next) {
  over = next;
  memory.set("over", over);
  showChoice();
  if (history.at.length) draw();
}

function showChoice() {
  for (const button of document.querySelectorAll("[data-over]")) {
    button.setAttribute("aria-pressed", String(button.dataset.over === over));
  }
}

showChoice();
