// The dashboard's page: listens to the server's events, keeps only the newest of each, and shows them once a frame.

import { recolour } from "./chart.js";
import * as curves from "./curves.js";
import { byId, clock, element, forgetColours, memory, plainName, setText } from "./format.js";
import * as map from "./map.js";
import { announce, showBridges, showCar, showLaps, showMoney, showProgress, showSafety, showVerdict } from "./panels.js";
import { fetchTraces } from "./traces.js";

const SILENCE = 6000;
/** ms without a sign of life (one comes every 2 s) after which the link counts as lost. */
const RETRY = [1000, 2000, 4000, 8000];
const FIGURES_EVERY = 200;
/** ms between two sets of the driving car's figures: nobody reads faster. */
const FETCH_EVERY = 2000;
/** ms between two fetches of what a changed revision announces. */

const state = { look: null, live: null, source: null, heard: 0, lost: null, tries: 0, retry: 0, figures: 0, ended: false, chosen: memory.get("car"), shown: null };
const dirty = { look: false, live: false };
let scheduled = false;

class SessionEnded extends Error {}

// -- the stream

function connect() {
  clearTimeout(state.retry);
  state.retry = 0;
  state.source?.close();
  const source = new EventSource("/stream");
  state.source = source;
  state.heard = performance.now();
  source.addEventListener("look", (event) => take("look", event.data));
  source.addEventListener("live", (event) => take("live", event.data));
  source.onerror = () => {
    lose();
    // Where the browser gave up (an answer that is no stream), we find out why and try again ourselves.
    if (source.readyState === EventSource.CLOSED) again();
  };
}

function take(kind, data) {
  let document;
  try {
    document = JSON.parse(data);
  } catch {
    return;
  }
  state.heard = performance.now();
  state[kind] = document;
  dirty[kind] = true;
  state.tries = 0;
  if (state.lost !== null || state.connection !== "live") {
    state.lost = null;
    showConnection();
  }
  if (!scheduled) {
    scheduled = true;
    requestAnimationFrame(render);
  }
}

function lose() {
  if (state.ended || state.lost !== null) return;
  state.lost = Date.now() / 1000;
  showConnection();
}

async function again() {
  if (state.retry || state.ended) return;
  const delay = RETRY[Math.min(state.tries, RETRY.length - 1)];
  state.tries += 1;
  state.retry = setTimeout(connect, delay);
  try {
    await get("/api/history?after=999999999999");
  } catch (error) {
    if (error instanceof SessionEnded) end();
  }
}

function end() {
  state.ended = true;
  clearTimeout(state.retry);
  state.source.close();
  showConnection();
}

setInterval(() => {
  if (state.ended || state.retry || performance.now() - state.heard < SILENCE) return;
  lose();
  again();
}, 1000);

/** The JSON at a path of this server; null where it has none yet (404). Raises SessionEnded and TypeError (no network). */
async function get(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, redirect: "manual" });
  if (answer.status === 401 || answer.type === "opaqueredirect") throw new SessionEnded();
  if (answer.status === 404) return null;
  if (!answer.ok) throw new TypeError(`${path}: ${answer.status}`);
  return answer.json();
}

// -- what revisions announce

const fetched = {
  history: { revision: null, busy: false, fetch: () => curves.fetchHistory(get) },
  traces: { revision: null, busy: false, fetch: () => fetchTraces(get) },
  track: { revision: null, busy: false, fetch: async (revision) => map.setTrack(revision ? await get("/api/track") : null) },
};

function fetchChanged(revisions) {
  for (const [name, part] of Object.entries(fetched)) {
    if (revisions[name] !== part.revision) fetchPart(name, part, revisions[name]);
  }
}

async function fetchPart(name, part, revision) {
  if (part.busy) return;
  part.busy = true;
  try {
    await part.fetch(revision);
    part.revision = revision;
  } catch (error) {
    if (error instanceof SessionEnded) end();
    else if (!(error instanceof TypeError)) throw error;
  } finally {
    setTimeout(() => {
      part.busy = false;
      // What came meanwhile: the next look asks for it.
    }, FETCH_EVERY);
  }
}

