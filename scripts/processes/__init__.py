"""Processes of this machine that live and end together: of the demo, of a served run, of benchmarks and tests."""
