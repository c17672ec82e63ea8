import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { commands, MENU, meantRun, nodeMenuItems, runOf, SETTINGS } from "../../web/js/menus.js";
import { EMPTY_STATE } from "../../web/js/run_state.js";
import { possible, verb, VERBS } from "../../web/js/steering.js";
import { isDark } from "../../web/js/theme.js";

const can = (status, hasCheckpoint = true) =>
  [...possible({ ...EMPTY_STATE, status }, { hasCheckpoint })].sort();

test("what can be done fits the state of the run", () => {
  assert.deepEqual(can("training", false), [
    "again",
    "checkpoint",
    "folder",
    "pause",
    "sample",
    "stop",
    "stop_now",
  ]);
  assert.deepEqual(can("paused", false), ["again", "folder", "stop", "stop_now", "unpause"]);
  assert.deepEqual(can("queued", false), ["again", "delete", "folder", "stop", "stop_now"].sort());
  assert.deepEqual(can("failed"), ["again", "delete", "folder", "package", "resume", "try"]);
  assert.deepEqual(can("completed"), ["again", "delete", "folder", "package", "try"]);
});

test("a run whose folder is too damaged can only be found and deleted", () => {
  for (const status of ["queued", "training", "completed"])
    assert.deepEqual([...possible({ ...EMPTY_STATE, status }, { hasCheckpoint: true, isAside: true })].sort(), ["delete", "folder"]);
});

test("a run that trains can not be deleted and an ended one not be stopped", () => {
  for (const status of ["loading", "caching", "training", "validating", "saving", "paused", "lent"])
    assert.ok(!can(status).includes("delete"));
  for (const status of ["stopped", "failed", "completed"]) assert.ok(!can(status).includes("stop"));
});

const stage = (runs, openId = null) => {
  const acts = [];
  const store = { runs, openId, loaded: true, stale: false, refreshList: async () => {} };
  const calls = { act: (...args) => acts.push(args), open: (id) => acts.push(["open", id]) };
  const host = { openPanel: () => acts.push(["panel"]), tell: (text) => acts.push(["told", text]) };
  return { store, calls, host, acts };
};
const line = (run_id, status) => ({ run_id, state: { ...EMPTY_STATE, status } });

test("a command means the open run, else the one that trains, else the newest", () => {
  const runs = [line("a", "completed"), line("b", "training")];
  assert.equal(meantRun(stage(runs, "c").store), "c");
  assert.equal(meantRun(stage(runs).store), "b");
  assert.equal(meantRun(stage(runs.slice(0, 1)).store), "a");
  assert.equal(meantRun(stage([]).store), null);
});

test("every verb is a command under Wizdroid and every menu entry a command", async () => {
  const { store, calls, host, acts } = stage([line("a", "training")]);
  const listed = commands(store, calls, host);
  assert.deepEqual(
    listed.slice(1).map((each) => each.id),
    VERBS.map((each) => `Wizdroid.Training.${each.id}`),
  );
  assert.ok(listed.every((each) => each.label.startsWith("Wizdroid: ")));
  const ids = new Set(listed.map((each) => each.id));
  assert.ok(MENU.every((entry) => entry.commands.every((id) => ids.has(id))));
  await listed.find((each) => each.id.endsWith(".stop")).function();
  assert.deepEqual(acts, [["stop", "a", {}]]);
  assert.ok(SETTINGS.every((each) => each.id.startsWith("Wizdroid.") && each.category[0] === "Wizdroid"));
});

test("without a run a command says so", async () => {
  const { store, calls, host, acts } = stage([]);
  await commands(store, calls, host)[1].function();
  assert.deepEqual(acts, [["told", "There is no run yet."]]);
});

test("a node knows its run from its list, from what it told, or from the node that feeds it", async () => {
  const id = "0123456789ab";
  const { store, calls, host, acts } = stage([line(id, "completed")]);
  const opener = {
    type: "WizdroidTrainingRun",
    widgets: [{ name: "run_name", value: `herbalist/${id}` }],
    inputs: [],
  };
  const loader = {
    type: "WizdroidLoadTrainedLora",
    widgets: [],
    inputs: [{ name: "model" }, { name: "run" }],
    getInputNode: (at) => (at === 1 ? opener : null),
  };
  const trained = {
    type: "WizdroidKohyaTrain",
    wizdroidTold: [`herbalist: completed\nrun ${id}, native engine`],
  };
  for (const node of [opener, loader, trained]) assert.equal(runOf(node, store), id);
  assert.equal(runOf({ ...trained, wizdroidTold: ["run ffffffffffff"] }, store), null);
  const [menu] = nodeMenuItems(loader, store, calls, host);
  const entries = menu.submenu.options;
  assert.deepEqual(
    entries.map((each) => each.content),
    ["Show its run", ...VERBS.map((each) => each.label)],
  );
  await entries[0].callback();
  assert.deepEqual(acts, [["panel"], ["open", id]]);
  assert.deepEqual(nodeMenuItems({ type: "KSampler" }, store, calls, host), []);
});

test("a verb that does not exist is a mistake of ours", () => {
  assert.equal(verb("stop").label, "Stop");
  assert.throws(() => verb("explode"));
});

test("dark and light pages are told apart by what is painted", () => {
  assert.ok(isDark("rgb(23, 23, 24)"));
  assert.ok(!isDark("rgb(255, 255, 255)"));
  assert.ok(isDark("color(srgb 0.1 0.1 0.12)"));
  assert.ok(!isDark("rgba(0, 0, 0, 0)"));
});

test("every file but index.js is inert on import, and none sets markup from data", async () => {
  const root = new URL("../../web/js/", import.meta.url);
  const files = readdirSync(root, { recursive: true }).filter((name) => name.endsWith(".js"));
  assert.ok(files.length > 25);
  for (const name of files) {
    const text = readFileSync(new URL(name, root), "utf-8");
    assert.ok(text.startsWith("// @ts-check"), `${name} is type-checked`);
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/, name);
    // host.js alone imports ComfyUI, index.js alone acts; node has neither document nor ComfyUI, so acting would throw.
    if (!["index.js", "host.js"].includes(name)) await import(new URL(name, root));
    if (name !== "host.js") assert.doesNotMatch(text, /scripts\/(app|api)\.js/, name);
  }
});
