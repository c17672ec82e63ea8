"""What a reader stumbles over in a rendered sentence, as far as a machine can tell."""

import re

_ONE_OF_MANY = re.compile(
    r"(?<![\w.,:x/-])1 (?:more )?(?!(?:is|was|has|does|this|its|less|times|x|as|minus|plus|px|of|focus|class|process|loss|bias|gives|means|takes|holds|needs|pass|bus|series|s)\b)([a-z]+s)\b"
)
_ARTICLE = re.compile(r"\b[Aa] (?=[aeiou])(?!uni|us[eu]|usa|usual|one\b|once|eu|u-?net)\w+")
_ARTICLE_BEFORE_CONSONANT = re.compile(
    r"\b[Aa]n (?![aeiouAEIOUHLMNFSRX8]|h(?:our|onest)|sd|fp\d|ss_|rtx|lr\b|npz|mp3|xformers|[b-z]\b)\w+"
)
_HAVE = re.compile(r"\b(?:settings|pictures|captions|files) has\b|\b(?:There is|There was) (?:[2-9]|\d\d)")


def oddities(text: str) -> list[str]:
    """Numbers that don't fit their nouns (`1 pictures`), wrong articles (`a in_json`), verbs that don't agree, lines of source."""
    patterns = (_ONE_OF_MANY, _ARTICLE, _ARTICLE_BEFORE_CONSONANT, _HAVE, re.compile(r"\(l\.\d+"))
    return [
        text[max(0, found.start() - 30) : found.end() + 30]
        for pattern in patterns
        for found in pattern.finditer(text)
    ]
