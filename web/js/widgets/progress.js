// @ts-check
/** How far a run is and how fast it goes, as one bar and a line of figures. */

import { el, isolated, setText, show } from "../dom.js";
import { count, counted, duration, loss, share, speed, status } from "../format.js";
import { isFinished } from "../run_state.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView */

/** What comes before the first step has a bar of its own. */
const PREPARING = ["loading", "caching"];

/** @param {Document} document */
export function createProgress(document) {
  const headline = el(document, "p", { class: "wz-headline" });
  const percent = el(document, "span", { class: "wz-percent" });
  const fill = el(document, "div", { class: "wz-bar-fill" });
  const bar = el(
    document,
    "div",
    {
      class: "wz-bar",
      role: "progressbar",
      "aria-label": "Training progress",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    },
    fill,
  );
  const figures = el(document, "dl", { class: "wz-figures" });
  const waits = el(
    document,
    "p",
    { class: "wz-muted" },
    "A workflow waits for this run; it goes on by itself when the run is done.",
  );
  const element = el(
    document,
    "div",
    { class: "wz-progress" },
    el(
      document,
      "div",
      { class: "wz-row wz-baseline" },
      headline,
      el(document, "span", { class: "wz-grow" }),
      percent,
    ),
    bar,
    figures,
    waits,
  );
  /** @type {Map<string, HTMLElement>} */
  const cells = new Map();
  for (const name of ["Held-out loss", "Time left", "Speed", "Epoch", "Loss", "VRAM (peak)", "Took"]) {
    const value = isolated(document);
    figures.append(el(document, "div", null, el(document, "dt", null, name), el(document, "dd", null, value)));
    cells.set(name, value);
  }
  const put = (/** @type {string} */ name, /** @type {string} */ text) => {
    const cell = /** @type {HTMLElement} */ (cells.get(name));
    setText(cell, text);
    show(/** @type {HTMLElement} */ (cell.closest("div")), text !== "");
  };
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      const { state } = run;
      const preparing = !isFinished(state) && PREPARING.includes(state.status);
      const part = preparing ? (state.phase_total ? (state.phase_done ?? 0) / state.phase_total : null) : share(state);
      const done = Math.floor((part ?? 0) * 100);
      const ended = isFinished(state);
      const stepping = ended || ["training", "paused"].includes(state.status);
      setText(
        headline,
        stepping && state.total ? `${count(state.step)} of ${counted(state.total, "step")}` : status(state),
      );
      setText(percent, part !== null && (state.total || ended) ? `${done} %` : "");
      fill.style.inlineSize = `${(part ?? 0) * 100}%`;
      bar.dataset.status = state.status;
      bar.classList.toggle("wz-unknown", part === null);
      bar.setAttribute("aria-valuenow", String(done));
      bar.setAttribute("aria-valuetext", status(state));
      show(waits, run.held && !ended);
      put("Time left", ended ? "" : duration(state.eta_s));
      put("Speed", ended ? "" : speed(state.seconds_per_step));
      put("Epoch", state.epoch ? count(state.epoch) : "");
      const held = ended ? heldOut(state) : null;
      put("Held-out loss", held ? `${loss(held.loss)} at step ${count(held.step)}` : "");
      put("Loss", held ? "" : loss(state.loss_ema ?? state.loss));
      put("VRAM (peak)", vram(state));
      put("Took", ended && state.started && state.finished ? duration(state.finished - state.started) : "");
    },
    destroy() {},
  };
}

/** What a run that is over is judged by: the measurement of its best checkpoint, else the last one. @param {import("../run_state.js").RunState} state */
function heldOut({ best, validations }) {
  return validations.find((row) => row.step === best?.step) ?? validations.at(-1) ?? null;
}

/** @param {import("../run_state.js").RunState} state */
function vram(state) {
  const peak = state.peak_vram_gib;
  if (peak === null) return "";
  return state.vram_gib === null
    ? `${peak.toFixed(1)} GiB`
    : `${state.vram_gib.toFixed(1)} (${peak.toFixed(1)}) GiB`;
}
