// @ts-check
/** How the run ended, in words: what happened, what to do, and the one button that does it. */

import { el, setText, show } from "../dom.js";
import { loss } from "../format.js";
import { icon } from "../icons.js";
import { createSuggestions } from "./suggestions.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

/** @param {Document} document @param {Calls} calls */
export function createOutcome(document, calls) {
  const problem = el(document, "p", { class: "wz-strong" });
  const fix = el(document, "p");
  const evidence = el(document, "pre", { class: "wz-evidence" });
  const more = el(
    document,
    "details",
    null,
    el(document, "summary", null, "What the trainer said"),
    evidence,
  );
  const tries = createSuggestions(document, calls);
  const mark = el(document, "span", { class: "wz-mark" });
  const element = el(
    document,
    "div",
    { class: "wz-outcome", role: "region", "aria-label": "Outcome" },
    mark,
    el(document, "div", { class: "wz-grow wz-stack" }, problem, fix, tries.element, more),
  );
  let shownAs = "";
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      const { state } = run;
      const told = words(run);
      show(element, told !== null);
      if (!told) return;
      element.dataset.status = state.status;
      if (shownAs !== state.status) {
        shownAs = state.status;
        mark.replaceChildren(
          icon(
            document,
            state.status === "failed" ? "failed" : state.status === "completed" ? "done" : "info",
          ),
        );
      }
      setText(problem, told.problem);
      setText(fix, told.fix);
      show(fix, told.fix !== "");
      setText(evidence, state.evidence);
      show(more, state.evidence !== "");
      const suggestions =
        state.status === "failed" ? run.suggestions.filter((each) => each.code === state.code) : [];
      tries.render({ runId: run.run_id, plan: run.plan, suggestions });
    },
    destroy() {},
  };
}

/** @param {import("../run_store.js").RunView} run */
function words(run) {
  const { state } = run;
  if (state.status === "failed" || state.status === "stopped") {
    return {
      problem: state.problem || (state.status === "failed" ? "The run failed." : "The run was stopped."),
      fix: state.fix,
    };
  }
  if (state.status !== "completed") return null;
  const validation = state.best && state.validations.find((row) => row.step === state.best?.step);
  if (!state.best) return { problem: state.problem || "The LoRA is ready.", fix: "" };
  const measured = validation ? ` Held-out loss ${loss(validation.loss)}.` : "";
  return {
    problem: `The LoRA is ready. Best checkpoint: step ${state.best.step}.`,
    fix: [state.problem, measured.trim()].filter(Boolean).join(" "),
  };
}
