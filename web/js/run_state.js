// @ts-check
/**
 * RunState: what the events of one run mean together.
 *
 * In: events in `seq` order, and the state before them. Out: a new state; the old one is not touched. Pure: the twin of
 * `kohya_bridge/run_state.py`, proven equal by the fixtures under `tests/fixtures/events`. Change both together.
 */

import { smoothed } from "./smoothing.js";

/**
 * @typedef {{v?: number, seq: number, time: number, kind: string, [field: string]: any}} RunEvent
 * @typedef {[step: number, loss: number|string|null, lossEma: number|null, lr: number|null]} LossRow
 * @typedef {{time: number, [field: string]: any}} Row
 * @typedef {{
 *   status: string, step: number, total: number, epoch: number, attempt: number, engine: string, pid: number|null,
 *   resumed_from: number, queue_position: number|null,
 *   phase: string, phase_done: number|null, phase_total: number|null,
 *   loss: number|string|null, loss_ema: number|null, loss_count: number, lr: Record<string, number>,
 *   seconds_per_step: number|null, eta_s: number|null, vram_gib: number|null, peak_vram_gib: number|null,
 *   losses: LossRow[], validations: Row[], checkpoints: Row[], states: Row[], samples: Row[], notices: Row[],
 *   best: Row|null, outcome: string|null, problem: string, fix: string, code: string, evidence: string,
 *   started: number|null, updated: number|null, finished: number|null, last_seq: number,
 * }} RunState
 */

export const FINISHED = Object.freeze(["stopped", "failed", "completed"]);

/** The state of a run that has told nothing yet. @type {Readonly<RunState>} */
export const EMPTY_STATE = Object.freeze({
  status: "queued",
  step: 0,
  total: 0,
  epoch: 0,
  attempt: 0,
  engine: "",
  pid: null,
  resumed_from: 0,
  queue_position: null,
  phase: "",
  phase_done: null,
  phase_total: null,
  loss: null,
  loss_ema: null,
  loss_count: 0,
  lr: {},
  seconds_per_step: null,
  eta_s: null,
  vram_gib: null,
  peak_vram_gib: null,
  losses: [],
  validations: [],
  checkpoints: [],
  states: [],
  samples: [],
  notices: [],
  best: null,
  outcome: null,
  problem: "",
  fix: "",
  code: "",
  evidence: "",
  started: null,
  updated: null,
  finished: null,
  last_seq: 0,
});

/** Has the run's last attempt ended? @param {{status: string}} state */
export function isFinished(state) {
  return FINISHED.includes(state.status);
}

/**
 * `state` after `events`. An event whose `seq` was folded already changes nothing, so snapshot and tail may overlap.
 * Series are copied at most once a call, and only those that change, so unchanged ones keep their identity.
 * @param {Iterable<RunEvent>} events
 * @param {Readonly<RunState>} [state]
 * @returns {RunState}
 */
export function fold(events, state = EMPTY_STATE) {
  const growing = new Growing(state);
  for (const event of events) {
    if (event.seq > growing.state.last_seq) growing.take(event);
  }
  return growing.state;
}

/** A state while events are folded into it. */
class Growing {
  /** @param {Readonly<RunState>} state */
  constructor(state) {
    /** @type {RunState} */
    this.state = { ...state };
    /** @type {Set<string>} */
    this.owned = new Set();
  }

  /** @param {RunEvent} event */
  take(event) {
    const step = Object.hasOwn(STEPS, event.kind) ? STEPS[event.kind] : null;
    Object.assign(this.state, { last_seq: event.seq, updated: event.time });
    try {
      Object.assign(this.state, step ? step(event, this) : null);
    } catch {
      // A later version's event of a known kind, with something else in a known field: those behind it still count.
    }
  }

  /** The series of that name, copied before its first change. @param {SeriesName} name @returns {any[]} */
  series(name) {
    if (!this.owned.has(name)) {
      this.owned.add(name);
      this.replace(name, this.state[name].slice());
    }
    return this.state[name];
  }

  /** @param {SeriesName} name @param {any[]} rows */
  replace(name, rows) {
    this.owned.add(name);
    Object.assign(this.state, { [name]: rows });
  }

  /**
   * Append the event's row; one that names the same thing is replaced (a resumed run makes it again).
   * @param {SeriesName} name @param {RunEvent} event @param {string} same
   */
  put(name, event, same) {
    const row = rowOf(event);
    this.replace(name, [
      .../** @type {Row[]} */ (this.state[name]).filter((each) => each[same] !== row[same]),
      row,
    ]);
  }
}

/** @typedef {"losses"|"validations"|"checkpoints"|"states"|"samples"|"notices"} SeriesName */

/** @type {readonly string[]} */
const HELD = Object.freeze(["paused", "lent"]);
/** What an acknowledged request makes of the status: a person's pause, or the GPU lent to a prompt. @type {Record<string, string>} */
const HELD_BY = Object.freeze({ pause: "paused", lend: "lent", resume: "training", take_back: "training" });

