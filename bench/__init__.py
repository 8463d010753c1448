"""Benchmarks: every event loop that is installed, the same work, one interleaved run.

``python -m bench --help`` is the way in; README.md beside this file says how to read the result.
"""
