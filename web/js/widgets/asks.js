// @ts-check
/** What came along with a run's folder and would act by itself: shown, with buttons to let it act or to put it aside. */

import { el, keyed, setText, show } from "../dom.js";
import { button } from "./button.js";

/** @typedef {import("../panel.js").Calls} Calls @typedef {import("../run_store.js").Ask} Ask */

const SENTENCES = /** @type {const} */ ({
  prompt: "A prompt came along with this run. It would be queued when the run has completed.",
  grids: "A prompt came along with this run. It would be queued for each of its checkpoints.",
  order: "This run waits by an order that was given elsewhere. It would begin to train.",
});

/** @param {Document} document @param {Calls} calls */
export function createAsks(document, calls) {
  const list = el(document, "ul", { class: "wz-notices" });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Waits for your word" },
    el(document, "h3", null, "Waits for your word"),
    list,
  );
  return {
    element,
    /** @param {{asks: Ask[], answering: Set<string>}} view */
    render({ asks, answering }) {
      show(element, asks.length > 0);
      keyed(list, asks, keyOf, make, (item, ask) => {
        const asked = answering.has(keyOf(ask));
        for (const each of /** @type {NodeListOf<HTMLButtonElement>} */ (
          item.querySelectorAll(".wz-answers button")
        ))
          each.disabled = asked;
      });
    },
    destroy() {},
  };

  /** @param {Ask} ask */
  function make(ask) {
    const prompt = el(document, "pre", { class: "wz-log", tabindex: "0" }, "Loading…");
    const whole =
      ask.kind !== "order" &&
      el(
        document,
        "details",
        {
          ontoggle: (/** @type {Event} */ event) => {
            const shown = /** @type {HTMLDetailsElement} */ (event.target);
            if (shown.open) void calls.waiting(ask).then((text) => setText(prompt, text ?? "It is gone."));
          },
        },
        el(document, "summary", null, "The whole prompt"),
        prompt,
      );
    const name = `${ask.slug}/${ask.run_id}`;
    return el(
      document,
      "li",
      { class: "wz-notice", "data-level": "warning" },
      el(
        document,
        "div",
        { class: "wz-stack wz-grow" },
        el(document, "button", { type: "button", class: "wz-link", onclick: () => calls.open(ask.run_id) }, name),
        el(document, "p", null, SENTENCES[ask.kind]),
        ask.kind !== "order" && el(document, "p", { class: "wz-muted" }, nodes(ask.nodes)),
        whole,
        el(
          document,
          "div",
          { class: "wz-row wz-answers" },
          button(document, {
            label: "Run",
            icon: "play",
            kind: "wz-small",
            name: `Run what came along with ${name}`,
            act: () => calls.answer(ask, "agree"),
          }),
          button(document, {
            label: "Discard",
            icon: "trash",
            kind: "wz-small",
            name: `Discard what came along with ${name}`,
            act: () => calls.answer(ask, "decline"),
          }),
        ),
      ),
    );
  }
}

/** @param {Ask} ask */
export function keyOf(ask) {
  return `${ask.run_id}/${ask.what}`;
}

/** Such as "SaveImage, KSampler (2)". @param {Record<string, number>} counts */
function nodes(counts) {
  const words = Object.entries(counts).map(([name, times]) => (times > 1 ? `${name} (${times})` : name));
  return words.join(", ");
}
