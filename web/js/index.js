// @ts-check
/** What ComfyUI's page loads: registers the tab, commands, menus and settings. The only file that acts on import. */

import { createActions } from "./actions.js";
import { createHost, TAB_ID } from "./host.js";
import { commands, MENU, nodeMenuItems, SETTINGS } from "./menus.js";
import { Followed, giveFace } from "./node_face.js";
import { createPanel } from "./panel.js";
import { RunStore } from "./run_store.js";

const host = createHost();
const store = new RunStore(host, window.localStorage);
/** @type {{element: HTMLElement, destroy: () => void}|null} */
let panel = null;
const calls = createActions(store, host, () => panel?.element ?? overlay());

const stylesheet = document.createElement("link");
stylesheet.rel = "stylesheet";
stylesheet.href = new URL("./panel.css", import.meta.url).href;
document.head.append(stylesheet);

store.setVisible(!document.hidden); // a page may be opened in the background
store.addEventListener("activity", showBadge);
store.addEventListener("finished", (event) => tellOfEnd(/** @type {CustomEvent} */ (event).detail));

const followed = new Followed(() => host.app.graph);
host.onNode((told) => followed.begin(told));
host.onEvent(({ run_id: runId, event }) => event && followed.take(runId, event));

/**
 * A prompt of which a part is good is taken and runs; what is wrong with the other part is a red dot in ComfyUI, so of our nodes it is
 * said in words.
 */
host.onQueued((errors) => {
  for (const each of Object.values(errors ?? {}))
    if (each.class_type?.startsWith("Wizdroid") && each.errors?.[0]?.type === "custom_validation_failed")
      host.toast({ severity: "error", summary: "A node is not ready", detail: saidBy(each.errors[0]) });
});

/** ComfyUI puts the input's name before what a node says of it. @param {{details: string}} error */
function saidBy({ details }) {
  return details.replace(/^\w+ - /, "");
}

/** Where dialogs stand while the panel is closed: no box of its own, only the panel's colours. */
function overlay() {
  const known = document.querySelector(".wz-overlay");
  if (known) return /** @type {HTMLElement} */ (known);
  const made = document.createElement("div");
  made.className = "wz-panel wz-overlay";
  document.body.append(made);
  return made;
}

/** A new run or package is offered by the drop-downs of the open workflow without reloading the page. */
function refreshChoices() {
  if (host.usesOurNodes()) host.refreshChoices().catch(calls.report);
}

function showBadge() {
  const training = store.busy.size;
  host.setBadge(training && host.setting("Wizdroid.Training.Badge") !== false ? String(training) : null);
}

/** @param {{run_id: string, event: import("./run_state.js").RunEvent}} detail */
function tellOfEnd({ run_id: runId, event }) {
  refreshChoices();
  if (host.setting("Wizdroid.Training.Toasts") === false) return;
  const name = store.runs.find((line) => line.run_id === runId)?.character ?? `run ${runId}`;
  if (event.outcome === "completed")
    host.toast({
      severity: "success",
      summary: `${name} is trained`,
      detail: "The panel shows its checkpoints.",
    });
  if (event.outcome === "failed")
    host.toast({
      severity: "error",
      summary: `Training ${name} failed`,
      detail: [event.problem, event.fix].filter(Boolean).join(" "),
    });
  if (event.outcome === "stopped")
    host.toast({ severity: "info", summary: `Training ${name} stopped`, detail: event.fix ?? "" });
}

host.app.registerExtension({
  name: "Wizdroid.Training",
  settings: SETTINGS.map((each) => ({
    ...each,
    onChange: each.id.endsWith("Badge") ? () => setTimeout(showBadge) : undefined,
  })),
  commands: commands(store, calls, host),
  menuCommands: MENU,
  getNodeMenuItems: (/** @type {any} */ node) => nodeMenuItems(node, store, calls, host),
  /** A node remembers what its last execution told, so that its menu knows its run. @param {any} type */
  beforeRegisterNodeDef(type) {
    if (!type.comfyClass?.startsWith("Wizdroid")) return;
    giveFace(type);
    const before = type.prototype.onExecuted;
    type.prototype.onExecuted = function (/** @type {any} */ output) {
      before?.apply(this, arguments);
      this.wizdroidTold = output?.text ?? [];
      if (type.comfyClass === "WizdroidPackageLora") refreshChoices();
    };
  },
  setup() {
    host.app.extensionManager.registerSidebarTab({
      id: TAB_ID,
      icon: "pi pi-chart-line",
      title: "Training",
      tooltip: "Wizdroid Training",
      type: "custom",
      render(/** @type {HTMLElement} */ place) {
        panel?.destroy();
        panel = createPanel(document, store, calls);
        place.style.blockSize = "100%"; // the panel scrolls by itself, so that its place in the list is kept
        place.replaceChildren(panel.element);
      },
      destroy() {
        panel?.destroy();
        panel = null;
      },
    });
    // Once at the start, so that the badge is right before the panel is opened.
    store.refreshList().catch(calls.report);
  },
});
