"""The model card of the output: the source's, with a note of where it came from."""

FENCE = "---"


def with_note(card: str, note: str) -> str:
    """A card with a note as its first paragraph, after the metadata, which stays as it is."""
    metadata, text = parted(card)
    return f"{metadata}> {note}\n\n{text}"


def parted(card: str) -> tuple[str, str]:
    """The metadata of a card (YAML between two lines of dashes, at the beginning) and the text after it."""
    lines = card.splitlines(keepends=True)
    fences = [at for at, line in enumerate(lines) if line.rstrip() == FENCE]
    if len(fences) < 2 or fences[0] != 0:
        return "", card
    end = fences[1] + 1
    return "".join(lines[:end]).rstrip("\r\n") + "\n\n", "".join(lines[end:]).lstrip("\r\n")


def origin_note(source: str, published: str, written: str) -> str:
    """
    Where a checkpoint came from, in Markdown.

    Args:
        source: The folder's name, or the repository.
        published: Name of the format that it came in.
        written: Name of the format that it is in now.
    """
    return (
        f"Converted by `hetero convert` of transformers-heterogeneous from `{source}`, "
        f"format `{published}`, to format `{written}`."
    )
