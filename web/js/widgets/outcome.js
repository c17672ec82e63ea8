// @ts-check
/** How the run ended, in words: what happened, what to do, and the one button that does it. */

import { el, keyed, setText, show } from "../dom.js";
import { loss, plain } from "../format.js";
import { icon } from "../icons.js";
import { button } from "./button.js";

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
  const tries = el(document, "div", { class: "wz-stack" });
  const mark = el(document, "span", { class: "wz-mark" });
  const element = el(
    document,
    "div",
    { class: "wz-outcome", role: "region", "aria-label": "Outcome" },
    mark,
    el(document, "div", { class: "wz-grow wz-stack" }, problem, fix, tries, more),
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
      keyed(
        tries,
        suggestions,
        (each) => each.code,
        (each) => suggestionRow(document, each, () => calls.act("retry", run.run_id, { code: each.code })),
      );
    },
    destroy() {},
  };
}

/**
 * A safer set of numbers with its reason; the numbers are shown before the click.
 * @param {Document} document @param {import("../run_store.js").Suggestion} suggestion @param {() => void} act
 */
export function suggestionRow(document, suggestion, act) {
  const numbers = Object.entries(suggestion.settings).map(([name, value]) => `${name} ${plain(value)}`);
  return el(
    document,
    "div",
    { class: "wz-suggestion" },
    button(document, {
      label: suggestion.title,
      icon: "retry",
      kind: "wz-primary",
      hint: suggestion.why,
      act,
    }),
    el(document, "p", { class: "wz-muted" }, `${suggestion.why} Changes: ${numbers.join(", ")}.`),
  );
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
