// Milliseconds, for a quiet machine: `make limits`.
import assert from "node:assert/strict";
import { test } from "node:test";

import { toColumns } from "../../web/js/chart_math.js";
import { fold } from "../../web/js/run_state.js";

function took(act) {
  const started = performance.now();
  act();
  return performance.now() - started;
}

test("100,000 rows become columns in under 20 ms", () => {
  const rows = Array.from({ length: 100_000 }, (_, at) => [at + 1, Math.sin(at / 900) + 2]);
  const draw = () => toColumns(rows, 1, { from: 0, to: 100_000 }, 400);
  draw();
  const ms = took(draw);
  assert.ok(ms < 20, `${ms} ms`);
});

test("100,000 steps fold in well under a second", () => {
  const events = Array.from({ length: 100_000 }, (_, at) => ({
    seq: at + 1,
    time: at,
    kind: "progress",
    step: at + 1,
    loss: 0.1,
    loss_ema: 0.1,
    lr: { unet: 1e-4 },
  }));
  const ms = took(() => fold(events));
  assert.ok(ms < 1000, `${ms} ms`);
});
