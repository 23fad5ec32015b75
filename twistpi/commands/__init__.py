"""The commands of ``twistpi``, one module for each group of them; ``twistpi/cli.py`` joins them."""
