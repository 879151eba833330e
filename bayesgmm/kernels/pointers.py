"""Arrays and functions by address: chains share the arrays, and callers do not compile the functions again."""

from __future__ import annotations

from typing import Any

import numba
from numba import carray, types
from numba.extending import intrinsic

from bayesgmm.kernels.compiled import STRICT, compiled

FLOATS = types.CPointer(types.float64)


@intrinsic
def pointer(_context: Any, _address: Any) -> Any:  # pragma: no cover - runs in the compiler
    """An address as a pointer to floats."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return FLOATS(types.int64), generate


@compiled(fastmath=STRICT)
def at(array):
    """Address of an array; for an array made in the calling function see :func:`held`."""
    return pointer(numba.int64(array.ctypes.data))


@compiled(fastmath=STRICT)
def held(array):
    """Do nothing, but keep an array alive up to this call: numba frees it after its last use, even if addresses remain."""


@compiled(fastmath=STRICT)
def copy(source, target):
    """Copy a contiguous array into another of the same size. A slice assignment would also compile numba's shape errors."""
    given, result = carray(at(source), (source.size,)), carray(at(target), (target.size,))
    for i in range(source.size):
        result[i] = given[i]


@intrinsic
def call(_context: Any, _address: Any, arguments: Any) -> Any:  # pragma: no cover - runs in the compiler
    """Call the function at an address with a tuple of arguments; it returns a float."""
    from llvmlite import ir
    from numba.core import cgutils

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = cgutils.unpack_tuple(builder, args[1], len(signature.args[1]))
        function = ir.FunctionType(ir.DoubleType(), [each.type for each in given])
        return builder.call(builder.inttoptr(args[0], function.as_pointer()), given)

    return types.float64(types.int64, arguments), generate
