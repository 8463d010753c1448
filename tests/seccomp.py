"""A seccomp filter that makes one system call fail, for a process and its children.

Programs that a test runs in a new process import this module by its path.
"""

import ctypes
import os
import struct

IO_URING_SETUP = 425  # on every architecture but alpha

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def make_fail(number: int, error: int) -> None:
    """From now on the system call fails with ``error``."""
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD_WORD, 0, 0, 0),  # the system call's number
            (_JUMP_IF_EQUAL, 0, 1, number),
            (_RETURN, 0, 0, _FAIL | error),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    zero = ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) or prctl(
        _PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), zero, zero
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
