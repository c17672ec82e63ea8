import assert from "node:assert/strict";
import { test } from "node:test";

import { EMPTY_STATE, fold } from "../../web/js/run_state.js";
import { Failure } from "../../web/js/failure.js";
import { RunStore } from "../../web/js/run_store.js";

const RUN = "0123456789ab";

/** A server that has all events and a page that is told of them as a test wants. */
function world(events = [], { file = events } = {}) {
  const listeners = { event: [], gone: [], reconnect: [], promptDone: [], visible: [] };
  const on = (name) => (listener) => {
    listeners[name].push(listener);
    return () => listeners[name].splice(listeners[name].indexOf(listener), 1);
  };
  const asked = [];
  const server = { file, down: false, cap: 1e9 };
  const line = () => ({
    run_id: RUN,
    slug: "herbalist",
    character: "herbalist",
    created: 1,
    updated: 1,
    counts: { samples: 0 },
    state: { ...fold(server.file), losses: undefined },
  });
  const host = {
    async get(path) {
      asked.push(path);
      if (server.down) throw new Failure("ComfyUI does not answer.", "Start it.");
      if (path === "runs") return { runs: [line()], queue: [] };
      if (path === `runs/${RUN}`)
        return {
          run_id: RUN,
          slug: "herbalist",
          state: fold(server.file),
          pictures: [],
          queue: [],
          steps_told: 0,
        };
      if (path.includes("/events?after=")) {
        const after = Number(path.split("=")[1]);
        const found = server.file.filter((event) => event.seq > after);
        return { events: found.slice(0, server.cap), more: found.length > server.cap };
      }
      if (path.endsWith("/pictures")) return {
          pictures: [{ name: "grid-1", kind: "grid" }],
          grid_notices: [{ level: "warning", problem: "The grid of step 2 was not made." }],
        };
      throw new Failure("There is no run.", "", 404);
    },
    async post(path, body) {
      asked.push(["POST", path, body]);
      if (server.down) throw new Failure("It is not running.", "");
      return {};
    },
    onEvent: on("event"),
    onGone: on("gone"),
    onReconnect: on("reconnect"),
    onPromptDone: on("promptDone"),
    onVisible: on("visible"),
  };
  const tell = (event) => listeners.event.forEach((each) => each({ run_id: RUN, slug: "herbalist", event }));
  return { host, server, asked, listeners, tell, store: new RunStore(host) };
}

const progress = (seq, step = seq) => ({
  seq,
  time: 100 + seq,
  kind: "progress",
  step,
  total: 100,
  loss: 0.1,
  loss_ema: 0.1,
  lr: { unet: 1e-4 },
});
const started = { seq: 1, time: 101, kind: "run_started", total: 100 };
const story = (last) => [started, ...Array.from({ length: last - 1 }, (_, at) => progress(at + 2))];
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

async function opened(events, options) {
  const made = world(events, options);
  made.store.watch();
  await made.store.openRun(RUN);
  await settled();
  made.asked.length = 0;
  return made;
}

test("a snapshot and live events give what one fold gives", async () => {
  const { store, tell } = await opened(story(10));
  for (const event of story(30).slice(10)) tell(event);
  assert.deepEqual(store.open.state, fold(story(30)));
});

test("events that come twice or late change nothing", async () => {
  const { store, tell, asked } = await opened(story(10));
  for (const event of [progress(9), progress(11), progress(11), progress(10), progress(12)]) tell(event);
  assert.deepEqual(store.open.state, fold(story(12)));
  assert.deepEqual(asked, []);
});

test("events out of order are folded in order", async () => {
  const { store, tell, server } = await opened(story(10));
  server.file = story(13);
  for (const seq of [12, 13, 11]) tell(progress(seq));
  await settled();
  assert.deepEqual(store.open.state, fold(story(13)));
});

test("a hole is filled by asking once for what is behind the last known event", async () => {
  const { store, tell, asked, server } = await opened(story(10));
  server.file = story(20);
  for (const seq of [15, 16, 17, 18, 19, 20]) tell(progress(seq));
  await settled();
  assert.deepEqual(store.open.state, fold(story(20)));
  assert.deepEqual(asked, [`runs/${RUN}/events?after=10`]);
});

test("a hole that the server can not fill either is stepped over", async () => {
  const { store, tell, server } = await opened(story(10));
  server.file = [...story(10), progress(14)];
  tell(progress(14));
  await settled();
  assert.equal(store.open.state.last_seq, 14);
  assert.equal(store.open.state.step, 14);
});

test("a hole of thousands is filled by a new snapshot", async () => {
  const { store, tell, asked, server } = await opened(story(10));
  server.file = story(5000);
  tell(progress(5000));
  await settled();
  assert.equal(store.open.state.step, 5000);
  assert.deepEqual(asked, [`runs/${RUN}`]);
});

