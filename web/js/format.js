// @ts-check
/** Numbers and states as a person reads them. Pure; the same in every browser language. */

/** Seconds as "42 s", "3 min 20 s", "1 h 05 min", "2 d 3 h". @param {number|null|undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return "";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 10) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const rounded = Math.round(whole / 60);
  if (rounded < 60) return `${rounded} min`;
  const hours = Math.floor(rounded / 60);
  if (hours < 24) return `${hours} h ${String(rounded % 60).padStart(2, "0")} min`;
  const allHours = Math.round(rounded / 60);
  return `${Math.floor(allHours / 24)} d ${allHours % 24} h`;
}

/** How long ago, in one unit. @param {number|null|undefined} time seconds since the epoch @param {number} now */
export function ago(time, now) {
  if (time === null || time === undefined) return "";
  const seconds = Math.max(0, now - time);
  if (seconds < 45) return "just now";
  const units = /** @type {const} */ ([
    [86400 * 365, "year"],
    [86400 * 30, "month"],
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ]);
  for (const [size, name] of units) {
    const count = Math.round(seconds / size);
    if (seconds >= size * 0.95) return `${count} ${name}${count === 1 ? "" : "s"} ago`;
  }
  return "1 minute ago";
}

/** Four significant digits; text such as "nan" stays. @param {number|string|null|undefined} value */
export function loss(value) {
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1000 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

/** A learning rate: "1e-4", "2.5e-5". @param {number|null|undefined} value */
export function rate(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "";
  if (value === 0) return "0";
  if (value >= 0.01) return String(Number(value.toPrecision(3)));
  return Number(value.toPrecision(3)).toExponential().replace("e-0", "e-");
}

/** @param {number|null|undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return "";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** Seconds a step: "0.42 s/step", and steps a second where that reads better. @param {number|null|undefined} seconds */
export function speed(seconds) {
  if (seconds === null || seconds === undefined || !(seconds > 0)) return "";
  if (seconds < 0.1) return `${(1 / seconds).toFixed(0)} steps/s`;
  return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s/step`;
}

/** Whole number with thin spaces between thousands. @param {number|null|undefined} value */
export function count(value) {
  if (value === null || value === undefined) return "";
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A number with its noun: `1 step`, `2 000 steps`. @param {number} value @param {string} noun */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Any value of a plan. @param {any} value */
export function plain(value) {
  if (value === null || value === undefined || value === "") return "none";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number") return Math.abs(value) < 0.01 && value !== 0 ? rate(value) : String(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const ORDINALS = ["", "1st", "2nd", "3rd"];

/**
 * What a run is doing, in a few words.
 * @param {{status: string, step: number, total: number, queue_position: number|null, phase_done: number|null,
 *   phase_total: number|null}} state
 */
export function status(state) {
  const parts = state.phase_total ? ` ${count(state.phase_done ?? 0)}/${count(state.phase_total)}` : "";
  switch (state.status) {
    case "queued": {
      const place = state.queue_position;
      return place ? `Queued, ${ORDINALS[place] ?? `${place}th`} in line` : "Queued";
    }
    case "loading":
      return "Loading the base model";
    case "caching":
      return `Preparing pictures and captions${parts}`;
    case "training":
      return `Training ${count(state.step)}/${count(state.total)}`;
    case "validating":
      return `Validating${parts}`;
    case "saving":
      return "Saving";
    case "paused":
      return `Paused at ${count(state.step)}/${count(state.total)}`;
    case "lent":
      return `Lent to ComfyUI at ${count(state.step)}/${count(state.total)}`;
    case "stopped":
      return `Stopped at ${count(state.step)}/${count(state.total)}`;
    case "failed":
      return state.step ? `Failed at step ${count(state.step)}` : "Failed";
    case "completed":
      return "Done";
    default:
      return state.status;
  }
}

/** How far a run is, 0 to 1. @param {{step: number, total: number, status: string}} state */
export function share(state) {
  if (state.status === "completed") return 1;
  return state.total > 0 ? Math.min(1, Math.max(0, state.step / state.total)) : 0;
}
