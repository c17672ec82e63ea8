// @ts-check
/** What in a run's folder can't be read, and the button that puts it out of the way. */

import { el, keyed, show } from "../dom.js";
import { button } from "./button.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

/** @param {Document} document @param {Calls} calls */
export function createDamages(document, calls) {
  let runId = "";
  const list = el(document, "ul", { class: "wz-notices" });
  const mend = button(document, {
    label: "Mend",
    icon: "retry",
    kind: "wz-small",
    hint: "Put aside what can't be read; the rest of the run stays.",
    act: () => calls.mend(runId),
  });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Damaged files" },
    el(document, "h3", null, "Damaged files"),
    list,
    el(document, "div", { class: "wz-row" }, mend),
  );
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      runId = run.run_id;
      const told = [...(run.damages ?? []), ...(run.aside ? [{ file: "", can_be_mended: false, ...run.aside }] : [])];
      show(element, told.length > 0);
      show(
        mend,
        told.some((each) => each.can_be_mended),
      );
      keyed(list, told, (each) => `${each.file}|${each.problem}`, make);
    },
    destroy() {},
  };

  /** @param {{problem: string, fix: string}} damage */
  function make({ problem, fix }) {
    return el(
      document,
      "li",
      { class: "wz-notice", "data-level": "error" },
      el(
        document,
        "div",
        { class: "wz-stack wz-grow" },
        el(document, "p", null, problem),
        el(document, "p", { class: "wz-muted" }, fix),
      ),
    );
  }
}
