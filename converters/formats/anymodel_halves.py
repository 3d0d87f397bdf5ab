"""Puzzletron's halves of a layer: how `block_configs` speaks of them, the files of their weights, and those of its library."""

FOLDER = "subblocks_safetensors"
# What a layer may be replaced by: whole blocks, their halves, blocks in the places of layers, and models with one of these
BLOCKS, SUBBLOCKS, REPLACEMENTS = "block_library.json", "subblock_library.json", "replacement_library.json"
SOLUTIONS = "single_sequence_replacement_solutions.json"
LIBRARY_FILES = (BLOCKS, SUBBLOCKS, REPLACEMENTS, SOLUTIONS)
REST = {"no_op": False, "replace_with_linear": False, "sparsify": None, "weights_precision": "bf16"}
NO_OP = {**REST, "no_op": True}
HALVES = ("attention", "ffn")
# What an entry says of a half that is not there
NO_OPS = {
    "attention": {"num_key_value_heads": None, "llama4": None, "mamba": None, **NO_OP},
    "ffn": {"moe": None, "intermediate_size": None, **NO_OP},
}
