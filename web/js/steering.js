// @ts-check
/** What can be done with a run in its present state. Pure: the panel, the command palette and the menus ask the same. */

import { isBusy } from "./run_store.js";

/**
 * @typedef {import("./run_state.js").RunState} RunState
 * @typedef {"stop"|"stop_now"|"pause"|"unpause"|"checkpoint"|"sample"|"resume"|"retry"|"package"|"try"|"again"|"folder"
 *   |"delete"} ActionId
 */

/**
 * The steering verbs, in the order in which they are offered: the one list for buttons, palette and menus.
 * @type {readonly {id: ActionId, label: string, icon: import("./icons.js").IconName, hint: string}[]}
 */
export const VERBS = Object.freeze([
  {
    id: "stop",
    label: "Stop",
    icon: "stop",
    hint: "Finish this step, save, and stop. Hold to stop at once.",
  },
  {
    id: "stop_now",
    label: "Stop at once",
    icon: "stop",
    hint: "Stop without saving; work since the last saved state is lost.",
  },
  { id: "pause", label: "Pause", icon: "pause", hint: "Hold at the next step; the run keeps its place." },
  { id: "unpause", label: "Continue", icon: "play", hint: "Go on training." },
  { id: "resume", label: "Resume", icon: "resume", hint: "Go on from the newest saved state." },
  { id: "checkpoint", label: "Save now", icon: "checkpoint", hint: "Save a LoRA at the next step." },
  { id: "sample", label: "Sample now", icon: "sample", hint: "Render a sample picture at the next step." },
  {
    id: "try",
    label: "Try this checkpoint",
    icon: "play",
    hint: "Use it in the open workflow and queue what hangs on it, nothing else.",
  },
  {
    id: "package",
    label: "Package",
    icon: "package",
    hint: "Install the LoRA, with a model card, where ComfyUI's loaders list it.",
  },
  {
    id: "again",
    label: "Train again with changes",
    icon: "retry",
    hint: "Put this run's numbers into the Kohya Train node.",
  },
  { id: "folder", label: "Copy folder path", icon: "folder", hint: "Copy the path of the run's folder." },
  {
    id: "delete",
    label: "Delete run",
    icon: "trash",
    hint: "Move the run's folder to the workspace's trash.",
  },
]);

/** @param {ActionId} id */
export function verb(id) {
  const found = VERBS.find((each) => each.id === id);
  if (!found) throw new Error(`no verb ${id}`);
  return found;
}

/**
 * @param {RunState} state
 * @param {{hasCheckpoint: boolean, isAside?: boolean}} has `isAside`: its folder is too damaged for anything else
 * @returns {Set<ActionId>}
 */
export function possible(state, { hasCheckpoint, isAside = false }) {
  if (isAside) return new Set(/** @type {ActionId[]} */ (["folder", "delete"]));
  /** @type {Set<ActionId>} */
  const found = new Set(["folder", "again"]);
  const busy = isBusy(state);
  if (busy || state.status === "queued") found.add("stop").add("stop_now");
  if (busy && state.status !== "paused") found.add("pause").add("checkpoint").add("sample");
  if (state.status === "paused") found.add("unpause");
  if (state.status === "stopped" || state.status === "failed") found.add("resume");
  if (hasCheckpoint) found.add("try").add("package");
  if (!busy) found.add("delete");
  return found;
}
