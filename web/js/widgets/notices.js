// @ts-check
/** What a person should know about a run: problem, fix, and a button where something safer is known. */

import { el, keyed, setText, show } from "../dom.js";
import { icon } from "../icons.js";
import { isFinished } from "../run_state.js";
import { createSuggestions } from "./suggestions.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

/** @param {Document} document @param {Calls} calls */
export function createNotices(document, calls) {
  /** @type {WeakMap<HTMLElement, ReturnType<typeof createSuggestions>>} */
  const tries = new WeakMap();
  const list = el(document, "ul", { class: "wz-notices" });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Notices" },
    el(document, "h3", null, "Notices"),
    list,
  );
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      const notices = gathered([...run.state.notices, ...run.grid_notices]);
      show(element, notices.length > 0);
      keyed(
        list,
        notices,
        ({ times, ...each }) => each,
        make,
        (item, each) => {
          setText(
            /** @type {HTMLElement} */ (item.querySelector(".wz-times")),
            each.times > 1 ? `${each.times} times` : "",
          );
          // A failure's own suggestions stand with the failure already.
          const offered = isFinished(run.state) && run.state.code !== each.code && each.code !== "";
          const suggestions = offered ? run.suggestions.filter((known) => known.code === each.code) : [];
          tries.get(item)?.render({ runId: run.run_id, plan: run.plan, suggestions });
        },
      );
    },
    destroy() {},
  };

  /** @param {Omit<ReturnType<typeof gathered>[number], "times">} notice */
  function make(notice) {
    const level = ["info", "warning", "error"].includes(notice.level) ? notice.level : "info";
    const word = { info: "Note", warning: "Warning", error: "Error" }[
      /** @type {"info"|"warning"|"error"} */ (level)
    ];
    const suggestions = createSuggestions(document, calls);
    const item = el(
      document,
      "li",
      { class: "wz-notice", "data-level": level },
      icon(document, level === "info" ? "info" : "failed"),
      el(
        document,
        "div",
        { class: "wz-stack wz-grow" },
        el(
          document,
          "p",
          null,
          el(document, "span", { class: "wz-sr" }, `${word}: `),
          notice.problem,
          " ",
          el(document, "span", { class: "wz-times wz-muted" }),
        ),
        notice.fix && el(document, "p", { class: "wz-muted" }, notice.fix),
        suggestions.element,
      ),
    );
    tries.set(item, suggestions);
    return item;
  }
}

/** The same words are shown once, newest first, with how often they came. @param {import("../run_state.js").Row[]} rows */
export function gathered(rows) {
  /** @type {Map<string, {key: string, level: string, problem: string, fix: string, code: string, times: number}>} */
  const found = new Map();
  for (const row of rows) {
    const key = [row.level, row.code, row.problem].join("|");
    const before = found.get(key);
    found.delete(key);
    found.set(key, {
      key,
      level: row.level ?? "info",
      problem: row.problem ?? "",
      fix: row.fix ?? "",
      code: row.code ?? "",
      times: (before?.times ?? 0) + 1,
    });
  }
  return [...found.values()].reverse();
}
