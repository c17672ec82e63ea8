"""Numbers of things in sentences: `1 picture`, `2 pictures`."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """The number with its noun, in the plural but for 1; `plural` where that is not the noun with an s. Thousands are parted by commas."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
