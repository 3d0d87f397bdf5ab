"""Messages of the package are told or kept quiet by transformers' own verbosity."""

import subprocess
import sys

import pytest


CODE = """
import transformers, transformers_heterogeneous
from transformers_heterogeneous import modeling_heterogeneous
getattr(transformers.logging, "set_verbosity_{}")()
modeling_heterogeneous.logger.warning("something to be known")
"""


@pytest.mark.parametrize(("verbosity", "told"), [("error", 0), ("warning", 1)])
def test_warnings_follow(verbosity, told):
    done = subprocess.run([sys.executable, "-c", CODE.format(verbosity)], capture_output=True, text=True, check=True)
    assert done.stderr.count("something to be known") == told
    assert ("[transformers_heterogeneous" in done.stderr or "[transformers]" in done.stderr) == bool(told)


def test_the_command_follows_too(tmp_path):
    code = CODE.replace("import transformers, transformers_heterogeneous\n", "import transformers, hetero, sys\n")
    package = "hetero.run.__code__; sys.argv = ['hetero', '--version']\ntry:\n    hetero.main()\nexcept SystemExit:\n    pass\n"
    code = code.replace("from transformers", package + "from transformers")
    done = subprocess.run([sys.executable, "-c", code.format("error")], capture_output=True, text=True, check=True)
    assert done.stderr == ""
