"""Puts somebody's bridge or receiver through what docs/protocol asks of it: `python -m tests.conformance --help`.

A program that speaks with the other over the wire, so that it can be of any language, and no plugin of pytest, which
nobody needs to know for it.
"""
