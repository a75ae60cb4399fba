// The panels that a Look fills: verdict, progress, laps, bridges, money, safety.

import {
  byId, compact, difference, duration, known, kmh, lapTime, money, number, plainName, element, setText, showColumns,
  showFigures, showRows, tick, timeOfDay, withUnit,
} from "./format.js";

const LEVELS = new Set(["good", "wait", "warn", "bad"]);
const STATES = { good: "Good", wait: "Wait", warn: "Warning", bad: "Problem" };
let announced = "";

export function showVerdict({ word, level, title, reason, advice }) {
  const shown = LEVELS.has(level) ? level : "wait";
  const section = byId("verdict");
  if (section.dataset.level !== shown) {
    section.dataset.level = shown;
    byId("verdict-use").setAttribute("href", `#icon-${shown}`);
  }
  setText(byId("verdict-title"), title);
  setText(byId("verdict-reason"), reason);
  setText(byId("verdict-advice"), advice ?? "");
  const name = `${STATES[shown]}: ${title}`;
  // Only what it says is said aloud again, not each figure that its reason holds.
  if (announced !== `${word} ${name}`) {
    announced = `${word} ${name}`;
    announce(`${name}. ${reason} ${advice ?? ""}`);
  }
}

/** Have a screen reader say it once it has said what it says. */
export const announce = (text) => setText(byId("announce"), text);

export function showProgress(progress) {
  const { steps, trained_steps: trained, total_timesteps: total } = progress;
  const done = known(trained) && total > 0 ? Math.min(1, trained / total) : null;
  setBar("progress-bar", done, "");
  showFigures(byId("progress"), [
    ["Steps driven", number(steps)],
    ["Trained", known(done) ? `${tick(trained)} of ${tick(total)}` : number(trained)],
    ["Time left", duration(progress.seconds_left)],
    ["Driving", withUnit(progress.steps_per_second, "steps/s", 1)],
    ["Updates", withUnit(progress.updates_per_second, "/s", 1)],
    ["Mean episode", known(progress.mean_metres) ? `${number(progress.mean_metres)} m` : "–"],
  ]);
}

function setBar(id, share, level) {
  const bar = byId(id);
  bar.hidden = share === null;
  if (share === null) return;
  const percent = (100 * Math.min(1, Math.max(0, share))).toFixed(1);
  if (bar.getAttribute("aria-valuenow") === percent) return;
  bar.setAttribute("aria-valuenow", percent);
  bar.dataset.level = level;
  bar.firstElementChild.style.transform = `scaleX(${percent / 100})`;
}

const LAPS = [
  ["last", "Last"],
  ["best", "Best"],
  ["reference", "Reference driver"],
  ["human", "Human’s best"],
];

export function showLaps(laps, judged) {
  const holder = byId("lap-tiles");
  if (!holder.children.length) holder.append(...LAPS.map(([kind]) => lapTile(kind)));
  LAPS.forEach(([kind, name], at) => fillTile(holder.children[at], name, laps[kind], kind));
  const clean = laps.count ? `${number(laps.count)} laps, ${number(laps.clean)} clean (${number((100 * laps.clean) / laps.count)} %)` : "";
  setText(byId("laps-about"), [clean, judgedText(judged?.newest)].filter(Boolean).join(" · "));
  showRecent(laps.recent ?? [], laps.best?.time_s);
}

function judgedText(judged) {
  if (!judged?.clean_laps?.length) return "";
  const clean = judged.clean_laps.reduce((sum, laps) => sum + laps, 0);
  return `last judged: ${clean} of ${judged.of_laps * judged.clean_laps.length} clean`;
}

function lapTile(kind) {
  const sectors = element("ol", { class: "sectors", "aria-label": "Sectors" });
  return element(
    "div", { class: "tile", "data-kind": kind }, element("h3"), element("p", { class: "time" }), element("p", { class: "delta" }), sectors,
  );
}

function fillTile(tile, name, lap, kind) {
  const [title, time, delta, sectors] = tile.children;
  setText(title, name);
  setText(time, lap ? lapTime(lap.time_s) : "–");
  tile.dataset.known = String(Boolean(lap));
  const dirty = lap && lap.clean === false;
  const state = !lap ? "" : dirty ? "not clean" : "clean";
  const against = lap && known(lap.delta_s) && kind !== "human" ? difference(lap.delta_s) : "";
  delta.dataset.level = dirty ? "warn" : "";
  setText(delta, lap ? [against, state].filter(Boolean).join(" · ") : { human: "No human lap", reference: "Not driven yet" }[kind] ?? "No lap yet");
  const times = lap?.sectors_s ?? [];
  while (sectors.children.length > times.length) sectors.lastElementChild.remove();
  times.forEach((seconds, at) => {
    if (!sectors.children[at]) sectors.append(element("li"));
    setText(sectors.children[at], number(seconds, 2));
  });
}

const RECENT = ["Driven", "Lap", "To best (s)", "S1 (s)", "S2 (s)", "S3 (s)", "Driver", "Step"];

