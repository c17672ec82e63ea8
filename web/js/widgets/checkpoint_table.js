// @ts-check
/** The checkpoints of a run, newest first: how each draws, what was measured, the best one marked, and "Try". */

import { el, keyed, setText, show } from "../dom.js";
import { bytes, count, loss } from "../format.js";
import { icon } from "../icons.js";
import { button } from "./button.js";
import { listed } from "./picture_strip.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

/** @type {readonly {text: string, hint?: string, kind?: string, seen?: boolean}[]} */
const HEAD = [
  { text: "Sample", kind: "wz-look", seen: false },
  { text: "Step" },
  {
    text: "Held-out loss",
    hint: "Measured on pictures that are kept out of the training. Lower is better; where it rises, the set is being learnt by heart.",
  },
  { text: "Size", kind: "wz-size" },
  { text: "Actions", seen: false },
];

/** @param {Document} document @param {Calls} calls */
export function createCheckpointTable(document, calls) {
  let runId = "";
  /** @type {{url: string, caption: string}[]} large pictures of the rows that have one */
  let large = [];
  const reason = el(document, "p", { class: "wz-reason" });
  const body = el(document, "tbody");
  const head = HEAD.map(({ text, hint, kind, seen = true }) =>
    el(
      document,
      "th",
      { scope: "col", class: kind, title: hint },
      seen ? text : el(document, "span", { class: "wz-sr" }, text),
    ),
  );
  const table = el(
    document,
    "table",
    { class: "wz-table" },
    el(document, "thead", null, el(document, "tr", null, ...head)),
    body,
  );
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Checkpoints" },
    el(document, "h3", null, "Checkpoints"),
    reason,
    table,
  );
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      runId = run.run_id;
      const { state } = run;
      show(element, state.checkpoints.length > 0);
      show(reason, state.best !== null);
      if (state.best) setText(reason, `Best is step ${count(state.best.step)}. ${state.best.reason ?? ""}`);
      const samples = listed(run).filter((each) => each.kind === "sample");
      /** @type {any[]} */
      const rows = state.checkpoints
        .map((row) => ({
          ...row,
          best: row.file === state.best?.file,
          held: state.validations.find((each) => each.step === row.step),
          sample: samples.find((each) => each.step === row.step),
        }))
        .sort((/** @type {any} */ a, /** @type {any} */ b) => b.step - a.step);
      const drawn = rows.filter((row) => row.sample);
      large = drawn.map(({ step, sample }) => ({
        url: calls.pictureUrl(runId, sample.name, 0, sample.version),
        caption: `Step ${count(step)}${sample.caption ? `: ${sample.caption}` : ""}`,
      }));
      table.classList.toggle("wz-unseen", drawn.length === 0);
      keyed(
        body,
        rows,
        (/** @type {any} */ row) => row.file,
        make,
        (tr, row) => {
          update(tr, row);
          picture(tr, row, drawn.indexOf(row));
        },
      );
    },
    destroy() {},
  };

  /** @param {any} row */
  function make(row) {
    const tryIt = button(document, {
      label: "Try",
      icon: "play",
      kind: "wz-small",
      name: `Try this checkpoint, step ${row.step}`,
      hint: "Use it in the open workflow and queue that.",
      act: () => calls.act("try", runId, { which: row.step }),
    });
    const pack = button(document, {
      label: "Package",
      icon: "package",
      kind: "wz-small wz-quiet",
      bare: true,
      name: `Package step ${row.step}`,
      act: () => calls.act("package", runId, { which: row.step }),
    });
    const star = el(document, "span", { class: "wz-best" }, icon(document, "best"), "best");
    return el(
      document,
      "tr",
      null,
      el(document, "td", { class: "wz-look" }),
      el(
        document,
        "th",
        { scope: "row" },
        count(row.step),
        star,
        row.final && el(document, "span", { class: "wz-tag" }, "final"),
      ),
      el(
        document,
        "td",
        { class: "wz-held" },
        el(document, "span"),
        el(document, "span", { class: "wz-interval wz-muted" }),
      ),
      el(document, "td", { class: "wz-size wz-muted" }, bytes(row.bytes)),
      el(document, "td", { class: "wz-actions" }, pack, tryIt),
    );
  }

  /** What the checkpoint draws, small; a click shows it large. @param {HTMLElement} element @param {any} row @param {number} at */
  function picture(element, { step, sample }, at) {
    const place = /** @type {HTMLElement} */ (element.firstElementChild);
    const url = sample && calls.pictureUrl(runId, sample.name, 96, sample.version);
    const before = place.querySelector("img");
    if (!sample || before?.getAttribute("src") !== url) {
      place.replaceChildren(
        ...(sample
          ? [
              el(
                document,
                "button",
                { type: "button" },
                el(document, "img", {
                  src: url,
                  alt: `Sample of step ${step}`,
                  loading: "lazy",
                  draggable: "false",
                }),
              ),
            ]
          : []),
      );
    }
    const open = place.querySelector("button");
    if (open) open.onclick = () => calls.enlarge(large, at);
  }

  /** @param {HTMLElement} element @param {any} row */
  function update(element, row) {
    show(/** @type {HTMLElement} */ (element.querySelector(".wz-best")), row.best);
    element.classList.toggle("wz-is-best", row.best);
    const [value, interval] = /** @type {HTMLElement[]} */ ([
      .../** @type {HTMLElement} */ (element.querySelector(".wz-held")).children,
    ]);
    const known = row.held && typeof row.held.loss_low === "number";
    setText(value, row.held ? loss(row.held.loss) : "not measured");
    setText(interval, known ? ` ± ${loss((row.held.loss_high - row.held.loss_low) / 2)}` : "");
  }
}
