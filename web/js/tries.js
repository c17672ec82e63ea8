// @ts-check
/**
 * What was drawn by "Try this checkpoint", by run and step: the pictures lie in ComfyUI's own output folder, here is where.
 *
 * Kept in the browser, so that they stand beside their rows after a reload too; the newest `MOST` are remembered.
 */

/**
 * @typedef {import("./partial_queue.js").OutputPicture} OutputPicture
 * @typedef {{pictures: OutputPicture[], drawing: boolean}} Try
 */

const KEY = "Wizdroid.Training.Tries";
const MOST = 200;

export class Tries {
  /** @param {Storage|null} [storage] none: forgotten with the page */
  constructor(storage = null) {
    this.storage = storage;
    /** @type {Map<string, Try>} */
    this.known = new Map(read(storage).map(([key, pictures]) => [key, { pictures, drawing: false }]));
  }

  /** @param {string} runId @param {number} step @returns {Try} */
  of(runId, step) {
    return this.known.get(`${runId}/${step}`) ?? { pictures: [], drawing: false };
  }

  /** A checkpoint is drawn now; what it drew before stays until then. @param {string} runId @param {number} step */
  begin(runId, step) {
    this.#put(runId, step, { pictures: this.of(runId, step).pictures, drawing: true });
  }

  /** @param {string} runId @param {number} step @param {OutputPicture[]} pictures none: what was drawn before stays @param {boolean} drawing */
  take(runId, step, pictures, drawing) {
    this.#put(runId, step, { pictures: pictures.length ? pictures : this.of(runId, step).pictures, drawing });
    this.#keep();
  }

  /** @param {string} runId @param {number} step @param {Try} now */
  #put(runId, step, now) {
    const key = `${runId}/${step}`;
    this.known.delete(key); // the newest stands last
    this.known.set(key, now);
  }

  #keep() {
    const rows = [...this.known].filter(([, each]) => each.pictures.length).map(([key, each]) => [key, each.pictures]);
    try {
      this.storage?.setItem(KEY, JSON.stringify(rows.slice(-MOST)));
    } catch (error) {
      console.warn("The browser keeps no note of the pictures that were tried.", error);
    }
  }
}

/** What the browser kept, as far as it is what was written. @param {Storage|null} storage @returns {[string, OutputPicture[]][]} */
function read(storage) {
  try {
    const rows = JSON.parse(storage?.getItem(KEY) ?? "[]");
    return rows.filter(
      (/** @type {any} */ row) =>
        typeof row?.[0] === "string" && Array.isArray(row[1]) && row[1].every((each) => typeof each?.filename === "string"),
    );
  } catch (error) {
    console.warn("The browser's note of the pictures that were tried can't be read.", error);
    return [];
  }
}