function showRecent(rows, best) {
  byId("recent-empty").hidden = rows.length > 0;
  byId("recent").hidden = rows.length === 0;
  showColumns(byId("recent").tHead, RECENT);
  const quickest = [0, 1, 2].map((n) => Math.min(...rows.map(({ sectors }) => sectors[n] ?? Infinity)));
  showRows(
    byId("recent").tBodies[0],
    RECENT,
    rows.slice(0, 20).map(({ at, time, sectors, version, steps }) => [
      timeOfDay(at),
      [lapTime(time), known(best) && time <= best + 0.0005 ? "record" : ""],
      known(best) ? difference(time - best).replace(/ s$/, "") : "–",
      ...[0, 1, 2].map((n) => [number(sectors[n], 2), sectors[n] === quickest[n] && rows.length > 1 ? "record" : ""]),
      version === 0 ? "human" : `policy ${version}`,
      compact(steps),
    ]),
  );
}

const BRIDGES = ["Bridge", "Link", "Role", "Rate", "Late steps", "Action age", "Unsent", "Round trip", "Policy"];

export function showBridges(bridges) {
  const connected = bridges.filter((bridge) => bridge.connected).length;
  byId("bridges-empty").hidden = bridges.length > 0;
  byId("bridges").hidden = bridges.length === 0;
  setText(byId("bridges-about"), bridges.length ? `${connected} of ${bridges.length} connected` : "");
  showColumns(byId("bridges").tHead, BRIDGES);
  showRows(byId("bridges").tBodies[0], BRIDGES, bridges.slice(0, 64).map(bridgeCells));
}

function bridgeCells(bridge) {
  const ago = known(bridge.age_s) ? (bridge.age_s < 10 ? `${number(bridge.age_s, 1)} s ago` : `${duration(bridge.age_s)} ago`) : "never";
  return [
    plainName(bridge.bridge),
    bridge.connected ? [`● heard ${ago}`, "good"] : [`▲ cut, heard ${ago}`, "bad"],
    plainName(bridge.role ?? "–", 16),
    withUnit(bridge.steps_per_second, "steps/s", 1),
    withUnit(bridge.off_period_steps, bridge.off_period_steps === 1 ? "step" : "steps"),
    known(bridge.action_age_s) ? `${number(1000 * bridge.action_age_s, 1)} ms` : "–",
    withUnit(bridge.unsent_steps, "steps"),
    known(bridge.round_trip_s) ? `${number(1000 * bridge.round_trip_s)} ms` : "–",
    policyCell(bridge),
  ];
}

function policyCell({ policy_version: own, newest_version: newest }) {
  if (!known(own)) return "–";
  const behind = known(newest) ? newest - own : 0;
  return behind > 0 ? [`${number(own)}, ${number(behind)} behind`, behind > 3 ? "warn" : ""] : `${number(own)}, the newest`;
}

export function showMoney(spend) {
  byId("money-panel").hidden = !spend;
  if (!spend) return;
  const share = spend.budget_usd > 0 ? spend.spent_usd / spend.budget_usd : null;
  const level = share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "";
  setBar("money-bar", known(share) ? share : null, level);
  showFigures(byId("money"), [
    ["Spent", known(spend.budget_usd) ? `${money(spend.spent_usd)} of ${money(spend.budget_usd)}` : money(spend.spent_usd), level],
    ["Rate", known(spend.usd_per_hour) ? `${money(spend.usd_per_hour, 3)} per hour` : "–"],
    ["Left at this rate", known(spend.hours_left) ? duration(3600 * spend.hours_left) : "–", level],
    ["Launches", number(spend.launches)],
  ]);
}

export function showSafety({ would_lose: lost, checkpoint_steps: saved, unsafe_steps: unsafe }) {
  const nothing = lost === "nothing";
  setText(byId("would-lose"), nothing ? "Nothing would be lost." : lost || "Not known yet.");
  byId("would-lose").dataset.level = nothing ? "good" : unsafe > 0 ? "warn" : "";
  showFigures(byId("safety"), [
    ["Last checkpoint", known(saved) ? `at step ${number(saved)}` : "none yet"],
    ["Not in the bucket yet", withUnit(unsafe, unsafe === 1 ? "step" : "steps")],
  ]);
}

/** The figures of one live car. */
export function showCar(car) {
  if (!car) {
    showFigures(byId("car"), [["Cars now", "none"]]);
    return;
  }
  const gear = car.gear < 0 ? "R" : car.gear === 0 ? "N" : number(car.gear);
  showFigures(byId("car"), [
    ["Speed", known(car.speed) ? `${number(kmh(car.speed))} km/h` : "–"],
    ["Gear", gear],
    ["Throttle", known(car.throttle) ? `${number(100 * car.throttle)} %` : "–"],
    ["Brake", known(car.brake) ? `${number(100 * car.brake)} %` : "–"],
    ["Steering", steering(car.steer)],
    ["This lap", lapTime(car.lap_time, true)],
    ["Delta", difference(car.delta, 2)],
    ["Laps", number(car.laps)],
  ]);
}

function steering(steer) {
  if (!known(steer)) return "–";
  const percent = Math.round(100 * steer);
  return percent === 0 ? "0 %" : `${number(Math.abs(percent))} % ${percent > 0 ? "left" : "right"}`;
}
