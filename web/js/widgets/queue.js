// @ts-check
/** The runs that wait for the GPU, in order, with buttons to change the order. */

import { el, keyed, setText, show } from "../dom.js";
import { button } from "./button.js";

/** @typedef {import("../panel.js").Calls} Calls @typedef {import("../run_store.js").RunLine} RunLine */

/** @param {Document} document @param {Calls} calls */
export function createQueue(document, calls) {
  const list = el(document, "ol", { class: "wz-queue" });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Queue" },
    el(document, "h3", null, "Next on the GPU"),
    list,
  );
  /** @type {string[]} */
  let order = [];
  return {
    element,
    /** @param {{queue: string[], runs: RunLine[]}} view */
    render({ queue, runs }) {
      order = queue;
      show(element, queue.length > 0);
      const named = queue.map((runId) => ({
        runId,
        name: runs.find((line) => line.run_id === runId)?.character ?? runId,
      }));
      keyed(
        list,
        named,
        ({ runId }) => ({ runId }),
        make,
        (item, each) => {
          const at = queue.indexOf(each.runId);
          const [open, up, down] = /** @type {HTMLButtonElement[]} */ ([...item.querySelectorAll("button")]);
          setText(open, each.name);
          up.disabled = at === 0;
          down.disabled = at === queue.length - 1;
          up.setAttribute("aria-label", `Move ${each.name} up`);
          down.setAttribute("aria-label", `Move ${each.name} down`);
        },
      );
    },
    destroy() {},
  };

  /** @param {{runId: string}} entry */
  function make({ runId }) {
    const move = (/** @type {number} */ by) => calls.move(runId, order.indexOf(runId) + 1 + by);
    return el(
      document,
      "li",
      null,
      el(document, "button", { type: "button", class: "wz-link wz-grow", onclick: () => calls.open(runId) }),
      button(document, {
        label: "Up",
        icon: "up",
        kind: "wz-quiet wz-small",
        bare: true,
        act: () => move(-1),
      }),
      button(document, {
        label: "Down",
        icon: "down",
        kind: "wz-quiet wz-small",
        bare: true,
        act: () => move(1),
      }),
    );
  }
}
