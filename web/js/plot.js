// @ts-check
/**
 * A line plot on canvas: draws series over steps, lets a person zoom and read values, and keeps no data of its own.
 *
 * In: a `PlotModel` at each `draw`. Out: an element, and calls of `onHover` and `onView`. Drag to zoom, double-click or 0 to
 * see all, arrow keys to read, + and - to zoom, Shift and arrow keys to move. Hover is drawn on a canvas of its own, so
 * that reading values never draws 100,000 points again.
 */

import { scale, toColumns, zoomed } from "./chart_math.js";
import { el } from "./dom.js";
import { drawGrid, drawMarks, drawRateAxis, drawSeries, fitted, valuesOf } from "./plot_drawing.js";

/**
 * @typedef {import("./chart_math.js").Range} Range
 * @typedef {{
 *   name: string, colour: string, rows: any[][], field: number, style: "cloud"|"line"|"dots",
 *   axis?: "left"|"right", width?: number, dash?: number[], whisker?: [number, number],
 * }} Series `colour` is the name of a CSS custom property; a row's first field is its step
 * @typedef {{step: number, kind: "checkpoint"|"best"|"resumed"}} Mark
 * @typedef {{series: Series[], marks: Mark[], log: boolean, whole: Range, view: Range|null}} PlotModel
 */

/**
 * @param {Document} document
 * @param {{onHover: (step: number|null) => void, onView: (view: Range|null) => void}} calls
 */
