// @ts-check
/** What came along with a run's folder and would act by itself: shown, with buttons to let it act or to put it aside. */

import { el, keyed, setText, show } from "../dom.js";
import { ago } from "../format.js";
import { icon } from "../icons.js";
import { button } from "./button.js";

/**
 * @typedef {import("../panel.js").Calls} Calls @typedef {import("../run_store.js").Ask} Ask
 * @typedef {{name: string, completed: boolean}} Named what is known of the run of an ask
 */

const WHY =
  "This machine did not write it for this place: it came with the folder, or the folder was moved. " +
  "Allow it only if you know what it does.";

/** What would happen, by kind. @type {Record<Ask["kind"], (completed: boolean) => string>} */
const SENTENCES = {
  prompt: (completed) => `A prompt would be queued ${completed ? "at once" : "when the run has completed"}.`,
  grids: () => "A prompt would be queued for each checkpoint of the run that has no grid yet.",
  order: () => "The run would be put in line and train.",
};

/** @param {Document} document @param {Calls} calls */
export function createAsks(document, calls) {
  /** @type {Set<string>} */
  let answered = new Set();
  const list = el(document, "ul", { class: "wz-notices" });
  const title = el(document, "h3", { tabindex: "-1", class: "wz-plain-focus" }, "Needs your decision");
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Needs your decision" },
    title,
    el(document, "p", { class: "wz-muted wz-facts" }, WHY),
    list,
  );
  return {
    element,
    /**
     * @param {{asks: Ask[], answering: Set<string>, named: (runId: string) => Named, now: number, linked?: boolean}} view
     *   `linked` is false where the run is shown already
     */
    render({ asks, answering, named, now, linked = true }) {
      answered = answering;
      const focused = list.contains(document.activeElement);
      show(element, asks.length > 0);
      keyed(list, asks, fixed, make, (item, ask) => {
        const { name, completed } = named(ask.run_id);
        const part = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (item.querySelector(selector));
        setText(part(".wz-link"), name);
        show(part(".wz-ask-run"), linked);
        setText(part(".wz-ask-since"), `${ask.run_id} · ${ago(ask.since, now)}`);
        setText(part(".wz-ask-sentence"), SENTENCES[ask.kind](completed));
        for (const [selector, word] of /** @type {const} */ ([[".wz-allow", "Allow"], [".wz-discard", "Discard"]])) {
          const made = /** @type {HTMLButtonElement} */ (part(selector));
          // Not `disabled`, which would take the keyboard away before the next one can have it.
          made.setAttribute("aria-disabled", String(answering.has(keyOf(ask))));
          made.setAttribute("aria-label", `${word} what came along with ${name} ${ask.run_id}`);
        }
      });
      // The answered one is gone, and with it the button that had the keyboard.
      if (focused && !list.contains(document.activeElement))
        /** @type {HTMLElement} */ (list.querySelector(".wz-allow") ?? title).focus();
    },
    destroy() {},
  };

  /** What an ask's line is made from; its prompt's text is fetched by whoever unfolds it. @param {Ask} ask @returns {Ask} */
  function fixed({ run_id, slug, what, kind, nodes }) {
    return { run_id, slug, what, kind, nodes, since: 0, text: "" };
  }

  /** @param {Ask} ask @param {"agree"|"decline"} word */
  function answer(ask, word) {
    if (!answered.has(keyOf(ask))) calls.answer(ask, word);
  }

  /** @param {Ask} ask */
  function make(ask) {
    return el(
      document,
      "li",
      { class: "wz-notice", "data-level": "warning" },
      icon(document, "info"),
      el(
        document,
        "div",
        { class: "wz-stack wz-grow" },
        el(
          document,
          "p",
          { class: "wz-ask-run" },
          el(document, "button", { type: "button", class: "wz-link wz-strong", onclick: () => calls.open(ask.run_id) }),
          " ",
          el(document, "span", { class: "wz-muted wz-facts wz-ask-since" }),
        ),
        el(document, "p", { class: "wz-ask-sentence" }),
        ask.kind !== "order" && el(document, "p", { class: "wz-muted wz-facts" }, `Its nodes: ${nodes(ask.nodes)}`),
        ask.kind !== "order" && whole(ask),
        el(
          document,
          "div",
          { class: "wz-row wz-answers" },
          button(document, {
            label: "Allow",
            icon: "play",
            kind: "wz-small wz-allow",
            act: () => answer(ask, "agree"),
          }),
          button(document, {
            label: "Discard",
            icon: "trash",
            kind: "wz-small wz-discard",
            act: () => answer(ask, "decline"),
          }),
        ),
      ),
    );
  }

  /** The prompt's own text, fetched when somebody unfolds it. @param {Ask} ask */
  function whole(ask) {
    const text = el(document, "pre", { class: "wz-log", tabindex: "0", "aria-label": "The whole prompt" }, "Loading…");
    const look = (/** @type {Event} */ event) => {
      const shown = /** @type {HTMLDetailsElement} */ (event.target);
      if (shown.open) void calls.waiting(ask).then((told) => setText(text, told ?? "It is gone."));
    };
    return el(document, "details", { ontoggle: look }, el(document, "summary", null, "Look at the whole prompt"), text);
  }
}

/** @param {Ask} ask */
export function keyOf(ask) {
  return `${ask.run_id}/${ask.what}`;
}

/** Such as "SaveImage, KSampler (2)". @param {Record<string, number>} counts */
function nodes(counts) {
  const words = Object.entries(counts).map(([name, times]) => (times > 1 ? `${name} (${times})` : name));
  return words.join(", ") || "none";
}