test("a snapshot older than the live events does not take the page back", async () => {
  const { store, tell, host, server } = world(story(10));
  store.watch();
  await store.openRun(RUN);
  tell(progress(11));
  server.file = story(10);
  await store.openRun(RUN);
  assert.equal(store.open.state.step, 11);
});

test("while nobody looks nothing is asked, and the next look begins with a snapshot", async () => {
  const { store, tell, asked, listeners, server } = await opened(story(10));
  for (const each of listeners.visible) each(false);
  server.file = story(40);
  for (const event of story(40).slice(10)) tell(event);
  await settled();
  assert.deepEqual(asked, []);
  assert.equal(store.open.state.step, 10);
  for (const each of listeners.visible) each(true);
  await settled();
  assert.equal(store.open.state.step, 40);
});

test("a panel that is open while nothing happens asks nothing", async () => {
  const { asked } = await opened(story(10));
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.deepEqual(asked, []);
});

test("after the connection was lost the list and the open run are read anew", async () => {
  const { store, asked, listeners, server } = await opened(story(10));
  server.file = story(25);
  for (const each of listeners.reconnect) each();
  await settled();
  assert.deepEqual(asked.sort(), ["runs", `runs/${RUN}`]);
  assert.equal(store.open.state.step, 25);
});

test("a server that is away is told of and tried again on reconnection", async () => {
  const { store, listeners, server } = await opened(story(10));
  server.down = true;
  for (const each of listeners.reconnect) each();
  await settled();
  assert.equal(store.failure.problem, "ComfyUI does not answer.");
  server.down = false;
  for (const each of listeners.reconnect) each();
  await settled();
  assert.equal(store.failure, null);
});

test("a request waits for its event and a refused one does not", async () => {
  const { store, tell, server } = await opened(story(10));
  await store.ask(RUN, "pause");
  assert.ok(store.asked.has(RUN, "pause"));
  tell({ seq: 11, time: 1, kind: "control", action: "pause", stage: "acknowledged" });
  assert.ok(!["pause", "stop"].some((action) => store.asked.has(RUN, action)));
  server.down = true;
  await assert.rejects(store.ask(RUN, "stop"));
  assert.ok(!["pause", "stop"].some((action) => store.asked.has(RUN, action)));
});

test("the badge counts runs that train, also while nobody looks", async () => {
  const { store, tell } = world([]);
  let told = 0;
  store.addEventListener("activity", () => (told += 1));
  tell(started);
  assert.equal(store.busy.size, 1);
  tell({ seq: 2, time: 1, kind: "run_finished", outcome: "failed" });
  assert.equal(store.busy.size, 0);
  assert.equal(told, 2);
});

test("the end of a run is announced once, with how it ended", async () => {
  const { store, tell } = world([]);
  const ends = [];
  store.addEventListener("finished", ({ detail }) => ends.push([detail.run_id, detail.event.outcome]));
  tell({ seq: 2, time: 1, kind: "run_finished", outcome: "completed" });
  assert.deepEqual(ends, [[RUN, "completed"]]);
});

test("grids that a prompt has made appear when the prompt is done", async () => {
  const { store, listeners } = await opened(story(10));
  for (const each of listeners.promptDone) each();
  await settled();
  assert.deepEqual(
    store.open.pictures.map((each) => each.name),
    ["grid-1"],
  );
  assert.equal(store.open.grid_notices.length, 1);
});

test("a run that was deleted elsewhere closes its view", async () => {
  const { store } = await opened(story(10));
  await store.openRun("ffffffffffff");
  assert.equal(store.openId, null);
  assert.equal(store.failure.status, 404);
});

test("a live line of the list never carries the series of the open run", async () => {
  const { store, tell } = await opened(story(10));
  await store.refreshList();
  tell(progress(11));
  assert.equal(store.runs[0].state.step, 11);
  assert.deepEqual(store.runs[0].state.losses, []);
  assert.equal(EMPTY_STATE.losses.length, 0);
});

test("who asks for the list while one is on its way gets a newer one, and all who do so together cost one", async () => {
  const { store, host } = world(story(10));
  const waiting = [];
  host.get = () => new Promise((answer) => waiting.push(answer));
  const first = store.refreshList();
  const others = [store.refreshList(), store.refreshList(), store.refreshList()];
  waiting[0]({ runs: [], queue: [] }); // made before the run that the others have heard of
  while (waiting.length < 2) await new Promise(setImmediate);
  waiting[1]({ runs: [{ run_id: RUN, slug: "herbalist", state: {} }], queue: [] });
  await Promise.all([first, ...others]);
  assert.deepEqual(store.runs.map((line) => line.run_id), [RUN]);
  assert.equal(waiting.length, 2);
  const later = store.refreshList();
  assert.equal(waiting.length, 3);
  waiting[2]({ runs: [], queue: [] });
  await later;
  assert.equal(store.runs.length, 0);
});
