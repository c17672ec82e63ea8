"""The double's `library.train_util`: sd-scripts' names, signatures and output lines around a data set of 64 numbers a picture.

Written for these tests; `tests/kohya/test_double_is_true.py` compares it with the real source whenever that is there.
"""

import argparse
import ast
import hashlib
import logging
import math
import os
import pathlib
import random
import time

import accelerate
import tomllib
import torch
from PIL import Image
from tqdm import tqdm

logger = logging.getLogger("fake_sd_scripts")
logging.basicConfig(level=logging.INFO, format="%(message)s")

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


# region options


def add_arguments(parser):
    text, whole, real = (
        {"type": str, "default": None},
        {"type": int, "default": None},
        {"type": float, "default": None},
    )
    for name in (
        "pretrained_model_name_or_path", "tokenizer_cache_dir", "output_dir", "output_name", "resume", "vae",
        "training_comment", "network_weights", "network_module", "sample_prompts", "config_file", "wandb_run_name",
        "log_tracker_name", "log_tracker_config", "logging_dir", "log_prefix",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", **text)
    for name in (
        "save_every_n_steps", "save_every_n_epochs", "seed", "clip_skip", "min_timestep", "max_timestep", "network_dim",
        "initial_step", "initial_epoch", "validation_seed", "validate_every_n_steps", "validate_every_n_epochs",
        "max_validation_steps", "sample_every_n_steps", "sample_every_n_epochs", "multires_noise_iterations",
        "max_train_epochs", "save_last_n_steps",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", **whole)
    for name in ("unet_lr", "noise_offset", "min_snr_gamma", "network_dropout", "scale_weight_norms"):
        parser.add_argument(f"--{name}", **real)
    for name in (
        "console_log_simple", "v_parameterization", "zero_terminal_snr", "cache_latents", "cache_latents_to_disk", "sdpa",
        "xformers", "torch_compile", "gradient_checkpointing", "save_state", "save_state_on_train_end", "sample_at_first",
        "network_train_unet_only", "skip_until_initial_step", "color_aug", "random_crop", "fp8_base", "full_bf16",
        "persistent_data_loader_workers", "log_config", "masked_loss", "alpha_mask", "resume_from_huggingface",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--dataset_config", type=pathlib.Path, default=None)
    parser.add_argument(
        "--save_model_as", type=str, default="safetensors", choices=[None, "ckpt", "pt", "safetensors"]
    )
    parser.add_argument("--save_precision", type=str, default=None, choices=[None, "float", "fp16", "bf16"])
    parser.add_argument("--max_token_length", type=int, default=None, choices=[None, 150, 225])
    parser.add_argument("--mixed_precision", type=str, default="no", choices=["no", "fp16", "bf16"])
    parser.add_argument("--loss_type", type=str, default="l2", choices=["l1", "l2", "huber", "smooth_l1"])
    parser.add_argument("--log_with", type=str, default=None, choices=["tensorboard", "wandb", "all"])
    parser.add_argument("--sample_sampler", type=str, default="ddim", choices=[
        "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++", "dpmsingle",
        "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
    ])  # fmt: skip
    parser.add_argument("--optimizer_type", type=str, default="")
    parser.add_argument("--lr_scheduler", type=str, default="constant")
    parser.add_argument("--lr_warmup_steps", type=int_or_float, default=0)
    parser.add_argument("--lr_scheduler_num_cycles", type=int, default=1)
    parser.add_argument("--lr_scheduler_power", type=float, default=1)
    parser.add_argument("--learning_rate", type=float, default=2.0e-6)
    parser.add_argument("--max_grad_norm", type=float, default=1.0)
    parser.add_argument("--max_train_steps", type=int, default=1600)
    parser.add_argument("--train_batch_size", type=int, default=1)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--max_data_loader_n_workers", type=int, default=8)
    parser.add_argument("--network_alpha", type=float, default=1)
    parser.add_argument("--validation_split", type=float, default=0.0)
    parser.add_argument("--text_encoder_lr", type=float, default=None, nargs="*")
    for name in ("network_args", "optimizer_args"):
        parser.add_argument(f"--{name}", type=str, default=None, nargs="*")


def int_or_float(value):
    return float(value) if "." in str(value) else int(value)


def verify_command_line_training_args(args: argparse.Namespace):
    pass


def read_config_from_file(args: argparse.Namespace, parser: argparse.ArgumentParser):
    if not args.config_file:
        return args
    config_path = args.config_file if args.config_file.endswith(".toml") else args.config_file + ".toml"
    logger.info(f"Loading settings from {config_path}...")
    with open(config_path, "rb") as f:
        config = tomllib.load(f)
    flat = {}
    for name, value in config.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return parser.parse_args(namespace=argparse.Namespace(**flat))


# endregion

# region data sets


class BaseDataset(torch.utils.data.Dataset):
    """Pictures as 64 numbers, in batches, shuffled by seed and epoch as upstream shuffles its buckets."""

    def __init__(self, subset, batch_size, is_training):
        self.subset, self.batch_size = subset, batch_size
        self.current_epoch, self.current_step, self.seed = 0, 0, 0
        self.paths = glob_images(subset["image_dir"])
        if (subset["split"] == 1.0) == is_training:
            self.paths = []
        repeats = subset.get("num_repeats", 1) if is_training else 1
        logger.info(f"found directory {subset['image_dir']} contains {len(self.paths)} image files")
        self.captions = {path: read_caption(path, subset["caption_extension"]) for path in self.paths}
        self.latents = {}
        self.indices = list(range(len(self.paths) * repeats))

    def set_seed(self, seed):
        self.seed = seed
        self.shuffle_buckets()

    def shuffle_buckets(self):
        random.seed(self.seed + self.current_epoch)
        random.shuffle(self.indices)

    def set_current_epoch(self, epoch):
        while self.current_epoch < epoch:
            logger.info(f"epoch is incremented. current_epoch: {self.current_epoch}, epoch: {epoch}")
            self.current_epoch += 1
            self.shuffle_buckets()

    def set_current_step(self, step):
        self.current_step = step

    def new_cache_latents(self, vae, accelerator):
        logger.info("caching latents with caching strategy.")
        logger.info("caching latents...")
        for path in tqdm(self.paths):
            self.latents[path] = picture_numbers(path)

    def __len__(self):
        return math.ceil(len(self.indices) / self.batch_size)

    def __getitem__(self, index):
        chosen = self.indices[index * self.batch_size : (index + 1) * self.batch_size]
        paths = [self.paths[each % len(self.paths)] for each in chosen]
        captions = []
        for path in paths:
            tags = self.captions[path].split(", ")
            if self.subset.get("shuffle_caption"):
                random.shuffle(tags)
            captions.append(", ".join(tags))
        latents = torch.stack([self.latents.get(path, picture_numbers(path)) for path in paths])
        return {"latents": latents, "captions": captions, "loss_weights": torch.ones(len(paths))}


class DatasetGroup(torch.utils.data.ConcatDataset):
    def set_current_epoch(self, epoch):
        for dataset in self.datasets:
            dataset.set_current_epoch(epoch)

    def set_current_step(self, step):
        for dataset in self.datasets:
            dataset.set_current_step(step)

    def new_cache_latents(self, vae, accelerator):
        for i, dataset in enumerate(self.datasets):
            logger.info(f"[Dataset {i}]")
            dataset.new_cache_latents(vae, accelerator)


class collator_class:
    def __init__(self, epoch, step, dataset):
        self.current_epoch = epoch
        self.current_step = step
        self.dataset = dataset

    def __call__(self, examples):
        worker_info = torch.utils.data.get_worker_info()
        dataset = worker_info.dataset if worker_info is not None else self.dataset
        dataset.set_current_epoch(self.current_epoch.value)
        dataset.set_current_step(self.current_step.value)
        return examples[0]


def load_datasets(config_file):
    """`(training group, validation group or None)` of a dataset_config TOML."""
    with open(config_file, "rb") as f:
        config = tomllib.load(f)
    logger.info("prepare images.")
    groups = []
    seed = random.randint(0, 2**31)
    for is_training in (True, False):
        datasets = []
        for each in config["datasets"]:
            if not is_training and each.get("validation_split", 0.0) == 0.0:
                continue
            subset = {
                **config.get("general", {}),
                **each["subsets"][0],
                "split": each.get("validation_split", 0.0),
            }
            dataset = BaseDataset(subset, each["batch_size"], is_training)
            dataset.set_seed(seed)
            datasets.append(dataset)
        groups.append(DatasetGroup(datasets) if datasets else None)
    images, split = sum(len(each.indices) for each in groups[0].datasets), "train"
    logger.info(f"{images} {split} images with repeats.")
    return groups


def glob_images(directory):
    if not os.path.isdir(directory):
        logger.warning(f"not directory: {directory}")
        return []
    return sorted(str(each) for each in pathlib.Path(directory).iterdir() if each.suffix in IMAGE_EXTENSIONS)


def read_caption(path, extension):
    cap_path = os.path.splitext(path)[0] + extension
    if not os.path.isfile(cap_path):
        return ""
    with open(cap_path, encoding="utf-8") as f:
        try:
            lines = f.readlines()
        except UnicodeDecodeError:
            logger.error(
                f"illegal char in file (not UTF-8) / ファイルにUTF-8以外の文字があります: {cap_path}"
            )
            raise
    assert len(lines) > 0, f"caption file is empty / キャプションファイルが空です: {cap_path}"
    return lines[0].strip()


def picture_numbers(path):
    try:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((4, 4))
    except OSError:
        logger.error(f"Error loading file: {path}")
        raise
    numbers = torch.tensor([channel for pixel in small.getdata() for channel in (*pixel, sum(pixel) // 3)])
    return (numbers.float() / 127.5 - 1).reshape(4, 4, 4)


# endregion

# region training


def prepare_accelerator(args: argparse.Namespace):
    logging_dir = None
    if args.logging_dir is not None:
        logging_dir = args.logging_dir + "/" + time.strftime("%Y%m%d%H%M%S", time.localtime())
    log_with = args.log_with or ("tensorboard" if logging_dir else None)
    accelerator = accelerate.Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        mixed_precision=args.mixed_precision,
        log_with=log_with,
        project_dir=logging_dir,
        cpu=True,
    )
    print("accelerator device:", accelerator.device)
    return accelerator


def get_optimizer(args, trainable_params):
    kwargs = {}
    for arg in args.optimizer_args or []:
        key, value = arg.split("=")
        kwargs[key] = ast.literal_eval(value)
    if args.optimizer_type not in ("", "AdamW"):
        raise ImportError(
            f"No {args.optimizer_type.lower()} / {args.optimizer_type} がインストールされていないようです"
        )
    logger.info(f"use AdamW optimizer | {kwargs}")
    return torch.optim.AdamW(trainable_params, lr=args.learning_rate, **kwargs)


def get_optimizer_train_eval_fn(optimizer, args: argparse.Namespace):
    return lambda: None, lambda: None


def get_scheduler_fix(args, optimizer, num_processes: int):
    total = args.max_train_steps * num_processes
    warmup = args.lr_warmup_steps
    warmup = int(warmup * total) if isinstance(warmup, float) else warmup
    if args.lr_scheduler == "constant" and warmup:
        raise ValueError(f"{args.lr_scheduler} does not require `num_warmup_steps`. Set None or 0.")

    def factor(step):
        if step < warmup:
            return step / warmup
        done = (step - warmup) / max(1, total - warmup)
        return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done}.get(
            args.lr_scheduler, 1.0
        )

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def resume_from_local_or_hf_if_specified(accelerator, args):
    if not args.resume:
        return
    logger.info(f"resume training from local state: {args.resume}")
    accelerator.load_state(args.resume)


def init_trackers(accelerator, args: argparse.Namespace, default_tracker_name: str):
    if accelerator.is_main_process:
        accelerator.init_trackers(
            default_tracker_name if args.log_tracker_name is None else args.log_tracker_name
        )


def get_step_ckpt_name(args: argparse.Namespace, ext: str, step_no: int):
    return f"{args.output_name}-step{step_no:08d}" + ext


def get_last_ckpt_name(args: argparse.Namespace, ext: str):
    return args.output_name + ext


def save_and_remove_state_stepwise(args: argparse.Namespace, accelerator, step_no):
    logger.info("")
    logger.info(f"saving state at step {step_no}")
    accelerator.save_state(os.path.join(args.output_dir, f"{args.output_name}-step{step_no:08d}-state"))


def save_state_on_train_end(args: argparse.Namespace, accelerator):
    logger.info("")
    logger.info("saving last state.")
    accelerator.save_state(os.path.join(args.output_dir, f"{args.output_name}-state"))


def calculate_sha256(filename):
    with open(filename, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class LossRecorder:
    def __init__(self):
        self.losses = []

    def add(self, *, epoch: int, step: int, loss: float) -> None:
        self.losses.append(loss)

    @property
    def moving_average(self) -> float:
        return sum(self.losses) / len(self.losses) if self.losses else 0


def sample_images(accelerator, args, epoch, steps):
    """Grey squares under upstream's file names."""
    import json

    if args.sample_every_n_steps is None or steps % args.sample_every_n_steps or epoch is not None:
        return
    logger.info("")
    logger.info(f"generating sample images at step / サンプル画像生成 ステップ: {steps}")
    if not os.path.isfile(args.sample_prompts):
        logger.error(f"No prompt file / プロンプトファイルがありません: {args.sample_prompts}")
        return
    os.makedirs(args.output_dir + "/sample", exist_ok=True)
    with open(args.sample_prompts, encoding="utf-8") as f:
        prompts = json.load(f)
    for i, prompt in enumerate(prompts):
        logger.info(f"prompt: {prompt['prompt']}")
        if os.environ.get("FAKE_SD_SCRIPTS") == "sampling fails":
            raise RuntimeError("the double was told to fail while sampling")
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime())
        name = f"{args.output_name}_{steps:06d}_{i:02d}_{stamp}_{prompt['seed']}.png"
        Image.new("RGB", (8, 8), (40 * i, 80, 120)).save(os.path.join(args.output_dir, "sample", name))


# endregion