export function createPlot(document, { onHover, onView }) {
  const base = el(document, "canvas", { class: "wz-plot-base", "aria-hidden": "true" });
  const over = el(document, "canvas", { class: "wz-plot-over", "aria-hidden": "true" });
  const element = el(document, "div", { class: "wz-plot", role: "figure", tabindex: "0" }, base, over);

  /** @type {PlotModel|null} */
  let model = null;
  /** @type {{box: import("./plot_drawing.js").Box, view: Range, x: (step: number) => number}|null} */
  let drawn = null;
  /** @type {number|null} */
  let hovered = null;
  /** @type {{from: number, to: number}|null} pixels of a drag */
  let drag = null;

  const styleOf = () => {
    const computed = getComputedStyle(element);
    return (/** @type {string} */ name) => computed.getPropertyValue(name).trim() || "#888";
  };

  function drawBase() {
    const area = fitted(base);
    if (!model || !area) return;
    const { pen, width, height } = area;
    const colour = styleOf();
    const view = model.view ?? model.whole;
    const right = model.series.some((each) => each.axis === "right");
    const box = { left: 46, top: 10, right: width - (right ? 44 : 12), bottom: height - 24, width, height };
    const columns = model.series.map((each) =>
      toColumns(each.rows, each.field, view, Math.max(40, box.right - box.left)),
    );
    const values = valuesOf(model, columns, "left");
    const rates = valuesOf({ ...model, log: false }, columns, "right");
    const across = scale(view);
    const x = (/** @type {number} */ step) => box.left + across(step) * (box.right - box.left);
    const yOf = (/** @type {Range} */ range, /** @type {boolean} */ log) => {
      const up = scale(range, log);
      return (/** @type {number} */ value) =>
        box.bottom - Math.min(1.02, Math.max(-0.02, up(value))) * (box.bottom - box.top);
    };
    const left = yOf(values, model.log);
    const rightY = yOf({ from: 0, to: rates.to }, false);
    drawGrid(pen, box, { view, values, log: model.log, x, y: left, colour });
    if (right) drawRateAxis(pen, box, { from: 0, to: rates.to }, rightY, colour);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top - 4, box.right - box.left, box.bottom - box.top + 4);
    pen.clip();
    model.series.forEach((series, at) => {
      const y = series.axis === "right" ? rightY : left;
      drawSeries(pen, series, columns[at], { x, y, colour: colour(series.colour), view });
    });
    pen.restore();
    drawMarks(pen, model.marks, { box, view, x, colour });
    drawn = { box, view, x };
  }

  function drawOver() {
    const area = fitted(over);
    if (!area || !drawn) return;
    const { pen } = area;
    const colour = styleOf();
    if (drag && Math.abs(drag.to - drag.from) > 3) {
      pen.fillStyle = colour("--wz-accent-soft");
      pen.fillRect(drag.from, drawn.box.top, drag.to - drag.from, drawn.box.bottom - drawn.box.top);
    }
    if (hovered === null) return;
    const at = Math.round(drawn.x(hovered)) + 0.5;
    pen.strokeStyle = colour("--wz-muted");
    pen.setLineDash([3, 3]);
    pen.beginPath();
    pen.moveTo(at, drawn.box.top);
    pen.lineTo(at, drawn.box.bottom);
    pen.stroke();
  }

  const stepAt = (/** @type {number} */ pixel) => {
    if (!drawn) return null;
    const share = (pixel - drawn.box.left) / (drawn.box.right - drawn.box.left);
    return drawn.view.from + Math.min(1, Math.max(0, share)) * (drawn.view.to - drawn.view.from);
  };

  /** @param {number|null} step */
  function hover(step) {
    hovered = step;
    drawOver();
    onHover(step);
  }

  /** @param {Parameters<typeof zoomed>[2]|null} change */
  function changeView(change) {
    if (!model) return;
    const view = change && zoomed(model.view ?? model.whole, model.whole, change);
    const all = !view || view.to - view.from >= model.whole.to - model.whole.from;
    onView(all ? null : view);
  }

  const pixelOf = (/** @type {PointerEvent|WheelEvent} */ event) =>
    event.clientX - element.getBoundingClientRect().left;

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    drag = { from: pixelOf(event), to: pixelOf(event) };
  });
  element.addEventListener("pointermove", (event) => {
    if (drag) drag.to = pixelOf(event);
    hover(stepAt(pixelOf(event)));
  });
  element.addEventListener("pointerup", () => {
    const chosen = drag;
    drag = null;
    if (chosen && Math.abs(chosen.to - chosen.from) > 6) {
      const [from, to] = [chosen.from, chosen.to]
        .sort((a, b) => a - b)
        .map((pixel) => /** @type {number} */ (stepAt(pixel)));
      if (to - from >= 2) onView({ from, to });
    }
    drawOver();
  });
  element.addEventListener("pointercancel", () => {
    drag = null;
    drawOver();
  });
  element.addEventListener("pointerleave", () => hover(null));
  element.addEventListener("blur", () => hover(null));
  element.addEventListener("dblclick", () => onView(null));
  element.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a bare wheel scrolls the panel
      event.preventDefault();
      event.stopPropagation();
      changeView({ factor: event.deltaY > 0 ? 1.25 : 0.8, about: stepAt(pixelOf(event)) ?? undefined });
    },
    { passive: false },
  );
  element.addEventListener("keydown", (event) => {
    if (!drawn || event.ctrlKey || event.metaKey || event.altKey) return;
    const span = drawn.view.to - drawn.view.from;
    const at = hovered ?? drawn.view.to;
    const sign = event.key === "ArrowLeft" ? -1 : 1;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (event.shiftKey) changeView({ by: sign * span * 0.2 });
      else hover(Math.min(drawn.view.to, Math.max(drawn.view.from, at + sign * Math.max(1, span / 100))));
    } else if (event.key === "+" || event.key === "=") changeView({ factor: 0.5, about: at });
    else if (event.key === "-") changeView({ factor: 2, about: at });
    else if (event.key === "0") onView(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const observer = new ResizeObserver(() => {
    drawBase();
    drawOver();
  });
  observer.observe(element);

  return {
    element,
    /** @param {PlotModel} next @param {string} label what a screen reader says of it */
    draw(next, label) {
      model = next;
      element.setAttribute("aria-label", label);
      drawBase();
      drawOver();
    },
    destroy: () => observer.disconnect(),
  };
}
