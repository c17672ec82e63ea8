// @ts-check
/** Several runs side by side: smoothed and held-out curves on one chart, and where their plans differ. */

import { el, isolated, keyed, setText, show } from "../dom.js";
import { count, counted, loss } from "../format.js";
import { nearest } from "../chart_math.js";
import { createPlot } from "../plot.js";
import { button } from "./button.js";
import { short } from "./plan_table.js";

/** @typedef {import("../panel.js").Calls} Calls */

/** @param {Document} document @param {Calls} calls */
export function createCompare(document, calls) {
  /** @type {any} */
  let compared = null;
  /** @type {import("../chart_math.js").Range|null} */
  let view = null;
  const plot = createPlot(document, {
    onHover: readOut,
    onView: (next) => ((view = next), show(reset, next !== null), draw()),
  });
  const legend = el(document, "ul", { class: "wz-compared" });
  const reading = el(document, "p", { class: "wz-reading wz-muted", role: "status" });
  const reset = button(document, {
    label: "Show all",
    icon: "zoomOut",
    kind: "wz-quiet wz-small",
    act: () => ((view = null), show(reset, false), draw()),
  });
  const head = el(document, "tr");
  const body = el(document, "tbody");
  const same = el(document, "p", { class: "wz-muted" }, "Their plans are the same in every number.");
  const table = el(
    document,
    "div",
    { class: "wz-scroll", tabindex: "0", role: "region", "aria-label": "Plan differences" },
    el(document, "table", { class: "wz-table" }, el(document, "thead", null, head), body),
  );
  const element = el(
    document,
    "div",
    { class: "wz-stack" },
    el(
      document,
      "div",
      { class: "wz-row" },
      button(document, { label: "All runs", icon: "back", kind: "wz-quiet", act: calls.close }),
    ),
    el(document, "h2", { class: "wz-title", tabindex: "-1" }, "Compare runs"),
    el(
      document,
      "section",
      { class: "wz-card", "aria-label": "Curves" },
      el(
        document,
        "div",
        { class: "wz-row" },
        el(document, "h3", { class: "wz-grow" }, "Smoothed loss, dots are held-out"),
        reset,
      ),
      el(document, "div", { class: "wz-plot-frame wz-tall" }, plot.element),
      reading,
      legend,
    ),
    el(
      document,
      "section",
      { class: "wz-card", "aria-label": "Differences" },
      el(document, "h3", null, "What differs"),
      same,
      table,
    ),
  );
  show(reset, false);

  function draw() {
    if (!compared) return;
    const runs = compared.runs;
    const series = runs.flatMap((/** @type {any} */ run, /** @type {number} */ at) => [
      {
        name: run.run_id,
        colour: `--wz-run-${at + 1}`,
        rows: run.losses,
        field: 2,
        style: /** @type {const} */ ("line"),
        width: 1.5,
      },
      {
        name: `${run.run_id} held-out`,
        colour: `--wz-run-${at + 1}`,
        rows: heldRows(run),
        field: 1,
        style: /** @type {const} */ ("dots"),
        width: 1,
        dash: [3, 3],
      },
    ]);
    const last = Math.max(10, ...runs.map((/** @type {any} */ run) => run.losses.at(-1)?.[0] ?? 0));
    plot.draw(
      { series, marks: [], log: false, view, whole: { from: 0, to: last } },
      `Loss of ${runs.length} runs: ${runs.map(told).join("; ")}`,
    );
  }

  /** @param {number|null} step */
  function readOut(step) {
    if (step === null || !compared) return setText(reading, "");
    const values = compared.runs.map(
      (/** @type {any} */ run) => `${run.run_id.slice(0, 4)} ${loss(nearest(run.losses, step)?.[2])}`,
    );
    setText(reading, `Step ${count(Math.round(step))}  ·  ${values.join("  ·  ")}`);
  }

  return {
    element,
    /** @param {any} next the answer of the compare route */
    render(next) {
      if (next === compared) return;
      compared = next;
      view = null;
      const runs = next.runs;
      keyed(
        legend,
        runs,
        (/** @type {any} */ run) => ({ run_id: run.run_id, name: run.character, place: runs.indexOf(run) + 1, words: told(run) }),
        ({ run_id: runId, name, place, words }) =>
          el(
            document,
            "li",
            null,
            el(document, "span", {
              class: "wz-swatch",
              style: `--wz-chip: var(--wz-run-${place})`,
            }),
            el(
              document,
              "button",
              { type: "button", class: "wz-link", onclick: () => calls.open(runId) },
              `${name} ${runId.slice(0, 4)}`,
            ),
            el(document, "span", { class: "wz-muted" }, words),
          ),
      );
      head.replaceChildren(
        el(document, "th", { scope: "col" }, "Setting"),
        ...runs.map((/** @type {any} */ run) => el(document, "th", { scope: "col" }, run.run_id.slice(0, 4))),
      );
      body.replaceChildren(
        ...next.differences.map((/** @type {any} */ row) =>
          el(
            document,
            "tr",
            null,
            el(document, "th", { scope: "row" }, row.field.replace("settings.", "")),
            ...row.values.map((/** @type {any} */ value) => el(document, "td", null, isolated(document, short(value)))),
          ),
        ),
      );
      show(same, next.differences.length === 0);
      show(table, next.differences.length > 0);
      draw();
    },
    /** Draw again in the colours of another theme. */
    recolour: draw,
    destroy: () => plot.destroy(),
  };
}

/** @param {any} run @returns {any[][]} */
function heldRows(run) {
  return run.validations
    .map((/** @type {any} */ row) => [row.step, row.loss ?? null])
    .sort((/** @type {any[]} */ a, /** @type {any[]} */ b) => a[0] - b[0]);
}

/** @param {any} run */
function told(run) {
  const held = heldRows(run).filter((row) => typeof row[1] === "number");
  if (!held.length) return counted(run.step, "step");
  const best = held.reduce((a, b) => (b[1] < a[1] ? b : a));
  return `lowest held-out ${loss(best[1])} at step ${count(best[0])}`;
}
