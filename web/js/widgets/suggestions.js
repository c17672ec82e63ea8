// @ts-check
/** Safer numbers to train again with: the first as a button, further ones folded, each with what it changes and costs. */

import { el, keyed, show } from "../dom.js";
import { button } from "./button.js";
import { changed } from "./plan_table.js";

/** @typedef {import("../panel.js").Calls} Calls @typedef {import("../run_store.js").Suggestion} Suggestion */

/**
 * @param {Document} document @param {Calls} calls
 * @returns {{element: HTMLElement, render: (view: {runId: string, plan: any, suggestions: Suggestion[]}) => void}}
 */
export function createSuggestions(document, calls) {
  let runId = "";
  /** @type {any} */
  let plan = null;
  const first = el(document, "div", { class: "wz-stack" });
  const further = el(document, "div", { class: "wz-stack" });
  const more = el(document, "details", null, el(document, "summary", null, "Other ways"), further);
  const element = el(document, "div", { class: "wz-stack" }, first, more);

  /** @param {HTMLElement} place @param {Suggestion[]} suggestions @param {number} offset @param {string} kind */
  function list(place, suggestions, offset, kind) {
    keyed(
      place,
      suggestions,
      (each) => ({
        runId,
        title: each.title,
        why: each.why,
        body: { code: each.code, choice: offset + suggestions.indexOf(each) },
        rows: changes(each),
      }),
      (each) => {
        const act = () => calls.act("retry", each.runId, each.body);
        return el(
          document,
          "div",
          { class: "wz-suggestion" },
          button(document, { label: each.title, icon: "retry", kind, hint: each.why, act }),
          el(document, "p", { class: "wz-muted" }, each.why),
          el(
            document,
            "ul",
            { class: "wz-changes", "aria-label": "What it changes" },
            ...each.rows.map(({ name, old, value }) => changed(document, name, old, value)),
          ),
        );
      },
    );
  }

  return {
    element,
    /** Suggestions of one cause, in the server's order: a choice is named by its place in it. */
    render(view) {
      runId = view.runId;
      plan = view.plan;
      show(element, view.suggestions.length > 0);
      show(more, view.suggestions.length > 1);
      list(first, view.suggestions.slice(0, 1), 0, "wz-primary");
      list(further, view.suggestions.slice(1), 1, "");
    },
  };

  /** What a suggestion changes: name, before, after. @param {Suggestion} suggestion @returns {{name: string, old: any, value: any}[]} */
  function changes({ settings, kohya }) {
    return [
      ...Object.entries(settings).map(([name, value]) => ({ name, old: plan?.settings[name], value })),
      ...Object.entries(kohya).map(([name, value]) => ({ name, old: plan?.kohya[name], value })),
    ];
  }
}
