"""The catalogue of rules. A new rule is one function in its file, one entry here, and its heading in docs/lint.md.

Ids are stable: the letter is the severity, the number never changes its meaning. "kohya" in `trainer` is sd-scripts at
commit 48d368f, library/train_util.py unless another file is named; "native" is our engine.
"""

from __future__ import annotations

from . import caption_rules, file_rules, picture_rules, policy_rules
from .finding import Rule

RULES: tuple[Rule, ...] = (
    # --- captions ---------------------------------------------------------------------------------------------------
    Rule("E101", "empty caption", "kohya stops on an empty caption file (l.1960) and trains an empty caption otherwise; the trigger learns nothing from this picture.",
         "Write a caption that begins with the trigger.", caption_rules.empty_caption),
    Rule("E102", "no caption", "kohya only warns and trains the class token or an empty caption (l.2072).",
         "Add a line for it to captions.jsonl.", caption_rules.missing_caption),
    Rule("E103", "caption not UTF-8", "kohya opens captions as UTF-8 and stops (l.1958).",
         "Save the file as UTF-8.", caption_rules.not_utf8),
    Rule("W104", "byte order mark", "kohya opens captions as plain UTF-8, so the mark sticks to the trigger and makes it another token (l.1954).",
         "Save the file as UTF-8 without a byte order mark.", caption_rules.byte_order_mark),
    Rule("E105", "several lines", "kohya trains the first line only, unless enable_wildcard is on (l.865, 1963).",
         "Join the lines with commas.", caption_rules.several_lines),
    Rule("E106", "bad line in captions.jsonl", "The line is skipped, so its picture loses its caption.",
         "Write one JSON object a line with file_name and prompt.", caption_rules.bad_row),
    Rule("W107", "two captions for one picture", "One of them is never trained.",
         "Delete the line that is wrong.", caption_rules.row_twice),
    Rule("E108", "absurdly long caption", "Text encoders read 75 to 225 tokens; the rest costs time and is cut off.",
         "Shorten it to a sentence or a list of tags.", caption_rules.absurd_caption),
    Rule("W109", "sampler syntax in caption", "Trainers take captions literally (kohya without weighted_captions, l.821): brackets, weights and <lora:...> are learnt as words.",
         "Write plain words.", caption_rules.sampler_syntax),
    # --- pictures ---------------------------------------------------------------------------------------------------
    Rule("E201", "unreadable picture", "Training stops at the first picture that does not decode, often hours in (l.2948).",
         "Export it again from its source, or delete it.", picture_rules.unreadable),
    Rule("E202", "too small", "A bucket larger than the picture enlarges it (unless bucket_no_upscale) and the LoRA learns blur.",
         "Use a larger original; enlarging it by hand does not add detail.", picture_rules.too_small),
    Rule("W203", "extreme aspect ratio", "The picture is scaled and cropped to its bucket (l.286); what lies outside is never seen.",
         "Crop it to what matters.", picture_rules.odd_aspect),
    Rule("W204", "same picture twice", "It counts twice in every epoch and is learnt by heart sooner.",
         "Delete one of them; for more weight use repeats.", picture_rules.same_picture),
    Rule("W205", "nearly the same picture", "It counts nearly twice, and when one of the pair is held out, the held-out loss lies.",
         "Keep the better one.", picture_rules.nearly_the_same),
    # --- files ------------------------------------------------------------------------------------------------------
    Rule("E301", "no pictures", "There is nothing to train on; kohya ends with 'No data found' and exit code 0.",
         "Export pictures with Caption Export, or import a folder.", file_rules.no_pictures),
    Rule("W302", "few or many pictures", "A handful is learnt by heart; hundreds of one character dilute the good ones.",
         "Aim for 20 to 60 varied pictures.", file_rules.few_or_many),
    Rule("W303", "caption without picture", "The caption is never used; usually a picture was renamed or lost.",
         "Bring the picture back, or delete the line.", file_rules.row_without_picture),
    Rule("W304", "orphan caption file", "The caption is never used; usually a picture was renamed or lost.",
         "Rename it like its picture, or delete it.", file_rules.orphan_caption),
    Rule("E305", "path out of the dataset", "A dataset from somebody else could make training read any file of this machine.",
         "Copy the picture into images/.", file_rules.escapes),
    Rule("E306", "not a plain file", "Opening it may hang or fail.", "Delete it.", file_rules.not_a_file),
    Rule("E307", "picture that is left out", "Engines look directly in images/ for png, jpg, jpeg, webp and bmp in all lower or all upper case (l.104, 2847).",
         "Rename or convert it.", file_rules.ignored_picture),
    # --- the trigger ------------------------------------------------------------------------------------------------
    Rule("W401", "no trigger named", "Without a trigger in every caption the character is tied to whatever words they share.",
         "Write `lora_tag: char_name` into metadata.yaml.", caption_rules.no_trigger_named),
    Rule("E402", "bad trigger", "Brackets and spaces split into further tokens and collide with the <lora:...> syntax of prompts.",
         "Use a-z, 0-9 and '_' only, such as char_wren.", caption_rules.bad_trigger),
    Rule("E403", "trigger missing", "This picture teaches the other words, not the trigger.",
         "Put the trigger first.", caption_rules.trigger_missing),
    Rule("W404", "trigger not first", "Shuffling moves everything behind keep_tokens (l.867), and truncation cuts from the end.",
         "Put the trigger first.", caption_rules.trigger_not_first),
    Rule("W405", "trigger repeated", "Repetition shifts the weight of all other words.",
         "Keep the first one.", caption_rules.trigger_repeated),
    # --- metadata and policy ----------------------------------------------------------------------------------------
    Rule("W501", "no metadata", "Packaging refuses a LoRA whose pictures have no licence and approval.",
         "Write metadata.yaml with licence, source, lora_tag and release_approved.", policy_rules.no_metadata),
    Rule("E502", "bad metadata", "What it says of trigger, rating and waivers can't be used.",
         "Mend the named values.", policy_rules.bad_metadata),
    Rule("E503", "caption above the rating", "The LoRA would produce what its rating excludes.",
         "Reword the caption, remove the picture, or raise `rating` in metadata.yaml.", policy_rules.above_rating),
    Rule("W504", "no licence", "Packaging refuses a LoRA whose pictures have no licence.",
         "Write `licence:` with an SPDX id such as CC0-1.0, or the terms in words.", policy_rules.no_licence),
    Rule("I505", "no source", "The model card can't say where the pictures come from.",
         "Write `source:` into metadata.yaml.", policy_rules.no_source),
    Rule("I506", "release not approved", "Training is fine; packaging refuses until somebody approves.",
         "Set `release_approved: true` in metadata.yaml once the rights are clear.", policy_rules.not_approved),
)  # fmt: skip


def rule(id: str) -> Rule | None:
    """The rule of that id."""
    return next((each for each in RULES if each.id == id), None)
