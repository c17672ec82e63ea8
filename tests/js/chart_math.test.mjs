import assert from "node:assert/strict";
import { test } from "node:test";

import {
  firstAtOrAbove,
  logTicks,
  nearest,
  scale,
  ticks,
  toColumns,
  valueRange,
  zoomed,
} from "../../web/js/chart_math.js";

const rows = Array.from({ length: 100_000 }, (_, at) => [at + 1, Math.sin(at / 900) + 2]);

test("100,000 rows become as many columns as there are pixels, and each row is looked at twice at most", () => {
  let looks = 0;
  const counted = new Proxy(rows, {
    get(all, name) {
      looks += /^\d+$/.test(String(name)) ? 1 : 0;
      return all[name];
    },
  });
  const columns = toColumns(counted, 1, { from: 0, to: 100_000 }, 400);
  assert.ok(columns.length <= 402 && columns.length > 390, `${columns.length} columns`);
  assert.ok(looks <= 2 * rows.length + 100, `${looks} looks`);
});

test("a single peak is not lost, however many rows there are", () => {
  const peaked = rows.slice();
  peaked[61_234] = [61_235, 99];
  assert.equal(Math.max(...toColumns(peaked, 1, { from: 0, to: 100_000 }, 300).map((each) => each.high)), 99);
});

test("values that are no numbers are passed over", () => {
  assert.deepEqual(
    toColumns(
      [
        [1, 0.5],
        [2, "nan"],
        [3, null],
      ],
      1,
      { from: 0, to: 3 },
      100,
    ).map((each) => each.x),
    [1],
  );
});

test("a few steps far above the rest do not flatten the curve", () => {
  const columns = Array.from({ length: 1000 }, (_, x) => ({
    x,
    low: 0.1,
    high: x === 500 ? 50 : 0.2,
    first: 0.1,
    last: 0.1,
  }));
  assert.ok(valueRange([columns], { share: 0.98 }).to < 0.3);
  assert.ok(valueRange([[]]).to > 0);
});

test("ticks are round, inside the range, and about as many as asked", () => {
  assert.deepEqual(ticks({ from: 0, to: 1500 }, 4), [0, 500, 1000, 1500]);
  assert.deepEqual(ticks({ from: 0.08, to: 0.16 }, 4), [0.08, 0.1, 0.12, 0.14, 0.16]);
  assert.deepEqual(logTicks({ from: 0.05, to: 1 }, 4), [0.05, 0.1, 0.2, 0.5, 1]);
  assert.ok(logTicks({ from: 0.11, to: 0.13 }, 4).length >= 2);
});

test("a zoom keeps the point under the pointer and stays inside the whole", () => {
  const whole = { from: 0, to: 1000 };
  assert.deepEqual(zoomed(whole, whole, { factor: 0.5, about: 200 }), { from: 100, to: 600 });
  assert.deepEqual(zoomed({ from: 900, to: 1000 }, whole, { by: 50 }), { from: 900, to: 1000 });
  assert.deepEqual(zoomed({ from: 400, to: 600 }, whole, { factor: 100 }), whole);
  const closest = zoomed({ from: 400, to: 600 }, whole, { factor: 1e-9 });
  assert.ok(closest.to - closest.from >= 10);
});

test("the row nearest to a step is found at both ends and between", () => {
  const few = [
    [10, "a"],
    [20, "b"],
    [40, "c"],
  ];
  assert.equal(nearest(few, 0)[1], "a");
  assert.equal(nearest(few, 29)[1], "b");
  assert.equal(nearest(few, 31)[1], "c");
  assert.equal(nearest(few, 99)[1], "c");
  assert.equal(nearest([], 5), null);
  assert.equal(firstAtOrAbove(few, 20), 1);
});

test("a logarithmic scale puts the geometric mean in the middle", () => {
  assert.ok(Math.abs(scale({ from: 0.01, to: 1 }, true)(0.1) - 0.5) < 1e-9);
  assert.equal(scale({ from: 0, to: 4 })(1), 0.25);
});
