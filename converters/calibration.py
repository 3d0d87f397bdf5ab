"""The token sequences that a model is run on, out of a file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .engine.errors import CheckpointError, refuse


REMEDY = (
    'DATA is JSON lines with "text" or "input_ids", JSON with a list of lists of token ids, safetensors with a tensor '
    '"input_ids" of a row a sequence, or plain text.'
)


def read_sequences(
    path: Path, tokenizer_folder: Path, vocab_size: int, max_samples: int, sequence_length: int
) -> list[list[int]]:
    """
    Token sequences of a file, the first ones, none longer than is asked. Plain text is one text that is cut into
    sequences; of others each makes one, whose end is cut off.

    Args:
        tokenizer_folder: Where the tokenizer of texts is.

    Raises:
        CheckpointError: where the file has none, or names each sequence that is none.
    """
    try:
        found = list(sequences_in(path, tokenizer_folder, max_samples, sequence_length))
    except CheckpointError:
        raise
    except Exception as error:  # whatever a file may hold
        raise CheckpointError(f"{path}: cannot be read ({type(error).__name__}: {error})", remedy=REMEDY) from error
    wrong = [
        f"sequence {number}: {str(ids)[:60]}: token ids from 0 to {vocab_size - 1} are needed"
        for number, ids in enumerate(found)
        if not isinstance(ids, list) or not all(type(each) is int and 0 <= each < vocab_size for each in ids)
    ]
    refuse(f"{path}: holds no token ids", wrong[:10], remedy=REMEDY)
    sequences = [ids[:sequence_length] for ids in found if ids]
    if not sequences:
        raise CheckpointError(f"{path}: holds no sequences", remedy=REMEDY)
    return sequences


def sequences_in(path: Path, tokenizer_folder: Path, number: int, length: int) -> Iterator[Any]:
    """The first sequences of a file, unchecked."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            yield from file.get_tensor("input_ids")[:number, :length].tolist()
    elif path.suffix == ".json":
        members = json.loads(path.read_text())
        yield from (members["input_ids"] if isinstance(members, dict) else members)[:number]
    elif path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()][:number]
        texts = [line["text"] for line in lines if "input_ids" not in line]
        encoded = iter(encode(texts, tokenizer_folder) if texts else ())
        yield from (line["input_ids"] if "input_ids" in line else next(encoded) for line in lines)
    else:
        (ids,) = encode([path.read_text()], tokenizer_folder)
        yield from (ids[at : at + length] for at in range(0, min(len(ids), number * length), length))


def encode(texts: Sequence[str], folder: Path) -> list[list[int]]:
    """Texts as the tokenizer of a checkpoint has them."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # whatever a tokenizer's files may hold
        raise CheckpointError(
            f"{folder}: texts need a tokenizer, and it has none that can be loaded ({type(error).__name__}: {error})",
            remedy="Give token ids, or put the tokenizer's files there.",
        ) from error
    found: list[list[int]] = tokenizer(list(texts), verbose=False)["input_ids"]
    return found
