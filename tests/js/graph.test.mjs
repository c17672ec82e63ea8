import assert from "node:assert/strict";
import { test } from "node:test";

import { addTrainNode, trainAgain, tryCheckpoint } from "../../web/js/graph.js";
import { fedBy, smallApp, valueOf } from "./small_graph.mjs";

const CHECKPOINT = { run_id: "0123456789ab", slug: "wren", step: 900 };
const of = (app, type) => app.graph._nodes.filter((each) => each.type === type);
const put = (app, type) => app.graph.add(window.LiteGraph.createNode(type));

test("without a loader one is put between the checkpoint loader and what used it, and the workflow is queued", async () => {
  const app = smallApp();
  const base = put(app, "CheckpointLoaderSimple");
  const sampler = put(app, "KSampler");
  const texts = [put(app, "CLIPTextEncode"), put(app, "CLIPTextEncode")];
  const grid = put(app, "WizdroidLoraValidateGrid");
  base.connect(0, sampler, 0);
  for (const text of texts) base.connect(1, text, 0);
  base.connect(0, grid, 1);
  const told = await tryCheckpoint(app, CHECKPOINT);
  const [loader] = of(app, "WizdroidLoadTrainedLora");
  assert.equal(fedBy(app, sampler, "model"), "WizdroidLoadTrainedLora.0");
  for (const text of texts) assert.equal(fedBy(app, text, "clip"), "WizdroidLoadTrainedLora.1");
  assert.equal(fedBy(app, loader, "model"), "CheckpointLoaderSimple.0");
  assert.equal(fedBy(app, loader, "clip"), "CheckpointLoaderSimple.1");
  assert.equal(fedBy(app, grid, "model"), "CheckpointLoaderSimple.0", "the grid wants the base as it is");
  assert.equal(fedBy(app, loader, "run"), "WizdroidTrainingRun.0");
  assert.equal(valueOf(of(app, "WizdroidTrainingRun")[0], "run_name"), "wren/0123456789ab");
  assert.deepEqual(
    ["package", "which", "step"].map((name) => valueOf(loader, name)),
    ["(the run's checkpoint)", "step", 900],
  );
  assert.equal(app.queued, 1);
  assert.equal(app.graph.changes, 0, "one step to undo");
  assert.match(told, /step 900 of wren/);
});

test("a loader that is there is used again, however often", async () => {
  const app = smallApp();
  put(app, "CheckpointLoaderSimple");
  await tryCheckpoint(app, CHECKPOINT);
  await tryCheckpoint(app, { ...CHECKPOINT, step: 300 });
  assert.equal(of(app, "WizdroidLoadTrainedLora").length, 1);
  assert.equal(of(app, "WizdroidTrainingRun").length, 1);
  assert.equal(valueOf(of(app, "WizdroidLoadTrainedLora")[0], "step"), 300);
  assert.equal(app.refreshed, 2);
});

test("a loader fed by a training node opens the finished run instead of training", async () => {
  const app = smallApp();
  const [train, loader] = [put(app, "WizdroidKohyaTrain"), put(app, "WizdroidLoadTrainedLora")];
  train.connect(0, loader, 2);
  await tryCheckpoint(app, CHECKPOINT);
  assert.equal(fedBy(app, loader, "run"), "WizdroidTrainingRun.0");
});

test("on an empty canvas the loader is added, nothing is queued, and the person is told what is missing", async () => {
  const app = smallApp();
  assert.match(await tryCheckpoint(app, CHECKPOINT), /Connect its model and clip/);
  assert.equal(app.queued, 0);
});

const REQUEST = {
  dataset: "wren",
  base_model: "a.safetensors",
  preset: "careful",
  engine: "native",
  character: "wren",
  trigger: "char_wren",
  settings: { max_train_steps: 900, unet_lr: 2e-4, seed: 7 },
  kohya: {},
};