// -- what is shown

function render() {
  scheduled = false;
  if (dirty.look) showLook(state.look);
  if (dirty.live || dirty.look) showLive(state.live);
  dirty.look = dirty.live = false;
}

function showLook(look) {
  byId("main").removeAttribute("aria-busy");
  document.body.dataset.racing = String(Boolean(look.racing));
  setText(byId("run"), plainName(look.run_id));
  setText(byId("method"), plainName(look.method ?? "", 12));
  const title = `${look.verdict.title} · ${plainName(look.run_id)}`;
  if (document.title !== title) document.title = title;
  showVerdict(look.verdict);
  showProgress(look.progress);
  showMoney(look.money);
  showSafety(look.safety);
  showBridges(look.bridges);
  if (look.racing) showLaps(look.laps, look.judged);
  const judged = look.judged?.newest;
  curves.setFacts({
    referenceTime: look.laps?.reference?.time_s ?? null,
    judgedLaps: judged ? judged.of_laps * judged.clean_laps.length : null,
    racing: Boolean(look.racing),
  });
  fetchChanged(look.revisions);
  setText(byId("updated"), `Figures of ${clock(look.now)}.`);
  map.describe(state.live?.cars?.length ?? 0);
}

function showLive(live, chosen = false) {
  if (!live) return;
  const now = performance.now();
  // Who chose none keeps seeing the same one, whoever told last.
  const of = (wanted) => live.cars.find(({ stream }) => stream === wanted);
  const car = of(state.chosen) ?? of(state.shown) ?? live.cars[0];
  state.shown = car?.stream ?? null;
  map.setCars(live.cars, car?.stream);
  map.setSpots(live.spots ?? []);
  if (now - state.figures < FIGURES_EVERY && !chosen) return;
  state.figures = now;
  showCar(car);
  showChoice(live.cars, car?.stream);
}

function showChoice(cars, chosen) {
  const holder = byId("car-choice");
  const shown = cars.length > 1 ? cars.slice(0, 16) : [];
  holder.hidden = shown.length === 0;
  while (holder.children.length > shown.length) holder.lastElementChild.remove();
  shown.forEach(({ stream, bridge }, at) => {
    if (!holder.children[at]) holder.append(element("button", { type: "button" }));
    const button = holder.children[at];
    setText(button, plainName(bridge, 18));
    button.dataset.stream = stream;
    const pressed = String(stream === chosen);
    if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
  });
}

byId("car-choice").addEventListener("click", (event) => {
  const { stream } = event.target.dataset;
  if (!stream) return;
  state.chosen = stream;
  memory.set("car", stream);
  showLive(state.live, true);
});

function showConnection() {
  const since = state.lost === null ? "" : clock(state.lost);
  const ways = {
    live: ["Live", ""],
    lost: [
      state.look ? `Reconnecting since ${since}` : "Cannot reach the dashboard",
      state.look
        ? `The connection to the dashboard was lost at ${since}. What you see is from then; the page goes on by itself once the dashboard answers.`
        : "The dashboard does not answer. Is its process running, and the tunnel to it open? The page tries again by itself.",
    ],
    ended: ["Session ended", "Your session has ended. What you see is from before; sign in again to go on."],
  };
  state.connection = state.ended ? "ended" : state.lost !== null ? "lost" : "live";
  const [short, notice] = ways[state.connection];
  byId("connection").dataset.state = state.connection;
  setText(byId("connection-text"), short);
  byId("notice").hidden = !notice;
  setText(byId("notice-text"), notice);
  byId("notice-link").hidden = !state.ended;
  document.body.dataset.old = String(state.connection !== "live");
  if (notice) announce(notice);
}

// -- the theme

const THEMES = ["system", "light", "dark"];

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "system";
  setText(byId("theme"), `Theme: ${theme}`);
  forgetColours();
  map.repaint();
  recolour();
}

byId("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  memory.set("theme", next);
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);

showTheme();
connect();
