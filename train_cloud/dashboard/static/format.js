// Numbers, times and DOM helpers. Whatever is shown goes through textContent: names of bridges and tracks are data.

const formats = new Map();

/** The number with so many digits after the point, in the reader's locale; an en dash for what is not known. */
export function number(value, digits = 0) {
  if (!known(value)) return "–";
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits).format(value);
}

const compactFormat = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });

/** A short form for axes and readouts, whatever the magnitude. */
export function compact(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size >= 10000) return compactFormat.format(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return number(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 4);
}

const tickFormat = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });

/** A round number beside an axis. */
export const tick = (value) => (Math.abs(value) >= 10000 ? compactFormat.format(value) : tickFormat.format(value));

export const known = (value) => typeof value === "number" && Number.isFinite(value);

/** "1,234 m"; the unit only where the number is known. */
export const withUnit = (value, unit, digits = 0) => (known(value) ? `${number(value, digits)} ${unit}` : "–");

export const kmh = (metresPerSecond) => metresPerSecond * 3.6;

const secondsFormat = new Intl.NumberFormat(undefined, { minimumIntegerDigits: 2, minimumFractionDigits: 3, maximumFractionDigits: 3 });
const tenthsFormat = new Intl.NumberFormat(undefined, { minimumIntegerDigits: 2, minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** A lap time as m:ss.mmm, or as m:ss.m where it still runs. */
export function lapTime(seconds, running = false) {
  if (!known(seconds) || seconds < 0) return "–";
  const steps = running ? 10 : 1000;
  const rounded = Math.round(seconds * steps) / steps;
  const minutes = Math.floor(rounded / 60);
  const format = running ? tenthsFormat : secondsFormat;
  return `${minutes}:${format.format(rounded - 60 * minutes)}`;
}

/** A difference with its sign: "+0.123 s", "−0.045 s". */
export function difference(seconds, digits = 3) {
  if (!known(seconds)) return "–";
  const size = number(Math.abs(seconds), digits);
  const sign = Number(seconds.toFixed(digits)) === 0 ? "±" : seconds > 0 ? "+" : "−";
  return `${sign}${size} s`;
}

/** "2 h 10 min", "4 min", "12 s": rounded down to two units. */
export function duration(seconds) {
  if (!known(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${number(Math.floor(minutes / 1440))} days ${Math.floor((minutes % 1440) / 60)} h`;
}

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** The local time of day of a Unix time in s; with the day where that is not today. */
export function clock(at) {
  if (!known(at)) return "–";
  const date = new Date(1000 * at);
  return date.toDateString() === new Date().toDateString() ? clockFormat.format(date) : dayFormat.format(date);
}

/** The local time of day without seconds, for tables; with the day where that is not today. */
export function timeOfDay(at) {
  const date = new Date(1000 * at);
  return (date.toDateString() === new Date().toDateString() ? minuteFormat : dayFormat).format(date);
}

const minuteFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export const money = (value, digits = 2) => (known(value) ? `$${number(value, digits)}` : "–");

/** A name from a peer: control characters and directional overrides taken out, cut to what fits a line. */
export function plainName(name, length = 48) {
  const text = String(name ?? "").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "");
  return text.length > length ? `${text.slice(0, length - 1)}…` : text || "unnamed";
}

export const byId = (id) => document.getElementById(id);

/** Set text only where it changed, so that nothing is laid out in vain. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Show [name, value, note] triples in a <dl>, reusing its nodes. */
export function showFigures(list, figures) {
  while (list.children.length > figures.length) list.lastElementChild.remove();
  figures.forEach(([name, value, level = ""], at) => {
    let pair = list.children[at];
    if (!pair) {
      pair = element("div", {}, element("dt"), element("dd"));
      list.append(pair);
    }
    setText(pair.firstElementChild, name);
    setText(pair.lastElementChild, value);
    if (pair.dataset.level !== level) pair.dataset.level = level;
  });
}

/** Show rows of texts in a table's body, reusing its nodes; the first column is the row's header. */
export function showRows(body, names, rows) {
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  rows.forEach((cells, at) => {
    let row = body.rows[at];
    if (!row) {
      row = element("tr", { role: "row" });
      names.forEach((name, column) => {
        row.append(
          column === 0 ? element("th", { scope: "row", role: "rowheader" }) : element("td", { role: "cell", "data-name": name }),
        );
      });
      body.append(row);
    }
    cells.forEach((cell, column) => {
      const [text, level = ""] = Array.isArray(cell) ? cell : [cell];
      const shown = row.cells[column];
      setText(shown, text);
      if ((shown.dataset.level ?? "") !== level) shown.dataset.level = level;
    });
  });
}

/** Name a table's columns, once. */
export function showColumns(head, names) {
  if (head.rows.length) return;
  const row = element("tr", { role: "row" });
  for (const name of names) row.append(element("th", { scope: "col", role: "columnheader" }, name));
  head.append(row);
}

/** What this browser remembers; nothing where it may not. */
export const memory = {
  get(key) {
    try {
      return localStorage.getItem(`ac.${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`ac.${key}`, value);
    } catch {
      // Forbidden or full: the choice then holds until the page is left.
    }
  },
};

const colours = new Map();

/** The value of a CSS custom property under the present theme. */
export function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return colours.get(name);
}

export const forgetColours = () => colours.clear();
