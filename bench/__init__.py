"""The measurements that ``docs/performance.rst`` quotes, re-run by ``python -m bench.run``."""
