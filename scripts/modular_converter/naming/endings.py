"""What two names of classes end alike in: what is left in front is how each spells its model."""


def without_common_ending(first: str, second: str) -> tuple[str, str]:
    """Both names without what they end alike in, unless that is the whole of one."""
    ending = _common_ending(first, second)
    return (
        (first.removesuffix(ending), second.removesuffix(ending)) if ending not in (first, second) else (first, second)
    )


def common_suffix(first: str, second: str) -> str:
    """The longest common ending, if it begins with a capital and is the whole of neither name; else nothing."""
    suffix = _common_ending(first, second)
    return suffix if suffix[:1].isupper() and suffix not in (first, second) else ""


def _common_ending(first: str, second: str) -> str:
    length = 0
    while length < min(len(first), len(second)) and first[-length - 1] == second[-length - 1]:
        length += 1
    return first[len(first) - length :]
