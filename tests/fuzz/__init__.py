"""Generated programs: ``python -m tests.fuzz --seconds 3600``.

Hostile programs (`hostile.py`) give the loop objects whose methods meddle with the very things at
work. They may fail in any way but crash, hang or corrupt. Differential programs (`differential.py`)
behave well; they run on asyncio and on fastaio, and each event must be the same, in the same order.

A program is a tree of operations (`program.py`), made from a seed. The tree is printed as Python,
and what is printed is what runs. A program that fails is shrunk: operations are dropped while it
still fails (`shrink.py`). Each batch of programs runs in a forked child (`forked.py`).
"""
