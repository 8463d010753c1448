"""CPython's own asyncio tests, as installed with the interpreter, run on fastaio.

``python -m tests.conformance`` runs all of them; ``test_conformance.py`` runs them under pytest.
"""
