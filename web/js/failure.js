// @ts-check
/** What a request came back with when it went wrong: one sentence of problem, one of fix. */
export class Failure extends Error {
  /** @param {string} problem @param {string} [fix] @param {number} [status] */
  constructor(problem, fix = "", status = 0) {
    super([problem, fix].filter(Boolean).join(" "));
    this.problem = problem;
    this.fix = fix;
    this.status = status;
  }
}

/**
 * A client for the panel's routes over any fetch-like function.
 * @param {(path: string, options?: RequestInit) => Promise<Response>} fetcher
 */
export function createClient(fetcher) {
  /** @param {string} path @param {RequestInit} [options] */
  const ask = async (path, options) => {
    let response;
    try {
      response = await fetcher(`/wizdroid/training/${path}`, options);
    } catch {
      throw new Failure(
        "ComfyUI does not answer.",
        "Is it still running? The run itself goes on without it.",
      );
    }
    const body = await response.json().catch(() => ({}));
    if (response.ok) return body;
    throw new Failure(
      body.problem || `ComfyUI answered ${response.status}.`,
      body.fix ?? "Restart ComfyUI so that page and pack are of the same version.",
      response.status,
    );
  };
  return {
    /** @param {string} path @returns {Promise<any>} */
    get: (path) => ask(path),
    /** @param {string} path @param {Record<string, any>} [body] @returns {Promise<any>} */
    post: (path, body = {}) =>
      ask(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      }),
  };
}
