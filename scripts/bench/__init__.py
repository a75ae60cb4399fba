"""The benchmarks: every figure of docs/performance.md."""
