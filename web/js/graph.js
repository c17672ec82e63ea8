// @ts-check
/**
 * Changes of the open workflow on a person's click: try a checkpoint, train again, add a node.
 *
 * In: ComfyUI's `app` and plain values. Out: a sentence that says what was done. It uses nodes, widgets and links as a
 * person does; what it did can be undone like any other change.
 */

import { add, GAP, linkOf, meant, ofType, place, set, slot, sourceOf, takenOff, wake, widget } from "./canvas.js";
import { Failure } from "./failure.js";
import { isOutput, outputsOn, queueOutputs } from "./partial_queue.js";

/**
 * @typedef {{dataset: string, base_model: string, preset: string, engine: string, character: string, trigger?: string,
 *   settings: Record<string, any>, kohya: Record<string, any>}} Choices what leads to a plan, as the server tells it
 */

const LOADER = "WizdroidLoadTrainedLora";
const OPEN_RUN = "WizdroidTrainingRun";
const TRAIN = "WizdroidKohyaTrain";
const PACKAGE = "WizdroidPackageLora";
const SETTINGS = "WizdroidTrainingSettings";
const LINT = "WizdroidDatasetLint";
/** Nodes that need the base model as it is. */
const WITHOUT_LORA = ["WizdroidLoraValidateGrid", LOADER];

/** Dials of the Kohya Train node and the settings they stand for; 0 leaves one to the preset. */
const DIALS = Object.freeze({
  steps: "max_train_steps",
  rank: "network_dim",
  alpha: "network_alpha",
  learning_rate: "unet_lr",
  resolution: "resolution",
  batch_size: "train_batch_size",
});

/**
 * Make a Load Trained LoRA node of the canvas use exactly that checkpoint, and queue what hangs on that node, nothing else and never
 * a training. Without such a node one is put behind the checkpoint loader.
 * @param {any} app @param {any} api @param {{run_id: string, slug: string, step: number}} checkpoint
 * @param {Parameters<typeof queueOutputs>[3]} told hears of the pictures that come of it
 */
export async function tryCheckpoint(app, api, { run_id: runId, slug, step }, told) {
  await refreshChoices(app); // the run may be newer than the page's lists
  app.graph.beforeChange();
  const found = meant(app, ofType(app.graph, LOADER));
  const loader = found ?? add(app, LOADER);
  const wired = found ? true : putBehindCheckpointLoader(app.graph, loader);
  const off = chooseCheckpoint(app, loader, { label: `${slug}/${runId}`, step });
  app.graph.afterChange();
  app.graph.setDirtyCanvas(true, true);
  if (!wired)
    return `Load Trained LoRA was added for step ${step}. Connect its model and clip, then try again.`;
  const sent = await app.graphToPrompt();
  await queueOutputs(api, sent, outputsBehind(sent.output, loader), told);
  return `Load Trained LoRA uses step ${step} of ${slug}; what hangs on it is queued, nothing else.${takenOff(loader, off)}`;
}

/** Let a loader open a run by name and load one step of it. @param {any} app @param {any} loader @param {{label: string, step: number}} chosen */
function chooseCheckpoint(app, loader, { label, step }) {
  const graph = loader.graph ?? app.graph;
  const source = sourceOf(graph, loader, "run");
  const opener =
    source?.type === OPEN_RUN
      ? source
      : add(app, OPEN_RUN, (node) => [loader.pos[0] - node.size[0] - GAP, loader.pos[1] + GAP], graph);
  if (opener !== source) opener.connect(0, loader, loader.findInputSlot("run"));
  wake(loader);
  wake(opener);
  set(opener, "run_name", label);
  return [
    ...set(loader, "package", widget(loader, "package").options.values[0]),
    ...set(loader, "which", "step"),
    ...set(loader, "step", step),
  ];
}

/** The outputs that show what a loader does. Raises Failure where there is none. @param {import("./partial_queue.js").Prompt} prompt @param {any} loader */
function outputsBehind(prompt, loader) {
  const isLoader = (/** @type {string} */ id) =>
    prompt[id].class_type === LOADER && id.split(":").at(-1) === String(loader.id);
  const { outputs, train } = outputsOn(prompt, isLoader, isOutput);
  if (outputs.length) return outputs;
  throw train.length
    ? new Failure(
        "All that hangs on Load Trained LoRA would train first.",
        "Give it a Save Image of its own, that needs no Kohya Train.",
      )
    : new Failure(
        "Load Trained LoRA is set, and no picture hangs on it.",
        "Connect a KSampler, VAE Decode and Save Image behind it, then try again.",
      );
}

/**
 * Put a run's choices into the Kohya Train node (added if there is none) and, where they go beyond its dials, into a
 * Training Settings node. Nothing is queued: the person changes what they want first.
 * @param {any} app @param {Choices} request
 */
export async function trainAgain(app, request) {
  await refreshChoices(app);
  const { graph } = app;
  graph.beforeChange();
  const train = meant(app, ofType(graph, TRAIN)) ?? addTraining(app);
  chooseDataset(train.graph ?? graph, train, request.dataset);
  const rest = { ...request.settings };
  const off = [
    ...["base_model", "preset", "engine"].flatMap((name) => set(train, name, request[/** @type {"preset"} */ (name)])),
    ...set(train, "trigger", request.trigger ?? ""),
    ...set(train, "character", request.character === request.dataset ? "" : request.character),
    ...(rest.seed === undefined ? [] : set(train, "seed", rest.seed)),
  ];
  delete rest.seed;
  for (const [dial, setting] of Object.entries(DIALS)) {
    off.push(...set(train, dial, rest[setting] ?? 0));
    delete rest[setting];
  }
  putSettings(app, train, rest, request.kohya);
  graph.afterChange();
  graph.setDirtyCanvas(true, true);
  app.canvas.centerOnNode?.(train);
  return `Kohya Train has the numbers of this run. Change what you like, then press Run.${takenOff(train, off)}`;
}

