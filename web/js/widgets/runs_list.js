// @ts-check
/** All runs of the workspace, newest first: filter, look at one, or choose several to compare. */

import { el, keyed, setText, show } from "../dom.js";
import { ago, share, status } from "../format.js";
import { icon } from "../icons.js";
import { isBusy } from "../run_store.js";
import { button } from "./button.js";
import { withoutSuffix } from "./run_header.js";

/** @typedef {import("../panel.js").Calls} Calls @typedef {import("../run_store.js").RunLine} RunLine */

const FIRST_SHOWN = 60;
const MOST_COMPARED = 6;
const STATE_FILTERS = /** @type {const} */ ([
  ["", "All states"],
  ["busy", "Training"],
  ["queued", "Queued"],
  ["completed", "Done"],
  ["stopped", "Stopped"],
  ["failed", "Failed"],
  ["aside", "Set aside"],
]);

/** @param {Document} document @param {Calls} calls */
export function createRunsList(document, calls) {
  let dataset = "";
  let state = "";
  let shown = FIRST_SHOWN;
  let choosing = false;
  /** @type {string[]} */
  let chosen = [];
  /** @type {{runs: RunLine[], aside: Record<string, import("../run_store.js").Trouble>, now: number}} */
  let view = { runs: [], aside: {}, now: 0 };

  const datasetFilter = el(document, "select", {
    class: "wz-select",
    "aria-label": "Filter by dataset",
    onchange: () => ((dataset = datasetFilter.value), rerender()),
  });
  const stateFilter = el(
    document,
    "select",
    {
      class: "wz-select",
      "aria-label": "Filter by state",
      onchange: () => ((state = stateFilter.value), rerender()),
    },
    ...STATE_FILTERS.map(([value, label]) => el(document, "option", { value }, label)),
  );
  const compare = button(document, {
    label: "Compare",
    icon: "chart",
    kind: "wz-small",
    hint: "Choose two or more runs and see their curves together.",
    act: () => choose(!choosing),
  });
  const go = button(document, {
    label: "Compare",
    kind: "wz-primary wz-small",
    act: () => calls.compare(chosen),
  });
  const bar = el(
    document,
    "div",
    { class: "wz-row wz-compare-bar", role: "status" },
    el(document, "span", { class: "wz-grow" }),
    go,
  );
  const list = el(document, "ul", { class: "wz-runs", "aria-label": "Runs" });
  const more = button(document, {
    label: "Show more",
    kind: "wz-quiet",
    act: () => ((shown += 200), rerender()),
  });
  const none = el(document, "p", { class: "wz-muted wz-center" }, "No run fits this filter.");
  const filters = el(
    document,
    "div",
    { class: "wz-row wz-filters" },
    datasetFilter,
    stateFilter,
    el(document, "span", { class: "wz-grow" }),
    compare,
  );
  const element = el(
    document,
    "section",
    { class: "wz-stack", "aria-label": "All runs" },
    filters,
    bar,
    list,
    none,
    more,
  );

  /** Why a run is set aside; empty for a sound one. @param {RunLine} line */
  function trouble(line) {
    return line.problem || view.aside[line.run_id]?.problem || "";
  }

  /** @param {boolean} on */
  function choose(on) {
    choosing = on;
    chosen = [];
    compare.setAttribute("aria-pressed", String(on));
    rerender();
  }

  /** @param {string} runId */
  function pick(runId) {
    if (!choosing) return calls.open(runId);
    chosen = chosen.includes(runId)
      ? chosen.filter((each) => each !== runId)
      : [...chosen, runId].slice(-MOST_COMPARED);
    rerender();
  }

  function rerender() {
    const names = [...new Set(view.runs.map((line) => line.dataset))].sort();
    const options = ["", ...names];
    if (options.join("|") !== [...datasetFilter.options].map((each) => each.value).join("|")) {
      datasetFilter.replaceChildren(
        ...options.map((name) => el(document, "option", { value: name }, name || "All datasets")),
      );
      datasetFilter.value = dataset = options.includes(dataset) ? dataset : "";
    }
    const fitting = view.runs.filter((line) => (!dataset || line.dataset === dataset) && fits(line, state, trouble(line)));
    show(filters, view.runs.length > 1 || dataset !== "" || state !== ""); // one that is set can be taken back
    show(bar, choosing);
    setText(
      /** @type {HTMLElement} */ (bar.firstElementChild),
      chosen.length < 2 ? "Choose two or more runs." : `${chosen.length} runs chosen.`,
    );
    go.disabled = chosen.length < 2;
    keyed(list, fitting.slice(0, shown), (line) => line.run_id, make, update);
    show(none, fitting.length === 0);
    show(more, fitting.length > shown);
  }

  /** @param {string} runId */
  function make(runId) {
    return el(
      document,
      "li",
      null,
      el(
        document,
        "button",
        { type: "button", class: "wz-run", onclick: () => pick(runId) },
        el(document, "span", { class: "wz-check", "aria-hidden": "true" }, icon(document, "done")),
        el(
          document,
          "span",
          { class: "wz-thumb" },
          icon(document, "sample"),
          el(document, "img", {
            alt: "",
            loading: "lazy",
            onerror: (/** @type {Event} */ event) =>
              /** @type {HTMLElement} */ (event.target).classList.add("wz-gone"),
          }),
        ),
        el(
          document,
          "span",
          { class: "wz-run-text" },
          el(
            document,
            "span",
            { class: "wz-row" },
            el(document, "span", { class: "wz-run-name wz-grow" }),
            el(document, "span", { class: "wz-run-age wz-muted" }),
          ),
          el(
            document,
            "span",
            { class: "wz-run-status" },
            el(document, "span", { class: "wz-dot", "aria-hidden": "true" }),
            el(document, "span"),
          ),
          el(document, "span", { class: "wz-run-made wz-muted" }),
          el(
            document,
            "span",
            { class: "wz-bar wz-thin", "aria-hidden": "true" },
            el(document, "span", { class: "wz-bar-fill" }),
          ),
        ),
      ),
    );
  }

  /** @param {HTMLElement} item @param {RunLine} line */
  function update(item, line) {
    const part = (/** @type {string} */ selector) =>
      /** @type {HTMLElement} */ (item.querySelector(selector));
    const open = part(".wz-run");
    const wrong = trouble(line);
    open.dataset.status = wrong ? "aside" : line.state.status;
    if (choosing) open.setAttribute("aria-pressed", String(chosen.includes(line.run_id)));
    else open.removeAttribute("aria-pressed");
    setText(part(".wz-run-name"), line.character);
    setText(part(".wz-run-age"), ago(line.updated, view.now));
    setText(
      /** @type {HTMLElement} */ (part(".wz-run-status").lastElementChild),
      wrong ? `Set aside: ${headline(wrong)}` : status(line.state),
    );
    setText(
      part(".wz-run-made"),
      [
        line.dataset !== line.character && line.dataset,
        withoutSuffix(line.base_model),
        line.engine_title,
        line.odd_lines && "some events can't be read",
      ]
        .filter(Boolean)
        .join(" · "),
    );
    show(part(".wz-bar"), isBusy(line.state) && !wrong);
    part(".wz-bar-fill").style.inlineSize = `${share(line.state) * 100}%`;
    const image = /** @type {HTMLImageElement} */ (part("img"));
    const url = calls.thumbnailUrl(line.run_id, `${line.counts.samples}-${line.state.finished ?? ""}`);
    if (image.getAttribute("src") !== url) {
      image.classList.remove("wz-gone");
      image.setAttribute("src", url);
    }
  }

  return {
    element,
    /** @param {typeof view} next */
    render(next) {
      view = next;
      rerender();
    },
    /** Leave the choosing of runs to compare. */
    settle: () => choose(false),
    destroy() {},
  };
}

/** What is wrong, without the list below it: the run itself shows that. @param {string} problem */
function headline(problem) {
  return problem.split("\n", 1)[0].replace(/:$/, ".");
}

/** @param {RunLine} line @param {string} state @param {string} trouble */
function fits(line, state, trouble) {
  if (!state) return true;
  if (state === "aside" || trouble) return (state === "aside") === (trouble !== "");
  return state === "busy" ? isBusy(line.state) : line.state.status === state;
}
