// @ts-check
/** How a plot is drawn: grid, series, marks. In: a 2D context and where things lie. Out: pixels, nothing else. */

import { logTicks, ticks, valueRange } from "./chart_math.js";
import { count, loss, rate } from "./format.js";

/**
 * @typedef {import("./chart_math.js").Range} Range
 * @typedef {import("./chart_math.js").Column} Column
 * @typedef {import("./plot.js").Series} Series
 * @typedef {import("./plot.js").Mark} Mark
 * @typedef {import("./plot.js").PlotModel} PlotModel
 * @typedef {{left: number, top: number, right: number, bottom: number, width: number, height: number}} Box
 */

const SMALL_TEXT = "11px system-ui, sans-serif";

/** A canvas sized to its element at the screen's resolution, cleared; null while it is not laid out. @param {HTMLCanvasElement} canvas */
export function fitted(canvas) {
  const { clientWidth: width, clientHeight: height } = /** @type {HTMLElement} */ (canvas.parentElement);
  if (!width || !height) return null;
  const ratio = canvas.ownerDocument.defaultView?.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/**
 * The values that an axis shows: all of the lines and dots, and the bulk of the raw cloud, so that a few steps far above
 * the rest are cut off rather than flattening what there is to see.
 * @param {PlotModel} model @param {Column[][]} columns @param {"left"|"right"} axis
 */
export function valuesOf(model, columns, axis) {
  const chosen = model.series
    .map((series, at) => ({ series, columns: columns[at] }))
    .filter((each) => each.columns.length && (each.series.axis ?? "left") === axis);
  const ranges = chosen.map(({ series, columns: each }) =>
    series.style === "cloud"
      ? valueRange([each.map((column) => ({ ...column, low: column.first, high: column.first }))], {
          log: model.log,
          share: 0.93,
        })
      : valueRange([each], { log: model.log, share: 1 }),
  );
  if (!ranges.length) return valueRange([], { log: model.log });
  return {
    from: Math.min(...ranges.map((each) => each.from)),
    to: Math.max(...ranges.map((each) => each.to)),
  };
}

/**
 * @param {CanvasRenderingContext2D} pen @param {Box} box
 * @param {{view: Range, values: Range, log: boolean, x: (v: number) => number, y: (v: number) => number, colour: (n: string) => string}} about
 */
export function drawGrid(pen, box, { view, values, log, x, y, colour }) {
  pen.font = SMALL_TEXT;
  pen.lineWidth = 1;
  pen.strokeStyle = colour("--wz-grid");
  pen.fillStyle = colour("--wz-muted");
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const value of (log ? logTicks : ticks)(values, Math.max(3, (box.bottom - box.top) / 36))) {
    const at = Math.round(y(value)) + 0.5;
    line(pen, box.left, at, box.right, at);
    pen.fillText(loss(value), box.left - 7, at);
  }
  pen.textBaseline = "top";
  pen.textAlign = "center";
  for (const step of ticks(view, Math.max(2, (box.right - box.left) / 80))) {
    if (step % 1) continue;
    const at = Math.round(x(step)) + 0.5;
    line(pen, at, box.bottom, at, box.bottom + 4);
    pen.fillText(count(step), Math.min(at, box.width - 16), box.bottom + 9);
  }
  pen.textAlign = "right";
  pen.fillText("step", box.left - 7, box.bottom + 9);
  pen.strokeStyle = colour("--wz-axis");
  line(pen, box.left, box.bottom + 0.5, box.right, box.bottom + 0.5);
}

/** @param {CanvasRenderingContext2D} pen @param {Box} box @param {Range} rates @param {(v: number) => number} y @param {(n: string) => string} colour */
export function drawRateAxis(pen, box, rates, y, colour) {
  pen.fillStyle = colour("--wz-chart-rate");
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const value of ticks(rates, 2))
    pen.fillText(rate(value), box.right + 6, Math.max(y(value), box.top + 4));
}

/**
 * @param {CanvasRenderingContext2D} pen @param {Series} series @param {Column[]} columns
 * @param {{x: (v: number) => number, y: (v: number) => number, colour: string, view: Range}} about
 */
export function drawSeries(pen, series, columns, { x, y, colour, view }) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = series.width ?? 1.5;
  pen.lineJoin = "round";
  pen.setLineDash(series.dash ?? []);
  pen.beginPath();
  columns.forEach((each, at) => {
    const here = x(each.x);
    if (at === 0) pen.moveTo(here, y(each.first));
    else pen.lineTo(here, y(each.first));
    if (series.style === "cloud" && each.high > each.low) {
      pen.lineTo(here, y(each.high));
      pen.lineTo(here, y(each.low));
    }
    if (each.last !== each.first) pen.lineTo(here, y(each.last));
  });
  pen.stroke();
  pen.setLineDash([]);
  if (series.style !== "dots") return;
  for (const row of series.rows) {
    if (row[0] < view.from || row[0] > view.to || typeof row[series.field] !== "number") continue;
    const here = x(row[0]);
    if (series.whisker && typeof row[series.whisker[0]] === "number") {
      pen.lineWidth = 1;
      line(pen, here, y(row[series.whisker[0]]), here, y(row[series.whisker[1]]));
    }
    pen.beginPath();
    pen.arc(here, y(row[series.field]), 3, 0, 7);
    pen.fill();
  }
}

/** @param {CanvasRenderingContext2D} pen @param {Mark[]} marks @param {{box: Box, view: Range, x: (v: number) => number, colour: (n: string) => string}} about */
export function drawMarks(pen, marks, { box, view, x, colour }) {
  for (const mark of marks) {
    if (mark.step < view.from || mark.step > view.to) continue;
    const at = x(mark.step);
    pen.fillStyle = pen.strokeStyle = colour(mark.kind === "best" ? "--wz-good" : "--wz-muted");
    if (mark.kind !== "checkpoint") {
      pen.lineWidth = 1;
      pen.setLineDash([2, 3]);
      line(pen, at, box.top, at, box.bottom);
      pen.setLineDash([]);
    }
    if (mark.kind !== "resumed") diamond(pen, at, box.bottom, mark.kind === "best" ? 6 : 4);
  }
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} size */
function diamond(pen, x, y, size) {
  pen.beginPath();
  pen.moveTo(x, y - size);
  pen.lineTo(x + size, y);
  pen.lineTo(x, y + size);
  pen.lineTo(x - size, y);
  pen.closePath();
  pen.fill();
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} toX @param {number} toY */
function line(pen, x, y, toX, toY) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}
