import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../web/js/format.js";

const reads = (name, cases) =>
  test(`${name} reads as a person writes it`, () => {
    for (const [value, text] of cases) assert.equal(format[name](value), text, `${name}(${value})`);
  });

reads("duration", [
  [0, "0 s"],
  [59.4, "59 s"],
  [60, "1 min"],
  [200, "3 min 20 s"],
  [599.6, "10 min"],
  [3599, "1 h 00 min"],
  [3900, "1 h 05 min"],
  [86399, "1 d 0 h"],
  [90000, "1 d 1 h"],
  [null, ""],
  [undefined, ""],
  [NaN, ""],
  [-4, ""],
]);
reads("loss", [
  [0.0987654, "0.09877"],
  ["nan", "nan"],
  [0, "0"],
  [null, ""],
  [0.00001234, "1.23e-5"],
  [12345, "1.23e+4"],
  [-0.5, "-0.5"],
]);
reads("rate", [
  [1e-4, "1e-4"],
  [0.00025, "2.5e-4"],
  [1, "1"],
  [0.5, "0.5"],
  [0, "0"],
  [null, ""],
  [1e-10, "1e-10"],
]);
reads("bytes", [
  [0, "0 B"],
  [999, "999 B"],
  [19_000_000, "19.0 MB"],
  [190_400_000, "190 MB"],
  [7e9, "7.0 GB"],
  [null, ""],
]);
reads("speed", [
  [0.42, "0.42 s/step"],
  [12.34, "12.3 s/step"],
  [0.02, "50 steps/s"],
  [0, ""],
  [null, ""],
]);
reads("count", [
  [7, "7"],
  [1500, "1\u202f500"],
  [1234567, "1\u202f234\u202f567"],
  [null, ""],
]);
reads("plain", [
  [true, "yes"],
  [false, "no"],
  ["", "none"],
  [null, "none"],
  [5e-5, "5e-5"],
  [16, "16"],
  [0, "0"],
  [{ a: 1 }, '{"a":1}'],
]);

test("ages are told in one unit", () => {
  const now = 1_000_000_000;
  for (const [seconds, text] of [
    [0, "just now"],
    [60, "1 minute ago"],
    [3500, "1 hour ago"],
    [7200, "2 hours ago"],
    [86400 * 3, "3 days ago"],
    [86400 * 400, "1 year ago"],
    [-50, "just now"],
  ]) {
    assert.equal(format.ago(now - seconds, now), text);
  }
  assert.equal(format.ago(null, now), "");
});

test("every state of a run has words", () => {
  const state = { step: 420, total: 1500, queue_position: 2, phase_done: 3, phase_total: 24 };
  const words = Object.fromEntries(
    [
      "queued",
      "loading",
      "caching",
      "training",
      "validating",
      "saving",
      "paused",
      "lent",
      "stopped",
      "failed",
      "completed",
    ].map((status) => [status, format.status({ ...state, status })]),
  );
  assert.equal(words.queued, "Queued, 2nd in line");
  assert.equal(words.training, "Training 420/1\u202f500");
  assert.equal(words.lent, "Lent to ComfyUI at 420/1\u202f500");
  assert.equal(words.caching, "Preparing pictures and captions 3/24");
  assert.equal(words.failed, "Failed at step 420");
  assert.equal(new Set(Object.values(words)).size, 11);
});

test("the share of a run is between nothing and all of it", () => {
  assert.equal(format.share({ step: 5, total: 0, status: "training" }), 0);
  assert.equal(format.share({ step: 50, total: 40, status: "training" }), 1);
  assert.equal(format.share({ step: 900, total: 1500, status: "completed" }), 1);
});

test("a number stands with the noun that fits it", () => {
  assert.deepEqual(
    [0, 1, 2000].map((value) => format.counted(value, "step")),
    ["0 steps", "1 step", "2\u202f000 steps"],
  );
});