/** @param {any} app */
export async function addTrainNode(app) {
  const { graph } = app;
  graph.beforeChange();
  const train = addTraining(app);
  graph.afterChange();
  graph.setDirtyCanvas(true, true);
  app.canvas.centerOnNode?.(train);
  return "Choose a dataset in Dataset Lint and a base model in Kohya Train, then press Run.";
}

/** Fresh choices in the drop-downs of the open workflow, without the message of ComfyUI's own command where that can be. @param {any} app */
export async function refreshChoices(app) {
  if (app.reloadNodeDefs) return app.reloadNodeDefs();
  // Before that there was one function, which says so in a message of its own while its page is ready.
  const ready = app.vueAppReady;
  try {
    app.vueAppReady = false;
    await app.refreshComboInNodes();
  } finally {
    app.vueAppReady = ready;
  }
}

/** A Dataset Lint and, fed by it, a Kohya Train node, right of everything else. @param {any} app */
function addTraining(app) {
  const nodes = app.graph._nodes;
  const right = Math.max(0, ...nodes.map((/** @type {any} */ node) => node.pos[0] + node.size[0] + GAP));
  const top = nodes.length ? Math.min(...nodes.map((/** @type {any} */ node) => node.pos[1])) : 0;
  const lint = add(app, LINT, () => [right, top]);
  const train = add(app, TRAIN, () => [lint.pos[0] + lint.size[0] + GAP, lint.pos[1]]);
  lint.connect(0, train, train.findInputSlot("dataset"));
  return train;
}

/** Let the lint that feeds a training, if it takes none from a node before it, name that dataset. @param {any} graph @param {any} train @param {string} name */
function chooseDataset(graph, train, name) {
  const lint = sourceOf(graph, train, "dataset");
  if (lint?.type !== LINT || sourceOf(graph, lint, "dataset")) return;
  if (widget(lint, "dataset_name").options.values.includes(name)) set(lint, "dataset_name", name);
}

/** @param {any} app @param {any} train @param {Record<string, any>} settings @param {Record<string, any>} kohya */
function putSettings(app, train, settings, kohya) {
  const graph = train.graph ?? app.graph;
  const wired = sourceOf(graph, train, "settings");
  const known = wired?.type === SETTINGS ? wired : null;
  const { optimizer_args: optimizerArgs, ...plain } = settings;
  const more = {
    ...(Object.keys(optimizerArgs ?? {}).length ? { optimizer_args: optimizerArgs } : {}),
    ...(Object.keys(kohya ?? {}).length ? { kohya } : {}),
  };
  if (!known && !Object.keys(plain).length && !Object.keys(more).length) return;
  const node = known ?? add(app, SETTINGS, (made) => [train.pos[0] - made.size[0] - GAP, train.pos[1]], graph);
  if (!known) node.connect(0, train, train.findInputSlot("settings"));
  for (const each of node.widgets) {
    if (each.name === "more")
      set(
        node,
        "more",
        Object.entries(more)
          .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
          .join("\n"),
      );
    else set(node, each.name, each.name in plain ? shown(each, plain[each.name]) : unset(each));
  }
}

/** A setting as its widget writes it; what a drop-down does not offer (such as a digest) stays with the preset. @param {any} each @param {any} value */
function shown(each, value) {
  const choices = each.options?.values;
  const text = typeof value === "boolean" ? (value ? "on" : "off") : choices ? String(value) : value;
  return !choices || choices.includes(text) ? text : unset(each);
}

/** What leaves a widget of Training Settings to the preset. @param {any} each */
function unset(each) {
  return each.options?.values ? each.options.values[0] : -1;
}

/**
 * Put `loader` between a checkpoint loader and whatever used its model and clip. A stock LoRA loader that Package LoRA feeds is
 * stepped around: it would put a LoRA of the run on top of the one that is tried.
 * @param {any} graph @param {any} loader @returns {boolean} whether there was one
 */
function putBehindCheckpointLoader(graph, loader) {
  const base = graph._nodes.find(
    (/** @type {any} */ node) =>
      node !== loader &&
      slot(node.outputs, "MODEL") >= 0 &&
      slot(node.outputs, "CLIP") >= 0 &&
      !node.inputs?.some((/** @type {any} */ each) => each.type === "MODEL"),
  );
  if (!base) return false;
  const packaged = graph._nodes.filter((/** @type {any} */ node) => sourceOf(graph, node, "lora_name")?.type === PACKAGE);
  for (const type of ["MODEL", "CLIP"]) {
    for (const node of [base, ...packaged]) handOver(graph, node, loader, type, packaged);
    base.connect(slot(base.outputs, type), loader, slot(loader.inputs, type));
  }
  place(graph, loader, [base.pos[0] + base.size[0] + GAP, base.pos[1] - 40]);
  return true;
}

/** What used a node's output uses the loader's. @param {any} graph @param {any} node @param {any} loader @param {string} type @param {any[]} not these */
function handOver(graph, node, loader, type, not) {
  for (const id of [...(node.outputs[slot(node.outputs, type)]?.links ?? [])]) {
    const link = linkOf(graph, id);
    const target = link && graph.getNodeById(link.target_id);
    if (target && !WITHOUT_LORA.includes(target.type) && !not.includes(target))
      loader.connect(slot(loader.outputs, type), target, link.target_slot);
  }
}
