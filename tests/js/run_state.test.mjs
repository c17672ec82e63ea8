import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { EMPTY_STATE, fold, isFinished } from "../../web/js/run_state.js";

const FOLDER = new URL("../fixtures/events/", import.meta.url);
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".jsonl"));

const eventsOf = (name) =>
  readFileSync(new URL(name, FOLDER), "utf-8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
const expectedOf = (name) =>
  JSON.parse(readFileSync(new URL(name.replace(".jsonl", ".state.json"), FOLDER), "utf-8"));

for (const name of NAMES) {
  test(`the events of ${name} fold to the recorded state`, () => {
    assert.deepEqual(fold(eventsOf(name)), expectedOf(name));
  });

  test(`${name} folded one event at a time gives the same state`, () => {
    const state = eventsOf(name).reduce((before, event) => fold([event], before), EMPTY_STATE);
    assert.deepEqual(state, expectedOf(name));
  });
}

test("a fold leaves the state before it untouched", () => {
  const events = eventsOf("fresh.jsonl");
  const before = fold(events.slice(0, 12));
  const kept = JSON.stringify(before);
  fold(events.slice(12), before);
  assert.equal(JSON.stringify(before), kept);
});

test("series that did not change keep their identity, so widgets can tell", () => {
  const before = fold(eventsOf("fresh.jsonl").slice(0, 20));
  const after = fold([{ seq: before.last_seq + 1, time: 1, kind: "progress", step: 30, loss: 0.1 }], before);
  assert.equal(after.checkpoints, before.checkpoints);
  assert.notEqual(after.losses, before.losses);
});

test("100,000 steps fold at once: a copy of the series at each step would take minutes", () => {
  const events = Array.from({ length: 100_000 }, (_, at) => ({
    seq: at + 1,
    time: at,
    kind: "progress",
    step: at + 1,
    loss: 0.1,
    loss_ema: 0.1,
    lr: { unet: 1e-4 },
  }));
  const started = performance.now();
  const state = fold(events);
  const took = performance.now() - started;
  assert.equal(state.losses.length, 100_000);
  assert.ok(took < 60_000, `took ${took} ms`);
});

test("kinds named like object members are passed over", () => {
  const state = fold([
    { seq: 1, time: 1, kind: "constructor" },
    { seq: 2, time: 2, kind: "__proto__" },
  ]);
  assert.equal(state.status, "queued");
  assert.equal(isFinished(state), false);
});
