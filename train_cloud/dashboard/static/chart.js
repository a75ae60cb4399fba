// Line charts: uPlot with the page's colours, units, a readout of its own and marks where the trainer was interrupted.

import { colour, compact, element, setText, tick } from "./format.js";

const uPlot = globalThis.uPlot;
const FONT = "12px system-ui, sans-serif";

/** Redraw what is in sight; what is not waits until it comes into sight. */
const inSight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const chart = charts.get(entry.target);
      if (!chart) continue;
      chart.visible = entry.isIntersecting;
      if (chart.visible) chart.flush();
    }
  },
  { rootMargin: "160px" },
);
const resized = new ResizeObserver((entries) => {
  for (const entry of entries) charts.get(entry.target)?.resize(Math.floor(entry.contentRect.width));
});
const charts = new Map();

/**
 * A chart in a <figure>: title with unit, readout, and the plot.
 *
 * Args (one object): title, unit; lines: [{name, colour (CSS property without --), dash, stepped}]; height in CSS px;
 * value(v): text of a value, tick(v): of one beside the axis, whole: values are whole numbers; xName: text for a place on the x axis; sync: key of charts that share a cursor;
 * onCursor(index or null); bars: the y range to hold, as [low, high]; marks(): x values of vertical lines; empty: a sentence.
 */
export class Chart {
  constructor(parent, options) {
    this.options = { height: 176, value: compact, tick, xName: compact, marks: () => [], ...options };
    this.visible = false;
    this.pending = null;
    this.shown = null;
    this.off = new Set();
    this.pointed = null;
    const { title, unit, lines, empty } = this.options;
    this.readout = element("p", { class: "readout" });
    this.keys = lines.map((line) => {
      const sample = element("i", { "aria-hidden": "true" });
      sample.style.setProperty("--line", `var(--${line.colour})`);
      if (line.dash) sample.dataset.dash = "";
      const value = element("b");
      const key = element("span", { class: "key" }, sample, lines.length > 1 ? `${line.name} ` : "", value);
      this.readout.append(key);
      return { key, value };
    });
    const heading = element("figcaption", {}, element("span", { class: "name" }, title));
    if (unit) heading.append(element("span", { class: "unit" }, unit));
    this.place = element("span", { class: "at" });
    heading.append(this.place);
    this.holder = element("div", { class: "plot", role: "img" });
    this.holder.style.height = `${this.options.height}px`;
    this.emptied = element("p", { class: "empty" }, empty ?? "Nothing to draw yet.");
    this.figure = element("figure", {}, heading, this.readout, this.holder);
    this.holder.append(this.emptied);
    this.nothingYet();
    parent.append(this.figure);
    charts.set(this.holder, this);
    inSight.observe(this.holder);
    resized.observe(this.holder);
  }

  /** Data as uPlot takes them: [x, y...]. What they say is told at once; nothing is drawn out of sight. */
  show(data) {
    const some = data.slice(1).some((line) => line.some((value) => value !== null && value !== undefined));
    this.emptied.hidden = some;
    this.readout.hidden = !some;
    this.shown = data;
    this.pending = some ? data : data.map(() => []);
    if (some) this.describe();
    else this.nothingYet();
    if (this.visible) this.flush();
    else if (some) this.read(null);
  }

  flush() {
    const data = this.pending;
    if (data === null) return;
    this.pending = null;
    if (this.plot) this.plot.setData(data);
    else if (data[0].length) this.draw(data);
    if (!this.plot || !data[0].length) return;
    if (this.pointed === null) this.read(this.plot.cursor.idx ?? null);
    else this.point(this.pointed);
  }

  nothingYet() {
    this.holder.setAttribute("aria-label", `${this.options.title}: nothing to draw yet`);
  }

  draw(data) {
    const { lines, height, whole, sync, xName } = this.options;
    const axis = { stroke: () => colour("soft"), font: FONT, ticks: { show: false } };
    const grid = { stroke: () => colour("grid"), width: 1 };
    this.plot = new uPlot(
      {
        width: Math.max(120, this.holder.clientWidth),
        height,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: {
          drag: { x: false, y: false },
          points: { size: 7 },
          y: false,
          ...(sync ? { sync: { key: sync, setSeries: false } } : {}),
        },
        scales: {
          x: { time: false },
          y: { range: (_, low, high) => this.options.bars ?? uPlot.rangeNum(low, high, 0.1, false) },
        },
        axes: [
          { ...axis, grid: { show: false }, space: 72, size: 28, gap: 6, values: (_, at) => at.map(xName) },
          {
            ...axis,
            grid,
            space: 32,
            size: 52,
            gap: 6,
            ...(whole ? { incrs: [1, 2, 5, 10, 20, 50, 100] } : {}),
            values: (_, at) => at.map((v) => (v === null ? "" : this.options.tick(v))),
          },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.name,
            stroke: () => colour(line.colour),
            width: line.width ?? 2,
            dash: line.dash,
            spanGaps: true,
            points: { show: (plot, at) => plot.data[at].length < 2 },
            paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
          })),
        ],
        hooks: { drawClear: [(plot) => this.drawMarks(plot)], setCursor: [(plot) => this.moved(plot)] },
      },
      data,
      this.holder,
    );
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("mark");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    for (const at of this.options.marks()) {
      const x = Math.round(plot.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
    }
    ctx.stroke();
    ctx.restore();
  }

  moved(plot) {
    const at = plot.cursor.idx ?? null;
    this.read(at);
    this.options.onCursor?.(at);
  }

  /** Put the cursor on a place of the x axis by its index. */
  point(index) {
    this.pointed = index;
    if (!this.plot || !this.shown) return;
    this.plot.setCursor({ left: this.plot.valToPos(this.shown[0][index], "x"), top: this.plot.cursor.top ?? 0 }, false);
    this.read(index);
  }

  /** Show the values under the cursor, or the last ones. */
  read(at) {
    if (!this.shown) return;
    const [x, ...lines] = this.shown;
    lines.forEach((line, n) => {
      const value = at === null ? lastOf(line) : line[at];
      const { key, value: text } = this.keys[n];
      key.hidden = this.off.has(n) || !line.some((v) => v !== null && v !== undefined);
      setText(text, this.options.value(value));
    });
    setText(this.place, at === null || x[at] === undefined ? "" : `at ${this.options.xName(x[at])}`);
  }

  describe() {
    const { title, unit, lines, value } = this.options;
    const said = lines.map((line, n) => `${line.name} ${value(lastOf(this.shown[n + 1]))}`).join(", ");
    const label = `${title}${unit ? ` in ${unit}` : ""}, last values: ${said}`;
    if (this.holder.getAttribute("aria-label") !== label) this.holder.setAttribute("aria-label", label);
  }

  resize(width) {
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.options.height });
  }

  hideLine(at, hidden) {
    if (hidden) this.off.add(at);
    else this.off.delete(at);
    this.keys[at].key.hidden = hidden;
    if (this.plot && this.plot.series[at + 1].show === hidden) this.plot.setSeries(at + 1, { show: !hidden });
  }

  remove() {
    inSight.unobserve(this.holder);
    resized.unobserve(this.holder);
    charts.delete(this.holder);
    this.plot?.destroy();
    this.figure.remove();
  }
}

function lastOf(line) {
  for (let at = line.length - 1; at >= 0; at -= 1) if (line[at] !== null && line[at] !== undefined) return line[at];
  return null;
}

/** After a change of theme. */
export function recolour() {
  for (const chart of charts.values()) chart.plot?.redraw(false);
}
