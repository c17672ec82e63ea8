// @ts-check
/** Samples and grids of a run as they appear, newest first; a click shows them large. */

import { el, keyed, setText, show } from "../dom.js";
import { count } from "../format.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

/** @param {Document} document @param {Calls} calls */
export function createPictureStrip(document, calls) {
  /** @type {{url: string, caption: string}[]} */
  let large = [];
  const strip = el(document, "ul", {
    class: "wz-strip",
    tabindex: "0",
    "aria-label": "Pictures, newest first",
  });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Samples and grids" },
    el(document, "h3", null, "Samples and grids"),
    strip,
  );
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      const pictures = listed(run);
      show(element, pictures.length > 0);
      large = pictures.map((each) => ({
        url: calls.pictureUrl(run.run_id, each.name, 0, each.version),
        caption: told(each),
      }));
      keyed(
        strip,
        pictures,
        ({ name, version, kind, ...each }) => ({ runId: run.run_id, name, version, kind, words: told({ name, version, kind, ...each }) }),
        make,
        (item, each) => {
          const open = /** @type {HTMLButtonElement} */ (item.firstElementChild);
          open.onclick = () => calls.enlarge(large, pictures.indexOf(each));
          setText(/** @type {HTMLElement} */ (open.lastElementChild), label(each));
        },
      );
    },
    destroy() {},
  };

  /** @param {{runId: string, name: string, version: string, kind: string, words: string}} picture */
  function make({ runId, name, version, kind, words }) {
    const image = el(document, "img", {
      src: calls.pictureUrl(runId, name, 320, version),
      alt: words,
      loading: "lazy",
      draggable: "false",
    });
    const open = el(
      document,
      "button",
      { type: "button", class: "wz-picture", title: words },
      image,
      el(document, "span"),
    );
    return el(document, "li", { class: `wz-picture-${kind}` }, open);
  }
}

/**
 * Pictures that the snapshot named, and samples that came since by event.
 * @param {import("../run_store.js").RunView} run @returns {import("../run_store.js").Picture[]}
 */
export function listed(run) {
  const known = new Set(run.pictures.map((each) => each.name));
  const fresh = run.state.samples
    .map((row) => ({
      name: flatName(row.file),
      kind: "sample",
      step: row.step ?? null,
      caption: row.prompt ?? "",
      time: row.time,
      version: String(row.time),
    }))
    .filter((each) => !known.has(each.name));
  return [...run.pictures, ...fresh].sort((a, b) => b.time - a.time || (b.step ?? 0) - (a.step ?? 0));
}

/** The name under which the server lists a sample: its path without slashes. @param {string} file */
function flatName(file) {
  return `sample-${file.replace(/[^A-Za-z0-9._-]/g, "~")}`;
}

/** @param {import("../run_store.js").Picture} picture */
function label(picture) {
  if (picture.name === "grid-overview.png") return "All checkpoints";
  const step = picture.step === null ? "" : ` ${count(picture.step)}`;
  return picture.kind === "grid" ? `Grid${step}` : picture.step === null ? "Sample" : `Step${step}`;
}

/** @param {import("../run_store.js").Picture} picture */
function told(picture) {
  if (picture.name === "grid-overview.png") return "All checkpoints that have a grid";
  const step = picture.step === null ? "" : ` at step ${picture.step}`;
  return `${picture.kind === "grid" ? "Validation grid" : "Sample"}${step}${picture.caption ? `: ${picture.caption}` : ""}`;
}
