"""sd-scripts' own dataset loader on one folder, run by its own interpreter: `python real_loader.py CHECKOUT FOLDER`.

Out: one line of JSON with every picture's name, caption and the pixels' shape as the trainer gets them, or the error that
it stops with. Nothing of this pack is imported but the door to its torchvision.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kohya_bridge.engines.kohya.upstream import make_torchvision_importable


def load(checkout: str, folder: str) -> dict:
    sys.path.insert(0, checkout)
    make_torchvision_importable()
    from library import train_util

    subset = train_util.DreamBoothSubset(
        folder, is_reg=False, class_tokens=None, caption_extension=".txt", cache_info=False, alpha_mask=False,
        num_repeats=1, shuffle_caption=False, caption_separator=",", keep_tokens=0, keep_tokens_separator=None,
        secondary_separator=None, enable_wildcard=False, color_aug=False, flip_aug=False, face_crop_aug_range=None,
        random_crop=False, caption_dropout_rate=0.0, caption_dropout_every_n_epochs=0, caption_tag_dropout_rate=0.0,
        caption_prefix=None, caption_suffix=None, token_warmup_min=1, token_warmup_step=0,
    )  # fmt: skip
    try:
        dataset = train_util.DreamBoothDataset(
            [subset], is_training_dataset=True, batch_size=1, resolution=(256, 256), network_multiplier=1.0,
            enable_bucket=True, min_bucket_reso=64, max_bucket_reso=512, bucket_reso_steps=64, bucket_no_upscale=False,
            prior_loss_weight=1.0, debug_dataset=False, validation_split=0.0, validation_seed=None,
            resize_interpolation=None,
        )  # fmt: skip
    except (AssertionError, UnicodeDecodeError) as error:
        return {"error": type(error).__name__}
    pictures = {}
    for info in dataset.image_data.values():
        pixels = train_util.load_image(info.absolute_path)
        corner = [int(value) for value in pixels[0, 0]]
        pictures[Path(info.absolute_path).name] = {
            "caption": info.caption,
            "shape": pixels.shape[:2],
            "corner": corner,
        }
    return {"pictures": pictures}


if __name__ == "__main__":
    answer = load(sys.argv[1], sys.argv[2])
    print("ANSWER " + json.dumps(answer))
