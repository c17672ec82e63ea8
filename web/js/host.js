// @ts-check
/**
 * The one adapter to ComfyUI's page: its server, its socket, its toasts, settings and graph.
 *
 * In: calls of the panel. Out: plain values and promises. Nothing else of the panel imports ComfyUI.
 */

// @ts-ignore ComfyUI serves these two
import { app } from "../../../scripts/app.js";
// @ts-ignore
import { api } from "../../../scripts/api.js";

import { createClient } from "./failure.js";
import { addTrainNode, refreshChoices, trainAgain, tryCheckpoint } from "./graph.js";

export const TAB_ID = "wizdroid-training";
const LIVE_EVENT = "wizdroid.training";
/** Which run a node of this page trains. */
const NODE_EVENT = "wizdroid.training.node";
/** A grid of an unattended validation is there: its prompt may be of no page, or of another one. */
const PICTURES_EVENT = "wizdroid.training.pictures";
const TOAST_MS = 6000;

/**
 * @typedef {import("./run_store.js").StoreHost & {
 *   url: (path: string) => string,
 *   toast: (message: {severity: string, summary: string, detail?: string}) => void,
 *   tell: (text: string) => void,
 *   copy: (text: string) => Promise<void>,
 *   setting: (id: string) => any,
 *   refreshChoices: () => Promise<void>,
 *   tryCheckpoint: (
 *     checkpoint: {run_id: string, slug: string, step: number, file: string},
 *     told: (pictures: import("./tries.js").OutputPicture[], ended: ""|"done"|"failed") => void,
 *   ) => Promise<string>,
 *   outputUrl: (picture: import("./tries.js").OutputPicture) => string,
 *   trainAgain: (request: import("./graph.js").Choices) => Promise<string>,
 *   addTrainNode: () => Promise<string>,
 * }} Host
 */

/** @returns {Host & {app: any, onQueued: (listener: (errors: Record<string, any>|null) => void) => (() => void), onNode: (listener: (told: {node: string, run_id: string, text?: string}) => void) => (() => void), usesOurNodes: () => boolean, openPanel: () => void, setBadge: (text: string|null) => void}} */
export function createHost() {
  const client = createClient((path, options) => api.fetchApi(path, options));
  const toast = (/** @type {{severity: string, summary: string, detail?: string}} */ message) =>
    app.extensionManager.toast.add({
      life: message.severity === "error" ? 2 * TOAST_MS : TOAST_MS,
      ...message,
    });
  const listen = (
    /** @type {EventTarget} */ target,
    /** @type {string} */ name,
    /** @type {(event: any) => void} */ listener,
  ) => {
    target.addEventListener(name, listener);
    return () => target.removeEventListener(name, listener);
  };
  return {
    app,
    ...client,
    url: (path) => api.apiURL(`/wizdroid/training/${path}`),
    onEvent: (listener) => listen(api, LIVE_EVENT, (event) => listener(event.detail)),
    onQueued: (listener) => listen(api, "promptQueued", () => listener(app.lastNodeErrors)),
    onNode: (listener) => listen(api, NODE_EVENT, (event) => listener(event.detail)),
    onGone: (listener) => listen(api, "reconnecting", listener),
    onReconnect: (listener) => listen(api, "reconnected", listener),
    onPromptDone: (listener) => {
      const forget = [listen(api, "execution_success", listener), listen(api, PICTURES_EVENT, listener)];
      return () => forget.forEach((each) => each());
    },
    onVisible: (listener) => listen(document, "visibilitychange", () => listener(!document.hidden)),
    toast,
    tell: (text) => text && toast({ severity: "info", summary: text }),
    copy: (text) => copy(text),
    setting: (id) => app.extensionManager.setting.get(id),
    refreshChoices: () => refreshChoices(app),
    usesOurNodes: () =>
      (app.graph?._nodes ?? []).some((/** @type {any} */ node) => node.type?.startsWith("Wizdroid")),
    tryCheckpoint: (checkpoint, told) => tryCheckpoint(app, api, checkpoint, told),
    outputUrl: ({ filename, subfolder, type }) =>
      api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? "", type: type ?? "output" })}`),
    trainAgain: (request) => trainAgain(app, request),
    addTrainNode: () => addTrainNode(app),
    openPanel() {
      const tabs = app.extensionManager.sidebarTab;
      if (tabs.activeSidebarTabId !== TAB_ID) tabs.toggleSidebarTab(TAB_ID);
    },
    setBadge(text) {
      // The tab's badge is read once unless the tab object that ComfyUI made reactive itself changes.
      const tab = app.extensionManager?.sidebarTab.sidebarTabs.find(
        (/** @type {any} */ each) => each.id === TAB_ID,
      );
      if (tab) tab.iconBadge = text ?? "";
    },
  };
}

/** Clipboard access needs a secure page; over plain HTTP from another machine the old way still works. @param {string} text */
async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
