// @ts-check
/**
 * The loss chart: raw and smoothed loss, held-out loss with its interval, learning rate; checkpoints on the axis.
 *
 * A long run's rows come thinned. Zooming in asks the server for the rows of the chosen steps; until they come, the
 * thinned ones are shown.
 */

import { nearest } from "../chart_math.js";
import { el, setText, show } from "../dom.js";
import { count, counted, loss, rate } from "../format.js";
import { createPlot } from "../plot.js";
import { button } from "./button.js";

/**
 * @typedef {import("../panel.js").WidgetView} WidgetView
 * @typedef {import("../panel.js").Calls} Calls
 * @typedef {import("../plot.js").Series} Series
 * @typedef {import("../chart_math.js").Range} Range
 */

const CURVES = /** @type {const} */ ([
  { id: "raw", label: "Loss", colour: "--wz-chart-raw" },
  { id: "smooth", label: "Smoothed", colour: "--wz-chart-smooth" },
  { id: "held", label: "Held-out", colour: "--wz-chart-held" },
  { id: "rate", label: "Learning rate", colour: "--wz-chart-rate" },
]);

/** @param {Document} document @param {Calls} calls */
export function createLossChart(document, calls) {
  /** @type {import("../run_store.js").RunView|null} */
  let run = null;
  let log = calls.setting("Wizdroid.Training.LogScale") === true;
  /** @type {Range|null} */
  let view = null;
  /** @type {{from: number, to: number, rows: any[][]}|null} */
  let detail = null;
  const hidden = new Set(["rate"]);

  const plot = createPlot(document, { onHover: (step) => readOut(step), onView: (next) => setView(next) });
  const legend = el(document, "div", { class: "wz-legend", role: "group", "aria-label": "Curves" });
  for (const { id, label, colour } of CURVES) {
    const toggle = el(
      document,
      "button",
      {
        type: "button",
        class: "wz-chip",
        "aria-pressed": String(!hidden.has(id)),
        style: `--wz-chip: var(${colour})`,
        onclick: () => flip(id, toggle),
      },
      el(document, "span", { class: "wz-swatch" }),
      label,
    );
    legend.append(toggle);
  }
  const logButton = el(
    document,
    "button",
    { type: "button", class: "wz-chip", "aria-pressed": String(log), onclick: () => setLog(!log) },
    "Log scale",
  );
  const reset = button(document, {
    label: "Show all",
    icon: "zoomOut",
    kind: "wz-quiet wz-small",
    act: () => setView(null),
  });
  const reading = el(document, "p", { class: "wz-reading", role: "status" });
  const hint = el(document, "p", { class: "wz-reading wz-muted" }, "Drag to zoom. Point to read values.");
  const empty = el(
    document,
    "p",
    { class: "wz-empty-chart wz-muted" },
    "The curve begins with the first training step.",
  );
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Loss chart" },
    el(
      document,
      "div",
      { class: "wz-row wz-wrap" },
      el(document, "h3", null, "Loss"),
      el(document, "span", { class: "wz-grow" }),
      reset,
      logButton,
    ),
    legend,
    el(document, "div", { class: "wz-plot-frame" }, plot.element, empty),
    reading,
    hint,
  );
  show(reset, false);
  show(reading, false);

  /** @param {string} id @param {HTMLElement} toggle */
  function flip(id, toggle) {
    if (!hidden.delete(id)) hidden.add(id);
    toggle.setAttribute("aria-pressed", String(!hidden.has(id)));
    draw();
  }

  /** @param {boolean} on */
  function setLog(on) {
    log = on;
    logButton.setAttribute("aria-pressed", String(on));
    draw();
  }

  /** @param {Range|null} next */
  async function setView(next) {
    view = next;
    show(reset, next !== null);
    draw();
    if (!run || !next || run.state.losses.length >= run.steps_told) return;
    const asked = { runId: run.run_id, from: Math.max(0, Math.floor(next.from)), to: Math.ceil(next.to) };
    const rows = await calls.losses(asked.runId, asked.from, asked.to);
    if (rows && view === next && run.run_id === asked.runId) {
      detail = { ...asked, rows };
      draw();
    }
  }

  /** Thinned rows, with the closer look put in between where there is one. */
  function rowsShown() {
    const rows = run?.state.losses ?? [];
    if (!view || !detail || detail.from > view.from || detail.to < view.to) return rows;
    const last = detail.rows.at(-1)?.[0] ?? detail.to;
    return [...detail.rows, ...rows.filter((row) => row[0] > last)];
  }

  function draw() {
    if (!run) return;
    const rows = rowsShown();
    const held = heldRows(run);
    /** @type {Series[]} */
    const series = [
      { name: "raw", colour: "--wz-chart-raw", rows, field: 1, style: "cloud", width: 1 },
      {
        name: "rate",
        colour: "--wz-chart-rate",
        rows,
        field: 3,
        style: "line",
        axis: "right",
        width: 1.5,
        dash: [4, 3],
      },
      { name: "smooth", colour: "--wz-chart-smooth", rows, field: 2, style: "line", width: 2 },
      {
        name: "held",
        colour: "--wz-chart-held",
        rows: held,
        field: 1,
        style: "dots",
        width: 1.5,
        whisker: [2, 3],
      },
    ];
    const { state } = run;
    const last = Math.max(state.losses.at(-1)?.[0] ?? 0, held.at(-1)?.[0] ?? 0);
    show(empty, last === 0);
    const marks = [
      ...(state.resumed_from ? [{ step: state.resumed_from, kind: /** @type {const} */ ("resumed") }] : []),
      ...state.checkpoints.map((row) => ({ step: row.step, kind: /** @type {const} */ ("checkpoint") })),
      ...(state.best ? [{ step: state.best.step, kind: /** @type {const} */ ("best") }] : []),
    ];
    plot.draw(
      {
        series: series.filter((each) => !hidden.has(each.name)),
        marks,
        log,
        view,
        whole: { from: 0, to: Math.max(last, 10) },
      },
      described(run, held),
    );
  }

  /** @param {number|null} step */
  function readOut(step) {
    show(reading, step !== null && run !== null);
    show(hint, step === null);
    if (step === null || !run) return;
    const row = nearest(rowsShown(), step);
    const held = nearest(heldRows(run), step);
    if (!row) return;
    const close =
      held &&
      Math.abs(held[0] - row[0]) <= Math.max(2, ((view?.to ?? run.state.step) - (view?.from ?? 0)) / 60);
    const checkpoint = run.state.checkpoints.some((each) => each.step === (close ? held[0] : row[0]));
    setText(
      reading,
      [
        `Step ${count(row[0])}`,
        row[1] !== null && `loss ${loss(row[1])}`,
        row[2] !== null && `smoothed ${loss(row[2])}`,
        close && `held-out ${loss(held[1])} at step ${count(held[0])}`,
        row[3] !== null && `rate ${rate(row[3])}`,
        checkpoint && "checkpoint",
      ]
        .filter(Boolean)
        .join("  ·  "),
    );
  }

  return {
    element,
    /** @param {WidgetView} next */
    render({ run: next }) {
      if (run?.run_id !== next.run_id) {
        view = detail = null;
        show(reset, false);
      }
      const same =
        run &&
        run.run_id === next.run_id &&
        run.state.losses === next.state.losses &&
        run.state.validations === next.state.validations &&
        run.state.checkpoints === next.state.checkpoints &&
        run.state.best === next.state.best;
      run = next;
      if (!same) draw();
    },
    /** Draw again in the colours of another theme. */
    recolour: draw,
    destroy: () => plot.destroy(),
  };
}

/** @param {import("../run_store.js").RunView} run @returns {any[][]} step, loss and interval of the held-out measurements, by step */
function heldRows(run) {
  return run.state.validations
    .map((row) => [row.step, row.loss ?? null, row.loss_low ?? null, row.loss_high ?? null])
    .sort((a, b) => a[0] - b[0]);
}

/** What the curve says, in words. @param {import("../run_store.js").RunView} run @param {any[][]} held */
function described(run, held) {
  const rows = run.state.losses;
  if (!rows.length) return "Loss chart, empty";
  const last = /** @type {any[]} */ (rows.at(-1));
  const parts = [`Loss over ${counted(last[0], "step")}: smoothed from ${loss(rows[0][2])} to ${loss(last[2])}`];
  const measured = held.filter((row) => typeof row[1] === "number");
  if (measured.length) {
    const best = measured.reduce((a, b) => (b[1] < a[1] ? b : a));
    parts.push(`held-out lowest ${loss(best[1])} at step ${count(best[0])}`);
  }
  return `${parts.join("; ")}. Arrow keys read values, plus and minus zoom, 0 shows all.`;
}
