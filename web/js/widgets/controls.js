// @ts-check
/** The buttons that steer a run: what is possible now, and whether it was asked for already. */

import { el, show } from "../dom.js";
import { isAside } from "../run_store.js";
import { possible, verb, VERBS } from "../steering.js";
import { button, holdButton } from "./button.js";

/**
 * @typedef {import("../panel.js").WidgetView} WidgetView
 * @typedef {import("../panel.js").Calls} Calls
 * @typedef {import("../steering.js").ActionId} ActionId
 */

/** In the card; the rest is under "More". @type {readonly ActionId[]} */
const AT_HAND = ["stop", "unpause", "pause", "resume", "checkpoint", "sample", "try", "package"];
/** @type {readonly ActionId[]} */
const UNDER_MORE = ["stop_now", "again", "folder", "delete"];

/** Where the whole label would not fit beside the others; a screen reader still says it. */
const SHORT = /** @type {Partial<Record<ActionId, string>>} */ ({ checkpoint: "Save", sample: "Sample" });

const WAITING = /** @type {Partial<Record<ActionId, string>>} */ ({
  stop: "Stopping…",
  pause: "Pausing…",
  unpause: "Continuing…",
  resume: "Starting…",
  checkpoint: "Saving…",
  sample: "Sampling…",
});

/** @param {Document} document @param {Calls} calls */
export function createControls(document, calls) {
  let runId = "";
  /** @type {Map<ActionId, HTMLButtonElement>} */
  const buttons = new Map();
  const row = el(document, "div", { class: "wz-steer", role: "group", "aria-label": "Steer this run" });
  const menu = el(document, "div", { class: "wz-menu", role: "menu", hidden: true });
  const opener = button(document, {
    label: "More",
    icon: "more",
    kind: "wz-quiet",
    bare: true,
    name: "More actions",
    act: () => toggle(menu.hidden),
  });
  opener.setAttribute("aria-haspopup", "menu");
  opener.setAttribute("aria-expanded", "false");

  for (const id of AT_HAND) {
    const { label, icon, hint } = verb(id);
    const act = () => calls.act(id, runId, {});
    const made =
      id === "stop"
        ? holdButton(
            document,
            { label, icon, hint, kind: "wz-stop" },
            { short: act, held: () => calls.act("stop_now", runId, {}) },
          )
        : button(document, { label: SHORT[id] ?? label, icon, hint, act, name: SHORT[id] && label });
    buttons.set(id, made);
    row.append(made);
  }
  for (const id of UNDER_MORE) {
    const { label, icon, hint } = verb(id);
    const made = button(document, {
      label,
      icon,
      hint,
      kind: "wz-item",
      act: () => (toggle(false), calls.act(id, runId, {})),
    });
    made.setAttribute("role", "menuitem");
    buttons.set(id, made);
    menu.append(made);
  }
  const anchor = el(document, "div", { class: "wz-menu-anchor" }, opener, menu);

  /** @param {boolean} open */
  function toggle(open) {
    menu.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) /** @type {HTMLElement|null} */ (menu.querySelector("button:not([hidden])"))?.focus();
    else if (menu.contains(document.activeElement)) opener.focus();
  }
  menu.addEventListener("keydown", (event) => {
    const items = /** @type {HTMLElement[]} */ ([...menu.querySelectorAll("button:not([hidden])")]);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (event.key === "Escape" && !menu.hidden) {
      event.stopPropagation(); // the view stays
      toggle(false);
    }
    else if (event.key === "ArrowDown") items[(at + 1) % items.length]?.focus();
    else if (event.key === "ArrowUp") items[(at - 1 + items.length) % items.length]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const away = (/** @type {Event} */ event) => {
    if (!menu.hidden && !anchor.contains(/** @type {Node} */ (event.target))) toggle(false);
  };
  document.addEventListener("pointerdown", away);

  return {
    element: row,
    /** The button of further actions; it stands in the head of the view. */
    menu: anchor,
    /** @param {WidgetView} view */
    render({ run, asked }) {
      runId = run.run_id;
      const can = possible(run.state, { hasCheckpoint: run.state.checkpoints.length > 0, isAside: isAside(run) });
      const training = can.has("stop");
      const main = mainVerb(run);
      for (const { id, label } of VERBS) {
        const made = buttons.get(id);
        if (!made) continue;
        // While it trains the table below offers each checkpoint; the card keeps to steering.
        show(made, can.has(id) && !(training && (id === "try" || id === "package")));
        made.classList.toggle("wz-primary", id === main);
        const waits = asked.has(runId, id);
        // A run that is stopping can still be stopped at once, so that button stays alive.
        made.disabled = waits && id !== "stop";
        made.setAttribute("aria-busy", String(waits));
        const text = made.querySelector(".wz-label");
        const idle =
          id === "try" ? (run.state.best ? "Try the best" : "Try the latest") : (SHORT[id] ?? label);
        const wanted = waits ? (WAITING[id] ?? label) : idle;
        if (text && text.textContent !== wanted) text.textContent = wanted;
      }
    },
    destroy: () => document.removeEventListener("pointerdown", away),
  };
}

/** The one thing most people want next, drawn stronger than the rest. @param {import("../run_store.js").RunView} run @returns {ActionId|null} */
function mainVerb({ state, suggestions }) {
  if (state.status === "paused") return "unpause";
  if (state.status === "completed") return "try";
  const safer = state.status === "failed" && suggestions.some((each) => each.code === state.code);
  return (state.status === "failed" || state.status === "stopped") && !safer ? "resume" : null;
}
