// The panel on a page without ComfyUI: the same store, actions and widgets over a host of fetch and a plain socket.
import { createActions } from "/extensions/wizdroid-lora-training/js/actions.js";
import { createClient } from "/extensions/wizdroid-lora-training/js/failure.js";
import { createPanel } from "/extensions/wizdroid-lora-training/js/panel.js";
import { RunStore } from "/extensions/wizdroid-lora-training/js/run_store.js";

const options = new URLSearchParams(location.search);
document.body.classList.toggle("dark-theme", options.has("dark"));

const listeners = { event: new Set(), gone: new Set(), reconnect: new Set(), promptDone: new Set(), visible: new Set() };
const subscribe = (name) => (listener) => (
  listeners[name].add(listener),
  () => listeners[name].delete(listener)
);
const record = { toasts: [], told: [], copied: [], requests: [], tried: [], again: [] };

const host = {
  ...createClient((path, init) => (record.requests.push([init?.method ?? "GET", path]), fetch(path, init))),
  url: (path) => `/wizdroid/training/${path}`,
  onEvent: subscribe("event"),
  onGone: subscribe("gone"),
  onReconnect: subscribe("reconnect"),
  onPromptDone: subscribe("promptDone"),
  onVisible: subscribe("visible"),
  toast: (message) => record.toasts.push(message),
  tell: (text) => record.told.push(text),
  copy: async (text) => void record.copied.push(text),
  setting: () => undefined,
  refreshChoices: async () => {},
  outputUrl: (picture) => `/view?filename=${picture.filename}`,
  tryCheckpoint: async (checkpoint) => (record.tried.push(checkpoint), "queued"),
  trainAgain: async (request) => (record.again.push(request), "filled in"),
  addTrainNode: async () => "added",
};

let opened = false;
function connect() {
  const socket = new WebSocket(`ws://${location.host}/ws`);
  socket.onopen = () => {
    if (opened) for (const each of listeners.reconnect) each();
    opened = true;
    document.body.dataset.connected = "yes";
  };
  socket.onmessage = ({ data }) => {
    const { type, data: detail } = JSON.parse(data);
    if (type === "wizdroid.training") for (const each of listeners.event) each(detail);
  };
  socket.onclose = () => {
    for (const each of listeners.gone) each();
    setTimeout(connect, 100);
  };
}
connect();

const store = new RunStore(host);
let panel = null;
const calls = createActions(store, host, () => panel.element);
const mount = () => {
  panel = createPanel(document, store, calls);
  document.body.append(panel.element);
};
mount();
window.stage = { store, calls, host, record, listeners, mount, unmount: () => panel.destroy() };
