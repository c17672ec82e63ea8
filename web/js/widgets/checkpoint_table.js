// @ts-check
/** The checkpoints of a run, newest first: how each draws, what was measured, the best one marked, and "Try". */

import { el, isolated, keyed, setText, show } from "../dom.js";
import { bytes, count, loss } from "../format.js";
import { icon } from "../icons.js";
import { button } from "./button.js";
import { listed } from "./picture_strip.js";

/**
 * @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls
 * @typedef {{url: string, small: string, alt: string, caption: string}} Seen a picture and what is shown of it in a row
 */

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
  /** @type {Seen[]} pictures of all rows, as they follow each other when they are shown large */
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
    render({ run, tries }) {
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
          pictures: seen(row.step, tries.of(runId, row.step), samples.find((each) => each.step === row.step)),
          drawing: tries.of(runId, row.step).drawing,
        }))
        .sort((/** @type {any} */ a, /** @type {any} */ b) => b.step - a.step);
      large = rows.flatMap((row) => row.pictures);
      table.classList.toggle("wz-unseen", !rows.some((row) => row.pictures.length || row.drawing));
      keyed(
        body,
        rows,
        ({ file, step, bytes: size, final }) => ({ file, step, bytes: size, final }),
        make,
        (tr, row) => {
          update(tr, row);
          picture(tr, row);
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
      hint: "Use it in the open workflow and queue what hangs on it; the picture appears here.",
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
      el(document, "td", { class: "wz-size wz-muted" }, isolated(document, bytes(row.bytes))),
      el(document, "td", { class: "wz-actions" }, pack, tryIt),
    );
  }

  /** What a checkpoint drew: the newest try first, then the trainer's sample. @param {number} step @param {import("../tries.js").Try} tried @param {import("../run_store.js").Picture|undefined} sample @returns {Seen[]} */
  function seen(step, tried, sample) {
    const mine = tried.pictures.map((each) => ({
      url: calls.outputUrl(each),
      small: calls.outputUrl(each),
      alt: `Step ${step} as tried`,
      caption: `Step ${count(step)}, as tried in the workflow`,
    }));
    if (!sample) return mine;
    const { name, version, caption } = sample;
    return [
      ...mine,
      {
        url: calls.pictureUrl(runId, name, 0, version),
        small: calls.pictureUrl(runId, name, 96, version),
        alt: `Sample of step ${step}`,
        caption: `Step ${count(step)}${caption ? `: ${caption}` : ""}`,
      },
    ];
  }

  /** What the checkpoint draws, small; a click shows it large. @param {HTMLElement} element @param {any} row */
  function picture(element, { step, pictures, drawing }) {
    const place = /** @type {HTMLElement} */ (element.firstElementChild);
    const [first] = /** @type {Seen[]} */ (pictures);
    const shown = first?.small ?? "";
    if (place.dataset.shown !== shown) {
      place.dataset.shown = shown;
      place.replaceChildren(...(first ? [thumbnail(first)] : []), el(document, "span", { class: "wz-drawing" }, "drawing…"));
    }
    show(/** @type {HTMLElement} */ (place.lastElementChild), drawing);
    const open = place.querySelector("button");
    if (open) open.onclick = () => calls.enlarge(large, large.indexOf(first));
  }

  /** A picture that is gone from ComfyUI's folders leaves its row empty. @param {Seen} picture */
  function thumbnail({ small, alt }) {
    const image = el(document, "img", { src: small, alt, loading: "lazy", draggable: "false" });
    const button = el(document, "button", { type: "button" }, image);
    image.onerror = () => button.remove();
    return button;
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