test("train again fills the dials, leaves the rest to the preset and queues nothing", async () => {
  const app = smallApp();
  await trainAgain(app, REQUEST);
  const [train] = of(app, "WizdroidKohyaTrain");
  const values = Object.fromEntries(train.widgets.map((each) => [each.name, each.value]));
  assert.deepEqual(values, {
    base_model: "a.safetensors",
    preset: "careful",
    engine: "native",
    mode: "wait",
    steps: 900,
    rank: 0,
    alpha: 0,
    learning_rate: 2e-4,
    resolution: 0,
    batch_size: 0,
    seed: 7,
    trigger: "char_wren",
    character: "",
  });
  assert.equal(of(app, "WizdroidTrainingSettings").length, 0);
  assert.equal(app.queued, 0);
  assert.equal(fedBy(app, train, "dataset"), "WizdroidDatasetLint.0");
  assert.equal(valueOf(of(app, "WizdroidDatasetLint")[0], "dataset_name"), "wren");
});

test("train again leaves a dataset that comes from another node as it is", async () => {
  const app = smallApp();
  const [before, lint, train] = ["WizdroidDatasetLint", "WizdroidDatasetLint", "WizdroidKohyaTrain"].map(
    (type) => put(app, type),
  );
  before.connect(0, lint, 0);
  lint.connect(0, train, 0);
  await trainAgain(app, REQUEST);
  assert.equal(valueOf(lint, "dataset_name"), "(wired)");
  assert.equal(of(app, "WizdroidDatasetLint").length, 2);
});

test("nodes that are added stand beside what is there, wired, and the page is told what to choose", async () => {
  const app = smallApp();
  put(app, "CheckpointLoaderSimple");
  assert.match(await addTrainNode(app), /Choose a dataset .* and a base model/);
  const [lint, train] = [of(app, "WizdroidDatasetLint")[0], of(app, "WizdroidKohyaTrain")[0]];
  assert.equal(fedBy(app, train, "dataset"), "WizdroidDatasetLint.0");
  assert.ok(lint.pos[0] >= 200 && train.pos[0] >= lint.pos[0] + 200);
  assert.equal(app.graph.changes, 0, "one step to undo");
});

test("where ComfyUI can refresh its choices without a message of its own, that is taken", async () => {
  const app = smallApp();
  let quietly = 0;
  app.reloadNodeDefs = async () => (quietly += 1);
  put(app, "CheckpointLoaderSimple");
  await tryCheckpoint(app, CHECKPOINT);
  assert.deepEqual([quietly, app.refreshed], [1, 0]);
});

test("numbers without a dial go into a Training Settings node, and everything else there back to the preset", async () => {
  const app = smallApp();
  const settings = {
    flip_aug: false,
    max_token_length: 150,
    network_weights: "f".repeat(64),
    optimizer_args: { weight_decay: 0.01 },
  };
  const request = {
    ...REQUEST,
    settings: { ...REQUEST.settings, ...settings },
    kohya: { debiased_estimation_loss: true },
  };
  await trainAgain(app, request);
  await trainAgain(app, request);
  const [node, ...more] = of(app, "WizdroidTrainingSettings");
  assert.equal(more.length, 0);
  assert.equal(fedBy(app, of(app, "WizdroidKohyaTrain")[0], "settings"), "WizdroidTrainingSettings.0");
  assert.deepEqual(Object.fromEntries(node.widgets.map((each) => [each.name, each.value])), {
    flip_aug: "off",
    optimizer_type: "preset",
    max_token_length: "150",
    noise_offset: -1,
    network_weights: "(none)",
    more: 'optimizer_args: {"weight_decay":0.01}\nkohya: {"debiased_estimation_loss":true}',
  });
});

test("a pack whose nodes did not load is told of with what to do", async () => {
  const app = smallApp();
  window.LiteGraph.createNode = () => null;
  await assert.rejects(
    addTrainNode(app),
    (error) => error.problem.includes("WizdroidDatasetLint") && error.fix.length > 0,
  );
});
