// @ts-check
/**
 * What a person asks for, carried out: requests to the server, changes of the open workflow, questions before what can't
 * be undone. Buttons, palette and menus all come here. A request's success is not shown before its event has come.
 */

import { confirm, enlarge } from "./dialogs.js";
import { Failure } from "./failure.js";

/**
 * @typedef {import("./run_store.js").RunStore} RunStore
 * @typedef {import("./host.js").Host} Host
 * @typedef {import("./steering.js").ActionId} ActionId
 */

/** What comes of an answer, by the kind of what was asked. */
const AGREED = {
  prompt: "Allowed. It is queued once the run has completed.",
  grids: "Allowed. The grids are queued one after another.",
  order: "The run is in line.",
};

/**
 * @param {RunStore} store @param {Host} host @param {() => HTMLElement} mount where dialogs are put
 * @returns {import("./panel.js").Calls & {report: (error: unknown) => void}}
 */
export function createActions(store, host, mount) {
  /** Say what went wrong; a failure that is not ours is a bug and goes to the console as well. @param {unknown} error */
  function report(error) {
    const known = error instanceof Failure ? error : new Failure("The panel failed.", String(error));
    if (known !== error) console.error(error);
    host.toast({ severity: "error", summary: known.problem, detail: known.fix });
  }

  /** @type {Partial<Record<ActionId, (runId: string, detail: Record<string, any>) => Promise<void>>>} */
  const special = {
    async stop_now(runId) {
      await store.ask(runId, "stop_now", { at_once: true }, "stop");
    },
    async retry(runId, choice) {
      const told = await store.ask(runId, "retry", choice);
      await store.refreshList();
      await store.openRun(told.run_id);
    },
    async package(runId, { which = "best" }) {
      const told = await store.ask(runId, "package", { which: String(which) });
      await host.refreshChoices();
      host.toast({
        severity: "success",
        summary: "The LoRA is installed.",
        detail: `It is in ComfyUI's list as ${told.name}.`,
      });
    },
    async try(runId, { which = "best" }) {
      const checkpoint = await host.get(`runs/${runId}/checkpoints/${encodeURIComponent(String(which))}`);
      const told = store.trying(runId, checkpoint.step);
      try {
        host.tell(await host.tryCheckpoint(checkpoint, told));
      } catch (error) {
        told([], "failed");
        throw error;
      }
    },
    async again(runId) {
      const told = await host.get(`runs/${runId}/request`);
      host.tell(await host.trainAgain(told.request));
    },
    async folder(runId) {
      const dir = store.open?.run_id === runId ? store.open.dir : (await host.get(`runs/${runId}`)).dir;
      await host.copy(dir);
      host.tell(`Copied: ${dir}`);
    },
    async delete(runId) {
      const line = store.runs.find((each) => each.run_id === runId);
      const agreed = await confirm(mount(), {
        title: `Delete the run of ${line?.character ?? runId}?`,
        text: "Its folder with all checkpoints and pictures goes to the trash folder of the workspace. Packaged LoRAs stay.",
        yes: "Delete",
      });
      if (!agreed) return;
      await store.ask(runId, "delete");
      store.closeRun();
      await store.refreshList();
    },
  };

  return {
    report,
    open: (runId) => void store.openRun(runId).catch(report),
    close: () => {
      store.closeRun();
      void store.refreshList().catch(report);
    },
    compare: (runIds) => void store.compare(runIds).catch(report),
    act: (id, runId, detail) =>
      void (special[id] ?? ((each) => store.ask(each, id)))(runId, detail)?.catch(report),
    move: (runId, position) => void store.move(runId, position).catch(report),
    waiting: (ask) =>
      host.get(`runs/${ask.run_id}/waiting/${encodeURIComponent(ask.what)}`).then(
        (told) => told.text,
        (error) => (report(error), null),
      ),
    answer: (ask, word) =>
      void store.answer(ask, word).then(
        () => host.tell(word === "agree" ? AGREED[ask.kind] : "Discarded. It stays in the run's folder, where nothing sends it."),
        report,
      ),
    mend: (runId) =>
      void store.mend(runId).then(
        (moved) => host.tell(moved.length ? `Moved below damaged/ of the run's folder: ${moved.join(", ")}.` : "Nothing to mend."),
        report,
      ),
    again: () => void store.lookAgain().catch(report),
    addTrainNode: () => void host.addTrainNode().then(host.tell, report),
    setting: host.setting,
    pictureUrl: (runId, name, size, version) =>
      host.url(
        `runs/${runId}/pictures/${encodeURIComponent(name)}?${size ? `size=${size}&` : ""}v=${encodeURIComponent(version)}`,
      ),
    outputUrl: host.outputUrl,
    thumbnailUrl: (runId, version) => host.url(`runs/${runId}/thumbnail?v=${encodeURIComponent(version)}`),
    enlarge: (pictures, first) => enlarge(mount(), pictures, first),
    losses: (runId, from, to) =>
      host.get(`runs/${runId}/losses?from=${from}&to=${to}`).then(
        (told) => told.losses,
        (error) => (report(error), null),
      ),
    log: (runId) =>
      host.get(`runs/${runId}/log`).then(
        (told) => told.text,
        (error) => (report(error), null),
      ),
  };
}
