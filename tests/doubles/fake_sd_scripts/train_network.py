"""The double's `train_network`: the order of calls of sd-scripts' training loop, around a model of three linear layers.

It stands in where sd-scripts is not checked out. `FAKE_SD_SCRIPTS` makes it fail as the real one fails: "oom 5" (memory
runs out at step 5), "abort 5" (the process dies in native code), "vanish 5" (it is killed), "sampling fails".
"""

import argparse
import importlib
import json
import math
import os
import random
import signal
import sys
import time
from multiprocessing import Value

import library.train_util as train_util
import numpy as np
import torch
from accelerate.utils import set_seed
from tqdm import tqdm

logger = train_util.logger


class UNet(torch.nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.width = width
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(3))
        self.adapters = []
        self.device = torch.device("cpu")

    def forward(self, x, timesteps, condition):
        h = x.flatten(1) + condition + torch.sin(timesteps.float() / 1000)[:, None]
        for i, layer in enumerate(self.layers):
            h = torch.tanh(layer(h) + (self.adapters[i](h) if self.adapters else 0))
        return h.reshape(x.shape)


class Scheduler:
    def __init__(self):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)

    def add_noise(self, latents, noise, timesteps):
        signal_share = self.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        noise_share = (1 - self.alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
        return signal_share * latents + noise_share * noise


class NetworkTrainer:
    def __init__(self):
        self.is_sdxl = False

    def generate_step_logs(self, args, current_loss, avr_loss, lr_scheduler, lr_descriptions, optimizer=None):
        logs = {"loss/current": current_loss, "loss/average": avr_loss}
        for i, lr in enumerate(lr_scheduler.get_last_lr()):
            logs[f"lr/{lr_descriptions[i] if lr_descriptions else 'unet'}"] = lr
        return logs

    def step_logging(self, accelerator, logs: dict, global_step: int, epoch: int):
        self.accelerator_logging(accelerator, logs, global_step, global_step, epoch)

    def epoch_logging(self, accelerator, logs: dict, global_step: int, epoch: int):
        self.accelerator_logging(accelerator, logs, epoch, global_step, epoch)

    def accelerator_logging(
        self, accelerator, logs: dict, step_value: int, global_step: int, epoch: int, val_step=None
    ):
        for tracker in accelerator.trackers:
            accelerator.get_tracker(tracker.name).log(logs, step=step_value)

    def load_target_model(self, args, weight_dtype, accelerator):
        name = args.pretrained_model_name_or_path
        if not os.path.isfile(name):
            raise ValueError(
                f'The provided pretrained_model_name_or_path "{name}" is neither a valid local path nor a valid repo id.'
            )
        logger.info(f"load StableDiffusion checkpoint: {name}")
        unet = UNet()
        info = unet.load_state_dict(unet.state_dict())
        logger.info(f"loading u-net: {info}")
        return "sd_v1", torch.nn.Identity(), torch.nn.Identity(), unet

    def is_train_text_encoder(self, args):
        return not args.network_train_unet_only

    def cache_text_encoder_outputs_if_needed(
        self, args, accelerator, unet, vae, text_encoders, dataset, weight_dtype
    ):
        pass

    def all_reduce_network(self, accelerator, network):
        for param in network.parameters():
            if param.grad is not None:
                param.grad = accelerator.reduce(param.grad, reduction="mean")

    def sample_images(
        self, accelerator, args, epoch, global_step, device, vae, tokenizers, text_encoder, unet
    ):
        train_util.sample_images(accelerator, args, epoch, global_step)

    def post_process_network(self, args, accelerator, network, text_encoders, unet):
        pass

    def get_noise_pred_and_target(
        self, args, accelerator, noise_scheduler, latents, batch, text_encoder_conds, unet, network, weight_dtype, train_unet,
        is_train=True,
    ):  # fmt: skip
        noise = torch.randn_like(latents)
        low = args.min_timestep or 0
        high = 1000 if args.max_timestep is None else args.max_timestep
        count = latents.shape[0]
        timesteps = torch.randint(low, high, (count,)) if low < high else torch.full((count,), int(high))
        noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
        with torch.set_grad_enabled(is_train), accelerator.autocast():
            noise_pred = unet(noisy_latents, timesteps, text_encoder_conds[0])
        return noise_pred, noise, timesteps, None

    def process_batch(
        self, batch, text_encoders, unet, network, vae, noise_scheduler, vae_dtype, weight_dtype, accelerator, args,
        text_encoding_strategy, tokenize_strategy, is_train=True, train_text_encoder=True, train_unet=True,
    ):  # fmt: skip
        condition = torch.stack([self.encode(caption) for caption in batch["captions"]])
        noise_pred, target, _, _ = self.get_noise_pred_and_target(
            args, accelerator, noise_scheduler, batch["latents"], batch, [condition], unet, network, weight_dtype, train_unet,
            is_train=is_train,
        )  # fmt: skip
        loss = (noise_pred.float() - target.float()).square().mean(dim=(1, 2, 3))
        return (loss * batch["loss_weights"]).mean()

    def encode(self, caption):
        generator = torch.Generator().manual_seed(sum(caption.encode()))
        return torch.randn(64, generator=generator) * 0.1

    def train(self, args):
        if args.seed is None:
            args.seed = random.randint(0, 2**32)
        set_seed(args.seed)
        train_dataset_group, val_dataset_group = train_util.load_datasets(args.dataset_config)

        current_epoch = Value("i", 0)
        current_step = Value("i", 0)
        n_workers = min(args.max_data_loader_n_workers, os.cpu_count())
        ds_for_collator = train_dataset_group if n_workers == 0 else None
        collator = train_util.collator_class(current_epoch, current_step, ds_for_collator)
        if len(train_dataset_group) == 0:
            logger.error(
                "No data found. Please verify arguments (train_data_dir must be the parent of folders with images) / 画像がありません。"
            )
            return

        logger.info("preparing accelerator")
        accelerator = train_util.prepare_accelerator(args)
        is_main_process = accelerator.is_main_process
        weight_dtype = torch.float32
        model_version, text_encoder, vae, unet = self.load_target_model(args, weight_dtype, accelerator)
        text_encoders = [text_encoder]
        if args.cache_latents:
            train_dataset_group.new_cache_latents(vae, accelerator)
            if val_dataset_group is not None:
                val_dataset_group.new_cache_latents(vae, accelerator)
        self.cache_text_encoder_outputs_if_needed(
            args, accelerator, unet, vae, text_encoders, train_dataset_group, weight_dtype
        )

        accelerator.print("import network module:", args.network_module)
        network_module = importlib.import_module(args.network_module)
        network = network_module.create_network(
            1.0,
            args.network_dim,
            args.network_alpha,
            vae,
            text_encoder,
            unet,
            neuron_dropout=args.network_dropout,
        )
        self.post_process_network(args, accelerator, network, text_encoders, unet)
        network.apply_to(text_encoder, unet, self.is_train_text_encoder(args), True)

        accelerator.print("prepare optimizer, data loader etc.")
        trainable_params, lr_descriptions = network.prepare_optimizer_params_with_multiple_te_lrs(
            args.text_encoder_lr, args.unet_lr, args.learning_rate
        )
        optimizer = train_util.get_optimizer(args, trainable_params)
        optimizer_train_fn, optimizer_eval_fn = train_util.get_optimizer_train_eval_fn(optimizer, args)
        train_dataloader = torch.utils.data.DataLoader(
            train_dataset_group, batch_size=1, shuffle=True, collate_fn=collator, num_workers=n_workers
        )
        val_dataloader = torch.utils.data.DataLoader(
            val_dataset_group if val_dataset_group is not None else [],
            shuffle=False,
            batch_size=1,
            collate_fn=collator,
            num_workers=n_workers,
        )
        lr_scheduler = train_util.get_scheduler_fix(args, optimizer, accelerator.num_processes)
        unet.requires_grad_(False)
        unet = accelerator.prepare(unet) if accelerator.num_processes == 1 else unet
        network, optimizer, train_dataloader, val_dataloader, lr_scheduler = accelerator.prepare(
            network, optimizer, train_dataloader, val_dataloader, lr_scheduler
        )
        unwrapped = accelerator.unwrap_model(network)
        unwrapped.prepare_grad_etc(text_encoder, unet)

        def save_model_hook(models, weights, output_dir):
            for i in reversed(
                [i for i, model in enumerate(models) if not isinstance(model, type(unwrapped))]
            ):
                if len(weights) > i:
                    weights.pop(i)
            train_state_file = os.path.join(output_dir, "train_state.json")
            logger.info(
                f"save train state to {train_state_file} at epoch {current_epoch.value} step {current_step.value + 1}"
            )
            with open(train_state_file, "w", encoding="utf-8") as f:
                json.dump({"current_epoch": current_epoch.value, "current_step": current_step.value + 1}, f)

        def load_model_hook(models, input_dir):
            for i in reversed(
                [i for i, model in enumerate(models) if not isinstance(model, type(unwrapped))]
            ):
                models.pop(i)

        accelerator.register_save_state_pre_hook(save_model_hook)
        accelerator.register_load_state_pre_hook(load_model_hook)
        train_util.resume_from_local_or_hf_if_specified(accelerator, args)

        num_update_steps_per_epoch = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        num_train_epochs = math.ceil(args.max_train_steps / num_update_steps_per_epoch)
        accelerator.print("running training / 学習開始")
        accelerator.print(f"  num batches per epoch / 1epochのバッチ数: {len(train_dataloader)}")
        accelerator.print(f"  num epochs / epoch数: {num_train_epochs}")
        accelerator.print(f"  total optimization steps / 学習ステップ数: {args.max_train_steps}")
        metadata = {
            "ss_training_started_at": str(time.time()),
            "ss_output_name": args.output_name,
            "ss_max_train_steps": str(args.max_train_steps),
            "ss_num_epochs": str(num_train_epochs),
            "ss_base_model_version": model_version,
            "ss_network_module": args.network_module,
            "ss_network_dim": str(args.network_dim),
            "ss_network_alpha": str(args.network_alpha),
            "ss_new_sd_model_hash": train_util.calculate_sha256(args.pretrained_model_name_or_path),
        }
        global_step, epoch_to_start = 0, 0
        noise_scheduler = Scheduler()
        train_util.init_trackers(accelerator, args, "network_train")
        loss_recorder = train_util.LossRecorder()

        def save_model(ckpt_name, unwrapped_nw, steps, epoch_no):
            os.makedirs(args.output_dir, exist_ok=True)
            ckpt_file = os.path.join(args.output_dir, ckpt_name)
            accelerator.print(f"\nsaving checkpoint: {ckpt_file}")
            metadata.update(
                ss_steps=str(steps), ss_epoch=str(epoch_no), ss_training_finished_at=str(time.time())
            )
            dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "float": torch.float32}.get(
                args.save_precision
            )
            unwrapped_nw.save_weights(ckpt_file, dtype, metadata)

        optimizer_eval_fn()
        self.sample_images(accelerator, args, 0, global_step, accelerator.device, vae, [], text_encoder, unet)
        optimizer_train_fn()
        is_tracking = len(accelerator.trackers) > 0
        progress_bar = tqdm(
            range(args.max_train_steps), smoothing=0, disable=not is_main_process, desc="steps"
        )
        validation_steps = len(val_dataloader)
        low = 0 if args.min_timestep is None else args.min_timestep
        high = 1000 if args.max_timestep is None else args.max_timestep
        validation_timesteps = np.linspace(low, high, 6, dtype=int)[1:-1]
        bounds = args.min_timestep, args.max_timestep

        def forward(batch, is_train):
            return self.process_batch(
                batch, text_encoders, unet, network, vae, noise_scheduler, weight_dtype, weight_dtype, accelerator, args,
                None, None, is_train=is_train, train_text_encoder=False, train_unet=True,
            )  # fmt: skip

        for epoch in range(epoch_to_start, num_train_epochs):
            accelerator.print(f"\nepoch {epoch + 1}/{num_train_epochs}\n")
            current_epoch.value = epoch + 1
            accelerator.unwrap_model(network).on_epoch_start(text_encoder, unet)
            for step, batch in enumerate(train_dataloader):
                current_step.value = global_step
                misbehave_if_told(global_step + 1)
                with accelerator.accumulate(network):
                    loss = forward(batch, is_train=True)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        self.all_reduce_network(accelerator, network)
                        if args.max_grad_norm != 0.0:
                            accelerator.clip_grad_norm_(unwrapped.get_trainable_params(), args.max_grad_norm)
                    optimizer.step()
                    lr_scheduler.step()
                    optimizer.zero_grad(set_to_none=True)

                if accelerator.sync_gradients:
                    progress_bar.update(1)
                    global_step += 1
                    optimizer_eval_fn()
                    self.sample_images(
                        accelerator, args, None, global_step, accelerator.device, vae, [], text_encoder, unet
                    )
                    if args.save_every_n_steps is not None and global_step % args.save_every_n_steps == 0:
                        accelerator.wait_for_everyone()
                        if accelerator.is_main_process:
                            ckpt_name = train_util.get_step_ckpt_name(
                                args, "." + args.save_model_as, global_step
                            )
                            save_model(ckpt_name, accelerator.unwrap_model(network), global_step, epoch)
                            if args.save_state:
                                train_util.save_and_remove_state_stepwise(args, accelerator, global_step)
                    optimizer_train_fn()

                current_loss = loss.detach().item()
                loss_recorder.add(epoch=epoch, step=step, loss=current_loss)
                avr_loss = loss_recorder.moving_average
                progress_bar.set_postfix(avr_loss=avr_loss)
                if is_tracking:
                    logs = self.generate_step_logs(
                        args, current_loss, avr_loss, lr_scheduler, lr_descriptions, optimizer
                    )
                    self.step_logging(accelerator, logs, global_step, epoch + 1)

                should_validate_step = (
                    args.validate_every_n_steps is not None and global_step % args.validate_every_n_steps == 0
                )
                if accelerator.sync_gradients and validation_steps > 0 and should_validate_step:
                    kept = torch.get_rng_state(), random.getstate()
                    torch.manual_seed(args.validation_seed if args.validation_seed is not None else args.seed)
                    losses = []
                    for batch in val_dataloader:
                        for timestep in validation_timesteps:
                            args.min_timestep = args.max_timestep = timestep
                            losses.append(forward(batch, is_train=False).item())
                    if is_tracking:
                        average = sum(losses) / len(losses)
                        logs = {
                            "loss/validation/step_average": average,
                            "loss/validation/step_divergence": average - loss_recorder.moving_average,
                        }
                        self.step_logging(accelerator, logs, global_step, epoch=epoch + 1)
                    torch.set_rng_state(kept[0])
                    random.setstate(kept[1])
                    args.min_timestep, args.max_timestep = bounds

                if global_step >= args.max_train_steps:
                    break

            if args.validate_every_n_epochs is None and len(val_dataloader) > 0:
                raise AssertionError("the double does not measure by epoch; the runner must switch that off")
            if is_tracking:
                self.epoch_logging(
                    accelerator, {"loss/epoch_average": loss_recorder.moving_average}, global_step, epoch + 1
                )
            accelerator.wait_for_everyone()
            self.sample_images(
                accelerator, args, epoch + 1, global_step, accelerator.device, vae, [], text_encoder, unet
            )

        accelerator.end_training()
        if is_main_process and (args.save_state or args.save_state_on_train_end):
            train_util.save_state_on_train_end(args, accelerator)
        if is_main_process:
            ckpt_name = train_util.get_last_ckpt_name(args, "." + args.save_model_as)
            save_model(ckpt_name, accelerator.unwrap_model(network), global_step, num_train_epochs)
            logger.info("model saved.")


def misbehave_if_told(step):
    what, _, at = os.environ.get("FAKE_SD_SCRIPTS", "").partition(" ")
    if what == "slow":
        time.sleep(float(at))
    if at != str(step):
        return
    if what == "oom":
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 7.79 GiB of which 0.61 GiB is free."
        )
    if what == "abort":
        sys.stdout.flush()
        os.abort()
    if what == "vanish":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "full":
        raise OSError(28, "No space left on device")


def setup_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    train_util.add_arguments(parser)
    return parser


if __name__ == "__main__":
    parser = setup_parser()
    args = parser.parse_args()
    train_util.verify_command_line_training_args(args)
    args = train_util.read_config_from_file(args, parser)
    NetworkTrainer().train(args)
