"""How a shard says that a parent's attribute or method is not there."""

import libcst as cst
from libcst import matchers as m

from .docstrings import python_statements
from .tree import block, small


_ERROR = m.Call(func=m.Name("AttributeError"))


def deletes_attribute(statement: cst.CSTNode) -> bool:
    """`size = AttributeError()`."""
    return m.matches(small(statement), m.Assign(value=_ERROR) | m.AnnAssign(value=_ERROR))


def deletes_method(function: cst.FunctionDef) -> bool:
    """A method without decorators that begins with raising AttributeError; transformers' own shards have other marks."""
    body = python_statements(block(function.body).body)
    raised = m.Raise(exc=_ERROR | m.Name("AttributeError"))
    first = body[0].body if body and isinstance(body[0], cst.SimpleStatementLine) else []
    return not function.decorators and any(m.matches(each, raised) for each in first[:1])
