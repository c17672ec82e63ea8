// @ts-check
/** What in a run's folder can't be read, and the two ways on: put it out of the way, or delete the run. */

import { el, keyed, setText, show } from "../dom.js";
import { icon } from "../icons.js";
import { button } from "./button.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

const ASIDE = "The run is set aside: nothing of it starts, and the other runs go on.";
const NO_PLAN = "Without its plan it can only be looked at and deleted.";

/** @param {Document} document @param {Calls} calls */
export function createDamages(document, calls) {
  let runId = "";
  const list = el(document, "ul", { class: "wz-notices" });
  const heading = el(document, "h3", null, "Damaged files");
  const words = el(document, "p", { class: "wz-muted wz-facts" });
  const mend = button(document, {
    label: "Mend",
    icon: "retry",
    kind: "wz-small wz-primary",
    hint: "Move what can't be read below damaged/ of the run's folder; the rest of the run stays.",
    act: () => calls.mend(runId),
  });
  const remove = button(document, {
    label: "Delete run",
    icon: "trash",
    kind: "wz-small",
    hint: "Move the run's folder to the workspace's trash.",
    act: () => calls.act("delete", runId, {}),
  });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Damaged files" },
    heading,
    words,
    list,
    el(document, "div", { class: "wz-row" }, mend, remove),
  );
  return {
    element,
    /** @param {WidgetView & {mending: boolean}} view */
    render({ run, mending }) {
      runId = run.run_id;
      const { damages } = run;
      // What the desk stumbled over is mostly one of the files, in other words.
      const trouble = run.aside && !damages.some((each) => each.problem === run.aside?.problem) ? [run.aside] : [];
      const told = [...damages, ...trouble.map((each) => ({ file: "", can_be_mended: false, is_a_part: false, ...each }))];
      show(element, told.length > 0);
      setText(heading, told.every((each) => each.is_a_part) ? "Odd lines" : "Damaged files");
      show(remove, !told.every((each) => each.is_a_part));
      show(
        mend,
        told.some((each) => each.can_be_mended),
      );
      mend.disabled = mending;
      mend.setAttribute("aria-busy", String(mending));
      setText(words, [run.aside && ASIDE, !run.plan && NO_PLAN].filter(Boolean).join(" "));
      show(words, words.textContent !== "");
      keyed(list, told, ({ file, problem, fix, is_a_part }) => ({ file, problem, fix, is_a_part }), make);
    },
    destroy() {},
  };

  /** @param {{file: string, problem: string, fix: string, is_a_part?: boolean}} damage */
  function make({ problem, fix, is_a_part }) {
    return el(
      document,
      "li",
      { class: "wz-notice", "data-level": is_a_part ? "warning" : "error" },
      icon(document, "failed"),
      el(
        document,
        "div",
        { class: "wz-stack wz-grow" },
        el(document, "p", null, problem),
        fix && el(document, "p", { class: "wz-muted" }, fix),
      ),
    );
  }
}