const NOT_ENDED = { outcome: null, problem: "", fix: "", code: "", evidence: "", finished: null };

/** @type {Record<string, (event: RunEvent, growing: Growing) => Partial<RunState>|void>} */
const STEPS = {
  queued: (event) => ({ ...NOT_ENDED, status: "queued", queue_position: field(event, "position") }),

  run_started(event, growing) {
    const from = event.resumed_from || 0;
    const undone = Math.max(0, growing.state.step - from);
    growing.replace(
      "losses",
      growing.state.losses.filter((row) => row[0] <= from),
    );
    growing.replace(
      "validations",
      growing.state.validations.filter((row) => row.step <= from),
    );
    return {
      ...NOT_ENDED,
      ...smoothedBefore(growing.state, undone),
      status: "loading",
      attempt: field(event, "attempt", 1),
      engine: field(event, "engine", ""),
      pid: field(event, "pid"),
      total: field(event, "total", 0),
      resumed_from: from,
      step: from,
      queue_position: null,
      phase: "loading",
      phase_done: null,
      phase_total: null,
      eta_s: null,
      seconds_per_step: null,
      started: growing.state.started ?? event.time,
    };
  },

  phase: (event, { state }) => ({
    status: HELD.includes(state.status) ? state.status : event.name,
    phase: event.name,
    phase_done: field(event, "done"),
    phase_total: field(event, "total"),
  }),

  progress(event, growing) {
    const lr = event.lr || {};
    const now = smooth(growing.state, field(event, "loss"));
    const average = now.loss_ema ?? growing.state.loss_ema;
    growing.series("losses").push([event.step, field(event, "loss"), average, Object.values(lr)[0] ?? null]);
    const vram = field(event, "vram_gib");
    const peak = growing.state.peak_vram_gib;
    return {
      status: "training",
      phase: "training",
      phase_done: null,
      phase_total: null,
      step: event.step,
      total: field(event, "total", growing.state.total),
      epoch: field(event, "epoch", growing.state.epoch),
      loss: field(event, "loss"),
      ...now,
      lr,
      seconds_per_step: field(event, "seconds_per_step"),
      eta_s: field(event, "eta_s"),
      vram_gib: vram,
      peak_vram_gib: peak === null ? vram : vram === null ? peak : Math.max(vram, peak),
    };
  },

  validation: (event, growing) => growing.put("validations", event, "step"),
  checkpoint: (event, growing) => growing.put("checkpoints", event, "step"),
  sample: (event, growing) => growing.put("samples", event, "file"),

  state(event, growing) {
    const removed = new Set(event.removed || []);
    growing.replace(
      "states",
      growing.state.states.filter((row) => !removed.has(row.dir)),
    );
    growing.put("states", event, "dir");
  },

  notice: (event, growing) => void growing.series("notices").push(rowOf(event)),
  best: (event) => ({ best: rowOf(event) }),

  control(event) {
    if (event.stage === "acknowledged" && Object.hasOwn(HELD_BY, event.action)) return { status: HELD_BY[event.action] };
  },

  run_finished: (event, { state }) => ({
    status: event.outcome,
    outcome: event.outcome,
    step: field(event, "step", state.step),
    problem: field(event, "problem", ""),
    fix: field(event, "fix", ""),
    code: field(event, "code", ""),
    evidence: field(event, "evidence", ""),
    finished: event.time,
    pid: null,
    eta_s: null,
    phase: "",
    phase_done: null,
    phase_total: null,
    vram_gib: null,
  }),
};

/**
 * The smoothed loss as it was that many steps ago; a reader without the series keeps the one it has.
 * @param {RunState} state @param {number} undone @returns {Partial<RunState>}
 */
function smoothedBefore({ losses, loss_ema: average, loss_count: known }, undone) {
  const count = Math.max(0, known - undone);
  if (count === 0) return { loss_ema: null, loss_count: 0 };
  return { loss_ema: losses.length ? losses[losses.length - 1][2] : average, loss_count: count };
}

/**
 * The smoothed loss with one more; a loss that is no number leaves it as it is.
 * @param {RunState} state @param {any} loss @returns {Partial<RunState>}
 */
function smooth({ loss_ema: average, loss_count: count }, loss) {
  if (typeof loss !== "number" || !Number.isFinite(loss)) return {};
  if (average === null || count === 0) return { loss_ema: loss, loss_count: 1 };
  return { loss_ema: smoothed(average, count, loss), loss_count: count + 1 };
}

/** What `dict.get` is to the twin: a field that is there counts even when it is null. @param {RunEvent} event @param {string} name @param {any} [otherwise] */
function field(event, name, otherwise = null) {
  return Object.hasOwn(event, name) ? event[name] : otherwise;
}

/** An event without its frame. @param {RunEvent} event @returns {Row} */
function rowOf(event) {
  const { v, seq, kind, ...row } = event;
  return row;
}
