// @ts-check
/** What to do first, where no run has been made yet. */

import { el } from "../dom.js";
import { icon } from "../icons.js";

const STEPS = /** @type {const} */ ([
  [
    "Make pictures",
    "Build prompts with Character Prompt Builder and keep the good pictures with Caption Export.",
  ],
  ["Check them", "Dataset Lint names what would spoil the training, and how to mend it."],
  ["Train", "Choose dataset and base model on the Kohya Train node, and press Run. The run appears here."],
]);

/** @param {Document} document @param {import("../panel.js").Calls} calls */
export function createEmptyState(document, calls) {
  const steps = STEPS.map(([title, text]) =>
    el(
      document,
      "li",
      null,
      el(document, "strong", null, title),
      el(document, "p", { class: "wz-muted" }, text),
    ),
  );
  const start = el(
    document,
    "button",
    { type: "button", class: "wz-button wz-primary", onclick: () => calls.addTrainNode() },
    "Add the training nodes",
  );
  return {
    element: el(
      document,
      "section",
      { class: "wz-empty", "aria-label": "How to begin" },
      el(document, "div", { class: "wz-empty-icon" }, icon(document, "chart")),
      el(document, "h3", null, "No training yet"),
      el(document, "p", { class: "wz-muted" }, "Three steps to a LoRA of your own character:"),
      el(document, "ol", { class: "wz-steps" }, ...steps),
      start,
    ),
    render() {},
    destroy() {},
  };
}
