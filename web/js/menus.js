// @ts-check
/** Commands of the palette, menu entries, settings and node menus under "Wizdroid": lists, made from the steering verbs. */

import { isBusy } from "./run_store.js";
import { VERBS } from "./steering.js";

/**
 * @typedef {import("./run_store.js").RunStore} RunStore
 * @typedef {import("./panel.js").Calls} Calls
 */

const RUN_NODES = [
  "WizdroidKohyaTrain",
  "WizdroidTrainingRun",
  "WizdroidLoadTrainedLora",
  "WizdroidPackageLora",
  "WizdroidLoraValidateGrid",
];

export const SETTINGS = Object.freeze([
  {
    id: "Wizdroid.Training.Toasts",
    name: "Tell me when a run finishes or fails",
    category: ["Wizdroid", "Training", "Toasts"],
    type: "boolean",
    defaultValue: true,
    tooltip: "A message in the corner of the page, also while the panel is closed.",
  },
  {
    id: "Wizdroid.Training.Badge",
    name: "Show on the tab how many runs train",
    category: ["Wizdroid", "Training", "Badge"],
    type: "boolean",
    defaultValue: true,
  },
  {
    id: "Wizdroid.Training.LendGpu",
    name: "Let prompts borrow the GPU of a run that trains",
    category: ["Wizdroid", "Training", "LendGpu"],
    type: "boolean",
    defaultValue: true,
    tooltip: "The run holds still while ComfyUI renders, and goes on afterwards. Off: both share the GPU.",
  },
  {
    id: "Wizdroid.Training.LendMinutes",
    name: "Minutes after which a run takes its GPU back",
    category: ["Wizdroid", "Training", "LendMinutes"],
    type: "number",
    attrs: { min: 1, max: 1440 },
    defaultValue: 15,
    tooltip: "Even if a prompt is not over yet, so that nothing can hold a run for ever.",
  },
  {
    id: "Wizdroid.Training.LogScale",
    name: "Draw loss on a logarithmic scale",
    category: ["Wizdroid", "Training", "LogScale"],
    type: "boolean",
    defaultValue: false,
    tooltip: "For charts opened from now on; each chart has its own switch as well.",
  },
]);

/** The run that a command means: the open one, else the one that trains, else the newest. @param {RunStore} store */
export function meantRun(store) {
  return (
    store.openId ?? store.runs.find((line) => isBusy(line.state))?.run_id ?? store.runs[0]?.run_id ?? null
  );
}

/** @param {RunStore} store @param {Calls} calls @param {{openPanel: () => void, tell: (text: string) => void}} host */
export function commands(store, calls, host) {
  const onMeantRun = (/** @type {import("./steering.js").ActionId} */ id) => async () => {
    if (!store.loaded || store.stale) await store.refreshList();
    const runId = meantRun(store);
    if (runId) calls.act(id, runId, {});
    else host.tell("There is no run yet.");
  };
  return [
    {
      id: "Wizdroid.Training.Open",
      label: "Wizdroid: Open the training panel",
      menubarLabel: "Open the training panel",
      icon: "pi pi-chart-line",
      function: () => host.openPanel(),
    },
    ...VERBS.map((each) => ({
      id: `Wizdroid.Training.${each.id}`,
      label: `Wizdroid: ${each.label}`,
      menubarLabel: each.label, // there it stands under Wizdroid already
      icon: "pi pi-chart-line",
      function: onMeantRun(each.id),
    })),
  ];
}

/** In ComfyUI's own menu: as many as fit into a small window. @type {readonly import("./steering.js").ActionId[]} */
const IN_MENU = ["stop", "pause", "unpause", "resume", "try", "package", "again"];

export const MENU = Object.freeze([
  {
    path: ["Extensions", "Wizdroid"],
    commands: ["Wizdroid.Training.Open", ...IN_MENU.map((id) => `Wizdroid.Training.${id}`)],
  },
]);

/**
 * Entries of a node's own menu, for the nodes that make or use a run.
 * @param {any} node @param {RunStore} store @param {Calls} calls @param {{openPanel: () => void, tell: (text: string) => void}} host
 */
export function nodeMenuItems(node, store, calls, host) {
  if (!RUN_NODES.includes(node?.comfyClass ?? node?.type)) return [];
  const onItsRun = (/** @type {(runId: string) => void} */ act) => async () => {
    if (!store.loaded || store.stale) await store.refreshList();
    const runId = runOf(node, store);
    if (runId) act(runId);
    else host.tell("This node has no run yet.");
  };
  const show = onItsRun((runId) => {
    host.openPanel();
    calls.open(runId);
  });
  const options = [
    { content: "Show its run", callback: show },
    ...VERBS.map((each) => ({
      content: each.label,
      callback: onItsRun((runId) => calls.act(each.id, runId, {})),
    })),
  ];
  return [{ content: "Wizdroid", has_submenu: true, submenu: { options } }];
}

/**
 * The run of a node: the one it names, the one that its last execution told, or that of the node that feeds it.
 * @param {any} node @param {RunStore} store @returns {string|null}
 */
export function runOf(node, store) {
  const named = node.widgets?.find((/** @type {any} */ each) => each.name === "run_name")?.value;
  const told = [named, ...(node.wizdroidTold ?? [])].map(
    (text) => /\b[0-9a-f]{12}\b/.exec(String(text ?? ""))?.[0],
  );
  const found = told.find((runId) => runId && store.runs.some((line) => line.run_id === runId));
  if (found) return found;
  const input = node.inputs?.findIndex((/** @type {any} */ each) => each.name === "run") ?? -1;
  const source = input >= 0 ? node.getInputNode?.(input) : null;
  return source && source !== node ? runOf(source, store) : null;
}
