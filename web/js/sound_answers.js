// @ts-check
/**
 * What the server told, as far as this page knows it.
 *
 * In: answers, which may come from a pack of another version. Out: the same with lists of rows that the widgets can show, and how many
 * others there are, so that a person is told of them.
 */

import { EMPTY_STATE } from "./run_state.js";

/** @param {any} value */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {any} value @returns {value is string} */
function isText(value) {
  return typeof value === "string";
}

/** @param {any} value */
function isNumber(value) {
  return typeof value === "number";
}

/** @param {any} list @returns {string[]} */
function textsOf(list) {
  return Array.isArray(list) ? list.filter(isText) : [];
}

/** How many elements of a list are nothing that `known` knows; what should be a list and is none counts as one. @param {any} list @param {(each: any) => boolean} known */
function strange(list, known) {
  if (list === undefined) return 0; // a server of another version has no such list
  return Array.isArray(list) ? list.filter((each) => !known(each)).length : 1;
}

/** Those that are not 0. @param {Record<string, number>} numbers */
function counts(numbers) {
  return Object.fromEntries(Object.entries(numbers).filter(([, number]) => number > 0));
}

/** Lists of a run's state and answer: what the widgets need of each row, and what the rows are to a person. @type {Record<string, {word?: string, needs: Record<string, (value: any) => boolean>}>} */
const SERIES = {
  validations: { needs: { step: isNumber } },
  checkpoints: { needs: { step: isNumber, file: isText } },
  states: { needs: { step: isNumber, dir: isText } },
  samples: { needs: { file: isText } },
  notices: { needs: { problem: isText } },
};
/** @type {typeof SERIES} */
const PARTS = {
  suggestions: { needs: { code: isText, title: isText } },
  grid_notices: { word: "notices of grids", needs: { problem: isText } },
  pictures: { needs: { name: isText, kind: isText } },
  damages: { needs: { file: isText, problem: isText } },
};

/** @type {typeof SERIES} */
const REQUESTS = { asks: { word: "requests", needs: { run_id: isText, what: isText, kind: isText } } };
const PLACES = "places in the queue";

/** The rows of each of some lists that its widgets can show, and how many others there are. @param {typeof SERIES} lists @param {any} told */
function sorted(lists, told) {
  /** @type {Record<string, any[]>} */
  const known = {};
  /** @type {Record<string, number>} */
  const others = {};
  for (const [name, { word, needs }] of Object.entries(lists)) {
    const has = (/** @type {any} */ row) => isObject(row) && Object.entries(needs).every(([field, check]) => check(row[field]));
    known[name] = Array.isArray(told[name]) ? told[name].filter(has) : [];
    others[word ?? name] = strange(told[name], has);
  }
  return { known, others };
}

/** A run's view whose lists are lists of rows; what else a server of another version tells is left out and counted. @param {any} view @returns {import("./run_store.js").RunView} */
export function soundView(view) {
  const told = { ...EMPTY_STATE, ...(isObject(view.state) ? view.state : null) };
  const series = sorted(SERIES, told);
  const parts = sorted(PARTS, view);
  const losses = Array.isArray(told.losses) ? told.losses.filter(Array.isArray) : [];
  const unknown = counts({
    ...series.others,
    ...parts.others,
    losses: strange(told.losses, Array.isArray),
    choices: strange(view.choices, isText),
    [PLACES]: strange(view.queue, isText),
  });
  return {
    ...view,
    ...parts.known,
    state: { ...told, ...series.known, losses },
    unknown,
    queue: textsOf(view.queue),
    choices: textsOf(view.choices),
    changes: isObject(view.changes) && Array.isArray(view.changes.fields) ? view.changes : null,
    line: isObject(view.line) && typeof view.line.character === "string" ? view.line : null,
  };
}

/** The list of runs in the same way. @param {any} told */
export function soundList(told) {
  const isLine = (/** @type {any} */ row) => isObject(row) && isText(row.run_id) && isObject(row.state);
  /** @type {import("./run_store.js").RunLine[]} */
  const runs = Array.isArray(told.runs) ? told.runs.filter(isLine) : [];
  const { known, others } = sorted(REQUESTS, told);
  /** @type {import("./run_store.js").Ask[]} */
  const asks = known.asks;
  const unknown = counts({ runs: strange(told.runs, isLine), ...others, [PLACES]: strange(told.queue, isText) });
  return { runs, asks, queue: textsOf(told.queue), unknown };
}
