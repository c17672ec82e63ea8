// @ts-check
/** The arithmetic of charts: scales, ticks, and 100,000 rows drawn as a few hundred columns. Pure. */

/**
 * @typedef {{from: number, to: number}} Range
 * @typedef {{x: number, low: number, high: number, first: number, last: number}} Column
 */

/** Where in `rows` (sorted by their first field) the first one at or above `step` is. @param {ArrayLike<any>} rows @param {number} step */
export function firstAtOrAbove(rows, step) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][0] < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Rows between two steps as at most `columns` columns, each with its lowest, highest, first and last value: no peak is
 * lost. Values that are no numbers are passed over.
 * @param {any[][]} rows @param {number} field @param {Range} steps @param {number} columns
 * @returns {Column[]}
 */
export function toColumns(rows, field, steps, columns) {
  const begin = Math.max(0, firstAtOrAbove(rows, steps.from) - 1);
  const end = Math.min(rows.length, firstAtOrAbove(rows, steps.to) + 2);
  const width = Math.max(1e-9, (steps.to - steps.from) / Math.max(1, columns));
  /** @type {Column[]} */
  const found = [];
  let bucket = NaN;
  /** @type {Column|null} */
  let column = null;
  for (let at = begin; at < end; at += 1) {
    const value = rows[at][field];
    if (typeof value !== "number") continue;
    const step = rows[at][0];
    const here = Math.floor((step - steps.from) / width);
    if (!column || here !== bucket) {
      bucket = here;
      column = { x: step, low: value, high: value, first: value, last: value };
      found.push(column);
    } else {
      if (value < column.low) column.low = value;
      if (value > column.high) column.high = value;
      column.last = value;
    }
  }
  return found;
}

/**
 * The values to show: from near the lowest to the `share` quantile of the columns' highs, with some air. A few steps far
 * above the rest are cut off rather than flattening the curve.
 * @param {Column[][]} series @param {{share?: number, log?: boolean}} [options] @returns {Range}
 */
export function valueRange(series, { share = 0.99, log = false } = {}) {
  const lows = [];
  const highs = [];
  for (const columns of series) {
    for (const each of columns) {
      if (!log || each.low > 0) lows.push(each.low);
      if (!log || each.high > 0) highs.push(each.high);
    }
  }
  if (!lows.length) return log ? { from: 0.01, to: 1 } : { from: 0, to: 1 };
  lows.sort((a, b) => a - b);
  highs.sort((a, b) => a - b);
  const low = lows[Math.floor((lows.length - 1) * (1 - share))];
  const high = Math.max(highs[Math.ceil((highs.length - 1) * share)], low);
  if (log) return { from: low / 1.15, to: Math.max(high, low * 1.01) * 1.15 };
  const air = (high - low || Math.abs(high) || 1) * 0.08;
  return { from: low >= 0 ? Math.max(0, low - air) : low - air, to: high + air };
}

/** Round numbers inside a range, about `about` of them. @param {Range} range @param {number} about */
export function ticks(range, about) {
  const span = range.to - range.from;
  if (!(span > 0)) return [range.from];
  const rough = span / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999) ?? 10;
  const size = unit * power;
  const found = [];
  for (let at = Math.ceil(range.from / size - 1e-9); at * size <= range.to + size * 1e-9; at += 1) {
    found.push(Number((at * size).toPrecision(12)));
  }
  return found;
}

/** Ticks of a logarithmic axis: 1, 2 and 5 times powers of ten; plain ticks where fewer than two of them fit. @param {Range} range @param {number} about */
export function logTicks(range, about) {
  const found = [];
  for (let power = Math.floor(Math.log10(range.from)); power <= Math.ceil(Math.log10(range.to)); power += 1) {
    for (const unit of [1, 2, 5]) {
      const value = Number((unit * 10 ** power).toPrecision(12));
      if (value >= range.from && value <= range.to) found.push(value);
    }
  }
  return found.length < 2 ? ticks(range, about) : found;
}

/** Where a value lies between 0 (at `from`) and 1 (at `to`). @param {Range} range @param {boolean} [log] */
export function scale(range, log = false) {
  const turn = log
    ? (/** @type {number} */ value) => Math.log(Math.max(value, 1e-12))
    : (/** @type {number} */ value) => value;
  const from = turn(range.from);
  const span = turn(range.to) - from || 1;
  return (/** @type {number} */ value) => (turn(value) - from) / span;
}

/** The row nearest to `step`, or null. @template {any[]} R @param {R[]} rows @param {number} step @returns {R|null} */
export function nearest(rows, step) {
  if (!rows.length) return null;
  const at = firstAtOrAbove(rows, step);
  if (at === 0) return rows[0];
  if (at === rows.length) return rows[at - 1];
  return step - rows[at - 1][0] <= rows[at][0] - step ? rows[at - 1] : rows[at];
}

/**
 * A range zoomed about a point or moved, kept inside the whole.
 * @param {Range} view @param {Range} whole @param {{factor?: number, about?: number, by?: number}} change
 * @returns {Range}
 */
export function zoomed(view, whole, { factor = 1, about = (view.from + view.to) / 2, by = 0 }) {
  const least = Math.min(10, whole.to - whole.from);
  const span = Math.min(whole.to - whole.from, Math.max(least, (view.to - view.from) * factor));
  const share = view.to > view.from ? (about - view.from) / (view.to - view.from) : 0.5;
  let from = about - share * span + by;
  from = Math.min(Math.max(from, whole.from), whole.to - span);
  return { from, to: from + span };
}
