// @ts-check
/** The head of a run's view: the way back, its name, its state, and what it was made from. */

import { el, setText, show } from "../dom.js";
import { ago, status } from "../format.js";
import { isAside } from "../run_store.js";
import { button } from "./button.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

/** @param {Document} document @param {Calls} calls */
export function createRunHeader(document, calls) {
  const title = el(document, "h2", { class: "wz-title", tabindex: "-1" });
  const pill = el(document, "span", { class: "wz-pill" });
  const corner = el(document, "div", { class: "wz-menu-anchor" });
  const facts = el(document, "p", { class: "wz-facts wz-muted" });
  const choices = el(document, "p", { class: "wz-facts wz-muted" });
  const element = el(
    document,
    "header",
    { class: "wz-run-header" },
    el(
      document,
      "div",
      { class: "wz-row" },
      button(document, { label: "All runs", icon: "back", kind: "wz-quiet", act: calls.close }),
      el(document, "span", { class: "wz-grow" }),
      pill,
      corner,
    ),
    title,
    facts,
    choices,
  );
  return {
    element,
    /** Where the menu of further actions stands. */
    corner,
    /** @param {WidgetView} view */
    render({ run, now }) {
      setText(title, run.line?.character ?? run.slug);
      const aside = isAside(run);
      setText(pill, aside ? "Set aside" : pillText(run.state));
      pill.dataset.status = aside ? "aside" : run.state.status;
      const made = run.line
        ? [
            run.line.dataset !== run.slug && `dataset ${run.line.dataset}`,
            withoutSuffix(run.line.base_model),
            run.line.engine_title,
          ]
        : [];
      const when = run.state.started ? `started ${ago(run.state.started, now)}` : "";
      setText(facts, [...made, when, `run ${run.run_id}`].filter(Boolean).join("  ·  "));
      setText(choices, (run.choices ?? []).join(" "));
      show(choices, !!choices.textContent);
    },
    destroy() {},
  };
}

/** One or two words; the progress card says the rest. @param {import("../run_state.js").RunState} state */
function pillText(state) {
  const words = {
    loading: "Loading",
    caching: "Preparing",
    training: "Training",
    validating: "Validating",
    paused: "Paused",
    lent: "Lent to ComfyUI",
    stopped: "Stopped",
    failed: "Failed",
    queued: "Queued",
  };
  return words[/** @type {keyof typeof words} */ (state.status)] ?? status(state);
}

/** @param {string|undefined} name */
export function withoutSuffix(name) {
  return String(name ?? "").replace(/\.(safetensors|ckpt)$/, "");
}
